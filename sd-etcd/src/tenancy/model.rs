//! The tenancy against a model of etcd, where what was given up is carried out whenever it likes.

use super::*;
use crate::{
    door::Door,
    properties::cases,
    txn::{Found, Write, Written},
    work::{Done, Task, Trouble},
};
use bytes::Bytes;
use proptest::prelude::*;
use sd_core::{Key, Registration};
use std::collections::HashMap;
use tokio::sync::{mpsc, oneshot};

const KEYS: [&str; 3] = ["a", "b", "c"];

/// What becomes of the task that is under way.
#[derive(Debug, Clone, Copy)]
enum Fate {
    Answered,
    /// It is carried out, and nobody hears of it.
    Unheard,
    /// It is given up, and may be carried out later.
    Late,
    Lost,
}

#[derive(Debug, Clone)]
enum Step {
    Register(usize),
    /// By the newest handle that there is.
    Reclaim(usize),
    Deregister(usize),
    Drop(usize),
    /// What is to be done begins, or what is under way ends.
    Task(Fate),
    /// One of those that were given up is carried out.
    Arrives(usize),
    StrangerPuts(usize),
    /// etcd ends the lease and says so.
    LeaseEnds,
    Pass,
}

fn step() -> impl Strategy<Value = Step> {
    let key = 0..KEYS.len();
    let fate = prop_oneof![
        6 => Just(Fate::Answered),
        1 => Just(Fate::Unheard),
        2 => Just(Fate::Late),
        1 => Just(Fate::Lost),
    ];
    prop_oneof![
        4 => key.clone().prop_map(Step::Register),
        3 => key.clone().prop_map(Step::Reclaim),
        2 => key.clone().prop_map(Step::Deregister),
        1 => key.clone().prop_map(Step::Drop),
        16 => fate.prop_map(Step::Task),
        4 => (0..8_usize).prop_map(Step::Arrives),
        1 => key.prop_map(Step::StrangerPuts),
        1 => Just(Step::LeaseEnds),
        3 => Just(Step::Pass),
    ]
}

/// A request that etcd may carry out.
#[derive(Debug, Clone)]
enum Request {
    Grant(i64),
    Revoke(i64),
    Writes(i64, Vec<Write>),
}

/// What etcd would do.
#[derive(Default)]
struct Model {
    entries: HashMap<Vec<u8>, Found>,
    leases: HashSet<i64>,
    revision: i64,
}

