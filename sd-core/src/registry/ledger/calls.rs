//! Pending calls, and which of them a deregistration has cancelled.

use crate::registry::{
    generation::Generation, key::ServiceKey, owner::Owner, registration_id::RegistrationId,
    service::Service,
};
use std::{
    collections::HashMap,
    sync::{Arc, Weak},
};

/// A pending `register` or `reclaim`; see [`Ledger`](super::Ledger).
#[derive(Debug)]
pub struct Call {
    id: RegistrationId,
    service: Service,
    is_reclaim: bool,
    _under_way: Arc<()>,
}

impl Call {
    /// The id of the registration that the call will make.
    pub fn id(&self) -> RegistrationId {
        self.id
    }

    /// The service, to keep for a [`Reclaim`](crate::Reclaim). If it had no owner or no generation,
    /// it has a new one, for this registration alone.
    pub fn service(&self) -> &Service {
        &self.service
    }

    pub(super) fn into_service(self) -> Service {
        self.service
    }

    pub(super) fn is_reclaim(&self) -> bool {
        self.is_reclaim
    }
}

/// The order of calls, and the deregistrations that have cancelled pending ones.
#[derive(Debug, Default)]
pub(super) struct Calls {
    /// The number of the last call.
    last: u64,
    /// The last cancelled call for a key and an owner. No owner stands for all owners.
    cancelled: HashMap<(ServiceKey, Option<Owner>), u64>,
    under_way: Weak<()>,
}

impl Calls {
    pub(super) fn begin(&mut self, service: &Service, is_reclaim: bool) -> Call {
        let under_way = self.under_way.upgrade().unwrap_or_else(|| {
            // No call is pending, so they concern none.
            self.cancelled.clear();
            Arc::default()
        });
        self.under_way = Arc::downgrade(&under_way);
        self.last += 1;
        let owner = service.owner().unwrap_or_else(Owner::new);
        let generation = service.generation().unwrap_or_else(Generation::new);
        Call {
            id: RegistrationId::new(generation, self.last),
            service: service.clone().owned_by(owner).with_generation(generation),
            is_reclaim,
            _under_way: under_way,
        }
    }

    /// Cancels the pending calls for `service`: its owner's, or all if it has no owner.
    pub(super) fn cancel(&mut self, service: &Service) {
        if self.under_way.strong_count() > 0 {
            let calls = (service.key.clone(), service.owner());
            self.cancelled.insert(calls, self.last);
        }
    }

    pub(super) fn is_cancelled(&self, call: &Call) -> bool {
        let key = &call.service.key;
        [None, call.service.owner()].into_iter().any(|owner| {
            let last = self.cancelled.get(&(key.clone(), owner));
            last.is_some_and(|last| call.id.call() <= *last)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(key: &str) -> Service {
        Service::new(key, "").unwrap()
    }

    #[test]
    fn only_calls_that_began_before_a_deregistration_are_cancelled() {
        let mut calls = Calls::default();
        let before = calls.begin(&service("a"), false);
        let other = calls.begin(&service("b"), false);
        calls.cancel(&service("a"));
        let after = calls.begin(&service("a"), false);
        assert!(calls.is_cancelled(&before));
        assert!(!calls.is_cancelled(&other));
        assert!(!calls.is_cancelled(&after));
    }

    #[test]
    fn an_owner_cancels_its_own_calls_alone() {
        let mut calls = Calls::default();
        let [mine, theirs] = [0, 1].map(|_| service("a").owned_by(Owner::new()));
        let calls_of = [&mine, &theirs, &service("a")];
        let [one, other, nobodys] = calls_of.map(|service| calls.begin(service, false));
        calls.cancel(&mine);
        assert!(calls.is_cancelled(&one));
        assert!(!calls.is_cancelled(&other) && !calls.is_cancelled(&nobodys));
        calls.cancel(&service("a"));
        assert!(calls.is_cancelled(&other) && calls.is_cancelled(&nobodys));
    }

    #[test]
    fn deregistrations_that_concern_no_call_are_forgotten() {
        let mut calls = Calls::default();
        drop(calls.begin(&service("a"), false));
        calls.cancel(&service("a"));
        assert!(calls.cancelled.is_empty());
        let call = calls.begin(&service("a"), false);
        calls.cancel(&service("a"));
        drop(call);
        let _call = calls.begin(&service("a"), false);
        assert!(calls.cancelled.is_empty());
    }
}
