//! The latency of a host: its peak, forgotten with time.

use super::{Millis, PENALTY};
use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// The highest latency, each counted less the longer ago it was.
///
/// This is the peak EWMA of Finagle (`PeakEwma.scala`), as it comes out there when it is read
/// often: a higher latency replaces the average at once, and each read counts as a latency of zero,
/// so that the average decays with the time that has passed. Here, reading changes nothing: what is
/// kept is a latency and when it was measured, in one word, so that it needs no lock. And a latency
/// of which less than a hundredth is left is not known any more: it would attract calls, however
/// many are in flight already.
#[derive(Debug, Default)]
pub(super) struct PeakLatency(AtomicU64);

/// A latency in the upper 24 bits: an `f32` of seconds without its lowest byte. Below it the flag
/// `DOUBTED`, and the time. A latency of zero is none.
const LATENCY_AT: u32 = 40;
const DOUBTED: u64 = 1 << 39;
const TIME: u64 = Millis::LAST;

/// So that no latency is zero.
const SHORTEST: f32 = 1e-9;

/// A latency is forgotten when less than this part of it is left.
const FORGOTTEN: f32 = 0.01;

impl PeakLatency {
    /// In seconds, as of `now`. `None` if it is not known.
    #[inline]
    pub(super) fn get(&self, now: Millis, decay: Decay) -> Option<f32> {
        known(self.0.load(Ordering::Relaxed), now, decay)
    }

    /// The host has answered. A latency below the known one changes nothing, unless that is
    /// doubted.
    pub(super) fn answered(&self, latency: Duration, now: Millis, decay: Decay) {
        self.replace(latency, now, |word, latency| {
            let known = known(word, now, decay).filter(|_| word & DOUBTED == 0);
            known.is_none_or(|known| latency >= known)
        });
    }

    /// Somebody has waited this long, and there was no answer: the latency is at least that. An
    /// unknown latency counts as a second, and is not replaced by less: a call that was cancelled
    /// soon must not make a host seem fast.
    pub(super) fn unanswered(&self, latency: Duration, now: Millis, decay: Decay) {
        self.replace(latency, now, |word, latency| {
            latency >= known(word, now, decay).unwrap_or(PENALTY)
        });
    }

    fn replace(&self, latency: Duration, now: Millis, is_better: impl Fn(u64, f32) -> bool) {
        let latency = latency.as_secs_f32().max(SHORTEST);
        let word = u64::from(latency.to_bits() >> 8) << LATENCY_AT | now.get();
        let replace = |known| is_better(known, latency).then_some(word);
        // Refuses what is not better.
        let _ = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, replace);
    }

    /// Lets the next answer replace the latency, although it may be lower.
    pub(super) fn doubt(&self) {
        self.0.fetch_or(DOUBTED, Ordering::Relaxed);
    }
}

/// The latency that `word` holds, as of `now`.
#[inline]
fn known(word: u64, now: Millis, decay: Decay) -> Option<f32> {
    let latency = f32::from_bits(((word >> LATENCY_AT) as u32) << 8);
    let rest = decay.rest_after(now.since(word & TIME));
    (latency > 0.0 && rest >= FORGOTTEN).then_some(latency * rest)
}

/// How fast a latency is forgotten: what is left after a certain time is 1/e of it.
#[derive(Debug, Clone, Copy)]
pub(in crate::calls) struct Decay {
    /// Minus one over the milliseconds, since a multiplication is quicker than a division.
    per_milli: f32,
}

impl Decay {
    /// 1/e is left after `duration`, which is at least a millisecond.
    pub(in crate::calls) fn new(duration: Duration) -> Self {
        let millis = (duration.as_secs_f32() * 1000.0).max(1.0);
        Self {
            per_milli: -1.0 / millis,
        }
    }

