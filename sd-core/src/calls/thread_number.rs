//! Numbers of threads: small ones, for what each thread has for itself.

use std::{
    cell::Cell,
    collections::BTreeSet,
    num::NonZeroUsize,
    sync::{Mutex, PoisonError},
    thread,
};

/// For how many threads a balancer or a table has something of their own: twice as many as there are
/// processors. Further ones share, or do without.
pub(super) fn numbered_threads() -> usize {
    2 * thread::available_parallelism()
        .map_or(1, NonZeroUsize::get)
        .min(64)
}

thread_local! {
    /// Read by each pick: a cell without a destructor is the quickest.
    static NUMBER: Cell<usize> = const { Cell::new(NONE) };
    static TAKEN: TakenNumber = TakenNumber::take();
}

/// A thread has no number yet, or its number no longer.
const NONE: usize = usize::MAX;

/// The number of this thread: the least that no other living thread has, when it first asks. So a program
/// that picks on few threads at a time has small ones. `usize::MAX` while the thread ends.
#[inline]
pub(super) fn thread_number() -> usize {
    match NUMBER.get() {
        NONE => take_number(),
        number => number,
    }
}

#[cold]
fn take_number() -> usize {
    let number = TAKEN.try_with(|taken| taken.0).unwrap_or(NONE);
    NUMBER.set(number);
    number
}

/// The number of a thread until the thread ends.
struct TakenNumber(usize);

/// Locked once when a thread first asks, and once when it ends.
static NUMBERS: Mutex<Numbers> = Mutex::new(Numbers {
    free: BTreeSet::new(),
    next: 0,
});

struct Numbers {
    /// Those of threads that have ended.
    free: BTreeSet<usize>,
    next: usize,
}

impl TakenNumber {
    fn take() -> Self {
        let mut numbers = NUMBERS.lock().unwrap_or_else(PoisonError::into_inner);
        Self(numbers.free.pop_first().unwrap_or_else(|| {
            numbers.next += 1;
            numbers.next - 1
        }))
    }
}

impl Drop for TakenNumber {
    fn drop(&mut self) {
        NUMBER.set(NONE);
        let mut numbers = NUMBERS.lock().unwrap_or_else(PoisonError::into_inner);
        numbers.free.insert(self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Barrier;

    #[test]
    fn living_threads_have_different_numbers_and_later_ones_those_of_ended_ones() {
        const THREADS: usize = 8;
        let own = thread_number();
        let mut most = 0;
        for _ in 0..100 {
            let all_asked = Barrier::new(THREADS);
            let numbers: BTreeSet<_> = thread::scope(|scope| {
                let ask = || {
                    let number = thread_number();
                    all_asked.wait();
                    assert_eq!(number, thread_number());
                    number
                };
                let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(ask)).collect();
                let numbers = threads.into_iter().map(|thread| thread.join().unwrap());
                numbers.collect()
            });
            assert!(numbers.len() == THREADS && !numbers.contains(&own));
            most = most.max(numbers.into_iter().max().unwrap_or(0));
        }
        // 800 threads have asked here, and those of other tests beside them.
        assert!(most < 400, "{most}");
    }
}
