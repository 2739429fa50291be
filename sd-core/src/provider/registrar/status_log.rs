//! The log of a registrar: one line for each thing that changed.
//!
//! A service that is registered is a line, one of a thousand too: the program asked for each, and
//! the line names its lease. What only repeats a [line of the
//! client](crate::Client#what-a-client-logs) about all of its services (it cannot reach the
//! registry, it lost a lease, a lease is unproven) is at `DEBUG`.

use crate::{
    provider::{status::RegistrarStatus, value_format::ValueFormat},
    registry::{Deregistered, Error, ErrorChain, Escaped, Key, LeaseId, Lost, Service, ServiceKey},
    support::{LineQuota, Warnings},
};
use tokio::time::Instant;

/// So many losses and edits are logged within a minute: whoever may write the key can cause any number. With
/// the line that follows each that is at most twice as many lines.
const LOSSES: usize = 5;

/// Logs changes of the status, and remembers which warnings it has given.
#[derive(Debug)]
pub(super) struct StatusLog {
    warnings: Warnings,
    losses: LineQuota,
    /// Whether it has warned of a loss of this service alone.
    warned_of_loss: bool,
}

impl Default for StatusLog {
    fn default() -> Self {
        Self {
            warnings: Warnings::default(),
            losses: LineQuota::new(LOSSES),
            warned_of_loss: false,
        }
    }
}

impl StatusLog {
    /// The status of `service`, whose values have this `format`, has changed from `old` to `new`.
    pub(super) fn status_changed(
        &mut self,
        service: &Service,
        format: &ValueFormat,
        old: &RegistrarStatus,
        new: &RegistrarStatus,
        now: Instant,
    ) {
        let ttl = service.ttl;
        let service = &service.key;
        match new {
            RegistrarStatus::Registering { attempt, error } => match error {
                Some(error) if self.warns(error, now) => {
                    tracing::warn!(service = %Escaped(service), error = %ErrorChain(error), "registering failed, trying on");
                }
                _ => tracing::debug!(service = %Escaped(service), attempt, "registering"),
            },
            RegistrarStatus::Registered {
                error: Some(error), ..
            } => {
                if self.warns(error, now) {
                    tracing::warn!(service = %Escaped(service), error = %ErrorChain(error), "the new value was not written, trying on");
                }
            }
            RegistrarStatus::Registered {
                edit: Some(edit), ..
            } if !is_edited_so(old, edit) && self.losses.allows(now) => {
                tracing::info!(service = %Escaped(service), bytes = edit.len(), "the entry was edited in the registry, and stays so");
            }
            RegistrarStatus::Registered {
                unproven: Some(unproven),
                ..
            } => tracing::debug!(service = %Escaped(service), %unproven, "registration unproven"),
            RegistrarStatus::Registered {
                unverified: Some(why),
                ..
            } => {
                tracing::debug!(service = %Escaped(service), error = %ErrorChain(why), "registration not verified");
            }
            RegistrarStatus::Registered { key, lease, .. } => {
                let is_first = matches!(old, RegistrarStatus::Registering { .. });
                // Without short circuit: both warnings are over.
                if let Some(former) = moved_from(old, key, lease) {
                    tracing::info!(service = %Escaped(service), key = %Escaped(key), former = %Escaped(former), "registered under another key");
                } else if self.warnings.end() | std::mem::take(&mut self.warned_of_loss) | is_first
                {
                    tracing::info!(service = %Escaped(service), key = %Escaped(key), lease = %Escaped(lease), "registered");
                } else {
                    tracing::debug!(service = %Escaped(service), key = %Escaped(key), lease = %Escaped(lease), "registered again");
                }
            }
            RegistrarStatus::Reclaiming {
                lost, attempt: 1, ..
            } => self.lost(service, lost, now),
            RegistrarStatus::Reclaiming { attempt, error, .. } => match error {
                Some(error) if self.warns(error, now) => {
                    tracing::warn!(service = %Escaped(service), error = %ErrorChain(error), "reclaiming failed, trying on");
                }
                _ => tracing::debug!(service = %Escaped(service), attempt, "reclaiming"),
            },
            RegistrarStatus::Taken { value } if self.losses.allows(now) => {
                self.warned_of_loss = true;
                // Who it is, and nothing else of the value.
                let owner = format.address(service, value);
                let owner = owner.unwrap_or_else(|| format!("{} bytes", value.len()));
                tracing::warn!(service = %Escaped(service), owner = %Escaped(owner), "somebody else took the key");
            }
            RegistrarStatus::Superseded => {
                tracing::warn!(service = %Escaped(service), "superseded by another registration of this client");
            }
            RegistrarStatus::Failed(error) => {
                tracing::error!(service = %Escaped(service), error = %ErrorChain(error), "gave up")
            }
            RegistrarStatus::Deregistered(Deregistered::Unconfirmed) => tracing::warn!(
                service = %Escaped(service), %ttl,
                "deregistration unconfirmed: nothing is put any more, and the lease ends by itself"
            ),
            RegistrarStatus::Deregistered(outcome) => {
                tracing::info!(service = %Escaped(service), ?outcome, "deregistered");
            }
            RegistrarStatus::Deregistering => {
                tracing::debug!(service = %Escaped(service), "deregistering")
            }
            RegistrarStatus::Closed => {
                tracing::info!(service = %Escaped(service), "the client was closed")
            }
            RegistrarStatus::RuntimeEnded => tracing::warn!(
                service = %Escaped(service), %ttl,
                "the runtime has ended before the service was deregistered: the lease ends by itself"
            ),
            RegistrarStatus::Taken { value } => {
                tracing::debug!(service = %Escaped(service), bytes = value.len(), "somebody else took the key again");
            }
            RegistrarStatus::Idle => {}
        }
        if has_ended(new) {
            *self = Self::default();
        }
    }

