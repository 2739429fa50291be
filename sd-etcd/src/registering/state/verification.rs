//! Verification: are the entries on the lease the ones that we wrote?
//!
//! etcd is asked for the lease, the keys on it and the revision of the registry. If that has moved since
//! all was as we wrote it, the modifications are compared too, every 5 s at most, and always after a
//! reconnect. A request compares 125. That costs about the keys' bytes, and reads no value. Only
//! what has changed is read.
//!
//! etcd 3.6 says nothing of a lease on which one key may not be read by this user, and anybody may hang such a key
//! there. Then our own keys are compared all the same: an answer about one of them needs the right to it alone.

use super::{InFlight, MAX_WRITES, SessionState};
use crate::{
    registering::{
        actions::{Action, LeaseError, LeaseKeys, LeaseState, Listing},
        ledger::{Finding, Held, HeldKey},
        meters,
        strays::Judged,
        write::{Found, Guard},
    },
    support::count,
};
use bytes::Bytes;
use sd_core::{Error, ErrorChain, Escaped, Lost};
use std::{collections::HashSet, time::Duration};
use tokio::time::Instant;

/// How long to wait after etcd has refused to read an own key. Meanwhile a watch alone notices deleted keys. Rights may
/// be granted at any time.
const DENIED_PAUSE: Duration = Duration::from_secs(30);
/// The most bytes of keys that are asked for at once. `etcd-client` 0.21 reads an answer of up to 4 MiB.
/// With more on a lease, puts of ours that were given up and took effect are not looked for. Their
/// own removals and the end of the lease are left for that.
const MAX_LISTING: usize = 3 * 1024 * 1024;
/// How long to leave it at that after the answer was larger than our own keys.
const LISTING_PAUSE: Duration = Duration::from_secs(60 * 60);
/// Beside its bytes, what a key takes in the answer.
const KEY_OVERHEAD: usize = 8;
/// The shortest time between comparisons on one connection. Leases of a few seconds are verified more
/// often, for deleted keys.
pub(super) const COMPARISON_PAUSE: Duration = Duration::from_secs(5);
/// How long a rollback counts as one, in the log.
const ROLLBACK_PAUSE: Duration = Duration::from_secs(60);

impl SessionState {
    /// Returns the next read: first what has changed, then what was sighted, then the rest of the verification,
    /// then the next one when it is due.
    pub(super) fn next_read(&mut self, now: Instant) -> Option<Action> {
        if self.changed.is_empty()
            && let Some(look) = self.next_look(now)
        {
            return Some(look);
        }
        let lease = self.lease.as_ref()?;
        let may_list = now >= lease.list_at;
        let (lease, is_due) = (lease.id, now >= lease.verify_at);
        let action = if !self.changed.is_empty() {
            Action::Examine(lease, first(&mut self.changed, usize::MAX))
        } else if !self.uncompared.is_empty() {
            let max_bytes = self.options.max_request_bytes / 2;
            Action::Compare(lease, first(&mut self.uncompared, max_bytes))
        } else if is_due {
            let overhead = self.ledger.len() * KEY_OVERHEAD;
            let fits = self.ledger.size_of_keys() + overhead <= MAX_LISTING;
            let listing = match fits && may_list {
                true => Listing::Keys,
                false => Listing::Nothing,
            };
            Action::Verify(lease, listing)
        } else {
            return None;
        };
        self.in_flight = InFlight::Read;
        Some(action)
    }

    /// Forgets a read in flight if a deregistration waits for it. Returns whether it did.
    pub(in crate::registering) fn abandon_read(&mut self, now: Instant) -> bool {
        let is_urgent = self.removals.deadline().is_some() && now >= self.cleanup_at;
        let is_abandoned = matches!(self.in_flight, InFlight::Read | InFlight::Look) && is_urgent;
        if is_abandoned {
            self.in_flight = InFlight::Nothing;
            self.verify_anew(now);
        }
        is_abandoned
    }

    /// Verifies and compares at once, since the connection is another one: another member may know another history.
    pub(in crate::registering) fn reconnected(&mut self, now: Instant) {
        self.verify_anew(now);
        if let Some(lease) = &mut self.lease {
            lease.verify_at = now;
        }
    }

