//! The endpoint set against a model of a service and its factories.

use super::*;
use crate::{
    calls::{
        endpoint_table::{EndpointTable, Endpoints},
        no_endpoints::NoEndpoints,
        run_queue::COUNTED_FOR,
        table_writer::TableWriter,
    },
    registry::{Key, LeaseId},
    support::{Backoff, cases},
};
use proptest::prelude::*;
use std::{collections::BTreeSet, time::Duration};

const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(1);
/// The factory of the last never succeeds in the end.
const ADDRESSES: [&str; 4] = ["h:1", "h:2", "h:3", "h:4"];

type Name = u8;

/// What happens.
#[derive(Debug, Clone)]
enum Op {
    Put(Name, Attributes),
    Remove(Name),
    /// The source says what there is.
    Apply,
    /// All factories that may run are started.
    Start,
    /// One of those that were ever started ends, wanted or not.
    Finish(prop::sample::Index, bool),
    /// A caller asks for another target of an endpoint that was ever read.
    Replace(prop::sample::Index),
    Read,
    /// A reader keeps the table, or gives it back.
    Keep(bool),
    Pass(u64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Attributes {
    address: &'static str,
    weight: u32,
    status: Status,
    lease: Option<i64>,
}

fn op() -> impl Strategy<Value = Op> {
    let name = || 0..5_u8;
    let status = prop_oneof![4 => Just(Status::Serving), 1 => Just(Status::Draining)];
    let address = prop::sample::select(ADDRESSES.to_vec());
    let lease = prop::option::of(0..3_i64);
    let attributes = (address, 0..3_u32, status, lease);
    let attributes = attributes.prop_map(|(address, weight, status, lease)| Attributes {
        address,
        weight,
        status,
        lease,
    });
    let index = || any::<prop::sample::Index>();
    prop_oneof![
        5 => (name(), attributes).prop_map(|(name, attributes)| Op::Put(name, attributes)),
        2 => name().prop_map(Op::Remove),
        5 => Just(Op::Apply),
        5 => Just(Op::Start),
        8 => (index(), any::<bool>()).prop_map(|(index, ok)| Op::Finish(index, ok)),
        2 => index().prop_map(Op::Replace),
        3 => Just(Op::Read),
        1 => any::<bool>().prop_map(Op::Keep),
        3 => (0..1500_u64).prop_map(Op::Pass),
    ]
}

impl Attributes {
    fn rank(self) -> u8 {
        match (self.status, self.weight) {
            (Status::Draining, _) => 2,
            (_, 0) => 1,
            _ => 0,
        }
    }
}

/// What is known of one address.
#[derive(Debug, Clone)]
struct Host {
    /// The run that its endpoint comes from.
    made: Option<RunId>,
    made_at: Instant,
    /// The leases that its target was made for, and the one that is being made.
    leases: [BTreeSet<i64>; 2],
    running: Option<RunId>,
    is_waiting: bool,
    failed: bool,
    /// A caller asked for another target.
    is_dead: bool,
    /// The next run has to wait for a pause, after a failure or a replacement.
    pauses: bool,
    /// The next run is not before that.
    due: Instant,
}

struct Model {
    set: EndpointSet<RunId>,
    /// What readers see: changed row by row, as it is by an endpointer.
    table: Arc<EndpointTable<RunId>>,
    writer: TableWriter<RunId>,
    /// A reader that keeps a table for long, so that the writer cannot use its list again.
    kept: Option<Endpoints<RunId>>,
    now: Instant,
    limit: usize,
    is_per_registration: bool,
    /// When a factory last answered.
    answered_at: Instant,
    /// What the source will say.
    source: BTreeMap<Name, Attributes>,
    known: BTreeMap<Name, Attributes>,
    hosts: BTreeMap<&'static str, Host>,
    /// Where those have an endpoint whose address has none yet.
    kept_at: BTreeMap<Name, &'static str>,
    started: BTreeMap<RunId, (&'static str, Instant)>,
    last: Vec<Row>,
    read: BTreeMap<RunId, Arc<Endpoint<RunId>>>,
}

/// What a pick sees of an endpoint: its key, the run that it comes from, the address it was made
/// for, and how it attributes.
type Row = (Name, RunId, String, u32, Status);

fn key(name: Name) -> Key {
    Key::new(name.to_string()).unwrap()
}

fn name(key: &Key) -> Name {
    key.as_str().parse().unwrap()
}

impl Model {
    fn new(limit: usize, is_per_registration: bool) -> Self {
        let rules = FactoryRules {
            backoff: Backoff::new(FIRST, LONGEST),
            is_per_registration,
        };
        let table = Arc::new(EndpointTable::new());
        Self {
            set: EndpointSet::new(limit, rules, Arc::default()),
            writer: TableWriter::new(table.clone()),
            table,
            kept: None,
            now: Instant::now(),
            limit,
            is_per_registration,
            answered_at: Instant::now(),
            source: BTreeMap::new(),
            known: BTreeMap::new(),
            hosts: BTreeMap::new(),
            kept_at: BTreeMap::new(),
            started: BTreeMap::new(),
            last: Vec::new(),
            read: BTreeMap::new(),
        }
    }

    fn on(&mut self, op: &Op) {
        let served = self.served();
        match op {
            Op::Put(name, attributes) => _ = self.source.insert(*name, *attributes),
            Op::Remove(name) => _ = self.source.remove(name),
            Op::Apply => self.apply(),
            Op::Start => self.start(),
            Op::Finish(index, ok) => {
                if !self.started.is_empty() {
                    let id = *index.get(&self.started.keys().collect::<Vec<_>>());
                    self.finish(*id, *ok);
                }
            }
            Op::Replace(index) => {
                if !self.read.is_empty() {
                    let id = *index.get(&self.read.keys().collect::<Vec<_>>());
                    self.replace(*id);
                }
            }
            Op::Read => self.read(),
            Op::Keep(keeps) => self.kept = keeps.then(|| self.table.load().keep()),
            Op::Pass(millis) => self.now += Duration::from_millis(*millis),
        }
        let still = self.served();
        let lost = |name: &Name| self.known.contains_key(name) && !still.contains(name);
        let lost: Vec<_> = served.into_iter().filter(lost).collect();
        assert!(lost.is_empty(), "without an endpoint: {lost:?}");
        self.check();
    }

    fn is_made(&self, address: &str) -> bool {
        self.hosts
            .get(address)
            .is_some_and(|host| host.made.is_some())
    }

    /// Those who have the address.
    fn at<'a>(&'a self, address: &'a str) -> impl Iterator<Item = Name> + 'a {
        let known = self.known.iter();
        let here = known.filter(move |(_, attributes)| attributes.address == address);
        here.map(|(name, _)| *name)
    }

    /// Who speaks for the address.
    fn speaker(&self, address: &str) -> Option<Name> {
        let order = |name: &Name| (self.known[name].rank(), *name);
        let kept = self.kept_at.iter().filter(|(_, at)| **at == address);
        let here = self.at(address).min_by_key(order);
        here.or_else(|| kept.map(|(name, _)| *name).min_by_key(order))
    }

    /// Those who have an endpoint, of whatever address.
    fn served(&self) -> BTreeSet<Name> {
        let names = self.known.iter().filter(|(name, attributes)| {
            self.is_made(attributes.address) || self.kept_at.contains_key(name)
        });
        names.map(|(name, _)| *name).collect()
    }

    fn apply(&mut self) {
        let instances = self.source.iter().map(|(name, attributes)| {
            Instance::new(key(*name), attributes.address)
                .with_weight(attributes.weight)
                .with_status(attributes.status)
                .with_lease(attributes.lease.map(LeaseId::from))
        });
        let abandoned = self.set.apply(&instances.collect(), self.now);

        let before = std::mem::replace(&mut self.known, self.source.clone());
        for (name, attributes) in &before {
            if self.is_made(attributes.address) && !self.kept_at.contains_key(name) {
                self.kept_at.insert(*name, attributes.address);
            }
        }
        for attributes in self.source.values() {
            self.hosts.entry(attributes.address).or_insert(Host {
                made: None,
                made_at: self.now,
                leases: Default::default(),
                running: None,
                is_waiting: false,
                failed: false,
                is_dead: false,
                pauses: false,
                due: self.now,
            });
        }
        let expected = self.drop_unneeded();
        self.schedule();
        assert_eq!(abandoned.into_iter().collect::<BTreeSet<_>>(), expected);
    }

    /// Drops what no instance needs, and returns the runs of addresses that no instance has.
    fn drop_unneeded(&mut self) -> BTreeSet<RunId> {
        let kept_at = std::mem::take(&mut self.kept_at).into_iter();
        let kept_at = kept_at.filter(|(name, _)| {
            let now = self.known.get(name);
            now.is_some_and(|now| !self.is_made(now.address))
        });
        self.kept_at = kept_at.collect();
        let mut hosts = std::mem::take(&mut self.hosts);
        let mut abandoned = BTreeSet::new();
        hosts.retain(|address, host| {
            if self.at(address).next().is_none() {
                abandoned.extend(host.running.take());
                (host.is_waiting, host.failed) = (false, false);
            }
            self.speaker(address).is_some()
        });
        self.hosts = hosts;
        abandoned
    }

    /// The runs that are needed and not there.
    fn schedule(&mut self) {
        let mut leases = BTreeMap::<_, BTreeSet<i64>>::new();
        for known in self.known.values() {
            leases.entry(known.address).or_default().extend(known.lease);
        }
        for (address, host) in &mut self.hosts {
            let Some(leases) = leases.get(address) else {
                continue;
            };
            let has_run = host.is_waiting || host.running.is_some();
            let is_renewed = self.is_per_registration && !leases.is_subset(&host.leases[0]);
            let is_needed = host.made.is_none() || host.is_dead || is_renewed;
            if has_run || !is_needed {
                continue;
            }
            host.is_waiting = true;
            host.due = self.now;
            if host.made.is_some() {
                host.pauses &= self.now - host.made_at < LONGEST;
                if std::mem::replace(&mut host.pauses, true) {
                    host.due += FIRST / 2;
                }
            }
        }
    }

    fn replace(&mut self, id: RunId) {
        self.read[&id].replace_target();
        self.set.replace_targets(self.now);
        let mut hosts = self.hosts.values_mut();
        if let Some(host) = hosts.find(|host| host.made == Some(id)) {
            host.is_dead = true;
            self.schedule();
        }
    }

    fn start(&mut self) {
        while let Some((id, instance)) = self.set.start_run(self.now) {
            let name = name(instance.key());
            let attributes = self.known[&name];
            let address = attributes.address;
            assert_eq!(instance.address(), address);
            assert_eq!(instance.weight(), attributes.weight);
            assert_eq!(self.speaker(address), Some(name));
            let leases = self.at(address).filter_map(|name| self.known[&name].lease);
            let leases = leases.collect();
            let host = self.hosts.get_mut(address).expect("it is there");
            host.leases[1] = leases;
            assert!(
                std::mem::take(&mut host.is_waiting),
                "made again for the same address"
            );
            assert!(host.due <= self.now, "too early");
            host.running = Some(id);
            assert!(self.started.insert(id, (address, self.now)).is_none());
        }
        let counted = self
            .running()
            .filter(|since| self.now < *since + COUNTED_FOR)
            .count();
        // It may have doubled as often as runs can have become silent since one answered.
        let since_answer = self.now - self.answered_at;
        let doublings = since_answer.as_millis() / COUNTED_FOR.as_millis() + 1;
        let most = self.limit << doublings.min(16);
        assert!(counted <= most, "{counted} of {most} at once");
        // Whoever could be started was.
        let wake = self.set.wake_at();
        assert!(
            wake.is_none_or(|at| at > self.now),
            "{wake:?} at {:?}",
            self.now
        );
        let waits = self.hosts.values().any(|host| host.is_waiting);
        assert_eq!(wake.is_some(), waits);
    }

    /// When the factories that are wanted were started.
    fn running(&self) -> impl Iterator<Item = Instant> {
        let running = self.hosts.values().filter_map(|host| host.running);
        running.map(|id| self.started[&id].1)
    }

    fn finish(&mut self, id: RunId, ok: bool) {
        let failure = || FactoryError::Panicked("refused".into());
        let made = if ok { Ok(id) } else { Err(failure()) };
        self.set.finish_run(id, made, self.now);
        let Some((address, _)) = self.started.remove(&id) else {
            return;
        };
        let Some(host) = self.hosts.get_mut(address) else {
            return;
        };
        if host.running.take_if(|running| *running == id).is_none() {
            return;
        }
        host.failed = !ok;
        self.answered_at = self.now;
        if ok {
            host.pauses &= host.made.is_some();
            host.made = Some(id);
            host.leases[0] = std::mem::take(&mut host.leases[1]);
            host.made_at = self.now;
            host.is_dead = false;
        } else {
            host.is_waiting = true;
            host.pauses = true;
            host.due = self.now + FIRST / 2;
        }
        self.drop_unneeded();
        self.schedule();
    }

    fn read(&mut self) {
        let changed = self.set.changed();
        let update = self.set.table_update();
        self.writer.update(update, || NoEndpoints::Empty);
        let table = self.table.load();
        let rows: Vec<Row> = table
            .iter()
            .map(|endpoint| {
                let id = *endpoint.target();
                self.read.insert(id, endpoint.clone());
                let address = endpoint.address().to_owned();
                (
                    name(endpoint.key()),
                    id,
                    address,
                    endpoint.weight(),
                    endpoint.status(),
                )
            })
            .collect();
        assert!(changed || rows == self.last, "an unannounced change");
        let made = self.hosts.iter().filter_map(|(address, host)| {
            let name = self.speaker(address)?;
            Some((self.known[&name].rank(), (name, host.made?, *address)))
        });
        let made: BTreeSet<_> = made.collect();
        let best = made.first().map(|(rank, _)| *rank);
        let best = made.into_iter().filter(|(rank, _)| Some(*rank) == best);
        let expected: Vec<_> = best
            .map(|(_, (name, id, address))| (name, id, address.to_owned()))
            .collect();
        let there = rows
            .iter()
            .map(|(name, id, address, ..)| (*name, *id, address.clone()));
        assert_eq!(there.collect::<Vec<_>>(), expected);
        for (name, _, address, weight, status) in &rows {
            let attributes = self.known[name];
            let is_current = *address == attributes.address;
            assert!(!is_current || (*weight, *status) == (attributes.weight, attributes.status));
        }
        self.last = rows;
    }

    fn check(&self) {
        let hosts = self.hosts.values();
        let making = hosts.filter(|host| host.is_waiting || host.running.is_some());
        assert_eq!(self.set.making(), making.count());
        assert_eq!(self.set.instances().unwrap_or(0), self.known.len());
        let failed = self.hosts.iter().filter(|(_, host)| host.failed);
        let failed: Vec<_> = failed.map(|(address, _)| *address).collect();
        let failures: Vec<_> = self.set.failures().keys().map(|it| &**it).collect();
        assert_eq!(failures, failed);
    }

    /// The source and all factories but those of one address are well from now on.
    fn settle(&mut self) {
        self.apply();
        // Long enough for a key that has changed too often.
        for _ in 0..40 {
            self.start();
            for (id, (address, _)) in self.started.clone() {
                self.finish(id, address != ADDRESSES[3]);
            }
            self.check();
            self.now += LONGEST;
        }
        for attributes in self.known.values() {
            let address = attributes.address;
            let is_done = self.is_made(address) && !self.hosts[address].is_dead;
            assert!(is_done || address == ADDRESSES[3]);
        }
        assert!(self.set.is_ready());
        self.read();
    }
}

proptest! {
    #![proptest_config(cases(4))]

    /// Including that an address has one endpoint, which is made once; and that an old one stays as
    /// long as there is no other.
    #[test]
    fn the_table_ends_equal_to_those_whose_factories_succeed(
        limit in 1..4_usize,
        is_per_registration in any::<bool>(),
        ops in prop::collection::vec(op(), 1..80),
    ) {
        let mut model = Model::new(limit, is_per_registration);
        for op in &ops {
            model.on(op);
        }
        model.settle();
    }
}
