//! A bound on the calls in flight to each endpoint, as a multiple of its share of all of them.

use crate::calls::{
    endpoint::Endpoint,
    observer::{EndedCall, Observer},
};
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicUsize, Ordering},
    },
};

/// The bound of one balancer, and the calls that its picks have in flight.
pub(super) struct LoadBound {
    factor: f64,
    all: Arc<AtomicUsize>,
    /// By address. Locked while a table is indexed, not by picks.
    hosts: Mutex<HashMap<Box<str>, Weak<CallsInFlight>>>,
}

/// The calls in flight to one address.
struct CallsInFlight {
    here: AtomicUsize,
    all: Arc<AtomicUsize>,
}

/// The endpoints of a table, observed, and their limits.
pub(super) struct BoundedEndpoints<E> {
    endpoints: Box<[Arc<Endpoint<E>>]>,
    limits: Box<[Limit]>,
    all: Arc<AtomicUsize>,
}

struct Limit {
    calls: Arc<CallsInFlight>,
    /// The part of all calls that it may have.
    part: f64,
}

impl LoadBound {
    /// At most `factor` times its share for each endpoint.
    pub(super) fn new(factor: f64) -> Self {
        Self {
            factor,
            all: Arc::default(),
            hosts: Mutex::default(),
        }
    }

    /// The endpoints of a new version of the table. The calls in flight are still counted.
    pub(super) fn bound<E>(&self, endpoints: &[Arc<Endpoint<E>>]) -> BoundedEndpoints<E> {
        // Several endpoints at one address have one limit together.
        let mut weights = HashMap::new();
        for endpoint in endpoints {
            *weights.entry(endpoint.address()).or_default() += endpoint.effective_weight() as f64;
        }
        let total: f64 = weights.values().sum();
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        let limits: Box<[_]> = endpoints
            .iter()
            .map(|endpoint| Limit {
                calls: self.calls_in_flight(&mut hosts, endpoint.address()),
                part: self.factor * weights[endpoint.address()] / total,
            })
            .collect();
        hosts.retain(|_, calls| calls.strong_count() > 0);
        let observed = endpoints.iter().zip(&limits);
        let observed = observed.map(|(one, limit)| one.observed_by(limit.calls.clone()));
        BoundedEndpoints {
            endpoints: observed.map(Arc::new).collect(),
            limits,
            all: self.all.clone(),
        }
    }

    fn calls_in_flight(
        &self,
        hosts: &mut HashMap<Box<str>, Weak<CallsInFlight>>,
        address: &str,
    ) -> Arc<CallsInFlight> {
        if let Some(calls) = hosts.get(address).and_then(Weak::upgrade) {
            return calls;
        }
        let calls = Arc::new(CallsInFlight {
            here: AtomicUsize::new(0),
            all: self.all.clone(),
        });
        hosts.insert(address.into(), Arc::downgrade(&calls));
        calls
    }
}

impl<E> BoundedEndpoints<E> {
    /// The endpoints, observed, in the order of the table.
    pub(super) fn endpoints(&self) -> &[Arc<Endpoint<E>>] {
        &self.endpoints
    }

    /// How many calls there will be with the one that is about to be made.
    pub(super) fn calls_with_one_more(&self) -> f64 {
        (self.all.load(Ordering::Relaxed) + 1) as f64
    }

    /// Whether an endpoint may have one more call, of so many calls.
    pub(super) fn has_room(&self, endpoint: usize, of_calls: f64) -> bool {
        // Within the capacity, which is rounded up: `here + 1 <= ceil(part * calls)`.
        let limit = &self.limits[endpoint];
        let here = limit.calls.here.load(Ordering::Relaxed);
        (here as f64) < limit.part * of_calls
    }
}

impl Observer for CallsInFlight {
    fn needs_times(&self) -> bool {
        false
    }

    fn picked(&self) {
        self.here.fetch_add(1, Ordering::Relaxed);
        self.all.fetch_add(1, Ordering::Relaxed);
    }

