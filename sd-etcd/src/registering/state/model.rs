//! The session state against a model of etcd in which a request that was given up may be carried out
//! at any later time.

use super::*;
use crate::registering::{
    actions::{LeaseError, LeaseKeys, LeaseState, Listing},
    own_keys::Seen,
    requests::{PutRequest, Receiver, Requests, Scope},
    write::{Effect, Found, Guard, Write, Written},
};
use crate::support::cases;
use bytes::Bytes;
use proptest::prelude::*;
use sd_core::{
    Generation, Key, Owner as Identity, Reclaimed, Registration, RegistrationId, Result,
};
use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};
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
    /// An earlier registration is tried again, in its generation.
    RegisterEarlier(usize),
    /// Through the newest handle.
    Reclaim(usize),
    /// Through the newest handle, with the value of an edit.
    KeepEdit(usize),
    Deregister(usize),
    /// By the owner of an earlier registration.
    DeregisterEarlier(usize),
    Drop(usize),
    /// Start the next action, or end the one in flight.
    Act(Outcome),
    /// As the session does, once the next action has been started.
    Settle,
    /// All is answered for a while.
    Calm,
    /// A request that was given up is carried out.
    Arrives(usize),
    StrangerPuts(usize),
    StrangerDeletes(usize),
    /// The watch of own keys reports on this one.
    Sighted(usize),
    /// Somebody writes another value and leaves the entry on its lease.
    Edit(usize),
    Backup,
    /// etcd is replaced by what the last backup holds.
    Restore,
    /// etcd is replaced by an empty one, which counts anew, all reclaim what they had, and then by what the
    /// last backup holds.
    RestoreAfterRebuild,
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
        1 => key.clone().prop_map(Step::RegisterEarlier),
        3 => key.clone().prop_map(Step::Reclaim),
        2 => key.clone().prop_map(Step::Deregister),
        1 => key.clone().prop_map(Step::DeregisterEarlier),
        1 => key.clone().prop_map(Step::KeepEdit),
        1 => key.clone().prop_map(Step::Edit),
        1 => Just(Step::Backup),
        1 => Just(Step::Restore),
        1 => Just(Step::RestoreAfterRebuild),
        1 => key.clone().prop_map(Step::Drop),
        16 => outcome.prop_map(Step::Act),
        4 => Just(Step::Settle),
        2 => Just(Step::Calm),
        4 => (0..8_usize).prop_map(Step::Arrives),
        1 => key.clone().prop_map(Step::StrangerPuts),
        1 => key.clone().prop_map(Step::StrangerDeletes),
        3 => key.prop_map(Step::Sighted),
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
#[derive(Clone, Default)]
struct Model {
    entries: HashMap<Bytes, Found>,
    leases: HashSet<i64>,
    revision: i64,
}

impl Model {
    fn writes(&mut self, writes: &[Write]) -> Result<Vec<Written>, LeaseError> {
        let is_on_lost_lease = |write: &Write| match &write.effect {
            Effect::Put { lease, .. } => !self.leases.contains(lease),
            Effect::Delete | Effect::Look => false,
        };
        if writes.iter().any(is_on_lost_lease) {
            return Err(LeaseError::NotFound);
        }
        self.revision += 1;
        Ok(writes.iter().map(|write| self.write(write)).collect())
    }

