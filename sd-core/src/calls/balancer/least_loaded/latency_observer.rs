//! Measures the latency of a host.

use crate::calls::{
    host::Host,
    load::{Decay, Millis},
    observer::{EndedCall, Observer, Outcome},
};
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;

/// Counts the calls to a host, as the host itself does as an observer, and measures its latency.
pub(super) struct LatencyObserver<E> {
    host: Arc<Host<E>>,
    decay: Decay,
}

impl<E> LatencyObserver<E> {
    pub(super) fn new(host: Arc<Host<E>>, decay: Decay) -> Self {
        Self { host, decay }
    }
}

impl<E: Send + Sync + 'static> Observer for LatencyObserver<E> {
    fn picked(&self) {
        self.host.picked();
    }

    fn answered(&self, after: Duration) {
        self.host
            .load()
            .answered(after, Millis::of(Instant::now()), self.decay);
    }

    fn ended(&self, call: &EndedCall) {
        self.host.ended(call);
        if call.answered_after.is_some() {
            return;
        }
        let ended_at = Millis::of(call.ended_at.unwrap_or_else(Instant::now));
        let load = self.host.load();
        match call.outcome {
            Outcome::Success => load.answered(call.duration, ended_at, self.decay),
            _ => load.unanswered(call.duration, ended_at, self.decay),
        }
    }
}