    /// What is left after this many milliseconds, as a part of one.
    #[inline]
    fn rest_after(self, millis: u64) -> f32 {
        // Signed, since that conversion is a single instruction; there are 39 bits.
        (millis as i64 as f32 * self.per_milli).exp()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DECAY: Duration = Duration::from_secs(10);

    /// Feeds it, and reads it in milliseconds.
    struct Fed(PeakLatency, Decay);

    impl Fed {
        fn new() -> Self {
            Self(PeakLatency::default(), Decay::new(DECAY))
        }

        fn answered(&self, latency: u64, at: u64) {
            let latency = Duration::from_millis(latency);
            self.0.answered(latency, Millis::new(at), self.1);
        }

        fn unanswered(&self, latency: u64, at: u64) {
            let latency = Duration::from_millis(latency);
            self.0.unanswered(latency, Millis::new(at), self.1);
        }

        fn is_about(&self, expected: f32, at: u64) {
            let latency = self.0.get(Millis::new(at), self.1).unwrap() * 1000.0;
            // 15 bits of the latency are kept.
            let off = (latency - expected).abs() / expected;
            assert!(off < 1e-4, "{latency} ms instead of {expected} at {at}");
        }
    }

    #[test]
    fn without_history_there_is_none() {
        let fed = Fed::new();
        assert!(fed.0.get(Millis::new(5), fed.1).is_none());
        fed.0.doubt();
        assert!(fed.0.get(Millis::new(5), fed.1).is_none());
    }

    #[test]
    fn a_peak_counts_at_once() {
        let fed = Fed::new();
        fed.answered(10, 1000);
        fed.is_about(10.0, 1000);
        fed.answered(200, 1001);
        fed.is_about(200.0, 1001);
    }

    #[test]
    fn a_lower_latency_counts_when_the_peak_has_decayed_to_it() {
        let fed = Fed::new();
        fed.answered(1000, 0);
        fed.answered(10, 5000);
        let e = std::f32::consts::E;
        fed.is_about(1000.0 / e.sqrt(), 5000);
        fed.is_about(1000.0 / e, 10_000);
        fed.answered(400, 10_000);
        fed.is_about(400.0, 10_000);
    }

    #[test]
    fn waiting_in_vain_raises_it_and_never_lowers_it() {
        let fed = Fed::new();
        fed.unanswered(999, 0);
        assert!(fed.0.get(Millis::new(0), fed.1).is_none());
        fed.unanswered(1000, 0);
        fed.is_about(1000.0, 0);

        let fed = Fed::new();
        fed.answered(50, 0);
        fed.unanswered(10, 0);
        fed.is_about(50.0, 0);
        fed.0.doubt();
        fed.unanswered(10, 0);
        fed.is_about(50.0, 0);
        fed.unanswered(70, 0);
        fed.is_about(70.0, 0);
    }

    #[test]
    fn the_first_answer_after_a_doubt_replaces_it() {
        let fed = Fed::new();
        fed.answered(1000, 0);
        fed.0.doubt();
        fed.is_about(1000.0, 0);
        fed.answered(10, 0);
        fed.is_about(10.0, 0);
        fed.answered(5, 0);
        fed.is_about(10.0, 0);
    }

    #[test]
    fn a_latency_is_not_known_for_ever() {
        let fed = Fed::new();
        fed.answered(1000, 0);
        fed.is_about(10.1022, 45_950);
        assert!(fed.0.get(Millis::new(46_100), fed.1).is_none());
        fed.answered(1, 46_100);
        fed.is_about(1.0, 46_100);
        fed.0.doubt();
        assert!(fed.0.get(Millis::new(100_000), fed.1).is_none());
        fed.unanswered(1, 100_000);
        assert!(fed.0.get(Millis::new(100_000), fed.1).is_none());
    }

    #[test]
    fn no_latency_is_lost_to_its_size_or_its_age() {
        let fed = Fed::new();
        fed.answered(0, 7);
        assert!(fed.0.get(Millis::new(7), fed.1).unwrap() > 0.0);
        fed.answered(86_400_000, 1 << 38);
        fed.is_about(86_400_000.0, 1 << 38);
        // A thread that was interrupted comes with an earlier time.
        fed.is_about(86_400_000.0, 0);
        fed.answered(10, 0);
        fed.is_about(86_400_000.0, 1 << 38);
    }
}
