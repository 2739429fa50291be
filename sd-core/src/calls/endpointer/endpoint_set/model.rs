//! The endpoint set against a model of a service and its factories.

use super::*;
use crate::{
    calls::run_queue::COUNTED_FOR,
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
    Read,
    Pass(u64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Attributes {
    address: &'static str,
    weight: u32,
    status: Status,
}

fn op() -> impl Strategy<Value = Op> {
    let name = || 0..5_u8;
    let status = prop_oneof![4 => Just(Status::Serving), 1 => Just(Status::Draining)];
    let address = prop::sample::select(ADDRESSES.to_vec());
    let attributes = (address, 0..3_u32, status).prop_map(|(address, weight, status)| Attributes {
        address,
        weight,
        status,
    });
    let index = any::<prop::sample::Index>();
    prop_oneof![
        5 => (name(), attributes).prop_map(|(name, attributes)| Op::Put(name, attributes)),
        2 => name().prop_map(Op::Remove),
        5 => Just(Op::Apply),
        5 => Just(Op::Start),
        8 => (index, any::<bool>()).prop_map(|(index, ok)| Op::Finish(index, ok)),
        3 => Just(Op::Read),
        3 => (0..1500_u64).prop_map(Op::Pass),
    ]
}

/// What is known of one instance.
#[derive(Debug, Clone)]
struct Known {
    attributes: Attributes,
    /// The run that its endpoint comes from, and its address.
    endpoint: Option<(RunId, &'static str)>,
    running: Option<RunId>,
    failed: bool,
    /// Not before that, after a failure.
    due: Instant,
}

impl Known {
    fn lacks(&self) -> bool {
        self.endpoint
            .is_none_or(|(_, address)| address != self.attributes.address)
    }

    fn rank(&self) -> Option<u8> {
        self.endpoint.map(|_| match self.attributes {
            Attributes {
                status: Status::Draining,
                ..
            } => 2,
            Attributes { weight: 0, .. } => 1,
            _ => 0,
        })
    }
}

struct Model {
    set: EndpointSet<RunId>,
    now: Instant,
    limit: usize,
    /// What the source will say.
    source: BTreeMap<Name, Attributes>,
    known: BTreeMap<Name, Known>,
    started: BTreeMap<RunId, (Name, &'static str, Instant)>,
    last: Vec<Row>,
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
    fn new(limit: usize) -> Self {
        Self {
            set: EndpointSet::new(limit, Backoff::new(FIRST, LONGEST)),
            now: Instant::now(),
            limit,
            source: BTreeMap::new(),
            known: BTreeMap::new(),
            started: BTreeMap::new(),
            last: Vec::new(),
        }
    }

    fn on(&mut self, op: &Op) {
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
            Op::Read => self.read(),
            Op::Pass(millis) => self.now += Duration::from_millis(*millis),
        }
        self.check();
    }

    fn apply(&mut self) {
        let instances = self.source.iter().map(|(name, attributes)| {
            Instance::new(key(*name), attributes.address)
                .with_weight(attributes.weight)
                .with_status(attributes.status)
        });
        let abandoned = self.set.apply(&instances.collect(), self.now);

        let mut expected = BTreeSet::new();
        self.known.retain(|name, known| {
            let stays = self.source.contains_key(name);
            expected.extend(known.running.filter(|_| !stays));
            stays
        });
        for (name, attributes) in &self.source {
            let known = self.known.entry(*name).or_insert(Known {
                attributes: *attributes,
                endpoint: None,
                running: None,
                failed: false,
                due: self.now,
            });
            if known.attributes.address != attributes.address {
                expected.extend(known.running.take());
                known.failed = false;
                known.due = self.now;
            }
            known.attributes = *attributes;
        }
        assert_eq!(abandoned.into_iter().collect::<BTreeSet<_>>(), expected);
    }

    fn start(&mut self) {
        while let Some((id, instance)) = self.set.start_run(self.now) {
            let name = name(instance.key());
            let known = self.known.get_mut(&name).expect("it is there");
            assert_eq!(*instance.address(), *known.attributes.address);
            assert_eq!(instance.weight(), known.attributes.weight);
            assert!(known.lacks(), "made again for the same address");
            assert_eq!(known.running, None, "made twice at once");
            assert!(known.due <= self.now, "too early");
            known.running = Some(id);
            let run = (name, known.attributes.address, self.now);
            assert!(self.started.insert(id, run).is_none());
        }
        let counted = self
            .running()
            .filter(|since| self.now < *since + COUNTED_FOR)
            .count();
        assert!(counted <= self.limit);
        // Whoever could be started was.
        let wake = self.set.wake_at();
        assert!(
            wake.is_none_or(|at| at > self.now),
            "{wake:?} at {:?}",
            self.now
        );
        let waits = self
            .known
            .values()
            .any(|it| it.lacks() && it.running.is_none());
        assert_eq!(wake.is_some(), waits);
    }

    /// When the factories that are wanted were started.
    fn running(&self) -> impl Iterator<Item = Instant> {
        let running = self.known.values().filter_map(|known| known.running);
        running.map(|id| self.started[&id].2)
    }

    fn finish(&mut self, id: RunId, ok: bool) {
        let failure = || FactoryError::Panicked("refused".into());
        let made = if ok { Ok(id) } else { Err(failure()) };
        self.set.finish_run(id, made, self.now);
        let Some((name, address, _)) = self.started.remove(&id) else {
            return;
        };
        let Some(known) = self.known.get_mut(&name) else {
            return;
        };
        if known.running.take_if(|running| *running == id).is_none() {
            return;
        }
        known.failed = !ok;
        if ok {
            known.endpoint = Some((id, address));
        } else {
            known.due = self.now + FIRST / 2;
        }
    }

    fn read(&mut self) {
        let changed = self.set.changed();
        let table = self.set.table();
        let rows: Vec<Row> = table
            .iter()
            .map(|endpoint| {
                let id = *endpoint.target();
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
        let best = self.known.values().filter_map(Known::rank).min();
        let expected = self.known.iter().filter(|(_, known)| known.rank() == best);
        let expected: Vec<_> = expected
            .filter_map(|(name, known)| {
                let (id, address) = known.endpoint?;
                Some((*name, id, address.to_owned()))
            })
            .collect();
        let there = rows
            .iter()
            .map(|(name, id, address, ..)| (*name, *id, address.clone()));
        assert_eq!(there.collect::<Vec<_>>(), expected);
        for (name, _, address, weight, status) in &rows {
            let attributes = self.known[name].attributes;
            let is_current = *address == attributes.address;
            assert!(!is_current || (*weight, *status) == (attributes.weight, attributes.status));
        }
        self.last = rows;
    }

    fn check(&self) {
        let lacking = self.known.values().filter(|known| known.lacks()).count();
        assert_eq!(self.set.making(), lacking);
        assert_eq!(self.set.instances().unwrap_or(0), self.known.len());
        let failed = self.known.iter().filter(|(_, known)| known.failed);
        let failed: Vec<_> = failed.map(|(name, _)| *name).collect();
        let failures: Vec<_> = self.set.failures().keys().map(name).collect();
        assert_eq!(failures, failed);
    }

    /// The source and all factories but those of one address are well from now on.
    fn settle(&mut self) {
        self.apply();
        for _ in 0..10 {
            self.start();
            for (id, (_, address, _)) in self.started.clone() {
                self.finish(id, address != ADDRESSES[3]);
            }
            self.check();
            self.now += LONGEST;
        }
        for known in self.known.values() {
            assert!(!known.lacks() || known.attributes.address == ADDRESSES[3]);
        }
        assert!(self.set.is_ready());
        self.read();
    }
}

proptest! {
    #![proptest_config(cases(4))]

    /// Including that no endpoint is made again while its address stays, and that an old one stays
    /// as long as there is no other.
    #[test]
    fn the_table_ends_equal_to_those_whose_factories_succeed(
        limit in 1..4_usize,
        ops in prop::collection::vec(op(), 1..80),
    ) {
        let mut model = Model::new(limit);
        for op in &ops {
            model.on(op);
        }
        model.settle();
    }
}
