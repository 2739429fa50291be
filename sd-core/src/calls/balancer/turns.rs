//! Turns: a number for each pick, one after the other.

use std::{
    cell::Cell,
    num::NonZeroUsize,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

/// Numbers the picks of each thread consecutively, from a random number on. Threads have counters
/// of their own, as far as there are enough, so that they do not contend.
pub(super) struct Turns {
    counters: Box<[Counter]>,
}

/// The counter of some threads. Aligned so that no two counters share a cache line, or a pair of
/// lines that is fetched together.
#[repr(align(128))]
struct Counter(AtomicUsize);

/// Counters start below this: so far apart that clients begin anywhere in the longest cycle, and so
/// low that a counter does not wrap, or need a 64-bit division, for long.
const START: u32 = 1 << 20;

impl Turns {
    pub(super) fn new() -> Self {
        // More counters than processors, since the numbers of picking threads are seldom
        // consecutive.
        let threads = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let counters = (2 * threads.min(64)).next_power_of_two();
        Self::starting_at(counters, || fastrand::u32(..START) as usize)
    }

    /// `counters` is a power of two.
    pub(super) fn starting_at(counters: usize, start: impl Fn() -> usize) -> Self {
        let counters = (0..counters)
            .map(|_| Counter(AtomicUsize::new(start())))
            .collect();
        Self { counters }
    }

    /// The number of the next turn of this thread. It wraps around.
    #[inline]
    pub(super) fn next(&self) -> usize {
        // The number of counters is a power of two.
        let mine = thread_number() & (self.counters.len() - 1);
        self.counters[mine].0.fetch_add(1, Ordering::Relaxed)
    }
}

/// The number of this thread. Threads are numbered from 0 as they first pick.
#[inline]
fn thread_number() -> usize {
    thread_local! {
        static NUMBER: Cell<usize> = const { Cell::new(usize::MAX) };
    }
    #[cold]
    fn draw() -> usize {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        NUMBER.set(number);
        number
    }
    match NUMBER.get() {
        usize::MAX => draw(),
        number => number,
    }
}
