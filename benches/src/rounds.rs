//! Rounds: several pieces of work measured side by side.
//!
//! In each round every piece has one turn, of a few milliseconds. A machine that is slower for a
//! while slows down all turns of a round alike, so the ratio of two turns of one round says more
//! than the ratio of two times. The time is that which the thread had a processor.

use crate::{clock::thread_time, statistics::Median};
use std::{sync::Barrier, thread, time::Duration};

/// Does something this many times.
pub(crate) type Work = Box<dyn FnMut(u64) + Send>;

/// How long a turn lasts, about.
const TURN: Duration = Duration::from_millis(5);

/// The times of pieces of work, in their order.
pub(crate) struct Times {
    /// For each piece, the nanoseconds of one repetition in each round.
    nanos: Vec<Vec<f64>>,
}

impl Times {
    /// Measures `threads`: for each thread, the pieces of work that it does. All threads do the
    /// same piece at the same time, the first one on the calling thread. Calls `progress` before
    /// each round.
    pub(crate) fn measure(
        mut threads: Vec<Vec<Work>>,
        rounds: usize,
        progress: impl Fn(usize),
    ) -> Self {
        let repetitions: Vec<_> = threads[0].iter_mut().map(fitting_a_turn).collect();
        let barrier = Barrier::new(threads.len());
        let first = threads.remove(0);
        let measured: Vec<_> = thread::scope(|scope| {
            let (repetitions, barrier) = (&repetitions, &barrier);
            let others: Vec<_> = threads
                .into_iter()
                .map(|work| {
                    scope.spawn(move || run_rounds(work, repetitions, rounds, barrier, |_| ()))
                })
                .collect();
            // On this thread: a round robin has counters for the first threads that pick, and the
            // later ones share some.
            let first = run_rounds(first, repetitions, rounds, barrier, progress);
            let others = others.into_iter().map(|thread| thread.join());
            let others = others.map(|times| times.expect("the work does not panic"));
            std::iter::once(first).chain(others).collect()
        });
        let mean = |piece: usize, round: usize| {
            let sum: f64 = measured.iter().map(|times| times[piece][round]).sum();
            sum / measured.len() as f64
        };
        let pieces = 0..repetitions.len();
        Self {
            nanos: pieces
                .map(|piece| (0..rounds).map(|round| mean(piece, round)).collect())
                .collect(),
        }
    }

    /// The nanoseconds of a piece of work.
    pub(crate) fn nanos(&self, piece: usize) -> Median {
        Median::of(self.nanos[piece].iter().copied())
    }

    /// The nanoseconds of a piece of work in each round.
    pub(crate) fn rounds(&self, piece: usize) -> &[f64] {
        &self.nanos[piece]
    }

    /// How many times as long as `other` a piece of work takes: compared round by round.
    pub(crate) fn ratio(&self, piece: usize, other: usize) -> Median {
        let rounds = self.nanos[piece].iter().zip(&self.nanos[other]);
        Median::of(rounds.map(|(one, other)| one / other))
    }
}

/// How many repetitions fill a turn, at least one.
fn fitting_a_turn(work: &mut Work) -> u64 {
    let mut repetitions = 1;
    loop {
        let took = time(work, repetitions);
        if took >= TURN / 4 {
            let fitting = repetitions as f64 * TURN.as_secs_f64() / took.as_secs_f64();
            return (fitting as u64).max(1);
        }
        repetitions *= 2;
    }
}

/// The times of each piece in each round, in nanoseconds a repetition.
fn run_rounds(
    mut work: Vec<Work>,
    repetitions: &[u64],
    rounds: usize,
    barrier: &Barrier,
    progress: impl Fn(usize),
) -> Vec<Vec<f64>> {
    let mut times = vec![Vec::with_capacity(rounds); work.len()];
    for round in 0..rounds {
        progress(round);
        // Each has each neighbour and each place in turn.
        let first = round / 2 % work.len();
        for n in 0..work.len() {
            let n = if round % 2 == 0 {
                n
            } else {
                work.len() - 1 - n
            };
            let piece = (first + n) % work.len();
            // The caches are someone else's at first.
            time(&mut work[piece], repetitions[piece].div_ceil(20));
            barrier.wait();
            let took = time(&mut work[piece], repetitions[piece]);
            times[piece].push(took.as_secs_f64() * 1e9 / repetitions[piece] as f64);
        }
    }
    times
}

fn time(work: &mut Work, repetitions: u64) -> Duration {
    let began = thread_time();
    work(repetitions);
    thread_time() - began
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    };

    #[test]
    fn every_piece_has_a_turn_in_every_round_of_every_thread() {
        let counts = [(); 3].map(|()| Arc::new(AtomicU64::new(0)));
        let work = |count: &Arc<AtomicU64>| -> Work {
            let count = count.clone();
            Box::new(move |times| {
                count.fetch_add(1, Ordering::Relaxed);
                (0..times).for_each(|n| {
                    std::hint::black_box(n);
                });
            })
        };
        let thread = || counts.iter().map(work).collect();
        let rounds = AtomicU64::new(0);
        let times = Times::measure(vec![thread(), thread()], 5, |_| {
            rounds.fetch_add(1, Ordering::Relaxed);
        });
        assert_eq!(rounds.into_inner(), 5);
        for (piece, count) in counts.iter().enumerate() {
            assert!(count.load(Ordering::Relaxed) >= 10);
            assert_eq!(times.nanos[piece].len(), 5);
            assert_eq!(times.ratio(piece, piece).value, 1.0);
        }
    }

    #[test]
    fn a_ratio_is_of_the_turns_of_one_round() {
        // A machine that is twice as slow in every other round.
        let nanos = vec![vec![10.0, 20.0, 10.0, 20.0], vec![30.0, 60.0, 30.0, 60.0]];
        let ratio = Times { nanos }.ratio(1, 0);
        assert_eq!((ratio.value, ratio.spread), (3.0, 0.0));
    }
}
