//! Verification: are the keys of the lease the ones that the ledger says?

use super::{InFlight, MAX_WRITES, SessionState};
use crate::{
    registering::{
        actions::{Action, LeaseError},
        ledger::Missing,
        meters,
        write::{Found, Guard},
    },
    support::count,
};
use sd_core::{Error, Lost};
use std::{collections::HashSet, time::Duration};
use tokio::time::Instant;

/// How long to wait after etcd has refused to list the keys. Meanwhile deleted keys are not noticed.
/// Rights may be granted at any time.
const DENIED_PAUSE: Duration = Duration::from_secs(30);

impl SessionState {
    /// Returns the next read: first the examination of what is missing, then the verification of the
    /// lease when it is due.
    pub(super) fn next_read(&mut self, now: Instant) -> Option<Action> {
        let lease = self.lease.as_ref()?;
        let (lease, is_due) = (lease.id, now >= lease.verify_at);
        let action = if !self.missing.is_empty() {
            let count = self.missing.len().min(MAX_WRITES);
            let missing = self.missing.drain(..count).collect();
            Action::Examine(lease, missing)
        } else if is_due {
            Action::Verify(lease)
        } else {
            return None;
        };
        self.in_flight = InFlight::Read;
        Some(action)
    }

    /// Forgets a read in flight if a deregistration waits for it. Returns whether it did.
    pub(in crate::registering) fn abandon_read(&mut self, now: Instant) -> bool {
        let is_urgent = self.removals.deadline().is_some() && now >= self.cleanup_at;
        let is_abandoned = matches!(self.in_flight, InFlight::Read) && is_urgent;
        if is_abandoned {
            self.in_flight = InFlight::Nothing;
        }
        is_abandoned
    }

    pub(super) fn verified(
        &mut self,
        lease: i64,
        result: Result<Option<HashSet<Vec<u8>>>, LeaseError>,
        now: Instant,
    ) {
        let interval = self.ttl.keep_alive_interval();
        let Some(current) = self.lease.as_mut().filter(|current| current.id == lease) else {
            return;
        };
        current.verify_at = now + interval;
        let was_denied = std::mem::take(&mut current.was_denied);
        let error = match result {
            Ok(None) => return self.lease_lost(lease),
            Ok(Some(keys)) => return self.compare(lease, &keys),
            Err(error) => Error::from(error),
        };
        if error.is_transient() {
            return;
        }
        if was_denied {
            tracing::debug!(lease, %error, "registrations still cannot be verified");
        } else {
            tracing::warn!(
                lease, %error,
                "registrations cannot be verified: deleted keys will not be noticed"
            );
        }
        count(meters::VERIFICATIONS_DENIED, None, 1);
        current.was_denied = true;
        current.verify_at = now + interval.max(DENIED_PAUSE);
    }

    /// Compares the ledger with `keys`, all that etcd has on `lease`.
    fn compare(&mut self, lease: i64, keys: &HashSet<Vec<u8>>) {
        for stray in self.ledger.strays(keys) {
            if !self.removals.contains(&stray) {
                tracing::warn!(
                    key = %String::from_utf8_lossy(&stray),
                    lease,
                    "removing a key of ours that nobody holds"
                );
                count(meters::STRAY_KEYS, None, 1);
                self.remove_key(stray, lease, Guard::Absent, None);
            }
        }
        self.missing = self.ledger.missing(lease, keys);
    }

    pub(super) fn examined(
        &mut self,
        lease: i64,
        examined: Vec<(Missing, Option<Found>)>,
        result: Result<(), LeaseError>,
    ) {
        for (missing, found) in examined {
            self.missing_found(lease, &missing, found);
        }
        // The next verification finds them again.
        if result.is_err() {
            self.missing.clear();
        }
    }

    /// Handles what stands under a key that was missing. Its registrar logs the loss.
    fn missing_found(&mut self, lease: i64, missing: &Missing, found: Option<Found>) {
        let Some(held) = self.ledger.get_mut(&missing.service) else {
            return;
        };
        if held.id != missing.id || held.lease != lease || held.is_lost() {
            return;
        }
        let key = String::from_utf8_lossy(&missing.key);
        match found {
            None => {
                tracing::debug!(%key, lease, "key deleted by somebody else");
                held.lose(Lost::KeyDeleted);
            }
            Some(found) if found.lease == lease => {}
            Some(found) => {
                tracing::debug!(%key, lease, "key taken by somebody else");
                held.lose(Lost::taken(found.value));
            }
        }
    }
}
