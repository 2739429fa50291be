//! The promises of an ejection, for any order of outcomes, additions, removals and time.

use super::*;
use crate::{
    calls::{
        adapters::ejection::{DeriveEjection, options::SuccessRateEjection},
        derived::Derive,
        endpoint::Endpoint,
        endpoint_source::EndpointSource,
        endpoint_table::EndpointTable,
        endpointer::FixedEndpointer,
        observer::{EndedCall, Observer, Outcome},
    },
    instances::Instance,
    registry::Key,
    support::cases,
};
use proptest::prelude::*;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

const ADDRESSES: u8 = 24;

/// What happens.
#[derive(Debug, Clone)]
enum Op {
    /// Calls to an address end.
    Calls(u8, Outcome, u8),
    Add(u8),
    Remove(u8),
    /// All are removed but so many.
    Truncate(u8),
    /// Milliseconds pass.
    Pass(u64),
}

fn op() -> impl Strategy<Value = Op> {
    let address = || 0..ADDRESSES;
    let outcome = prop_oneof![
        3 => Just(Outcome::Success),
        6 => Just(Outcome::Failure),
        1 => Just(Outcome::TimedOut),
        1 => Just(Outcome::Overloaded),
        1 => Just(Outcome::Cancelled),
    ];
    prop_oneof![
        12 => (address(), outcome, 1..60_u8).prop_map(|(address, outcome, n)| Op::Calls(address, outcome, n)),
        3 => address().prop_map(Op::Add),
        3 => address().prop_map(Op::Remove),
        1 => address().prop_map(Op::Truncate),
        6 => (0..40_000_u64).prop_map(Op::Pass),
    ]
}

fn options() -> impl Strategy<Value = Options> {
    let percents = (0..=100_u8, 0..=100_u8);
    (percents, prop::bool::weighted(0.8)).prop_map(|((most, panic), consecutive)| Options {
        max_ejection_percent: most,
        panic_percent: panic,
        consecutive_failures: consecutive.then_some(3),
        success_rate: Some(SuccessRateEjection {
            request_volume: 20,
            minimum_hosts: 3,
            stdev_factor: 1.0,
        }),
        ..Options::default()
    })
}

struct Model {
    derive: DeriveEjection<()>,
    options: Options,
    now: Instant,
    all: BTreeMap<u8, Arc<Endpoint<()>>>,
    source: FixedEndpointer<()>,
    /// Who was ejected after the last step, and until when, in the set or not.
    ejected: BTreeMap<Arc<str>, Instant>,
    /// Those that a call to has ever failed, or that were refused one.
    failed: BTreeSet<u8>,
}

fn endpoint(address: u8) -> Arc<Endpoint<()>> {
    let name = format!("{address:02}");
    Arc::new(Endpoint::new(
        Instance::new(Key::new(&*name).unwrap(), name),
        (),
    ))
}

impl Model {
    fn new(options: Options) -> Self {
        let now = Instant::now();
        let (derive, _) = DeriveEjection::new(options.clone(), Nudge::default(), now);
        let all: BTreeMap<_, _> = (0..12).map(|n| (n, endpoint(n))).collect();
        let mut model = Self {
            derive,
            options,
            now,
            all,
            source: FixedEndpointer::unknown(),
            ejected: BTreeMap::new(),
            failed: BTreeSet::new(),
        };
        model.derive();
        model
    }

    fn run(&mut self, op: &Op) {
        match op {
            Op::Calls(address, outcome, count) => {
                let name = format!("{address:02}");
                let Some(counts) = self.derive.detector.counts(&name) else {
                    return;
                };
                if !matches!(outcome, Outcome::Success | Outcome::Cancelled) {
                    self.failed.insert(*address);
                }
                for _ in 0..*count {
                    counts.ended(&EndedCall {
                        outcome: *outcome,
                        answered_after: None,
                        duration: Duration::ZERO,
                        ended_at: None,
                    });
                }
            }
            Op::Add(address) => {
                let endpoint = endpoint(*address);
                self.all.entry(*address).or_insert(endpoint);
            }
            Op::Remove(address) => {
                self.all.remove(address);
            }
            Op::Truncate(left) => self.all.retain(|address, _| address < left),
            Op::Pass(millis) => {
                let end = self.now + Duration::from_millis(*millis);
                while self.derive.detector.wake_at() < end {
                    self.now = self.derive.detector.wake_at();
                    self.derive();
                }
                self.now = end;
            }
        }
        self.derive();
    }

    /// Derives the table, and checks it.
    fn derive(&mut self) {
        self.source.set_shared(self.all.values().cloned());
        let endpoints = self.source.endpoints();
        let (contents, again) = self.derive.derive(&endpoints, self.now);
        let derived = EndpointTable::new();
        derived.set(contents);
        let table = derived.load();
        let detector = &self.derive.detector;
        let in_set: Vec<_> = detector.ejected().cloned().collect();
        let (all, ejected) = (self.all.len(), in_set.len());

        assert!(again > Some(self.now));
        let most = (all * usize::from(self.options.max_ejection_percent) / 100).max(1);
        assert!(ejected <= most, "{ejected} of {all}");
        let least = self.options.panic_percent;
        let is_enough = table.len() * 100 >= all * usize::from(least);
        assert!(
            is_enough,
            "{} of {all} are left, with {least} %",
            table.len()
        );
        assert_eq!(
            table.in_panic(),
            (all - ejected) * 100 < all * usize::from(least)
        );

        let used: BTreeSet<_> = table.iter().map(|one| one.address().to_owned()).collect();
        for (address, origin) in &self.all {
            let name = format!("{address:02}");
            let is_ejected = in_set.iter().any(|one| *one.address == *name);
            assert_eq!(
                used.contains(&name),
                !is_ejected || table.in_panic(),
                "{name}"
            );
            assert!(!is_ejected || self.failed.contains(address), "{name}");
            let derived = table.iter().find(|one| one.address() == name);
            assert!(derived.is_none_or(|one| one.shares_target_with(origin)));
        }
        assert_eq!(used.len(), table.len());
        assert!(table.len() <= all, "none that is gone");

        let hosts = detector.hosts.values();
        let now: BTreeMap<_, _> = hosts
            .filter_map(|host| host.ejected.as_ref())
            .map(|one| (one.address.clone(), one.until))
            .collect();
        assert!(now.values().all(|until| *until > self.now));
        let are_known = |(address, until): (&Arc<str>, &Instant)| {
            *until <= self.now || now.get(address) == Some(until)
        };
        // Nobody returns early but for want of room.
        assert!(ejected == most || self.ejected.iter().all(are_known));
        let absent = now.len() - ejected;
        assert_eq!(
            detector.hosts.len(),
            all + absent,
            "nobody else is remembered"
        );
        self.ejected = now;
    }
}

proptest! {
    #![proptest_config(cases(1))]

    #[test]
    fn enough_are_left_and_nobody_is_ejected_without_reason_or_for_ever(
        options in options(),
        ops in prop::collection::vec(op(), 1..80),
    ) {
        let mut model = Model::new(options);
        for op in &ops {
            model.run(op);
        }
        // Without calls all return, also those that had to wait for room to be ejected.
        for _ in 0..ADDRESSES {
            if model.ejected.is_empty() {
                break;
            }
            model.run(&Op::Pass(300_000));
        }
        assert_eq!(model.ejected.len(), 0);
        assert_eq!(model.derive.detector.hosts.len(), model.all.len());
    }
}
