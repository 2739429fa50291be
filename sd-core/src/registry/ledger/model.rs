//! Any order of calls against the rules of ownership.

use super::*;
use crate::{
    registry::{owner::Owner, registration::NoReclaim},
    support::cases,
};
use proptest::prelude::*;
use std::collections::BTreeMap;

const KEYS: [&str; 2] = ["a", "b"];

/// What happens to a ledger, by the index of owner, key, call or registration.
#[derive(Debug, Clone)]
enum Step {
    Register { owner: usize, key: usize },
    Put { call: usize, new_lease: bool },
    GiveUp { call: usize },
    Deregister { owner: Option<usize>, key: usize },
    Drop { registration: usize },
    Lose { key: usize },
    LoseLease,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..2_usize, 0..2_usize).prop_map(|(owner, key)| Step::Register { owner, key }),
        4 => (0..3_usize, prop::bool::weighted(0.2))
            .prop_map(|(call, new_lease)| Step::Put { call, new_lease }),
        1 => (0..3_usize).prop_map(|call| Step::GiveUp { call }),
        2 => (prop::option::weighted(0.8, 0..2_usize), 0..2_usize)
            .prop_map(|(owner, key)| Step::Deregister { owner, key }),
        1 => (0..3_usize).prop_map(|registration| Step::Drop { registration }),
        1 => (0..2_usize).prop_map(|key| Step::Lose { key }),
        1 => Just(Step::LoseLease),
    ];
    prop::collection::vec(step, 0..40)
}

/// A registry that carries out every request at once.
#[derive(Default)]
struct Registry {
    entries: BTreeMap<Key, u32>,
    leases: BTreeSet<LeaseId>,
    granted: i64,
    puts: u32,
}

impl Registry {
    fn carry_out(&mut self, removals: impl IntoIterator<Item = Removal<u32>>) {
        for removal in removals {
            if self.entries.get(&removal.key) == Some(&removal.mark) {
                self.entries.remove(&removal.key);
            }
            if let Some(lease) = removal.lease {
                assert!(self.leases.remove(&lease), "revoked twice: {lease}");
            }
        }
    }
}

proptest! {
    #![proptest_config(cases(4))]

    #[test]
    fn whoever_registered_last_holds_the_key_until_it_or_the_registry_ends_it(steps in steps()) {
        let owners = [Owner::new(), Owner::new()];
        let service = |owner: Option<usize>, key: usize| {
            let service = Service::new(KEYS[key], "").unwrap();
            match owner {
                Some(owner) => service.owned_by(owners[owner]),
                None => service,
            }
        };
        let mut ledger = Ledger::default();
        let mut registry = Registry::default();
        let mut calls: Vec<(Call, bool)> = Vec::new();
        let mut handles: Vec<(usize, RegistrationId, Registration)> = Vec::new();
        // The last registration of each key, and its owner, until somebody ends it.
        let mut latest: [Option<(RegistrationId, Owner)>; 2] = [None; 2];
        for step in steps {
            match step {
                Step::Register { owner, key } => {
                    calls.push((ledger.register(&service(Some(owner), key)).unwrap(), true));
                }
                Step::Put { call, new_lease } if call < calls.len() => {
                    let (call, is_wanted) = calls.remove(call);
                    let key = usize::from(call.service().key.stem().as_str() == KEYS[1]);
                    let (id, owner) = (call.id(), call.service().owner().unwrap());
                    let is_latest = latest[key].is_none_or(|(latest, _)| latest < id);
                    prop_assert_eq!(ledger.admit(&call).is_ok(), is_wanted && is_latest);
                    let lease = ledger.lease_for(Ttl::DEFAULT).filter(|_| !new_lease);
                    let lease = lease.unwrap_or_else(|| {
                        registry.granted += 1;
                        let lease = LeaseId::from(registry.granted);
                        registry.leases.insert(lease.clone());
                        lease
                    });
                    registry.puts += 1;
                    let mark = registry.puts;
                    if is_wanted && is_latest {
                        registry.entries.insert(Key::new(KEYS[key]).unwrap(), mark);
                    }
                    let (handle, removals) = ledger.hold(call, &lease, mark, NoReclaim);
                    registry.carry_out(removals);
                    prop_assert_eq!(handle.loss().is_none(), is_wanted && is_latest);
                    if handle.loss().is_none() {
                        latest[key] = Some((id, owner));
                        handles.push((key, id, handle));
                    }
                }
                Step::GiveUp { call } if call < calls.len() => drop(calls.remove(call)),
                Step::Deregister { owner, key } => {
                    let asked = service(owner, key);
                    let is_theirs = |other: Owner| asked.owner().is_none_or(|asked| asked == other);
                    for (call, is_wanted) in &mut calls {
                        let service = call.service();
                        *is_wanted &= service.key != asked.key || !is_theirs(service.owner().unwrap());
                    }
                    let removal = ledger.deregister(&asked).unwrap();
                    let ends = latest[key].take_if(|(_, owner)| is_theirs(*owner));
                    prop_assert_eq!(removal.is_some(), ends.is_some());
                    registry.carry_out(removal);
                }
                Step::Drop { registration } if registration < handles.len() => {
                    let (key, id, handle) = handles.remove(registration);
                    let was_latest = latest[key].take_if(|(latest, _)| *latest == id).is_some();
                    drop(handle);
                    let removals = ledger.release_dropped();
                    prop_assert_eq!(removals.len(), usize::from(was_latest));
                    registry.carry_out(removals);
                }
                Step::Lose { key } => {
                    let key = Key::new(KEYS[key]).unwrap();
                    if let Some((id, _)) = ledger.held_at(&key) {
                        registry.entries.remove(&key);
                        ledger.lost(id, Lost::KeyDeleted);
                    }
                }
                Step::LoseLease => {
                    if let Some(lease) = ledger.lease_id() {
                        registry.leases.remove(&lease);
                        ledger.lease_lost(&lease);
                    }
                }
                _ => {}
            }
            for (key, latest) in KEYS.into_iter().zip(latest) {
                if let Some((id, mark)) = ledger.held_at(&Key::new(key).unwrap()) {
                    prop_assert_eq!(Some(id), latest.map(|(id, _)| id));
                    prop_assert_eq!(registry.entries.get(key), Some(mark));
                }
            }
            let used: BTreeSet<_> = ledger.leases().cloned().collect();
            prop_assert_eq!(&registry.leases, &used, "every lease carries something");
        }
        registry.carry_out(ledger.close());
        prop_assert!(registry.leases.is_empty(), "{:?}", registry.leases);
    }
}
