//! The session state against a model of etcd in which a request that was given up may be carried out
//! at any later time.

use super::*;
use crate::registering::{
    actions::LeaseError,
    requests::{PutRequest, Receiver, Requests},
    write::{Found, Guard, Write, Written},
};
use crate::support::cases;
use bytes::Bytes;
use proptest::prelude::*;
use sd_core::{Key, Reclaimed, Registration, Result};
use std::{collections::HashMap, time::Duration};
use tokio::sync::oneshot;

const KEYS: [&str; 3] = ["a", "b", "c"];

/// The outcome of the action in flight.
#[derive(Debug, Clone, Copy)]
enum Outcome {
    Answered,
    /// It is carried out, and the answer is lost.
    Unheard,
    /// It is given up, and may be carried out later.
    Late,
    Lost,
}

#[derive(Debug, Clone)]
enum Step {
    Register(usize),
    /// Through the newest handle.
    Reclaim(usize),
    Deregister(usize),
    Drop(usize),
    /// Start the next action, or end the one in flight.
    Act(Outcome),
    /// A request that was given up is carried out.
    Arrives(usize),
    StrangerPuts(usize),
    /// etcd ends the lease and says so.
    LeaseEnds,
    Pass,
}

fn step() -> impl Strategy<Value = Step> {
    let key = 0..KEYS.len();
    let outcome = prop_oneof![
        6 => Just(Outcome::Answered),
        1 => Just(Outcome::Unheard),
        2 => Just(Outcome::Late),
        1 => Just(Outcome::Lost),
    ];
    prop_oneof![
        4 => key.clone().prop_map(Step::Register),
        3 => key.clone().prop_map(Step::Reclaim),
        2 => key.clone().prop_map(Step::Deregister),
        1 => key.clone().prop_map(Step::Drop),
        16 => outcome.prop_map(Step::Act),
        4 => (0..8_usize).prop_map(Step::Arrives),
        1 => key.prop_map(Step::StrangerPuts),
        1 => Just(Step::LeaseEnds),
        3 => Just(Step::Pass),
    ]
}

/// A request that etcd may carry out.
#[derive(Debug, Clone)]
enum EtcdRequest {
    Grant(i64),
    Revoke(i64),
    Writes(Vec<Write>),
}

/// What etcd would do.
#[derive(Default)]
struct Model {
    entries: HashMap<Vec<u8>, Found>,
    leases: HashSet<i64>,
    revision: i64,
}

impl Model {
    fn writes(&mut self, writes: &[Write]) -> Result<Vec<Written>, LeaseError> {
        let is_on_lost_lease = |write: &Write| match write {
            Write::Put { lease, .. } => !self.leases.contains(lease),
            Write::Delete { .. } => false,
        };
        if writes.iter().any(is_on_lost_lease) {
            return Err(LeaseError::NotFound);
        }
        self.revision += 1;
        Ok(writes.iter().map(|write| self.write(write)).collect())
    }

    fn write(&mut self, write: &Write) -> Written {
        let (Write::Put { key, guard, .. } | Write::Delete { key, guard }) = write;
        let found = self.entries.get(key);
        if found.map_or(Guard::Absent, Found::guard) != *guard {
            return Written::Refused(found.cloned());
        }
        match write {
            Write::Put {
                key, value, lease, ..
            } => self.put(key, value.clone(), *lease),
            Write::Delete { key, .. } => {
                self.entries.remove(key);
            }
        }
        let revision = self.revision;
        Written::Done { revision }
    }

    fn put(&mut self, key: &[u8], value: Bytes, lease: i64) {
        let modified = self.revision;
        let entry = Found {
            value,
            lease,
            modified,
        };
        self.entries.insert(key.to_vec(), entry);
    }

    fn grant(&mut self, lease: i64) -> Result<(), LeaseError> {
        let is_new = self.leases.insert(lease);
        is_new.then_some(()).ok_or(LeaseError::AlreadyExists)
    }

    fn revoke(&mut self, lease: i64) -> Result<(), LeaseError> {
        self.revision += 1;
        self.entries.retain(|_, entry| entry.lease != lease);
        let was_there = self.leases.remove(&lease);
        was_there.then_some(()).ok_or(LeaseError::NotFound)
    }

