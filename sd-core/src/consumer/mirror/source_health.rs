//! Whether a mirror follows its registry, and what the log says of it.

use crate::{
    consumer::meters::HealthMeters,
    instances::{Health, Trouble},
    registry::{Error, ErrorChain, Escaped, Prefix, WatchError},
    support::{LineQuota, LogThrottle, Severity, Warnings},
};
use std::time::Duration;
use tokio::time::Instant;

/// The health of one source: what is published, the newest trouble, and the warnings given.
///
/// Methods that return a `bool` say whether the published health has changed.
pub(super) struct SourceHealth {
    prefix: Prefix,
    published: Health,
    trouble: Option<Trouble>,
    warnings: Warnings,
    /// All lines about the prefix.
    lines: LineQuota,
    limits_log: LogThrottle,
    /// Whether it was logged that there is more under the prefix than is kept, as is the case.
    are_limits_said: bool,
    meters: HealthMeters,
}

impl SourceHealth {
    /// Nothing is published before the first list.
    pub(super) fn new(prefix: Prefix, lines: LineQuota) -> Self {
        Self {
            meters: HealthMeters::new(prefix.as_str()),
            prefix,
            published: Health::Live,
            trouble: None,
            warnings: Warnings::default(),
            lines,
            limits_log: LogThrottle::new(1).with_first_pause(Duration::from_secs(60)),
            are_limits_said: false,
        }
    }

    /// The health that subscribers see. It names the first of several troubles in a row.
    pub(super) fn published(&self) -> &Health {
        &self.published
    }

    /// The newest trouble, until it is overcome.
    pub(super) fn trouble(&self) -> Option<&Trouble> {
        self.trouble.as_ref()
    }

    /// The first list has succeeded. The source is live once the registry has answered about the
    /// watch from there.
    pub(super) fn listed(&mut self, now: Instant) {
        self.trouble = None;
        self.published = Health::stale(now, Trouble::Unanswered);
        self.meters.unanswered();
    }

    /// What a predecessor knew is shown, as of `since`.
    #[cfg(feature = "snapshot")]
    pub(super) fn restored(&mut self, why: Trouble, since: Instant) {
        tracing::warn!(prefix = %Escaped(&self.prefix), error = %ErrorChain(&why), "beginning with a snapshot");
        self.published = Health::stale(since, why);
        self.meters.unanswered();
    }

    /// An attempt failed, and the next one comes after `pause`. Before the first state
    /// (`is_ready`) there is no health to publish.
    pub(super) fn failed(
        &mut self,
        why: Trouble,
        is_ready: bool,
        pause: Duration,
        now: Instant,
    ) -> bool {
        self.log(&why, is_ready, pause, now);
        self.meters.disrupted(&why);
        let since = match &self.published {
            Health::Live => Some(now),
            Health::Stale { since, why } => match why {
                Trouble::Unanswered => Some(*since),
                // It was followed until now.
                Trouble::OverLimits { .. } => Some(now),
                _ => None,
            },
        };
        let is_first = is_ready && since.is_some();
        if let Some(since) = since.filter(|_| is_ready) {
            self.published = Health::stale(since, why.clone());
        }
        self.trouble = Some(why);
        is_first
    }

    /// The registry has answered.
    pub(super) fn answered(&mut self, now: Instant) -> bool {
        self.trouble = None;
        self.meters.recovered();
        let was_warned_of = self.warnings.end();
        let Health::Stale { since, .. } = self.published else {
            return false;
        };
        self.published = Health::Live;
        let stale = now.saturating_duration_since(since);
        if was_warned_of && self.lines.allows(now) {
            tracing::info!(prefix = %Escaped(&self.prefix), ?stale, "following again");
        } else {
            tracing::debug!(prefix = %Escaped(&self.prefix), ?stale, "following again");
        }
        true
    }

    /// The registry has answered, and there is more under the prefix than is kept.
    pub(super) fn over_limits(&mut self, why: Trouble, now: Instant) -> bool {
        let is_known = matches!(self.trouble, Some(Trouble::OverLimits { .. }));
        if !is_known {
            self.answered(now);
            self.are_limits_said = false;
        }
        let limits_log = &mut self.limits_log;
        if !self.are_limits_said && self.lines.allows_if(now, || limits_log.allows(now)) {
            self.are_limits_said = true;
            tracing::error!(prefix = %Escaped(&self.prefix), error = %ErrorChain(&why), "instances left out");
        }
        if is_known {
            return false;
        }
        self.meters.disrupted(&why);
        self.published = Health::stale(now, why.clone());
        self.trouble = Some(why);
        true
    }

    /// Logs the first trouble of a series, and later ones only if they are more severe than all
    /// before. The client logs outages. What the quota does not allow is logged at `DEBUG`, and what was
    /// to be said once is said when it does.
    fn log(&mut self, why: &Trouble, is_ready: bool, pause: Duration, now: Instant) {
        let Some(cause) = cause(why) else {
            if self.lines.allows(now) {
                tracing::warn!(prefix = %Escaped(&self.prefix), error = %ErrorChain(why), ?pause, "changes were missed, listing again");
            } else {
                tracing::debug!(prefix = %Escaped(&self.prefix), error = %ErrorChain(why), ?pause, "changes were missed, listing again");
            }
            return;
        };
        if matches!(cause, Error::Closed) {
            if self.trouble.is_none() && self.lines.allows(now) {
                tracing::info!(prefix = %Escaped(&self.prefix), "the client was closed, keeping what is known");
            }
            return;
        }
        let (warnings, mut severity) = (&mut self.warnings, None);
        self.lines.allows_if(now, || {
            severity = warnings.note(cause, now);
            severity.is_some()
        });
        match severity {
            Some(Severity::Permanent) => {
                tracing::error!(prefix = %Escaped(&self.prefix), error = %ErrorChain(why), ?pause, "not following until somebody changes that");
            }
            Some(_) if is_ready => {
                tracing::warn!(prefix = %Escaped(&self.prefix), error = %ErrorChain(why), ?pause, "not following, keeping what is known");
            }
            Some(_) => {
                tracing::warn!(prefix = %Escaped(&self.prefix), error = %ErrorChain(why), ?pause, "nothing known yet, trying on")
            }
            None => {
                tracing::debug!(prefix = %Escaped(&self.prefix), error = %ErrorChain(why), ?pause, "not following")
            }
        }
    }
}

/// The error behind `why`. A gap has none.
fn cause(why: &Trouble) -> Option<&Error> {
    match why {
        Trouble::List(error)
        | Trouble::Watch(WatchError::Disrupted(error) | WatchError::Interrupted(error)) => {
            Some(error)
        }
        Trouble::Watch(WatchError::Gap(_))
        | Trouble::Unanswered
        | Trouble::Snapshot { .. }
        | Trouble::Unreadable
        | Trouble::ManyRemoved { .. }
        | Trouble::OverLimits { .. }
        | Trouble::Stopped
        | Trouble::Panicked { .. } => None,
    }
}

/// Whether the next attempt may succeed without anybody changing something.
pub(super) fn can_pass(why: &Trouble) -> bool {
    cause(why).is_none_or(Error::is_transient)
}
