//! The log of factories that fail: a few lines, however many instances it concerns.
//!
//! [`EndpointerStatus::failures`](crate::EndpointerStatus::failures) has each of them.

use super::status::FactoryFailure;
use crate::{
    calls::factory::FactoryError,
    registry::{ErrorChain, Escaped},
    support::{LineQuota, LogThrottle},
};
use std::mem::{Discriminant, discriminant};
use tokio::time::Instant;

/// All lines of an endpointer within a minute, whatever comes and goes under its prefix.
const LINES: usize = 3;

pub(super) struct FailureLog {
    /// All lines of the endpointer.
    pub(super) lines: LineQuota,
    throttle: LogThrottle,
    /// What was warned of, until all endpoints are made.
    warned: Option<Warned>,
}

struct Warned {
    since: Instant,
    /// The most addresses that were said to fail.
    failing: usize,
    kinds: Vec<Discriminant<FactoryError>>,
}

impl FailureLog {
    pub(super) fn new() -> Self {
        Self {
            lines: LineQuota::new(LINES),
            throttle: LogThrottle::new(1),
            warned: None,
        }
    }

    /// The factory failed for one of `failing` addresses. Warns of the first, at once of another
    /// kind of failure, and after growing pauses of how many there are by then.
    pub(super) fn failed(&mut self, failure: &FactoryFailure, failing: usize, now: Instant) {
        let kind = discriminant(&failure.error);
        let warned = self.warned.as_ref();
        let is_kind_new = warned.is_some_and(|warned| !warned.kinds.contains(&kind));
        let are_more = warned.is_none_or(|warned| failing > warned.failing);
        let throttle = &mut self.throttle;
        let is_news = || is_kind_new || are_more && throttle.allows(now);
        if !self.lines.allows_if(now, is_news) {
            return;
        }
        tracing::warn!(
            key = %Escaped(&failure.key),
            address = %Escaped(&failure.address),
            error = %ErrorChain(&failure.error),
            failing,
            "endpoints cannot be made, trying on"
        );
        let warned = self.warned.get_or_insert_with(|| Warned {
            since: now,
            failing: 0,
            kinds: Vec::new(),
        });
        warned.failing = warned.failing.max(failing);
        if !warned.kinds.contains(&kind) {
            warned.kinds.push(kind);
        }
    }

    /// Every address has its endpoint.
    pub(super) fn all_made(&mut self, endpoints: usize, now: Instant) {
        if let Some(warned) = self.warned.take() {
            let after = now.saturating_duration_since(warned.since);
            if self.lines.allows(now) {
                tracing::info!(endpoints, ?after, "all endpoints made");
            } else {
                tracing::debug!(endpoints, ?after, "all endpoints made");
            }
        }
    }
}