    fn on(&self, lease: i64) -> Option<HashSet<Vec<u8>>> {
        let keys = self.entries.iter().filter(|(_, it)| it.lease == lease);
        let keys = keys.map(|(key, _)| key.clone()).collect();
        self.leases.contains(&lease).then_some(keys)
    }

    fn carry_out(&mut self, request: &EtcdRequest) {
        // The answer is lost.
        let _ = match request {
            EtcdRequest::Grant(lease) => self.grant(*lease),
            EtcdRequest::Revoke(lease) => self.revoke(*lease),
            EtcdRequest::Writes(writes) => self.writes(writes).map(|_| ()),
        };
    }
}

/// A put that is not answered yet.
struct Asked {
    id: u64,
    value: Bytes,
    answer: oneshot::Receiver<Result<Reclaimed>>,
}

/// What the owner of a service knows.
#[derive(Default)]
struct Owner {
    held: Option<(u64, Registration)>,
    asked: Vec<Asked>,
    /// The last confirmed value, and the values of the puts that failed since.
    values: Vec<Bytes>,
}

struct World {
    state: SessionState,
    receiver: Receiver,
    now: Instant,
    ids: u64,
    etcd: Model,
    in_flight: Option<Action>,
    late: Vec<EtcdRequest>,
    owners: [Owner; KEYS.len()],
}

fn service(key: usize) -> ServiceKey {
    Key::new(KEYS[key]).unwrap().into()
}

fn timed_out() -> LeaseError {
    LeaseError::Other(Error::Timeout {
        operation: "test",
        after: Duration::from_secs(4),
    })
}

impl World {
    fn new() -> Self {
        let options = Arc::new(Options::unchecked());
        let (requests, receiver) = Requests::new(Arc::default(), options);
        let now = Instant::now();
        Self {
            state: SessionState::new(requests, Ttl::MIN, now),
            receiver,
            now,
            ids: 0,
            etcd: Model::default(),
            in_flight: None,
            late: Vec::new(),
            owners: Default::default(),
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Register(key) => self.put(key, None),
            Step::Reclaim(key) => {
                if let Some((id, _)) = self.owners[key].held {
                    self.put(key, Some(id));
                }
            }
            Step::Deregister(key) => self.state.accept(Request::Remove {
                service: service(key),
                why: Lost::Deregistered,
                reply: None,
            }),
            Step::Drop(key) => self.owners[key].held = None,
            Step::Act(outcome) => self.act(outcome),
            Step::Arrives(which) => {
                if !self.late.is_empty() {
                    let request = self.late.remove(which % self.late.len());
                    self.etcd.carry_out(&request);
                }
            }
            Step::StrangerPuts(key) => {
                self.etcd.revision += 1;
                self.etcd.put(KEYS[key].as_bytes(), "stranger".into(), 0);
            }
            Step::LeaseEnds => {
                if let Some(lease) = self.state.lease() {
                    let _ = self.etcd.revoke(lease);
                    self.state.lease_lost(lease);
                }
            }
            Step::Pass => {
                self.now += Duration::from_secs(1);
                self.state.tick(self.now);
            }
        }
        self.listen();
    }

    fn put(&mut self, key: usize, reclaims: Option<u64>) {
        self.ids += 1;
        let (reply, answer) = oneshot::channel();
        let value = Bytes::from(self.ids.to_string());
        self.owners[key].asked.push(Asked {
            id: self.ids,
            value: value.clone(),
            answer,
        });
        self.state.accept(Request::Put(PutRequest {
            id: self.ids,
            service: service(key),
            value,
            reclaims,
            reply,
        }));
    }

    /// Passes answers to the owners, and the requests of dropped handles to the state.
    fn listen(&mut self) {
        for owner in &mut self.owners {
            for asked in std::mem::take(&mut owner.asked) {
                owner.hear(asked);
            }
            // Only this client deletes keys in the model.
            let lost = owner.held.as_ref().and_then(|(_, held)| held.loss());
            assert_ne!(lost, Some(Lost::KeyDeleted));
        }
        while let Ok(op) = self.receiver.try_recv() {
            self.state.accept(op);
        }
    }

