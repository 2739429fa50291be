//! Any order of calls against the rules of ownership.

use super::*;
use crate::{
    registry::{generation::Generation, owner::Owner, registration::NoReclaim},
    support::cases,
};
use proptest::prelude::*;
use std::collections::BTreeMap;

const KEYS: [&str; 2] = ["a", "b"];
/// How many generations there are before the first step.
const GENERATIONS: usize = 3;

/// What happens to a ledger, by the index of owner, key, generation, call or registration.
#[derive(Debug, Clone)]
enum Step {
    /// Without a generation, in a new one.
    Register {
        owner: usize,
        key: usize,
        generation: Option<usize>,
    },
    Reclaim {
        registration: usize,
    },
    Put {
        call: usize,
        new_lease: bool,
    },
    GiveUp {
        call: usize,
    },
    Deregister {
        owner: Option<usize>,
        key: usize,
    },
    Drop {
        registration: usize,
    },
    Lose {
        key: usize,
    },
    LoseLease,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..2_usize, 0..2_usize, prop::option::of(0..GENERATIONS))
            .prop_map(|(owner, key, generation)| Step::Register { owner, key, generation }),
        4 => (0..3_usize, prop::bool::weighted(0.2))
            .prop_map(|(call, new_lease)| Step::Put { call, new_lease }),
        1 => (0..3_usize).prop_map(|registration| Step::Reclaim { registration }),
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
    /// How many leases were granted. Their ids count from 1.
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

/// When a registration was asked for: its generation, with all that are drawn later after those of the
/// beginning, and the number of the call.
type Rank = (usize, usize);

/// A call that has not put its entry yet.
struct Pending {
    call: Call,
    rank: Rank,
    is_reclaim: bool,
    /// Whether nobody has deregistered it.
    is_wanted: bool,
}

struct Handle {
    key: usize,
    rank: Rank,
    service: Service,
    registration: Registration,
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
        let generations = [(); GENERATIONS].map(|()| Generation::new());
        let mut calls: Vec<Pending> = Vec::new();
        let mut handles: Vec<Handle> = Vec::new();
        // The last registration of each key, and its owner, until somebody ends it.
        let mut latest: [Option<(Rank, Owner, RegistrationId)>; 2] = [None; 2];
        for (number, step) in steps.into_iter().enumerate() {
            match step {
                Step::Register { owner, key, generation } => {
                    let service = service(Some(owner), key);
                    let service = match generation {
                        Some(generation) => service.with_generation(generations[generation]),
                        None => service,
                    };
                    let rank = (generation.unwrap_or(GENERATIONS + number), number);
                    let call = ledger.register(&service).unwrap();
                    calls.push(Pending { call, rank, is_reclaim: false, is_wanted: true });
                }
                Step::Reclaim { registration } if registration < handles.len() => {
                    let Handle { rank, service, .. } = &handles[registration];
                    let rank = (rank.0, number);
                    let call = ledger.reclaim(service).unwrap();
                    calls.push(Pending { call, rank, is_reclaim: true, is_wanted: true });
                }
                Step::Put { call, new_lease } if call < calls.len() => {
                    let Pending { call, rank, is_reclaim, is_wanted } = calls.remove(call);
                    let key = usize::from(call.service().key.stem().as_str() == KEYS[1]);
                    let (id, owner) = (call.id(), call.service().owner().unwrap());
                    let is_latest = latest[key].is_none_or(|(latest, holder, _)| {
                        latest < rank && (!is_reclaim || holder == owner)
                    });
                    match ledger.admit(&call) {
                        Ok(()) => prop_assert!(is_wanted && is_latest),
                        Err(Error::Superseded) => prop_assert!(is_wanted && !is_latest),
                        Err(_) => prop_assert!(!is_wanted),
                    }
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
                    let service = call.service().clone();
                    let (registration, removals) = ledger.hold(call, &lease, mark, NoReclaim);
                    registry.carry_out(removals);
                    prop_assert_eq!(registration.loss().is_none(), is_wanted && is_latest);
                    if registration.loss().is_none() {
                        latest[key] = Some((rank, owner, id));
                        handles.push(Handle { key, rank, service, registration });
                    }
                }
                Step::GiveUp { call } if call < calls.len() => drop(calls.remove(call)),
                Step::Deregister { owner, key } => {
                    let asked = service(owner, key);
                    let is_theirs = |other: Owner| asked.owner().is_none_or(|asked| asked == other);
                    for pending in &mut calls {
                        let service = pending.call.service();
                        pending.is_wanted &=
                            service.key != asked.key || !is_theirs(service.owner().unwrap());
                    }
                    let removal = ledger.deregister(&asked).unwrap();
                    let ends = latest[key].take_if(|(_, owner, _)| is_theirs(*owner));
                    prop_assert_eq!(removal.is_some(), ends.is_some());
                    registry.carry_out(removal);
                }
                Step::Drop { registration } if registration < handles.len() => {
                    let Handle { key, rank, registration, .. } = handles.remove(registration);
                    let was_latest = latest[key].take_if(|(latest, ..)| *latest == rank).is_some();
                    drop(registration);
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
                    prop_assert_eq!(Some(id), latest.map(|(.., id)| id));
                    prop_assert_eq!(registry.entries.get(key), Some(mark));
                }
            }
            let used: BTreeSet<_> = ledger.leases().cloned().collect();
            prop_assert_eq!(&registry.leases, &used, "every lease carries something");
            for lease in (0..=registry.granted).map(LeaseId::from) {
                let is_former = lease != LeaseId::from(0) && !used.contains(&lease);
                prop_assert_eq!(ledger.is_former(&lease), is_former, "{}", lease);
            }
        }
        registry.carry_out(ledger.close());
        prop_assert!(registry.leases.is_empty(), "{:?}", registry.leases);
    }
}
