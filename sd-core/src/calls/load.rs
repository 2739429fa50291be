//! The load of a host, as far as this process causes it.

mod millis;
mod peak_latency;
mod recent_failures;

pub(super) use millis::Millis;
pub(super) use peak_latency::Decay;

use super::observer::{EndedCall, Outcome};
use peak_latency::PeakLatency;
use recent_failures::RecentFailures;
use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};
use tokio::time::Instant;

/// The load of one host: the calls in flight, the calls that failed within the last second, and the
/// latency. Takes no lock.
#[derive(Debug, Default)]
pub(super) struct Load {
    pending: AtomicU32,
    failures: RecentFailures,
    latency: PeakLatency,
    /// When a balancer that looks at latencies has last picked the host: the lowest 32 bits of [`Millis`], so that
    /// hosts are small. They begin anew after 49 days.
    picked_at: AtomicU32,
}

/// In seconds: what is assumed of a host that is waited for, and whose latency is not known; and the
/// least latency of a host that has just failed.
pub(super) const PENALTY: f32 = 1.0;

/// An endpoint that was not picked for this many milliseconds may be better than its latency says.
const UNPICKED_FOR: u32 = 1000;

impl Load {
    /// How many calls are in flight.
    #[inline]
    pub(super) fn pending(&self) -> usize {
        self.pending.load(Ordering::Relaxed) as usize
    }

    /// Whether [`failures`](Self::failures) may be more than none. Reads no clock.
    #[inline]
    pub(super) fn may_have_failed(&self) -> bool {
        self.failures.may_be_any()
    }

    /// How many calls have failed within the last second; approximate.
    #[cold]
    pub(super) fn failures(&self, now: Millis) -> u32 {
        self.failures.count(now)
    }

    /// The latency in seconds; `None` if it is not known.
    #[inline]
    pub(super) fn latency(&self, now: Millis, decay: Decay) -> Option<f32> {
        self.latency.get(now, decay)
    }

    /// A call begins.
    pub(super) fn picked(&self) {
        self.pending.fetch_add(1, Ordering::Relaxed);
    }

    /// A call has ended.
    pub(super) fn ended(&self, call: &EndedCall) {
        self.pending.fetch_sub(1, Ordering::Relaxed);
        match call.outcome {
            Outcome::Failure | Outcome::Overloaded | Outcome::TimedOut => {
                let ended_at = call.ended_at.unwrap_or_else(Instant::now);
                self.failures.add(Millis::of(ended_at));
            }
            Outcome::Success | Outcome::Cancelled => {}
        }
    }

    /// The host has answered after this time.
    pub(super) fn answered(&self, latency: Duration, now: Millis, decay: Decay) {
        self.latency.answered(latency, now, decay);
    }

    /// The host has not answered within this time.
    pub(super) fn unanswered(&self, latency: Duration, now: Millis, decay: Decay) {
        self.latency.unanswered(latency, now, decay);
    }

    /// A balancer that looks at latencies picks the host.
    pub(super) fn note_picked(&self, now: Millis) {
        self.picked_at.store(now.get() as u32, Ordering::Relaxed);
    }

    /// Whether no such balancer has picked the host for a second.
    pub(super) fn is_unpicked(&self, now: Millis) -> bool {
        let picked_at = self.picked_at.load(Ordering::Relaxed);
        let since = (now.get() as u32).wrapping_sub(picked_at);
        // Another thread may have read the clock a moment later.
        let is_later = since > u32::MAX - UNPICKED_FOR;
        since >= UNPICKED_FOR && !is_later
    }

    /// Lets the next answer replace the latency.
    pub(super) fn doubt_latency(&self) {
        self.latency.doubt();
    }
}