    fn act(&mut self, outcome: Outcome) {
        if self.state.abandon_read(self.now) {
            self.in_flight = None;
        }
        let Some(action) = self.in_flight.take() else {
            self.in_flight = self.state.next(self.now);
            return;
        };
        let request = match &action {
            Action::Grant(lease, _) => Some(EtcdRequest::Grant(*lease)),
            Action::Revoke(lease) => Some(EtcdRequest::Revoke(*lease)),
            Action::Write(batch) => Some(EtcdRequest::Writes(batch.writes())),
            Action::Verify(_) | Action::Examine(..) => None,
        };
        let is_heard = matches!(outcome, Outcome::Answered);
        match (outcome, request) {
            (Outcome::Unheard, Some(request)) => self.etcd.carry_out(&request),
            (Outcome::Late, Some(request)) => self.late.push(request),
            _ => {}
        }
        let etcd = &mut self.etcd;
        let completion = match action {
            Action::Grant(lease, _) if is_heard => Completion::Granted(lease, etcd.grant(lease)),
            Action::Grant(lease, _) => Completion::Granted(lease, Err(timed_out())),
            Action::Revoke(lease) if is_heard => Completion::Revoked(lease, etcd.revoke(lease)),
            Action::Revoke(lease) => Completion::Revoked(lease, Err(timed_out())),
            Action::Write(batch) => {
                let result = match is_heard {
                    true => etcd.writes(&batch.writes()),
                    false => Err(timed_out()),
                };
                Completion::Wrote(batch, result)
            }
            Action::Verify(lease) => Completion::Verified(lease, Ok(etcd.on(lease))),
            Action::Examine(lease, missing) => {
                let known = missing.into_iter().map(|missing| {
                    let found = etcd.entries.get(&missing.key).cloned();
                    (missing, found)
                });
                Completion::Examined(lease, known.collect(), Ok(()))
            }
        };
        self.state.complete(completion, self.now);
    }

    /// Carries out all requests that were given up, ends all leases but the current one, and then
    /// answers every request.
    fn settle(&mut self) {
        while !self.late.is_empty() {
            self.step(Step::Arrives(0));
        }
        let kept = self.state.lease();
        for lease in self.etcd.leases.clone() {
            if Some(lease) != kept {
                self.etcd.carry_out(&EtcdRequest::Revoke(lease));
            }
        }
        for _ in 0..6 {
            for _ in 0..400 {
                self.step(Step::Act(Outcome::Answered));
            }
            self.step(Step::Pass);
        }
    }

    fn check(&self) {
        for (key, owner) in KEYS.iter().zip(&self.owners) {
            let entry = self.etcd.entries.get(key.as_bytes());
            match &owner.held {
                Some((_, held)) if held.loss().is_none() => {
                    let entry = entry.expect("what is held stands");
                    assert_eq!(&LeaseId::from(entry.lease), held.lease_id());
                    let is_new = owner.values.contains(&entry.value);
                    assert!(is_new, "{:?} not of {:?}", entry.value, owner.values);
                }
                // Its owner decides whether to reclaim it.
                Some(_) => {}
                None => assert!(
                    entry.is_none_or(|entry| entry.lease == 0),
                    "{key} stands, and nobody holds it"
                ),
            }
        }
        assert!(self.state.removals.is_empty());
    }
}

impl Owner {
    fn hear(&mut self, mut asked: Asked) {
        match asked.answer.try_recv() {
            Ok(Ok(Reclaimed::Held(registration))) => {
                self.held = Some((asked.id, registration));
                self.values = vec![asked.value];
            }
            Ok(Err(_)) => self.values.push(asked.value),
            Ok(Ok(Reclaimed::Taken { .. })) | Err(oneshot::error::TryRecvError::Closed) => {}
            Err(oneshot::error::TryRecvError::Empty) => self.asked.push(asked),
        }
    }
}

proptest! {
    #![proptest_config(cases(4))]

    #[test]
    fn what_was_given_up_undoes_nothing(steps in prop::collection::vec(step(), 1..60)) {
        let mut world = World::new();
        for step in steps {
            world.step(step);
        }
        world.settle();
        world.check();
    }
}
