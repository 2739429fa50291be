//! Turns: a number for each pick, one after the other.

use crate::calls::thread_number::{numbered_threads, thread_number};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Numbers the picks of each thread consecutively, from a random number on. Of the threads that pick, twice as
/// many as there are processors have a counter each. Further ones share others.
pub(super) struct Turns {
    /// By the number of the thread, which alone writes to it.
    own: Box<[Counter]>,
    shared: Box<[Counter]>,
}

/// Aligned so that no two counters share a cache line, or a pair of lines that is fetched together.
#[repr(align(128))]
struct Counter(AtomicUsize);

/// Counters start below this: so far apart that clients begin anywhere in the longest cycle, and so
/// low that a counter does not wrap, or need a 64-bit division, for long.
const START: u32 = 1 << 20;

impl Turns {
    pub(super) fn new() -> Self {
        let counters = numbered_threads();
        Self::starting_at(|| fastrand::u32(..START) as usize, counters, counters)
    }

    fn starting_at(start: impl Fn() -> usize, own: usize, shared: usize) -> Self {
        let counters = |count| {
            let counters = (0..count).map(|_| Counter(AtomicUsize::new(start())));
            counters.collect()
        };
        Self {
            own: counters(own),
            shared: counters(shared),
        }
    }

    /// Turns that start at `start`, for a test on one thread.
    #[cfg(test)]
    pub(super) fn from(start: usize) -> Self {
        Self::starting_at(|| start, 0, 1)
    }

    /// The next turn of this thread in a cycle of so many, which are not none.
    #[inline]
    pub(super) fn next_in(&self, cycle: usize) -> usize {
        let thread = thread_number();
        match self.own.get(thread) {
            // Quicker than an atomic addition.
            Some(Counter(own)) => {
                let mut turn = own.load(Ordering::Relaxed);
                // Only for the first turn, and after the cycle has become shorter: a division takes long.
                if turn >= cycle {
                    turn %= cycle;
                }
                own.store(turn + 1, Ordering::Relaxed);
                turn
            }
            None => {
                let Counter(shared) = &self.shared[thread % self.shared.len()];
                shared.fetch_add(1, Ordering::Relaxed) % cycle
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{sync::Barrier, thread};

    /// Has four threads do this at the same time.
    fn four_threads(act: impl Fn() + Sync) {
        let begin = Barrier::new(4);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    begin.wait();
                    act();
                });
            }
        });
    }

    #[test]
    fn a_thread_with_a_counter_of_its_own_takes_every_turn_of_it() {
        let turns = Turns::starting_at(|| usize::MAX, 10_000, 1);
        four_threads(|| {
            let every = (0..1_000).cycle().skip(usize::MAX % 1_000).take(10_000);
            every.for_each(|turn| assert_eq!(turns.next_in(1_000), turn));
        });
    }

    #[test]
    fn threads_that_share_a_counter_lose_no_turn() {
        let turns = Turns::from(7);
        four_threads(|| {
            // Enough for the threads to overlap.
            for _ in 0..1_000_000 {
                turns.next_in(usize::MAX);
            }
        });
        assert_eq!(turns.next_in(usize::MAX), 7 + 4_000_000);
    }
}
