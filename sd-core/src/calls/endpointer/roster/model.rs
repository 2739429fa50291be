//! The roster against a model of a service and its factories.

use super::*;
use crate::support::{Backoff, cases};
use proptest::prelude::*;
use std::collections::BTreeSet;

const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(1);
/// The factory of the last never succeeds in the end.
const ADDRESSES: [&str; 4] = ["h:1", "h:2", "h:3", "h:4"];

type Name = u8;

/// What happens.
#[derive(Debug, Clone)]
enum Op {
    Put(Name, Looks),
    Remove(Name),
    /// The source says what there is.
    Apply,
    /// All factories that may run are started.
    Start,
    /// One of those that were ever started ends, wanted or not.
    Finish(prop::sample::Index, bool),
    Look,
    Pass(u64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Looks {
    address: &'static str,
    weight: u32,
    status: Status,
}

fn op() -> impl Strategy<Value = Op> {
    let name = || 0..5_u8;
    let status = prop_oneof![4 => Just(Status::Serving), 1 => Just(Status::Draining)];
    let address = prop::sample::select(ADDRESSES.to_vec());
    let looks = (address, 0..3_u32, status).prop_map(|(address, weight, status)| Looks {
        address,
        weight,
        status,
    });
    let index = any::<prop::sample::Index>();
    prop_oneof![
        5 => (name(), looks).prop_map(|(name, looks)| Op::Put(name, looks)),
        2 => name().prop_map(Op::Remove),
        5 => Just(Op::Apply),
        5 => Just(Op::Start),
        8 => (index, any::<bool>()).prop_map(|(index, ok)| Op::Finish(index, ok)),
        3 => Just(Op::Look),
        3 => (0..1500_u64).prop_map(Op::Pass),
    ]
}

/// What is known of one instance.
#[derive(Debug, Clone)]
struct Known {
    looks: Looks,
    /// The run that its endpoint comes from, and its address.
    endpoint: Option<(Ticket, &'static str)>,
    running: Option<Ticket>,
    failed: bool,
    /// Not before that, after a failure.
    due: Instant,
}

impl Known {
    fn lacks(&self) -> bool {
        self.endpoint
            .is_none_or(|(_, address)| address != self.looks.address)
    }

    fn rank(&self) -> Option<u8> {
        self.endpoint.map(|_| match self.looks {
            Looks {
                status: Status::Draining,
                ..
            } => 2,
            Looks { weight: 0, .. } => 1,
            _ => 0,
        })
    }
}

struct World {
    roster: Roster<Ticket>,
    now: Instant,
    at_once: usize,
    /// What the source will say.
    source: BTreeMap<Name, Looks>,
    known: BTreeMap<Name, Known>,
    started: BTreeMap<Ticket, (Name, &'static str, Instant)>,
    last: Vec<Row>,
}

/// What a pick sees of an endpoint: its key, the run that it comes from, the address it was made
/// for, and how it looks.
type Row = (Name, Ticket, String, u32, Status);

fn key(name: Name) -> Key {
    Key::new(name.to_string()).unwrap()
}

fn name(key: &Key) -> Name {
    key.as_str().parse().unwrap()
}

impl World {
    fn new(at_once: usize) -> Self {
        Self {
            roster: Roster::new(at_once, Backoff::new(FIRST, LONGEST)),
            now: Instant::now(),
            at_once,
            source: BTreeMap::new(),
            known: BTreeMap::new(),
            started: BTreeMap::new(),
            last: Vec::new(),
        }
    }

    fn on(&mut self, op: &Op) {
        match op {
            Op::Put(name, looks) => _ = self.source.insert(*name, *looks),
            Op::Remove(name) => _ = self.source.remove(name),
            Op::Apply => self.apply(),
            Op::Start => self.start(),
            Op::Finish(index, ok) => {
                if !self.started.is_empty() {
                    let ticket = *index.get(&self.started.keys().collect::<Vec<_>>());
                    self.finish(*ticket, *ok);
                }
            }
            Op::Look => self.look(),
            Op::Pass(millis) => self.now += Duration::from_millis(*millis),
        }
        self.check();
    }

    fn apply(&mut self) {
        let instances = self.source.iter().map(|(name, looks)| {
            Instance::new(key(*name), looks.address)
                .with_weight(looks.weight)
                .with_status(looks.status)
        });
        let abandoned = self.roster.apply(&instances.collect(), self.now);

        let mut expected = BTreeSet::new();
        self.known.retain(|name, known| {
            let stays = self.source.contains_key(name);
            expected.extend(known.running.filter(|_| !stays));
            stays
        });
        for (name, looks) in &self.source {
            let known = self.known.entry(*name).or_insert(Known {
                looks: *looks,
                endpoint: None,
                running: None,
                failed: false,
                due: self.now,
            });
            if known.looks.address != looks.address {
                expected.extend(known.running.take());
                known.failed = false;
                known.due = self.now;
            }
            known.looks = *looks;
        }
        assert_eq!(abandoned.into_iter().collect::<BTreeSet<_>>(), expected);
    }

    fn start(&mut self) {
        while let Some(Job { ticket, instance }) = self.roster.next_job(self.now) {
            let name = name(instance.key());
            let known = self.known.get_mut(&name).expect("it is there");
            assert_eq!(*instance.address(), *known.looks.address);
            assert_eq!(instance.weight(), known.looks.weight);
            assert!(known.lacks(), "made again for the same address");
            assert_eq!(known.running, None, "made twice at once");
            assert!(known.due <= self.now, "too early");
            known.running = Some(ticket);
            let run = (name, known.looks.address, self.now);
            assert!(self.started.insert(ticket, run).is_none());
        }
        let counted = self
            .running()
            .filter(|since| self.now < *since + PATIENCE)
            .count();
        assert!(counted <= self.at_once);
        // Whoever could be started was.
        let wake = self.roster.wake_at();
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
        running.map(|ticket| self.started[&ticket].2)
    }

    fn finish(&mut self, ticket: Ticket, ok: bool) {
        let failure = || FactoryError::Panicked("refused".into());
        let made = if ok { Ok(ticket) } else { Err(failure()) };
        self.roster.finished(ticket, made, self.now);
        let Some((name, address, _)) = self.started.remove(&ticket) else {
            return;
        };
        let Some(known) = self.known.get_mut(&name) else {
            return;
        };
        if known
            .running
            .take_if(|running| *running == ticket)
            .is_none()
        {
            return;
        }
        known.failed = !ok;
        if ok {
            known.endpoint = Some((ticket, address));
        } else {
            known.due = self.now + FIRST / 2;
        }
    }

    fn look(&mut self) {
        let changed = self.roster.changed();
        let table = self.roster.table();
        let rows: Vec<Row> = table
            .iter()
            .map(|endpoint| {
                let ticket = **endpoint.target();
                let address = endpoint.address().to_owned();
                (
                    name(endpoint.key()),
                    ticket,
                    address,
                    endpoint.weight(),
                    endpoint.status(),
                )
            })
            .collect();
        assert!(
            changed || rows == self.last,
            "a change that nobody hears of"
        );
        let best = self.known.values().filter_map(Known::rank).min();
        let expected = self.known.iter().filter(|(_, known)| known.rank() == best);
        let expected: Vec<_> = expected
            .filter_map(|(name, known)| {
                let (ticket, address) = known.endpoint?;
                Some((*name, ticket, address.to_owned()))
            })
            .collect();
        let there = rows
            .iter()
            .map(|(name, ticket, address, ..)| (*name, *ticket, address.clone()));
        assert_eq!(there.collect::<Vec<_>>(), expected);
        for (name, _, address, weight, status) in &rows {
            let looks = self.known[name].looks;
            let is_current = *address == looks.address;
            assert!(!is_current || (*weight, *status) == (looks.weight, looks.status));
        }
        self.last = rows;
    }

    fn check(&self) {
        let lacking = self.known.values().filter(|known| known.lacks()).count();
        assert_eq!(self.roster.making(), lacking);
        assert_eq!(self.roster.instances(), self.known.len());
        let failed = self.known.iter().filter(|(_, known)| known.failed);
        let failed: Vec<_> = failed.map(|(name, _)| *name).collect();
        let failures: Vec<_> = self.roster.failures().keys().map(name).collect();
        assert_eq!(failures, failed);
    }

    /// The source and all factories but those of one address are well from now on.
    fn settle(&mut self) {
        self.apply();
        for _ in 0..10 {
            self.start();
            for (ticket, (_, address, _)) in self.started.clone() {
                self.finish(ticket, address != ADDRESSES[3]);
            }
            self.check();
            self.now += LONGEST;
        }
        for known in self.known.values() {
            assert!(!known.lacks() || known.looks.address == ADDRESSES[3]);
        }
        assert!(self.roster.is_ready());
        self.look();
    }
}

proptest! {
    #![proptest_config(cases(4))]

    /// Including that no endpoint is made again while its address stays, and that an old one stays
    /// as long as there is no other.
    #[test]
    fn the_table_ends_equal_to_those_whose_factories_succeed(
        at_once in 1..4_usize,
        ops in prop::collection::vec(op(), 1..80),
    ) {
        let mut world = World::new(at_once);
        for op in &ops {
            world.on(op);
        }
        world.settle();
    }
}
