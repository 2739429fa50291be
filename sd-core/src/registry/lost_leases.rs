//! The log lines of lost leases.

use super::{escaped::Escaped, key::ServiceKey, lease::LeaseId};
use std::collections::HashSet;

/// Logs lost leases, for authors of a [`Client`](crate::Client): one line when a lease is lost,
/// however many services were on it, and one when the last of them is registered again.
///
/// The registrars of those services do not log the loss. A [`Ledger`](crate::Ledger) contains a
/// `LostLeases`; a backend without a ledger keeps one per client or per TTL.
///
/// ```
/// use sd_core::{Key, LeaseId, LostLeases};
///
/// let mut lost_leases = LostLeases::default();
/// let [a, b] = ["/hello/a", "/hello/b"].map(|key| Key::new(key).unwrap().into());
/// lost_leases.lost(&LeaseId::from(1), [a, b]); // WARN lease lost, ... lease=1 services=2
///
/// let [a, b] = ["/hello/a", "/hello/b"].map(|key| Key::new(key).unwrap().into());
/// lost_leases.stands(&a, &LeaseId::from(2));
/// lost_leases.stands(&b, &LeaseId::from(2)); // INFO services registered again lease=2 services=2
/// ```
#[derive(Debug, Default)]
pub struct LostLeases {
    /// The services that are not registered again yet.
    waiting: HashSet<ServiceKey>,
    /// How many were registered again since the first loss, and the lease of the last of them.
    back: Option<(usize, LeaseId)>,
}

impl LostLeases {
    /// Records that the registry no longer knows `lease`. `services` are those whose registrations
    /// report [`Lost::LeaseExpired`](crate::Lost::LeaseExpired) because of it.
    pub fn lost(&mut self, lease: &LeaseId, services: impl IntoIterator<Item = ServiceKey>) {
        let before = self.waiting.len();
        self.waiting.extend(services);
        let services = self.waiting.len() - before;
        if services > 0 {
            tracing::warn!(lease = %Escaped(lease), services, "lease lost, its services register again");
        } else {
            tracing::debug!(lease = %Escaped(lease), "lease lost, and nothing hung on it");
        }
    }

    /// Records that the service is registered on `lease`. Ignored if it had not lost a lease.
    pub fn stands(&mut self, service: &ServiceKey, lease: &LeaseId) {
        if self.waiting.remove(service) {
            let before = self.back.take().map_or(0, |(services, _)| services);
            self.back = Some((before + 1, lease.clone()));
            self.settle();
        }
    }

    /// Stops waiting for the service: it was given up, or somebody else holds its key.
    pub fn forget(&mut self, service: &ServiceKey) {
        if self.waiting.remove(service) {
            self.settle();
        }
    }

    fn settle(&mut self) {
        if self.waiting.is_empty()
            && let Some((services, lease)) = self.back.take()
        {
            tracing::info!(lease = %Escaped(lease), services, "services registered again");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{registry::key::Key, support::Log};

    fn keys<const N: usize>(names: [&str; N]) -> [ServiceKey; N] {
        names.map(|name| Key::new(name).unwrap().into())
    }

    #[test]
    fn a_lost_lease_is_said_once_and_so_is_that_all_are_back() {
        let log = Log::capture();
        let mut lost_leases = LostLeases::default();
        let [a, b, c] = keys(["a", "b", "c"]);
        let [old, new] = [1, 2].map(LeaseId::from);
        lost_leases.stands(&c, &old);

        lost_leases.lost(&old, keys(["a", "b"]));
        lost_leases.stands(&a, &new);
        lost_leases.stands(&c, &new);
        lost_leases.stands(&b, &new);
        lost_leases.stands(&b, &new);

        assert_eq!(
            log.text(),
            [
                "WARN lease lost, its services register again lease=1 services=2",
                "INFO services registered again lease=2 services=2",
            ]
        );
    }

    #[test]
    fn whoever_does_not_come_back_is_not_waited_for() {
        let log = Log::capture();
        let mut lost_leases = LostLeases::default();
        let [a, b] = keys(["a", "b"]);
        let [old, new] = [1, 2].map(LeaseId::from);

        lost_leases.lost(&old, keys(["a", "b"]));
        lost_leases.stands(&a, &new);
        lost_leases.forget(&b);
        lost_leases.lost(&new, keys(["a"]));
        lost_leases.forget(&a);
        lost_leases.lost(&new, keys([]));

        assert_eq!(
            log.text(),
            [
                "WARN lease lost, its services register again lease=1 services=2",
                "INFO services registered again lease=2 services=1",
                "WARN lease lost, its services register again lease=2 services=1",
            ]
        );
    }
}
