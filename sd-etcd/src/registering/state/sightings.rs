//! Sightings: others have changed own keys, as a watch says.
//!
//! A look costs two requests: is the lease still there, which is how a lost lease is told from deleted keys, and what
//! stands under the keys. Somebody who changes keys all the time is looked at ever more seldom.

use super::{InFlight, SessionState};
use crate::registering::{
    actions::{Action, LeaseError, LeaseState, Listing},
    ledger::HeldKey,
    own_keys::Seen,
    service_map::ServiceMap,
};
use sd_core::{Backoff, Error, ServiceKey, Ttl};
use std::time::Duration;
use tokio::time::Instant;

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// What was sighted and not looked at yet, and when to look.
pub(super) struct Sighted {
    /// The newest modification of the key of each service.
    keys: ServiceMap<i64>,
    look_at: Instant,
    pauses: Backoff,
}

impl Sighted {
    pub(super) fn new(ttl: Ttl, now: Instant) -> Self {
        let longest = LONGEST_PAUSE.min(ttl.keep_alive_interval());
        Self {
            keys: ServiceMap::default(),
            look_at: now,
            pauses: Backoff::new(FIRST_PAUSE, longest),
        }
    }

    pub(super) fn clear(&mut self) {
        self.keys.clear();
    }

    /// Returns when to look, if there is anything to look at.
    pub(super) fn timer(&self) -> Option<Instant> {
        (!self.keys.is_empty()).then_some(self.look_at)
    }

    fn pause(&mut self, now: Instant) {
        // It has been quiet for long.
        if now >= self.look_at + self.pauses.longest() {
            self.pauses.reset();
        }
        self.look_at = now + self.pauses.next_delay();
    }
}

impl SessionState {
    /// Takes what a watch has seen. Our own puts are nothing new.
    pub(in crate::registering) fn sighted(&mut self, seen: Seen, now: Instant) {
        if seen.has_missed {
            self.reconnected(now);
        }
        for (service, modified) in seen.keys {
            if self.is_news(&service, modified) {
                let newest = self.sighted.keys.entry(service).or_default();
                *newest = modified.max(*newest);
            }
        }
    }

    fn is_news(&self, service: &ServiceKey, modified: i64) -> bool {
        let held = self.ledger.get(service);
        held.is_some_and(|held| !held.is_lost() && modified > held.modified)
    }

    /// Returns the look that is due. By now the answer to a put of ours has said what was ours.
    pub(super) fn next_look(&mut self, now: Instant) -> Option<Action> {
        if self.sighted.keys.is_empty() || now < self.sighted.look_at {
            return None;
        }
        let mut keys = std::mem::take(&mut self.sighted.keys);
        keys.retain(|service, modified| self.is_news(service, *modified));
        let lease = self.lease().filter(|_| !keys.is_empty())?;
        self.sighted.keys = keys;
        self.sighted.pause(now);
        self.in_flight = InFlight::Look;
        Some(Action::Verify(lease, Listing::Nothing))
    }

    /// Has what was sighted read, if the lease is still there.
    pub(super) fn looked(
        &mut self,
        lease: i64,
        result: Result<Option<LeaseState>, LeaseError>,
        now: Instant,
    ) {
        if self.lease() != Some(lease) {
            return;
        }
        match result {
            Ok(None) => self.lease_lost(lease),
            Ok(Some(_)) => self.examine_sighted(lease),
            // Of the keys on it another may be one that this user may not read.
            Err(error) if error.is_denied() => self.examine_sighted(lease),
            Err(error) => {
                let error = Error::from(error);
                if !error.is_transient() {
                    self.sighted.clear();
                }
                self.not_verified(lease, error, now);
            }
        }
    }

    fn examine_sighted(&mut self, lease: i64) {
        let sighted = std::mem::take(&mut self.sighted.keys);
        let held = self.ledger.held_on(lease).filter(|(service, held)| {
            let modified = sighted.get(service);
            modified.is_some_and(|modified| *modified > held.modified)
        });
        let held = held.map(HeldKey::of);
        let held: Vec<_> = held.filter(|held| !self.changed.contains(held)).collect();
        self.changed.extend(held);
    }
}