    /// Has the next verification compare all modifications.
    fn verify_anew(&mut self, now: Instant) {
        self.uncompared.clear();
        self.changed.clear();
        if let Some(lease) = &mut self.lease {
            lease.compared_at = None;
            lease.compare_at = now;
        }
    }

    pub(super) fn verified(
        &mut self,
        lease: i64,
        result: Result<Option<LeaseState>, LeaseError>,
        now: Instant,
    ) {
        let Some(current) = self.lease.as_mut().filter(|current| current.id == lease) else {
            return;
        };
        current.verify_at = now + self.ttl.keep_alive_interval();
        let answer = match result {
            Ok(None) => return self.lease_lost(lease),
            Ok(Some(answer)) => answer,
            Err(error) if error.is_denied() => {
                self.uncompared = self.ledger.held_on(lease).map(HeldKey::of).collect();
                return;
            }
            Err(error) => return self.not_verified(lease, error.into(), now),
        };
        let compared_at = current.compared_at;
        current.comparing_at = answer.revision;
        let is_older = compared_at.is_some_and(|revision| answer.revision < revision);
        let has_moved = compared_at != Some(answer.revision);
        let is_due = is_older || (has_moved && now >= current.compare_at);
        if is_due {
            current.compare_at = now + COMPARISON_PAUSE;
        }
        if matches!(answer.keys, LeaseKeys::TooLarge) {
            current.list_at = now + LISTING_PAUSE;
            count(meters::LEASE_KEYS_TOO_LARGE, None, 1);
            tracing::warn!(
                lease,
                "the keys on a lease of ours are too large to be read: others have put some there"
            );
        }
        if is_older {
            self.rolled_back(0);
        }
        let is_listed = |held: &Held| match &answer.keys {
            LeaseKeys::All(keys) => keys.contains(&held.key),
            LeaseKeys::NotAsked | LeaseKeys::TooLarge => true,
        };
        // All but a few are listed, so only what is needed is copied.
        let held = self.ledger.held_on(lease);
        let missing = held.filter(|(_, held)| !is_listed(held));
        self.changed = missing.map(HeldKey::of).collect();
        let held = self.ledger.held_on(lease).filter(|_| is_due);
        let listed = held.filter(|(_, held)| is_listed(held));
        self.uncompared = listed.map(HeldKey::of).collect();
        if let LeaseKeys::All(keys) = answer.keys {
            self.remove_strays(lease, keys, now);
        }
        match self.uncompared.is_empty() {
            true if is_due => self.compared_all(),
            true => self.allowed(),
            false => {}
        }
    }

    fn allowed(&mut self) {
        if let Some(lease) = &self.lease {
            lease.proof.verified();
        }
    }

    /// Logs that the lease or its keys cannot be looked at, once, unless that may pass by itself.
    pub(super) fn not_verified(&mut self, lease: i64, error: Error, now: Instant) {
        let interval = self.ttl.keep_alive_interval();
        self.verify_anew(now);
        let Some(current) = self.lease.as_mut().filter(|_| !error.is_transient()) else {
            return;
        };
        if current.proof.proof().unverified().is_some() {
            tracing::debug!(lease, error = %ErrorChain(&error), "registrations still cannot be verified");
        } else {
            tracing::warn!(
                lease, error = %ErrorChain(&error),
                "registrations cannot be verified: deleted keys will not be noticed"
            );
        }
        count(meters::VERIFICATIONS_DENIED, None, 1);
        current.proof.not_verified(error);
        current.verify_at = now + interval.max(DENIED_PAUSE);
    }

    fn remove_strays(&mut self, lease: i64, keys: HashSet<Bytes>, now: Instant) {
        let mut strays = self.ledger.strays(keys);
        strays.retain(|key| !self.removals.contains(key));
        let max_bytes = self.options.max_request_bytes;
        let Judged {
            to_remove,
            newly_left,
        } = self.strays.judge(strays, max_bytes, now);
        count(meters::STRAY_KEYS, None, to_remove.len());
        count(meters::STRAY_KEYS_LEFT, None, newly_left.len());
        if let Some(keys) = self.strays.removed.add(to_remove.len(), now) {
            let key = to_remove.first().map(|key| String::from_utf8_lossy(key));
            tracing::warn!(
                key = %Escaped(key.unwrap_or_default()), keys, lease,
                "removing a key of ours that nobody holds"
            );
        }
        if let Some(first) = newly_left.first() {
            self.left(lease, first, newly_left.len(), now);
        }
        for stray in to_remove {
            self.remove_key(stray, lease, Guard::Absent, None, None);
        }
    }