    fn warns(&mut self, error: &Error, now: Instant) -> bool {
        self.warnings.note(error, now).is_some()
    }

    fn lost(&mut self, service: &ServiceKey, lost: &Lost, now: Instant) {
        let reason = lost.reason();
        if matches!(lost, Lost::LeaseExpired | Lost::RolledBack) || !self.losses.allows(now) {
            tracing::debug!(service = %Escaped(service), "registration lost, putting it back");
        } else {
            self.warned_of_loss = true;
            tracing::warn!(service = %Escaped(service), reason, "registration lost, putting it back");
        }
    }
}

/// The key that the entry had before an update gave it the key `now`. A key that ends in the lease changes with
/// the lease.
fn moved_from<'s>(old: &'s RegistrarStatus, now: &Key, on: &LeaseId) -> Option<&'s Key> {
    match old {
        RegistrarStatus::Registered { key, lease, .. } if key != now && lease == on => Some(key),
        _ => None,
    }
}

/// Whether the status says that the entry has this edited value.
fn is_edited_so(status: &RegistrarStatus, value: &[u8]) -> bool {
    matches!(status, RegistrarStatus::Registered { edit: Some(edit), .. } if edit == value)
}

/// Whether the next registration begins without the warnings of this one.
fn has_ended(status: &RegistrarStatus) -> bool {
    matches!(
        status,
        RegistrarStatus::Superseded
            | RegistrarStatus::Failed(_)
            | RegistrarStatus::Deregistered(_)
            | RegistrarStatus::Closed
            | RegistrarStatus::RuntimeEnded
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        instances::{AddressPolicy, DEFAULT_ENTRY_BYTES, DefaultCodec},
        support::Log,
    };
    use std::sync::Arc;

    fn registering(attempt: u32, error: Option<Error>) -> RegistrarStatus {
        RegistrarStatus::Registering { attempt, error }
    }

    fn registered(lease: i64) -> RegistrarStatus {
        RegistrarStatus::Registered {
            key: Key::new("/a").unwrap(),
            lease: LeaseId::from(lease),
            ttl: None,
            unproven: None,
            error: None,
            unverified: None,
            edit: None,
        }
    }

    fn reclaiming(lost: Lost, attempt: u32, error: Option<Error>) -> RegistrarStatus {
        RegistrarStatus::Reclaiming {
            lost,
            attempt,
            error,
        }
    }

    fn down() -> Option<Error> {
        Some(Error::unavailable("down"))
    }

    fn full() -> Option<Error> {
        Some(Error::Exhausted {
            message: "full".into(),
            source: None,
        })
    }

    /// The lines for a registration that goes through `statuses`, 4 s each.
    async fn logged(statuses: impl IntoIterator<Item = RegistrarStatus>) -> Vec<String> {
        let logged = Log::capture();
        let service = Service::new("/a", "v").unwrap();
        let format = ValueFormat {
            codec: Some(Arc::new(DefaultCodec)),
            addresses: AddressPolicy::default(),
            most_bytes: DEFAULT_ENTRY_BYTES,
        };
        let mut log = StatusLog::default();
        let mut old = RegistrarStatus::Idle;
        for new in statuses {
            log.status_changed(&service, &format, &old, &new, Instant::now());
            old = new;
            tokio::time::advance(std::time::Duration::from_secs(4)).await;
        }
        let lines = logged.text();
        lines
            .iter()
            .map(|it| it.replace(" service=/a", ""))
            .collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_lost_lease_is_left_to_the_client() {
        let course = [
            registering(1, None),
            registered(1),
            reclaiming(Lost::LeaseExpired, 1, None),
            reclaiming(Lost::LeaseExpired, 2, down()),
            registered(2),
        ];
        assert_eq!(logged(course).await, ["INFO registered key=/a lease=1"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_loss_of_one_service_alone_is_logged_with_its_end() {
        let course = [
            registering(1, None),
            registered(1),
            reclaiming(Lost::KeyDeleted, 1, None),
            registered(1),
            RegistrarStatus::Taken {
                value: r#"{"address":"b:1","metadata":{"token":"t"}}"#.into(),
            },
            registered(1),
            RegistrarStatus::Taken { value: "b".into() },
            registered(1),
            reclaiming(Lost::LeaseExpired, 1, None),
            registered(2),
        ];
        assert_eq!(
            logged(course).await,
            [
                "INFO registered key=/a lease=1",
                "WARN registration lost, putting it back reason=\"key_deleted\"",
                "INFO registered key=/a lease=1",
                "WARN somebody else took the key owner=b:1",
                "INFO registered key=/a lease=1",
                "WARN somebody else took the key owner=1 bytes",
                "INFO registered key=/a lease=1",
            ]
        );
    }

    /// Hostile row 7: who may write the key decides how often it is lost, and not how much is logged.
    #[tokio::test(start_paused = true)]
    async fn a_key_that_is_lost_again_and_again_is_ten_lines_a_minute() {
        let losses = [
            reclaiming(Lost::KeyDeleted, 1, None),
            registered(1),
            RegistrarStatus::Taken { value: "b".into() },
            registered(1),
        ];
        let course = losses.iter().cycle().take(60 / 4).cloned();
        let lines = logged(std::iter::once(registered(1)).chain(course)).await;
        assert_eq!(lines.len(), 10, "{lines:?}");
        let later = losses.into_iter().cycle().take(3600 / 4);
        assert!(logged(later).await.len() <= 10 * 60);
    }

    #[tokio::test(start_paused = true)]
    async fn an_outage_is_left_to_the_client_unless_it_lasts() {
        let attempts = (1..=20).map(|attempt| registering(attempt, down().filter(|_| attempt > 1)));
        let course = attempts.chain([registered(1)]);
        assert_eq!(
            logged(course).await,
            [
                "WARN registering failed, trying on error=the registry is unavailable: down",
                "INFO registered key=/a lease=1",
            ]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_reason_that_shows_late_is_logged_once() {
        let course = [
            registered(1),
            reclaiming(Lost::LeaseExpired, 1, None),
            reclaiming(Lost::LeaseExpired, 2, down()),
            reclaiming(Lost::LeaseExpired, 3, full()),
            reclaiming(Lost::LeaseExpired, 4, full()),
            reclaiming(Lost::LeaseExpired, 5, down()),
            registered(2),
        ];
        assert_eq!(
            logged(course).await,
            [
                "WARN reclaiming failed, trying on error=the registry is out of resources: full",
                "INFO registered key=/a lease=2",
            ]
        );
    }
}
