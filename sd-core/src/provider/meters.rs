//! The metrics of registrars.

use super::status::{RegistrarStatus, outcome_name};
use crate::support::{Share, count};
use bytes::Bytes;

/// Registrars by state.
pub const REGISTRATIONS: &str = "sd_registrations";
/// Attempts to register, to update or to reclaim that failed.
pub const REGISTRATION_FAILURES: &str = "sd_registration_failures_total";
/// Registrations that were lost.
pub const REGISTRATION_LOST: &str = "sd_registration_lost_total";
/// Registrations that were lost and put back.
pub const REGISTRATION_RECLAIMED: &str = "sd_registration_reclaimed_total";
/// Entries that somebody edited in the registry.
pub const REGISTRATION_EDITED: &str = "sd_registration_edited_total";
/// Keys found in somebody else's hands.
pub const REGISTRATION_TAKEN: &str = "sd_registration_taken_total";
/// Deregistrations by outcome.
pub const DEREGISTRATIONS: &str = "sd_deregistrations_total";

/// The metrics of one registrar.
#[derive(Default)]
pub(crate) struct RegistrarMeters {
    state: Option<(&'static str, Share)>,
}

impl RegistrarMeters {
    /// The status has changed from `old` to `new`.
    pub(crate) fn status_changed(&mut self, old: &RegistrarStatus, new: &RegistrarStatus) {
        let state = state(new);
        if self.state.as_ref().map(|(name, _)| *name) != state {
            self.state = state.map(|name| {
                let mut share = Share::new(REGISTRATIONS, &[("state", name)]);
                share.set(1);
                (name, share)
            });
        }
        if old.is_registered() && new.is_registered() && old.is_proven() != new.is_proven() {
            return;
        }
        match new {
            RegistrarStatus::Registering { error: Some(_), .. } => failed("register"),
            RegistrarStatus::Registered { error: Some(_), .. } => failed("update"),
            RegistrarStatus::Reclaiming { error: Some(_), .. } => failed("reclaim"),
            RegistrarStatus::Reclaiming { lost, .. } => {
                count(REGISTRATION_LOST, &[("reason", lost.reason())], 1);
            }
            RegistrarStatus::Registered { edit, .. } => {
                let is_new = |edit: &Bytes| !matches!(old, RegistrarStatus::Registered { edit: Some(old), .. } if old == edit);
                if edit.as_ref().is_some_and(is_new) {
                    count(REGISTRATION_EDITED, &[], 1);
                }
                let was_lost = matches!(
                    old,
                    RegistrarStatus::Reclaiming { .. } | RegistrarStatus::Taken { .. }
                );
                if was_lost {
                    count(REGISTRATION_RECLAIMED, &[], 1);
                }
            }
            RegistrarStatus::Taken { .. } => count(REGISTRATION_TAKEN, &[], 1),
            RegistrarStatus::Failed(_) => failed("register"),
            RegistrarStatus::Deregistered(outcome) => {
                count(DEREGISTRATIONS, &[("outcome", outcome_name(*outcome))], 1);
            }
            _ => {}
        }
    }
}

/// The states with a gauge: those in which a registrar is busy, or needs somebody's attention.
fn state(status: &RegistrarStatus) -> Option<&'static str> {
    match status {
        RegistrarStatus::Registering { .. } => Some("registering"),
        RegistrarStatus::Registered { unproven, .. } => match unproven {
            Some(_) => Some("unproven"),
            None => Some("registered"),
        },
        RegistrarStatus::Reclaiming { .. } => Some("reclaiming"),
        RegistrarStatus::Taken { .. } => Some("taken"),
        RegistrarStatus::Deregistering => Some("deregistering"),
        RegistrarStatus::Superseded => Some("superseded"),
        RegistrarStatus::Failed(_) | RegistrarStatus::RuntimeEnded => Some("failed"),
        RegistrarStatus::Idle | RegistrarStatus::Deregistered(_) | RegistrarStatus::Closed => None,
    }
}

fn failed(phase: &'static str) {
    count(REGISTRATION_FAILURES, &[("phase", phase)], 1);
}