    /// Logs that keys are left on a lease, `first` among them.
    pub(super) fn left(&mut self, lease: i64, first: &[u8], keys: usize, now: Instant) {
        if let Some(keys) = self.strays.left.add(keys, now) {
            tracing::warn!(
                key = %Escaped(String::from_utf8_lossy(first)), keys, lease,
                "leaving a key on a lease of ours that nobody holds: somebody else puts it there"
            );
        }
    }

    pub(super) fn compared(
        &mut self,
        lease: i64,
        changed: Vec<HeldKey>,
        result: Result<(), LeaseError>,
        now: Instant,
    ) {
        if self.lease() != Some(lease) {
            return;
        }
        self.changed.extend(changed);
        match result {
            Ok(()) if self.uncompared.is_empty() => self.compared_all(),
            Ok(()) => {}
            Err(error) => {
                let changed = std::mem::take(&mut self.changed);
                self.not_verified(lease, error.into(), now);
                self.changed = changed;
            }
        }
    }

    /// All is as we wrote it, or among what has changed.
    fn compared_all(&mut self) {
        if let Some(lease) = &mut self.lease {
            lease.compared_at = Some(lease.comparing_at);
        }
        self.allowed();
    }

    pub(super) fn examined(
        &mut self,
        lease: i64,
        examined: Vec<(HeldKey, Option<Found>)>,
        result: Result<(), LeaseError>,
        now: Instant,
    ) {
        let mut rolled_back = 0;
        for (key, found) in examined {
            let finding = self.found(lease, &key, found);
            rolled_back += usize::from(finding == Some(Finding::RolledBack));
        }
        if rolled_back > 0 {
            self.rolled_back(rolled_back);
        }
        // The next verification finds them again.
        if result.is_err() {
            self.verify_anew(now);
        }
    }

    /// Handles what stands under a key that has changed. Its registrar logs the loss.
    fn found(&mut self, lease: i64, key: &HeldKey, found: Option<Found>) -> Option<Finding> {
        let held = self.ledger.get_mut(&key.service)?;
        if held.id() != key.id || held.lease != lease || held.is_lost() {
            return None;
        }
        let key = String::from_utf8_lossy(&key.key);
        let Some(found) = found else {
            tracing::debug!(key = %Escaped(key), lease, "key deleted by somebody else");
            held.lose(Lost::KeyDeleted);
            return None;
        };
        let finding = held.finding(&found, Some(lease), &self.shared);
        match finding {
            Finding::Ours => {}
            Finding::Overwritten if held.has_put(&found.value) => {
                held.modified = found.modified;
                held.value = found.value;
            }
            Finding::Overwritten => {
                tracing::debug!(key = %Escaped(key), lease, "value changed by somebody else");
                held.lose(Lost::overwritten(found.value.clone()));
                held.found = Some(found);
            }
            Finding::RolledBack => {
                held.lose(Lost::RolledBack);
                held.found = Some(found);
            }
            Finding::Taken => {
                tracing::debug!(key = %Escaped(key), lease, "key taken by somebody else");
                let _ = held.taken(found);
            }
        }
        Some(finding)
    }

    /// Logs that the registry's history went back, and counts the keys that it holds from before.
    pub(super) fn rolled_back(&mut self, keys: usize) {
        count(meters::ROLLED_BACK_KEYS, None, keys);
        let now = self.started_at;
        let logged_at = self.rollback_logged_at.replace(now);
        if logged_at.is_none_or(|at| now - at >= ROLLBACK_PAUSE) {
            tracing::warn!(
                ttl = %self.ttl, keys,
                "the history of etcd went back, as after a restore: older entries are overwritten"
            );
        }
    }
}

/// Takes the first keys for one request off the list, with no more than `max_bytes` if there are several.
fn first(keys: &mut Vec<HeldKey>, max_bytes: usize) -> Vec<HeldKey> {
    let mut bytes = 0;
    let fitting = keys.iter().take(MAX_WRITES).take_while(|held| {
        bytes += held.key.len() + 64;
        bytes <= max_bytes
    });
    let count = fitting.count().max(1).min(keys.len());
    keys.drain(..count).collect()
}
