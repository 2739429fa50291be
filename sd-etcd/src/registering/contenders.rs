//! The registrations of one service in all sessions of a client.
//!
//! A session has the services of one TTL, so an older and a newer registration of a service may be in two
//! sessions, which put at the same time. A put is sent again with whatever it found in its way. Sent by
//! the older registration, it would overwrite the newer one's entry. So each session asks here first.

use super::service_map::ServiceMap;
use sd_core::{RegistrationId, ServiceKey};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How far a registration is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    /// Its put is in flight, or was answered and its caller is still to be told.
    Putting,
    /// It is in the ledger of its session, held or lost.
    Held,
}

/// Most services have one registration, and two while its put is answered.
type Registrations = Vec<(Stage, RegistrationId)>;

#[derive(Default)]
pub(super) struct Contenders(Mutex<ServiceMap<Registrations>>);

/// Lets the other sessions know of a registration, until it is dropped.
pub(super) struct Contender {
    all: Arc<Contenders>,
    service: ServiceKey,
    stage: Stage,
    id: RegistrationId,
}

impl Contenders {
    /// Enters a registration, once for each stage.
    pub(super) fn enter(
        self: &Arc<Self>,
        service: ServiceKey,
        stage: Stage,
        id: RegistrationId,
    ) -> Contender {
        let mut services = self.lock();
        let registrations = services.entry(service.clone());
        let registrations = registrations.or_insert_with(|| Vec::with_capacity(2));
        registrations.push((stage, id));
        drop(services);
        Contender {
            all: self.clone(),
            service,
            stage,
            id,
        }
    }

    /// Returns how far a newer registration of the service than `id` is, if there is one.
    pub(super) fn newer_than(&self, service: &ServiceKey, id: RegistrationId) -> Option<Stage> {
        let services = self.lock();
        let others = services.get(service)?.iter();
        let newer = others.filter(|(_, other)| *other > id);
        newer.map(|(stage, _)| *stage).max()
    }

    fn lock(&self) -> MutexGuard<'_, ServiceMap<Registrations>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Contender {
    pub(super) fn id(&self) -> RegistrationId {
        self.id
    }
}

impl Drop for Contender {
    fn drop(&mut self) {
        let mut services = self.all.lock();
        if let Some(others) = services.get_mut(&self.service) {
            others.retain(|it| *it != (self.stage, self.id));
            if others.is_empty() {
                services.remove(&self.service);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sd_core::{Generation, Key};

    #[test]
    fn a_registration_is_known_to_older_ones_for_as_long_as_it_lasts() {
        let contenders = Arc::new(Contenders::default());
        let service: ServiceKey = Key::new("a").unwrap().into();
        let [old, new] = [2, 1].map(|call| RegistrationId::new(Generation::new(), call));
        let newer_than = |id| contenders.newer_than(&service, id);

        let putting = contenders.enter(service.clone(), Stage::Putting, new);
        assert_eq!(newer_than(old), Some(Stage::Putting));
        let held = contenders.enter(service.clone(), Stage::Held, new);
        drop(putting);
        assert_eq!(newer_than(old), Some(Stage::Held));
        assert_eq!(newer_than(new), None);
        drop(held);
        assert_eq!(newer_than(old), None);
        assert!(contenders.lock().is_empty());
    }
}
