//! The current value of something as each thread has it at hand.

use super::thread_number::{numbered_threads, thread_number};
use atomic_refcell::AtomicRefCell;
use std::{
    hint,
    iter::repeat_with,
    sync::{
        OnceLock,
        atomic::{Ordering, fence},
    },
    thread,
};

/// A copy of a shared value for each of the first threads that read it, so that a read is one atomic step that
/// nobody contends for. (Protecting a value from being dropped takes two, and so does counting its users.)
///
/// The copies are [cleared](Self::clear) by whoever replaces the value: a thread that reads no longer keeps
/// nothing alive.
pub(super) struct ThreadCopies<T> {
    /// By the [number](thread_number) of the thread.
    copies: Box<[OnceLock<Box<ThreadCopy<T>>>]>,
}

/// Borrowed by its thread for as long as a read takes, and by whoever clears it. Aligned so that no two share a
/// cache line, or a pair of lines that is fetched together.
#[repr(align(128))]
struct ThreadCopy<T>(AtomicRefCell<Option<T>>);

impl<T> ThreadCopies<T> {
    pub(super) fn new() -> Self {
        Self::for_threads(numbered_threads())
    }

    fn for_threads(threads: usize) -> Self {
        let copies = repeat_with(OnceLock::new).take(threads).collect();
        Self { copies }
    }

    /// Reads this thread's copy. Gets it with `load` if there is none. A thread that has no place for a copy,
    /// or whose copy is in use, reads what `load` gives it: no read waits.
    ///
    /// Whoever clears the copies waits for `read`. So it has to be short, and must not replace the value.
    #[inline]
    pub(super) fn read<R>(&self, load: impl Fn() -> T, read: impl FnOnce(&T) -> R) -> R {
        let own = self.copies.get(thread_number()).and_then(OnceLock::get);
        if let Some(own) = own
            && let Ok(own) = own.0.try_borrow_mut()
            && let Some(copy) = &*own
        {
            return read(copy);
        }
        self.fill(load, read)
    }

    /// Gets a copy for this thread, if it has a place for one.
    #[cold]
    #[inline(never)]
    fn fill<R>(&self, load: impl Fn() -> T, read: impl FnOnce(&T) -> R) -> R {
        if let Some(own) = self.copies.get(thread_number()) {
            let own = own.get_or_init(Box::default);
            // This thread fills its place, and whoever clears the places does not see it yet: at least one of
            // them sees what the other did before its fence.
            fence(Ordering::SeqCst);
            if let Ok(mut own) = own.0.try_borrow_mut() {
                *own = Some(load());
            }
        }
        read(&load())
    }

    /// Drops all copies. Called after the value was replaced: whoever reads after this reads the new one.
    pub(super) fn clear(&self) {
        fence(Ordering::SeqCst);
        for copy in self.copies.iter().filter_map(OnceLock::get) {
            // Not while it is borrowed, since this may drop targets, which are foreign code.
            drop(copy.take());
        }
    }
}

/// A read takes nanoseconds. If it takes longer than so many attempts, the system has stopped its thread.
const ATTEMPTS: usize = 100;

impl<T> ThreadCopy<T> {
    /// Takes what it holds. Waits for the end of a read that is under way.
    fn take(&self) -> Option<T> {
        let mut attempts = 0;
        loop {
            match self.0.try_borrow_mut() {
                Ok(mut copy) => return copy.take(),
                Err(_) if attempts < ATTEMPTS => hint::spin_loop(),
                Err(_) => thread::yield_now(),
            }
            attempts += 1;
        }
    }
}

impl<T> Default for ThreadCopy<T> {
    fn default() -> Self {
        Self(AtomicRefCell::new(None))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        cell::Cell,
        sync::{
            Arc,
            atomic::{AtomicBool, AtomicUsize},
        },
    };

    #[test]
    fn a_copy_is_kept_until_it_is_cleared() {
        let copies = ThreadCopies::for_threads(usize::from(u16::MAX));
        let loads = Cell::new(0);
        let load = || {
            loads.set(loads.get() + 1);
            Arc::new(loads.get())
        };
        for _ in 0..3 {
            copies.read(load, |_| ());
        }
        assert_eq!(loads.get(), 2, "the copy, and what the first read read");
        let copy = copies.read(load, Arc::downgrade);
        copies.clear();
        assert!(copy.upgrade().is_none(), "nothing is kept");
        assert!(copies.read(load, |copy| **copy) > 2);
    }

    #[test]
    fn threads_without_a_place_and_nested_reads_load_for_themselves() {
        let none = ThreadCopies::for_threads(0);
        for n in 0..3 {
            assert_eq!(none.read(|| n, |copy| *copy), n);
        }
        none.clear();
        let copies = ThreadCopies::for_threads(usize::from(u16::MAX));
        copies.read(|| 1, |_| ());
        let nested = copies.read(|| 3, |one| (*one, copies.read(|| 2, |other| *other)));
        assert_eq!(nested, (1, 2));
    }

    #[test]
    fn no_read_after_a_clear_sees_the_old_value() {
        let current = AtomicUsize::new(0);
        let is_over = AtomicBool::new(false);
        let copies = ThreadCopies::for_threads(usize::from(u16::MAX));
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    let mut last = 0;
                    while !is_over.load(Ordering::Relaxed) {
                        let read = copies.read(|| current.load(Ordering::Acquire), |copy| *copy);
                        assert!(read >= last, "{read} after {last}");
                        last = read;
                        thread::yield_now();
                    }
                });
            }
            for n in 1..=2_000 {
                current.store(n, Ordering::Release);
                copies.clear();
                let read = copies.read(|| current.load(Ordering::Acquire), |copy| *copy);
                assert_eq!(read, n);
            }
            is_over.store(true, Ordering::Relaxed);
        });
    }
}