    fn ended(&self, _: &EndedCall) {
        self.here.fetch_sub(1, Ordering::Relaxed);
        self.all.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::super::ConsistentHash;
    use crate::{
        calls::{
            balancer::{Balancer, tests::instance},
            endpoint::Endpoint,
            endpoint_source::EndpointSource,
            endpointer::FixedEndpointer,
            pick::{Pick, PickContext},
        },
        instances::Instance,
    };
    use proptest::{collection::vec, prelude::*};

    type Bounded = ConsistentHash<FixedEndpointer<()>>;

    /// An endpoint for each weight, with names from `a` on.
    fn endpoints(weights: &[u32]) -> Vec<Endpoint<()>> {
        let endpoint = |(name, weight): (char, &u32)| {
            let instance = Instance::clone(&instance(&name.to_string()));
            Endpoint::new(instance.with_weight(*weight), ())
        };
        ('a'..).zip(weights).map(endpoint).collect()
    }

    fn bounded(factor: f64, endpoints: Vec<Endpoint<()>>) -> Bounded {
        let endpoints = FixedEndpointer::new(endpoints);
        ConsistentHash::builder(endpoints)
            .bounded_load(factor)
            .build()
    }

    fn pick(balancer: &Bounded, key: u8) -> Pick<()> {
        let context = PickContext::new();
        balancer.pick(&context.with_hash_key(&[key])).unwrap()
    }

    /// How many of `calls` are at this address.
    fn at(address: &str, calls: &[Pick<()>]) -> usize {
        calls
            .iter()
            .filter(|call| call.address() == address)
            .count()
    }

    fn is_idle(balancer: &Bounded) -> bool {
        let table = balancer.source().endpoints();
        let bounded = balancer.index.of(&table).bounded.as_ref().unwrap();
        // There is room for next to nothing only where there is no call.
        let idle = |endpoint| bounded.has_room(endpoint, 1e-9);
        bounded.calls_with_one_more() == 1.0 && (0..table.len()).all(idle)
    }

    #[test]
    fn a_key_keeps_its_endpoint_up_to_the_bound_and_spills_to_the_others() {
        let balancer = bounded(1.25, endpoints(&[1; 4]));
        let home = pick(&balancer, 1).address().to_owned();
        for _ in 0..10 {
            assert_eq!(pick(&balancer, 1).address(), home, "one call at a time");
        }
        let calls: Vec<_> = (0..100).map(|_| pick(&balancer, 1)).collect();
        // The bound of a hundred calls is 31.25.
        assert_eq!(at(&home, &calls), 32);
        drop(calls);
        assert!(is_idle(&balancer));
        assert_eq!(pick(&balancer, 1).address(), home);
    }

    #[test]
    fn a_bound_is_for_an_address_and_outlives_its_endpoint() {
        let one = || Endpoint::new(Instance::clone(&instance("a")), ());
        let other_key = Instance::new(instance("b").key().clone(), instance("a").address());
        let together = || vec![one(), Endpoint::new(other_key.clone(), ())];
        let elsewhere = Endpoint::new(instance("c"), ());
        let balancer = bounded(1.25, [together(), vec![elsewhere.clone()]].concat());
        let mut calls: Vec<_> = (0..60).map(|n| pick(&balancer, n)).collect();
        // Two thirds of 60 are 40, and 1.25 times that 50.
        assert!(at("a:1", &calls) <= 50 && at("c:1", &calls) <= 25);
        let before = at("a:1", &calls);
        balancer.source().set([elsewhere.clone()]);
        balancer.source().set([one(), elsewhere.clone()]);
        let idle = bounded(1.25, vec![one(), elsewhere]);
        let key = (0..u8::MAX).find(|key| pick(&idle, *key).address() == "a:1");
        calls.extend((0..60).map(|_| pick(&balancer, key.unwrap())));
        // Half of 120 are 60, and 1.25 times that 75.
        assert!(before > 30 && at("a:1", &calls) == 75);
    }

    #[derive(Debug, Clone)]
    enum Step {
        Pick(u8),
        End(usize),
        Replace(Vec<u32>),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            20 => (0..3_u8).prop_map(Step::Pick),
            10 => any::<usize>().prop_map(Step::End),
            1 => weights().prop_map(Step::Replace),
        ]
    }

    fn weights() -> impl Strategy<Value = Vec<u32>> {
        vec(prop_oneof![Just(1), 1..20_u32], 1..6)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

        #[test]
        fn no_pick_exceeds_the_bound_and_every_call_is_counted_until_its_end(
            mut weights in weights(),
            factor in 0.9..2.0_f64,
            steps in vec(step(), 1..100)
        ) {
            let balancer = bounded(factor, endpoints(&weights));
            let mut calls = Vec::new();
            for step in steps {
                match step {
                    Step::Pick(key) => {
                        calls.push(pick(&balancer, key));
                        let picked = &calls[calls.len() - 1];
                        let total: u32 = weights.iter().sum();
                        let share = f64::from(picked.weight()) / f64::from(total);
                        let bound = factor.max(1.05) * share * calls.len() as f64;
                        let there = at(picked.address(), &calls);
                        // A little more, since the bound is computed in another order.
                        prop_assert!((there - 1) as f64 <= bound * 1.000_001, "{there} {bound}");
                    }
                    Step::End(_) if calls.is_empty() => {}
                    Step::End(n) => drop(calls.swap_remove(n % calls.len())),
                    Step::Replace(with) => {
                        balancer.source().set(endpoints(&with));
                        weights = with;
                    }
                }
            }
            drop(calls);
            prop_assert!(is_idle(&balancer));
        }
    }
}
