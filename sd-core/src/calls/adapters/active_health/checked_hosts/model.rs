//! The checked hosts against a model that remembers all results.

use super::*;
use crate::support::cases;
use proptest::prelude::*;

const ADDRESSES: [&str; 4] = ["a", "b", "c", "d"];

/// What happens.
#[derive(Debug, Clone)]
enum Op {
    /// These are in the set now.
    Set([bool; 4]),
    /// The checks that are due begin.
    Start,
    /// One of those that were ever started ends, wanted or not.
    Finish(prop::sample::Index, bool),
    /// Milliseconds pass.
    Pass(u64),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        1 => any::<[bool; 4]>().prop_map(Op::Set),
        4 => Just(Op::Start),
        6 => (any::<prop::sample::Index>(), any::<bool>()).prop_map(|(n, ok)| Op::Finish(n, ok)),
        3 => (0..12_000_u64).prop_map(Op::Pass),
    ]
}

fn options() -> impl Strategy<Value = Options> {
    let thresholds = (1..4_u32, 1..4_u32);
    (thresholds, any::<bool>(), 0..3_usize).prop_map(|(thresholds, use_unchecked, limit)| Options {
        unhealthy_threshold: thresholds.0,
        healthy_threshold: thresholds.1,
        use_unchecked,
        checks_at_once: limit,
        ..Options::default()
    })
}

/// A host, since it came.
#[derive(Default)]
struct Known {
    results: Vec<bool>,
    running: Option<RunId>,
    due: Option<Instant>,
}

impl Known {
    /// Whether it is healthy, by all results; `None` if nothing is known.
    fn verdict(&self, options: &Options) -> Option<bool> {
        let mut verdict = None;
        let mut row = 0;
        for (n, passed) in self.results.iter().enumerate() {
            let is_repeated = n > 0 && self.results[n - 1] == *passed;
            row = if is_repeated { row + 1 } else { 1 };
            let is_decided = match (verdict, passed) {
                (None, true) => true,
                (None, false) if !options.use_unchecked => true,
                (_, true) => row >= options.healthy_threshold,
                (_, false) => row >= options.unhealthy_threshold,
            };
            if is_decided {
                verdict = Some(*passed);
            }
        }
        verdict
    }
}

proptest! {
    #![proptest_config(cases(2))]

    #[test]
    fn a_verdict_is_what_the_last_results_say_and_every_host_is_checked_again(
        options in options(),
        ops in prop::collection::vec(op(), 1..120),
    ) {
        let mut hosts = CheckedHosts::new(options.clone());
        let mut now = Instant::now();
        let mut known: BTreeMap<&str, Known> = BTreeMap::new();
        let mut started: Vec<(RunId, &str)> = Vec::new();
        for op in ops {
            match op {
                Op::Set(are_there) => {
                    let there = ADDRESSES.iter().copied().zip(are_there);
                    let there: Vec<_> = there.filter(|(_, is)| *is).map(|(one, _)| one).collect();
                    let gone = hosts.set_addresses(there.iter().copied(), now);
                    for (address, run) in gone {
                        let host = known.remove(&*address);
                        prop_assert_eq!(host.map(|host| host.running), Some(run));
                    }
                    for address in there {
                        known.entry(address).or_insert_with(|| Known {
                            due: Some(now),
                            ..Known::default()
                        });
                    }
                }
                Op::Start => {
                    while let Some((id, address)) = hosts.start_check(now) {
                        let (address, host) = known.iter_mut().find(|one| *one.0 == &*address).unwrap();
                        let due = host.due.take();
                        prop_assert!(due.is_some_and(|due| due <= now), "not before the pause");
                        host.running = Some(id);
                        started.push((id, address));
                    }
                }
                Op::Finish(index, passed) if !started.is_empty() => {
                    let (id, address) = started[index.index(started.len())];
                    let result = if passed { Ok(()) } else { Err(HealthCheckError::TimedOut(Duration::ZERO)) };
                    let host = known.get_mut(address).filter(|host| host.running == Some(id));
                    let before = host.as_ref().and_then(|host| host.verdict(&options));
                    let change = hosts.finish_check(id, result, now);
                    let Some(host) = host else {
                        prop_assert!(change.is_none());
                        continue;
                    };
                    host.running = None;
                    host.due = Some(now + options.interval.mul_f64(1.0 - JITTER));
                    host.results.push(passed);
                    let after = host.verdict(&options);
                    let changes = match change {
                        None => before == after,
                        Some(Change::Healthy) => (before, after) == (None, Some(true)),
                        Some(Change::Recovered(_)) => (before, after) == (Some(false), Some(true)),
                        Some(Change::Unhealthy(_)) => before != after && after == Some(false),
                    };
                    prop_assert!(changes, "{:?} {:?}", before, after);
                }
                Op::Finish(..) => {}
                Op::Pass(millis) => now += Duration::from_millis(millis),
            }
            prop_assert_eq!(hosts.hosts.len(), known.len());
            for address in ADDRESSES {
                let verdict = hosts.verdicts().get(address);
                let verdict = verdict.map(|one| matches!(one, Verdict::Healthy));
                let expected = known.get(address).and_then(|host| host.verdict(&options));
                prop_assert_eq!(verdict, expected, "{}", address);
            }
        }
        // Nobody is forgotten.
        for _ in 0..10 {
            now += Duration::from_secs(12);
            while let Some((_, address)) = hosts.start_check(now) {
                known.remove(&*address);
            }
            known.retain(|_, host| host.running.is_none());
        }
        prop_assert!(known.is_empty());
    }
}
