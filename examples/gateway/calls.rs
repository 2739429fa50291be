//! Counts of calls, by endpoint.

use sd_core::{EndedCall, Observer, Outcome, Source};
use serde::Serialize;
use std::{
    collections::{BTreeSet, HashMap},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

/// The calls to each address of a service, over all protocols. An address is forgotten at some time
/// after its last instance has left.
#[derive(Default)]
pub(crate) struct CallCounts(Mutex<HashMap<Box<str>, Arc<EndpointCalls>>>);

/// So many addresses are kept in any case.
const FEW: usize = 32;

impl CallCounts {
    /// The calls to an address of one of the instances of `source`.
    pub(crate) fn observer(&self, address: &str, source: &dyn Source) -> Arc<EndpointCalls> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(calls) = counts.get(address) {
            return calls.clone();
        }
        if let Some(event) = source.state()
            && counts.len() >= FEW.max(2 * event.instances().len())
        {
            let known = event.instances().iter().map(|it| it.address());
            let known: BTreeSet<&str> = known.collect();
            counts.retain(|address, _| known.contains(&**address));
        }
        counts.entry(address.into()).or_default().clone()
    }

    /// Returns what was counted at an address.
    pub(crate) fn at(&self, address: &str) -> CallsShown {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts
            .get(address)
            .map_or_else(CallsShown::default, |it| it.shown())
    }
}

/// The calls to one endpoint.
#[derive(Default)]
pub(crate) struct EndpointCalls {
    picked: AtomicU64,
    succeeded: AtomicU64,
    failed: AtomicU64,
    overloaded: AtomicU64,
    timed_out: AtomicU64,
    cancelled: AtomicU64,
    /// The moving mean of the time to an answer, in microseconds; 0 before the first.
    latency: AtomicU64,
}

/// An answer counts for one part of so many in the mean latency.
const SMOOTHING: u64 = 16;

impl EndpointCalls {
    /// An answer came after this time.
    fn measured(&self, latency: Duration) {
        let micros = latency.as_micros().max(1);
        let micros = u64::try_from(micros).unwrap_or(u64::MAX);
        let next = |mean: u64| match mean {
            0 => micros,
            mean => (mean - mean / SMOOTHING + micros / SMOOTHING).max(1),
        };
        let _ = self
            .latency
            .fetch_update(Relaxed, Relaxed, |mean| Some(next(mean)));
    }

    fn shown(&self) -> CallsShown {
        let [succeeded, failed, overloaded, timed_out, cancelled] = [
            &self.succeeded,
            &self.failed,
            &self.overloaded,
            &self.timed_out,
            &self.cancelled,
        ]
        .map(|count| count.load(Relaxed));
        let ended = succeeded + failed + overloaded + timed_out + cancelled;
        let latency = self.latency.load(Relaxed);
        CallsShown {
            // Read after those that have ended.
            in_flight: self.picked.load(Relaxed).saturating_sub(ended),
            succeeded,
            failed,
            overloaded,
            timed_out,
            cancelled,
            latency_ms: (latency > 0).then(|| latency as f64 / 1000.0),
        }
    }
}

impl Observer for EndpointCalls {
    fn picked(&self) {
        self.picked.fetch_add(1, Relaxed);
    }

    fn answered(&self, after: Duration) {
        self.measured(after);
    }

    fn ended(&self, call: &EndedCall) {
        let count = match call.outcome {
            Outcome::Success => &self.succeeded,
            Outcome::Overloaded => &self.overloaded,
            Outcome::TimedOut => &self.timed_out,
            Outcome::Cancelled => &self.cancelled,
            _ => &self.failed,
        };
        count.fetch_add(1, Relaxed);
        // A short answer is told with its end.
        let was_answered = matches!(call.outcome, Outcome::Success | Outcome::Failure);
        if was_answered && call.answered_after.is_none() {
            self.measured(call.duration);
        }
    }
}

/// What was counted at an address, as JSON.
#[derive(Debug, Default, Serialize)]
pub(crate) struct CallsShown {
    in_flight: u64,
    succeeded: u64,
    failed: u64,
    overloaded: u64,
    timed_out: u64,
    cancelled: u64,
    latency_ms: Option<f64>,
}