    fn write(&mut self, write: &Write) -> Written {
        let Write { key, guard, effect } = write;
        let found = self.entries.get(key);
        if found.map_or(Guard::Absent, Found::guard) != *guard {
            return Written::Refused(found.cloned());
        }
        match effect {
            Effect::Put { value, lease } => self.put(key, value.clone(), *lease),
            Effect::Delete => {
                self.entries.remove(key);
            }
            Effect::Look => {}
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
        self.entries.insert(Bytes::copy_from_slice(key), entry);
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

    fn lease(&self, lease: i64, listing: Listing) -> Option<LeaseState> {
        let keys = self.entries.iter().filter(|(_, it)| it.lease == lease);
        let keys = match listing {
            Listing::Keys => LeaseKeys::All(keys.map(|(key, _)| key.clone()).collect()),
            Listing::Nothing => LeaseKeys::NotAsked,
        };
        let revision = self.revision;
        let state = LeaseState { revision, keys };
        self.leases.contains(&lease).then_some(state)
    }

    fn has(&self, held: &HeldKey) -> bool {
        let modified = self.entries.get(&held.key).map(|found| found.modified);
        modified == Some(held.modified)
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
    id: RegistrationId,
    identity: Identity,
    value: Bytes,
    answer: oneshot::Receiver<Result<Reclaimed>>,
}

/// What the owner of a service knows.
#[derive(Default)]
struct Owner {
    /// Of all registrations, the newest last.
    identities: Vec<(Identity, Generation)>,
    /// Those that were told to end.
    ending: Vec<Identity>,
    held: Option<(RegistrationId, Identity, Registration)>,
    asked: Vec<Asked>,
    /// The last confirmed value, and the values of the puts that failed since.
    values: Vec<Bytes>,
}

struct World {
    state: SessionState,
    receiver: Receiver,
    now: Instant,
    calls: u64,
    etcd: Model,
    in_flight: Option<Action>,
    late: Vec<EtcdRequest>,
    backup: Model,
    was_replaced: bool,
    /// By others.
    was_deleted: bool,
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
            calls: 0,
            etcd: Model::default(),
            in_flight: None,
            late: Vec::new(),
            backup: Model::default(),
            was_replaced: false,
            was_deleted: false,
            owners: Default::default(),
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Register(key) => {
                let (identity, generation) = (Identity::new(), Generation::new());
                self.owners[key].identities.push((identity, generation));
                self.put(key, None, identity, generation, None);
            }
            Step::RegisterEarlier(key) => {
                if let Some((identity, generation)) = self.owners[key].earlier() {
                    self.put(key, None, identity, generation, None);
                }
            }
            Step::Reclaim(key) | Step::KeepEdit(key) => {
                let value = matches!(step, Step::KeepEdit(_)).then_some("edit");
                if let Some((id, identity, _)) = self.owners[key].held {
                    self.put(key, value, identity, id.generation(), Some(id));
                }
            }
            Step::Deregister(key) => {
                let owner = &mut self.owners[key];
                owner.ending = owner.identities.iter().map(|(it, _)| *it).collect();
                self.deregister(key, Scope::All);
            }
            Step::DeregisterEarlier(key) => {
                if let Some((earlier, _)) = self.owners[key].earlier() {
                    self.owners[key].ending.push(earlier);
                    self.deregister(key, Scope::OwnedBy(earlier));
                }
            }
            Step::Edit(key) => {
                let key = KEYS[key].as_bytes();
                let lease = self.etcd.entries.get(key).map(|entry| entry.lease);
                if let Some(lease) = lease.filter(|lease| *lease != 0) {
                    self.etcd.revision += 1;
                    self.etcd.put(key, "edit".into(), lease);
                }
            }
            Step::Backup => self.backup = self.etcd.clone(),
            Step::Restore => self.restore(),
            Step::RestoreAfterRebuild => {
                self.replace(Model::default());
                (0..KEYS.len()).for_each(|key| self.step(Step::Reclaim(key)));
                self.step(Step::Calm);
                self.restore();
            }
            Step::Drop(key) => self.owners[key].held = None,
            Step::Act(outcome) => self.act(outcome),
            Step::Settle => {
                if self.in_flight.is_some() {
                    self.state.settle();
                }
            }
            Step::Calm => (0..8).for_each(|_| self.step(Step::Act(Outcome::Answered))),
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
            Step::StrangerDeletes(key) => {
                self.etcd.revision += 1;
                self.was_deleted |= self.etcd.entries.remove(KEYS[key].as_bytes()).is_some();
            }
            Step::Sighted(key) => {
                let entry = self.etcd.entries.get(KEYS[key].as_bytes());
                let modified = entry.map_or(self.etcd.revision, |entry| entry.modified);
                let keys = ServiceMap::from_iter([(service(key), modified)]);
                let has_missed = false;
                self.state.sighted(Seen { keys, has_missed }, self.now);
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

    fn deregister(&mut self, key: usize, scope: Scope) {
        self.state.accept(Request::Remove {
            service: service(key),
            scope,
            why: Lost::Deregistered,
            reply: None,
        });
    }

    /// Numbers that are used twice tell nothing, so that they go on here.
    fn restore(&mut self) {
        let mut restored = self.backup.clone();
        restored.revision = restored.revision.max(self.etcd.revision);
        self.replace(restored);
    }

    /// Requests that were given up end with the process that had them.
    fn replace(&mut self, etcd: Model) {
        self.etcd = etcd;
        self.late.clear();
        self.was_replaced = true;
        if let Some(lease) = self.state.lease()
            && !self.etcd.leases.contains(&lease)
        {
            self.state.lease_lost(lease);
        }
        self.state.reconnected(self.now);
    }

    fn put(
        &mut self,
        key: usize,
        value: Option<&'static str>,
        identity: Identity,
        generation: Generation,
        reclaims: Option<RegistrationId>,
    ) {
        self.calls += 1;
        let id = RegistrationId::new(generation, self.calls);
        let (reply, answer) = oneshot::channel();
        let own = || Bytes::from(self.calls.to_string());
        let value = value.map_or_else(own, Bytes::from);
        self.owners[key].asked.push(Asked {
            id,
            identity,
            value: value.clone(),
            answer,
        });
        self.state.accept(Request::Put(PutRequest {
            id,
            owner: identity,
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
            let held = owner.held.as_ref();
            let lost = held.and_then(|(_, _, held)| held.loss());
            let has_reason = self.was_replaced || self.was_deleted;
            assert!(lost != Some(Lost::KeyDeleted) || has_reason);
            let is_ending = held.is_some_and(|(_, identity, _)| owner.ending.contains(identity));
            assert!(lost != Some(Lost::Deregistered) || is_ending);
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
            Action::Verify(..) | Action::Compare(..) | Action::Examine(..) => None,
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
            Action::Verify(lease, listing) => {
                Completion::Verified(lease, Ok(etcd.lease(lease, listing)))
            }
            Action::Compare(lease, mut keys) => {
                keys.retain(|held| !etcd.has(held));
                Completion::Compared(lease, keys, Ok(()))
            }
            Action::Examine(lease, keys) => {
                let known = keys.into_iter().map(|held| {
                    let found = etcd.entries.get(&held.key).cloned();
                    (held, found)
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
                Some((_, _, held)) if held.loss().is_none() => {
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
    fn earlier(&self) -> Option<(Identity, Generation)> {
        self.identities.iter().rev().nth(1).copied()
    }

    /// Whether a registration is held or can be reclaimed that is newer than `id`.
    fn has_newer(&self, id: RegistrationId) -> bool {
        self.held.as_ref().is_some_and(|(held, identity, it)| {
            let has_ended = matches!(it.loss(), Some(Lost::Superseded | Lost::Deregistered));
            *held > id && !has_ended && !self.ending.contains(identity)
        })
    }

    fn hear(&mut self, mut asked: Asked) {
        match asked.answer.try_recv() {
            Ok(Ok(Reclaimed::Held(registration))) => {
                assert!(!self.has_newer(asked.id), "older than what it supersedes");
                self.held = Some((asked.id, asked.identity, registration));
                self.values = vec![asked.value];
            }
            Ok(Err(_)) => self.values.push(asked.value),
            Ok(Ok(Reclaimed::Taken { value, .. })) => {
                assert_eq!(value, "stranger", "its own, from whatever history");
            }
            Err(oneshot::error::TryRecvError::Closed) => {}
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