impl Model {
    fn writes(&mut self, lease: i64, writes: &[Write]) -> Result<Vec<Written>, Trouble> {
        let puts = writes.iter().any(|it| matches!(it, Write::Put { .. }));
        if puts && !self.leases.contains(&lease) {
            return Err(Trouble::NoSuchLease);
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

    fn grant(&mut self, lease: i64) -> Result<(), Trouble> {
        let is_new = self.leases.insert(lease);
        is_new.then_some(()).ok_or(Trouble::LeaseExists)
    }

    fn revoke(&mut self, lease: i64) -> Result<(), Trouble> {
        self.revision += 1;
        self.entries.retain(|_, entry| entry.lease != lease);
        let was_there = self.leases.remove(&lease);
        was_there.then_some(()).ok_or(Trouble::NoSuchLease)
    }

    fn on(&self, lease: i64) -> Option<HashSet<Vec<u8>>> {
        let keys = self.entries.iter().filter(|(_, it)| it.lease == lease);
        let keys = keys.map(|(key, _)| key.clone()).collect();
        self.leases.contains(&lease).then_some(keys)
    }

    fn carry_out(&mut self, request: &Request) {
        // Nobody hears what becomes of it.
        let _ = match request {
            Request::Grant(lease) => self.grant(*lease),
            Request::Revoke(lease) => self.revoke(*lease),
            Request::Writes(lease, writes) => self.writes(*lease, writes).map(|_| ()),
        };
    }
}

/// What somebody waits for.
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
    /// The value that was confirmed last, and those that were given up since.
    values: Vec<Bytes>,
}

struct World {
    tenancy: Tenancy,
    _door: Door,
    inbox: mpsc::UnboundedReceiver<Op>,
    now: Instant,
    ids: u64,
    etcd: Model,
    under_way: Option<Task>,
    late: Vec<Request>,
    owners: [Owner; KEYS.len()],
}

fn service(key: usize) -> ServiceKey {
    Key::new(KEYS[key]).unwrap().into()
}

fn timed_out() -> Trouble {
    Trouble::Other(Error::Timeout {
        operation: "test",
        after: Duration::from_secs(4),
    })
}

impl World {
    fn new() -> Self {
        let (config, shared) = (Arc::new(Config::unchecked()), Arc::new(Shared::default()));
        let (door, inbox) = Door::new(shared.clone(), config.clone());
        let now = Instant::now();
        let claims = door.downgrade();
        Self {
            tenancy: Tenancy::new(config, shared, claims, Ttl::MIN, now),
            _door: door,
            inbox,
            now,
            ids: 0,
            etcd: Model::default(),
            under_way: None,
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
            Step::Deregister(key) => self.tenancy.accept(Op::Remove {
                service: service(key),
                why: Lost::Deregistered,
                reply: None,
            }),
            Step::Drop(key) => self.owners[key].held = None,
            Step::Task(fate) => self.task(fate),
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
                if let Some(lease) = self.tenancy.lease() {
                    let _ = self.etcd.revoke(lease);
                    self.tenancy.lease_lost(lease);
                }
            }
            Step::Pass => {
                self.now += Duration::from_secs(1);
                self.tenancy.tick(self.now);
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
        self.tenancy.accept(Op::Put(Put {
            id: self.ids,
            service: service(key),
            value,
            reclaims,
            reply,
        }));
    }

    /// What the owners hear, and what the tenancy hears of the handles that they drop by that.
    fn listen(&mut self) {
        for owner in &mut self.owners {
            for asked in std::mem::take(&mut owner.asked) {
                owner.hear(asked);
            }
            // No stranger deletes anything here, so it would be one of our own.
            let lost = owner.held.as_ref().and_then(|(_, held)| held.loss());
            assert_ne!(lost, Some(Lost::KeyDeleted));
        }
        while let Ok(op) = self.inbox.try_recv() {
            self.tenancy.accept(op);
        }
    }

    fn task(&mut self, fate: Fate) {
        if self.tenancy.is_interrupted(self.now) {
            self.under_way = None;
        }
        let Some(task) = self.under_way.take() else {
            self.under_way = self.tenancy.next(self.now);
            return;
        };
        let request = match &task {
            Task::Grant { lease, .. } => Some(Request::Grant(*lease)),
            Task::Revoke { lease } => Some(Request::Revoke(*lease)),
            Task::Write { lease, writes, .. } => Some(Request::Writes(*lease, writes.clone())),
            Task::Verify { .. } | Task::Examine { .. } => None,
        };
        let is_heard = matches!(fate, Fate::Answered);
        match (fate, request) {
            (Fate::Unheard, Some(request)) => self.etcd.carry_out(&request),
            (Fate::Late, Some(request)) => self.late.push(request),
            _ => {}
        }
        let etcd = &mut self.etcd;
        let done = match task {
            Task::Grant { lease, .. } if is_heard => Done::Granted(lease, etcd.grant(lease)),
            Task::Grant { lease, .. } => Done::Granted(lease, Err(timed_out())),
            Task::Revoke { lease } if is_heard => Done::Revoked(lease, etcd.revoke(lease)),
            Task::Revoke { lease } => Done::Revoked(lease, Err(timed_out())),
            Task::Write {
                lease,
                items,
                writes,
            } => {
                let result = match is_heard {
                    true => etcd.writes(lease, &writes),
                    false => Err(timed_out()),
                };
                Done::Wrote(lease, items, result)
            }
            Task::Verify { lease } => Done::Verified(lease, Ok(etcd.on(lease))),
            Task::Examine { lease, missing } => {
                let known = missing.into_iter().map(|missing| {
                    let found = etcd.entries.get(&missing.key).cloned();
                    (missing, found)
                });
                Done::Examined(lease, known.collect(), Ok(()))
            }
        };
        self.tenancy.finish(done, self.now);
    }

    /// All arrives that was given up, leases that nobody keeps alive end, and then nothing goes wrong
    /// any more.
    fn settle(&mut self) {
        while !self.late.is_empty() {
            self.step(Step::Arrives(0));
        }
        let kept = self.tenancy.lease();
        for lease in self.etcd.leases.clone() {
            if Some(lease) != kept {
                self.etcd.carry_out(&Request::Revoke(lease));
            }
        }
        for _ in 0..6 {
            for _ in 0..400 {
                self.step(Step::Task(Fate::Answered));
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
                // Its owner says what is to become of it.
                Some(_) => {}
                None => assert!(
                    entry.is_none_or(|entry| entry.lease == 0),
                    "{key} stands, and nobody holds it"
                ),
            }
        }
        assert!(self.tenancy.departures.is_empty());
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
