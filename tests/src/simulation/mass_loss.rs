//! The loss of all leases at once, as a consumer has to take it.

use sd_core::{Event, Status};
use std::time::Duration;
use tokio::time::Instant;

/// The loss of fewer instances is never doubted.
pub(super) const MANY: usize = 3;

/// Until when a consumer must go on showing something.
#[derive(Default)]
pub(super) struct MassLoss {
    until: Option<Instant>,
}

impl MassLoss {
    /// All leases end now. A consumer that shows many instances doubts that for its grace period.
    pub(super) fn begin(&mut self, shown: &Event, grace: Duration, now: Instant) {
        let instances = shown.instances().iter();
        let serving = instances.filter(|instance| instance.status() == Status::Serving);
        let is_many = serving.count() - shown.held().len() >= MANY;
        self.until = is_many.then_some(now + grace);
    }

    /// Checks what is shown after `announced` instances have gone that had said so.
    pub(super) fn check(
        &mut self,
        shown: &Event,
        announced: usize,
        now: Instant,
    ) -> Result<(), String> {
        if announced > 0 {
            self.until = None;
        }
        match self.until.filter(|until| now < *until) {
            Some(until) if shown.instances().is_empty() => {
                let left = until - now;
                Err(format!("emptied {left:?} before the doubt ends"))
            }
            _ => Ok(()),
        }
    }
}
