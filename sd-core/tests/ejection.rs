//! One of ten endpoints fails at once and is well again later, with an ejection and a slow start, in
//! virtual time.

#![allow(clippy::unwrap_used, reason = "a test")]

use sd_core::{
    Balancer, Ejection, Endpoint, FixedEndpointer, Instance, Key, Outcome, SlowStart,
    WeightedRandom,
};
use std::{ops::Range, time::Duration};
use tokio::time::Instant;

const CALLS_A_SECOND: u64 = 1000;
/// When, in seconds, the endpoint fails.
const FAILING: Range<f64> = 10.0..130.0;

#[derive(Default)]
struct Calls {
    all: u64,
    /// To the endpoint that fails for some time.
    to_it: u64,
    failed: u64,
}

/// Makes calls until so many seconds after the start.
async fn call_until(balancer: &impl Balancer, start: Instant, end: f64) -> Calls {
    let mut calls = Calls::default();
    loop {
        let now = start.elapsed().as_secs_f64();
        if now >= end {
            return calls;
        }
        let pick = balancer.endpoint().unwrap();
        let is_it = pick.address() == "3";
        let fails = is_it && FAILING.contains(&now);
        pick.report(if fails {
            Outcome::Failure
        } else {
            Outcome::Success
        });
        calls.all += 1;
        calls.to_it += u64::from(is_it);
        calls.failed += u64::from(fails);
        tokio::time::sleep(Duration::from_millis(1000 / CALLS_A_SECOND)).await;
    }
}

/// Six standard deviations of the number of calls that one endpoint gets, if each of `calls` goes to
/// it with probability `share`.
fn by_chance(calls: u64, share: f64) -> f64 {
    6.0 * (calls as f64 * share * (1.0 - share)).sqrt()
}

#[tokio::test(start_paused = true)]
async fn who_fails_costs_few_calls_and_gets_its_share_back_when_it_is_well() {
    fastrand::seed(10);
    let endpoint = |n: u8| {
        let key = Key::new(format!("/hello/{n}")).unwrap();
        Endpoint::new(Instance::new(key, n.to_string()), ())
    };
    let ejection = Ejection::new(FixedEndpointer::new((0..10).map(endpoint)));
    let mut status = ejection.status();
    let balancer = WeightedRandom::new(SlowStart::new(ejection));
    let start = Instant::now();

    let before = call_until(&balancer, start, FAILING.start).await;
    let expected = before.all as f64 / 10.0;
    assert!((before.to_it as f64 - expected).abs() < by_chance(before.all, 0.1));
    assert!(status.borrow_and_update().ejected.is_empty());

    let first = call_until(&balancer, start, FAILING.start + 1.0).await;
    assert!(first.failed > 0);
    let failing = call_until(&balancer, start, FAILING.end).await;
    assert!(failing.all > 100 * CALLS_A_SECOND);
    let failed = failing.failed as f64 / failing.all as f64;
    assert!(failed < 0.005, "{failed}");

    // Its third ejection, at about 100 s, takes 90 s.
    let until = status.borrow_and_update().ejected[0].until;
    let until = (until - start).as_secs_f64();
    assert!((180.0..200.0).contains(&until), "{until}");
    let ejected = call_until(&balancer, start, until).await;
    assert_eq!(ejected.to_it, 0);

    // A tenth of its weight for two of twenty steps.
    let eased = call_until(&balancer, start, until + 3.0).await;
    let share = 0.1 / 9.1;
    let most = eased.all as f64 * share + by_chance(eased.all, share);
    assert!(
        eased.to_it > 0 && (eased.to_it as f64) < most,
        "{} calls",
        eased.to_it
    );
    call_until(&balancer, start, until + 32.0).await;
    let after = call_until(&balancer, start, until + 72.0).await;
    let expected = after.all as f64 / 10.0;
    assert!(
        (after.to_it as f64 - expected).abs() < by_chance(after.all, 0.1),
        "{} calls",
        after.to_it
    );
    assert_eq!(after.failed, 0);
}
