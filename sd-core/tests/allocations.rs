//! Picks allocate nothing, and neither does a retried call that need not be retried.

#![allow(clippy::unwrap_used, reason = "a test")]

use sd_core::{
    Balancer, ConsistentHash, Ejection, EndedCall, Endpoint, EndpointSource, FixedEndpointer,
    Instance, Key, LaneFallback, Lanes, LeaseId, LeastLoaded, Observer, Outcome, Pick, PickContext,
    Random, Retry, RoundRobin, SlowStart, Subset, Weighted, WeightedRandom, ZonePreference,
};
use std::sync::Arc;

const ENDPOINTS: usize = 100;

fn endpoints() -> Arc<FixedEndpointer<usize>> {
    let endpoint = |n| {
        let key = Key::new(format!("/services/hello/{n:03}")).unwrap();
        let instance = Instance::new(key, format!("10.0.0.1:{n}"))
            .with_weight(1 + n as u32 % 7)
            .with_zone(["north", "south"][n % 2])
            .with_metadata("version", ["stable", "canary"][n % 2]);
        Endpoint::new(instance, n)
    };
    Arc::new(FixedEndpointer::new((0..ENDPOINTS).map(endpoint)))
}

/// How many allocations 1,000 times `act` makes, once warm.
fn allocations(mut act: impl FnMut()) -> u64 {
    act();
    allocation_counter::measure(|| (0..1000).for_each(|_| act())).count_total
}

fn picks_allocate_nothing(balancer: impl Balancer<Target = usize>) {
    let tried: Vec<_> = (0..3)
        .map(|_| balancer.endpoint().unwrap().instance().clone())
        .collect();
    let context = PickContext::new().with_tried(&tried).with_hash_key(b"k");
    let plain = allocations(|| balancer.endpoint().unwrap().report(Outcome::Success));
    let again = allocations(|| drop(balancer.pick(&context).unwrap()));
    let in_lane = context.with_lane("canary");
    let in_lane = allocations(|| drop(balancer.pick(&in_lane).unwrap()));
    assert_eq!((plain, again, in_lane), (0, 0, 0));
}

#[test]
fn the_count_counts() {
    assert_eq!(allocations(|| drop(Box::new(1))), 1000);
}

#[test]
fn reading_the_endpoints_allocates_nothing() {
    let source = endpoints();
    let read = allocations(|| assert_eq!(source.endpoints().len(), ENDPOINTS));
    assert_eq!(read, 0);
}

#[test]
fn the_lease_of_an_instance_allocates_nothing() {
    // As long as etcd's.
    let [etcds, longer] = [
        "7587849142468224212",
        "adf4238a-882b-9ddc-4a9d-5b6758e4159e",
    ];
    assert_eq!(allocations(|| drop(LeaseId::new(etcds))), 0);
    let longer = LeaseId::new(longer);
    assert_eq!(allocations(|| drop(longer.clone())), 0);
}

#[test]
fn round_robin_allocates_nothing() {
    picks_allocate_nothing(RoundRobin::new(endpoints()));
}

#[test]
fn random_allocates_nothing() {
    picks_allocate_nothing(Random::new(endpoints()));
}

#[test]
fn weighted_random_allocates_nothing() {
    picks_allocate_nothing(WeightedRandom::new(endpoints()));
}

#[test]
fn least_loaded_allocates_nothing_whatever_the_outcome() {
    let pending = LeastLoaded::new(endpoints());
    let decay = std::time::Duration::from_secs(10);
    let peak_ewma = LeastLoaded::builder(endpoints()).peak_ewma(decay).build();
    for balancer in [pending, peak_ewma] {
        let failed = allocations(|| {
            let pick = balancer.endpoint().unwrap();
            pick.answered();
            pick.report(Outcome::Failure);
        });
        assert_eq!(failed, 0);
        picks_allocate_nothing(balancer);
    }
}

#[test]
fn weighted_allocates_nothing() {
    picks_allocate_nothing(Weighted::new(endpoints()));
}

#[test]
fn consistent_hash_allocates_nothing_with_a_bound_or_without() {
    picks_allocate_nothing(ConsistentHash::new(endpoints()));
    let bounded = ConsistentHash::builder(endpoints()).bounded_load(1.25);
    picks_allocate_nothing(bounded.build());
}

#[tokio::test]
async fn picks_through_adapters_allocate_nothing() {
    picks_allocate_nothing(RoundRobin::new(Subset::new(endpoints(), 20)));
    picks_allocate_nothing(RoundRobin::new(ZonePreference::new(endpoints(), "north")));
    let lanes = Lanes::new(endpoints(), "version", LaneFallback::Error);
    picks_allocate_nothing(RoundRobin::new(lanes.lane("canary")));
    picks_allocate_nothing(RoundRobin::new(Subset::new(lanes.all(), 20)));
}

#[tokio::test]
async fn the_lane_of_a_call_is_found_without_an_allocation() {
    let lanes = Lanes::new(endpoints(), "version", LaneFallback::All);
    let balancer = Arc::new(lanes.balancer(|lane| RoundRobin::new(Subset::new(lane, 20))));
    picks_allocate_nothing(balancer.clone());
    let elsewhere = PickContext::new().with_lane("nightly");
    let elsewhere = allocations(|| drop(balancer.pick(&elsewhere).unwrap()));
    assert_eq!(elsewhere, 0);
}

#[test]
fn a_pick_that_is_observed_allocates_nothing() {
    struct Load;
    impl Observer for Load {
        fn ended(&self, _: &EndedCall) {}
    }
    let endpoint = endpoints().endpoints()[0].observed_by(Arc::new(Load));
    let endpoint = Arc::new(endpoint.observed_by(Arc::new(Load)));
    let observed = allocations(|| {
        let pick = Pick::new(endpoint.clone());
        pick.answered();
        pick.report(Outcome::Success);
    });
    assert_eq!(observed, 0);
}

#[test]
fn a_pick_through_adapters_allocates_nothing() {
    // Their tasks do not run meanwhile.
    let runtime = runtime();
    let _entered = runtime.enter();
    let source = SlowStart::new(Ejection::new(endpoints()));
    let balancer = RoundRobin::new(source);
    let outcomes = [Outcome::Success, Outcome::Failure, Outcome::Overloaded];
    for outcome in outcomes {
        let called = allocations(|| balancer.endpoint().unwrap().report(outcome));
        assert_eq!(called, 0, "{outcome}");
    }
    picks_allocate_nothing(balancer);
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap()
}

#[test]
fn a_call_that_succeeds_at_first_allocates_nothing_or_the_pick_that_it_may_keep() {
    use futures::FutureExt;
    let runtime = runtime();
    let retry = Retry::<_, std::io::Error>::builder(RoundRobin::new(endpoints()))
        .per_try_timeout(std::time::Duration::from_secs(1))
        .wait_for_endpoints(std::time::Duration::MAX)
        .end_when_removed(true)
        .outcome(|_| Outcome::Failure)
        .build();
    runtime.block_on(async {
        let called = allocations(|| {
            let call = retry.call(async |endpoint| Ok(**endpoint));
            assert!(call.now_or_never().is_some_and(|answer| answer.is_ok()));
        });
        assert_eq!(called, 0);
        let context = PickContext::new();
        let called_with_pick = allocations(|| {
            let call = retry.call_with_pick(&context, async |pick| Ok(pick));
            assert!(call.now_or_never().is_some_and(|answer| answer.is_ok()));
        });
        assert_eq!(called_with_pick, 1000);
    });
}
