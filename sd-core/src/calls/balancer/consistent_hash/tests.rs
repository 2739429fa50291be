//! Tests of the balancer as a whole.

use super::{super::tests::instance, *};
use crate::{calls::endpointer::FixedEndpointer, instances::Instance};
use std::collections::BTreeMap;

/// An endpoint for each weight, with names from `a` on.
fn endpoints(weights: &[u32]) -> Vec<Endpoint<()>> {
    let endpoint = |(name, weight): (char, &u32)| {
        let instance = Instance::clone(&instance(&name.to_string()));
        Endpoint::new(instance.with_weight(*weight), ())
    };
    ('a'..).zip(weights).map(endpoint).collect()
}

fn balancer(weights: &[u32]) -> ConsistentHash<FixedEndpointer<()>> {
    ConsistentHash::new(FixedEndpointer::new(endpoints(weights)))
}

fn pick<S: EndpointSource>(balancer: &ConsistentHash<S>, key: u32) -> Pick<S::Target> {
    let key = key.to_be_bytes();
    let context = PickContext::new().with_hash_key(&key);
    balancer.pick(&context).unwrap()
}

fn counts(picks: impl Iterator<Item = Pick<()>>) -> BTreeMap<String, u32> {
    picks.fold(BTreeMap::new(), |mut counts, pick| {
        *counts.entry(pick.key().to_string()).or_default() += 1;
        counts
    })
}

const DRAWS: u32 = 40_000;

/// Six standard deviations of a binomial distribution, and what a slot more or less makes.
fn is_binomial(count: u32, share: f64) {
    let draws = f64::from(DRAWS);
    let bound = 6.0 * (draws * share * (1.0 - share)).sqrt() + draws / 65_537.0;
    assert!(
        (f64::from(count) - draws * share).abs() < bound,
        "{count} {share}"
    );
}

#[test]
fn keys_are_spread_by_weight() {
    let balancer = balancer(&[1, 2, 5]);
    let counts = counts((0..DRAWS).map(|key| pick(&balancer, key)));
    for (name, share) in [("a", 0.125), ("b", 0.25), ("c", 0.625)] {
        is_binomial(counts[name], share);
    }
}

#[test]
fn calls_without_a_key_are_spread_by_weight() {
    fastrand::seed(17);
    let balancer = balancer(&[1, 2, 5]);
    let counts = counts((0..DRAWS).map(|_| balancer.endpoint().unwrap()));
    for (name, share) in [("a", 0.125), ("b", 0.25), ("c", 0.625)] {
        is_binomial(counts[name], share);
    }
}

#[test]
fn every_process_has_the_same_endpoint_for_a_key() {
    // A change of these moves the keys of every user.
    let balancer = balancer(&[1, 1, 2, 3, 1]);
    let picks = (0..24).map(|key| pick(&balancer, key).key().to_string());
    assert_eq!(picks.collect::<String>(), "bdcdcdaadcadcadecddabddc");
}

#[test]
fn few_keys_move_when_an_endpoint_goes_and_all_return_with_it() {
    let balancer = balancer(&[1; 10]);
    let home = || -> Vec<_> {
        (0..DRAWS)
            .map(|key| pick(&balancer, key).key().clone())
            .collect()
    };
    let before = home();
    let mut rest = endpoints(&[1; 10]);
    rest.remove(3);
    balancer.source().set(rest);
    let moved = before
        .iter()
        .zip(home())
        .filter(|(before, now)| **before != *now);
    let draws = f64::from(DRAWS);
    assert!((moved.count() as f64) < draws * 0.12 + 6.0 * (draws * 0.12 * 0.88).sqrt());
    balancer.source().set(endpoints(&[1; 10]));
    assert!(home() == before);
}

#[test]
fn a_second_attempt_goes_elsewhere_and_always_to_the_same() {
    let balancer = balancer(&[1; 100]);
    for key in 0..50_u32 {
        let mut tried = Vec::new();
        let key = key.to_be_bytes();
        while tried.len() < 100 {
            let context = PickContext::new().with_hash_key(&key).with_tried(&tried);
            let picked = balancer.pick(&context).unwrap();
            assert!(!context.has_tried(&picked));
            assert_eq!(picked.key(), balancer.pick(&context).unwrap().key());
            let picked = picked.instance().clone();
            tried.push(picked);
        }
        let context = PickContext::new().with_hash_key(&key).with_tried(&tried);
        assert_eq!(balancer.pick(&context).unwrap().key(), tried[0].key());
    }
}

#[test]
fn an_endpoint_may_be_known_by_something_else() {
    let home = |addresses: [&str; 3]| -> Vec<_> {
        let endpoint = |(shard, address): (u32, &str)| {
            let instance = Instance::clone(&instance(address));
            Endpoint::new(instance.with_metadata("shard", shard.to_string()), shard)
        };
        let endpoints = FixedEndpointer::new((0..).zip(addresses).map(endpoint));
        let balancer = ConsistentHash::builder(endpoints)
            .identity(|instance| instance.metadata("shard").unwrap_or_default())
            .build();
        (0..1000)
            .map(|key| *pick(&balancer, key).target())
            .collect()
    };
    assert!(home(["a", "b", "c"]) == home(["d", "e", "f"]));
    assert!(home(["a", "b", "c"]) == home(["z", "y", "x"]));
}

#[test]
fn endpoints_are_observed_only_for_a_bound() {
    let source = Arc::new(FixedEndpointer::new(endpoints(&[1])));
    let plain = ConsistentHash::new(source.clone());
    let plain = pick(&plain, 1).endpoint().clone();
    assert!(Arc::ptr_eq(&plain, &source.endpoints()[0]));
    let bounded = ConsistentHash::builder(source).bounded_load(1.25).build();
    let bounded = pick(&bounded, 1).endpoint().clone();
    assert_eq!(bounded.observers().len(), 1);
}

#[test]
fn no_endpoints_is_an_error_that_says_why() {
    let source = Arc::new(FixedEndpointer::<()>::unknown());
    let balancer = ConsistentHash::builder(source.clone())
        .bounded_load(2.0)
        .build();
    assert!(matches!(balancer.endpoint(), Err(NoEndpoints::Unknown)));
    source.set([]);
    assert!(matches!(balancer.endpoint(), Err(NoEndpoints::Empty)));
}
