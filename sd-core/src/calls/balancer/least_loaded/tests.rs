//! Least loaded, in virtual time.

use super::{
    super::{
        Balancer, DRAWS,
        tests::{instance, weighted},
    },
    *,
};
use crate::calls::{endpoint::Endpoint, endpointer::FixedEndpointer, observer::Outcome};
use proptest::prelude::*;
use std::{cmp::Reverse, collections::BinaryHeap, sync::Arc, time::Duration};

const TEN_SECONDS: Duration = Duration::from_secs(10);

type Source = Arc<FixedEndpointer<()>>;

/// `count` endpoints of the same weight.
fn equals(count: usize) -> Source {
    of_weights(&vec![1; count])
}

/// Endpoints of these weights, whose keys are their numbers.
fn of_weights(weights: &[u32]) -> Source {
    let names: Vec<_> = (0..weights.len()).map(|n| format!("{n:03}")).collect();
    let names = names.iter().map(String::as_str);
    Arc::new(weighted(
        &names.zip(weights.iter().copied()).collect::<Vec<_>>(),
    ))
}

fn pending(source: Source) -> LeastLoaded<Source> {
    LeastLoaded::new(source)
}

fn peak_ewma(source: Source) -> LeastLoaded<Source> {
    LeastLoaded::builder(source).peak_ewma(TEN_SECONDS).build()
}

fn number(endpoint: &Endpoint<()>) -> usize {
    endpoint.key().as_str().parse().unwrap()
}

/// How the endpoint with this number does: after how many milliseconds on average, and whether it
/// fails.
type Behaviour = fn(usize) -> (f64, Outcome);

fn all_take_ten(_: usize) -> (f64, Outcome) {
    (10.0, Outcome::Success)
}

/// Clients that make one call after the other, each of exponential duration, in virtual time.
struct Clients<'b> {
    balancer: &'b LeastLoaded<Source>,
    calls: Vec<Option<Pick<()>>>,
    /// When the calls end, in microseconds, by the number of the client.
    ends: BinaryHeap<Reverse<(u64, usize)>>,
    /// The calls of each endpoint.
    counts: Vec<u32>,
    /// The most calls that were in flight at one endpoint.
    most_pending: usize,
    /// In microseconds.
    now: u64,
}

impl<'b> Clients<'b> {
    fn new(balancer: &'b LeastLoaded<Source>, clients: usize) -> Self {
        let ends = (0..clients).map(|client| Reverse((0, client)));
        Self {
            balancer,
            calls: (0..clients).map(|_| None).collect(),
            ends: ends.collect(),
            counts: Vec::new(),
            most_pending: 0,
            now: 0,
        }
    }

    /// Makes this many calls, and counts those of each endpoint.
    async fn make(&mut self, calls: u32, behaviour: Behaviour) -> Vec<u32> {
        self.counts = vec![0; self.balancer.source().endpoints().len()];
        for _ in 0..calls {
            self.make_one(behaviour).await;
        }
        std::mem::take(&mut self.counts)
    }

    async fn make_one(&mut self, behaviour: Behaviour) {
        let Reverse((end, client)) = self.ends.pop().unwrap();
        // tokio's time has a resolution of a millisecond.
        let millis = end / 1000 - self.now / 1000;
        if millis > 0 {
            tokio::time::advance(Duration::from_millis(millis)).await;
        }
        self.now = end;
        if let Some(call) = self.calls[client].take() {
            call.report(behaviour(number(&call)).1);
        }
        let call = self.balancer.endpoint().unwrap();
        let called = number(&call);
        self.counts[called] += 1;
        self.most_pending = self.most_pending.max(call.host().load().pending());
        let mean = behaviour(called).0 * 1000.0;
        let duration = -(1.0 - fastrand::f64()).ln() * mean;
        self.ends.push(Reverse((end + duration as u64, client)));
        self.calls[client] = Some(call);
    }
}

/// Six standard deviations of the share of `calls` that an event of probability `share` has, by the
/// binomial distribution.
fn six_sigma(share: f64, calls: u32) -> f64 {
    6.0 * (share * (1.0 - share) / f64::from(calls)).sqrt()
}

fn endpoint_gets(counts: &[u32], number: usize, share: f64, off: f64) {
    let calls: u32 = counts.iter().sum();
    let got = f64::from(counts[number]) / f64::from(calls);
    let bound = off + six_sigma(share, calls);
    assert!(
        (got - share).abs() <= bound,
        "{number}: {got} instead of {share} ± {bound} of {counts:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn every_endpoint_gets_its_share_by_weight_however_many_calls_are_in_flight() {
    fastrand::seed(1);
    let canary = [198, 1, 1];
    for weights in [
        &[5, 1, 1, 1, 1, 1][..],
        &[2, 1],
        &canary,
        &[1, 2, 3, 4, 5, 6],
        &[1; 10],
    ] {
        let total: u32 = weights.iter().sum();
        for clients in [1, 2, 5, 20, 200] {
            let balancer = pending(of_weights(weights));
            let counts = Clients::new(&balancer, clients)
                .make(10_000, all_take_ten)
                .await;
            for (number, weight) in weights.iter().enumerate() {
                let share = f64::from(*weight) / f64::from(total);
                endpoint_gets(&counts, number, share, 0.02);
            }
        }
    }
}

fn the_first_is_ten_times_slower(number: usize) -> (f64, Outcome) {
    let slower = if number == 0 { 10.0 } else { 1.0 };
    (10.0 * slower, Outcome::Success)
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_is_ten_times_slower_gets_few_calls() {
    const CALLS: u32 = 10_000;
    fastrand::seed(2);
    for clients in [20, 100] {
        let balancer = pending(equals(10));
        let mut made = Clients::new(&balancer, clients);
        let counts = made.make(CALLS, the_first_is_ten_times_slower).await;
        // It never has more in flight than the most loaded one and one, and each takes 100 ms.
        let expected = (made.most_pending + 1) as f64 * made.now as f64 / 100_000.0;
        let bound = expected + 6.0 * expected.sqrt();
        assert!(f64::from(counts[0]) <= bound, "{bound} {counts:?}");
        assert!(counts[0] < CALLS / 10 / 2, "{counts:?}");
    }
    for clients in [5, 20, 100] {
        let balancer = peak_ewma(equals(10));
        let mut made = Clients::new(&balancer, clients);
        let counts = made.make(CALLS, the_first_is_ten_times_slower).await;
        // With as many calls in flight as the others, it would get a tenth of their calls.
        let share = 1.0 / 91.0;
        let bound = f64::from(CALLS) * (share + six_sigma(share, CALLS));
        assert!(f64::from(counts[0]) <= bound, "{bound} {counts:?}");
    }
}

fn the_first_is_ten_times_faster(number: usize) -> (f64, Outcome) {
    let faster = if number == 0 { 0.1 } else { 1.0 };
    (10.0 * faster, Outcome::Success)
}

fn the_first_fails_at_once(number: usize) -> (f64, Outcome) {
    match number {
        0 => (0.0, Outcome::Failure),
        _ => (10.0, Outcome::Success),
    }
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_fails_at_once_attracts_nothing() {
    fastrand::seed(3);
    for (count, clients) in [(2, 1), (2, 20), (10, 1), (10, 20), (10, 100)] {
        for balancer in [pending(equals(count)), peak_ewma(equals(count))] {
            let mut made = Clients::new(&balancer, clients);
            // Before, it was the fastest one.
            made.make(1000, the_first_is_ten_times_faster).await;
            let began = made.now;
            let counts = made.make(10_000, the_first_fails_at_once).await;
            // It is picked if its failures in the current second, and what is in flight, are not
            // more than what is in flight at another one. Or if it is drawn each time.
            let seconds = (made.now - began) / 1_000_000 + 2;
            let balanced = seconds as f64 * (made.most_pending + 1) as f64;
            let drawn = 10_000.0 * (count as f64).powi(-2 - DRAWS as i32);
            let bound = balanced + drawn + 6.0 * drawn.sqrt();
            assert!(f64::from(counts[0]) <= bound, "{bound} {counts:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_penalty_failures_count_as_quick_answers() {
    fastrand::seed(4);
    let balancer = LeastLoaded::builder(equals(10)).failure_penalty(0).build();
    let counts = Clients::new(&balancer, 20)
        .make(5000, the_first_fails_at_once)
        .await;
    assert!(
        f64::from(counts[0]) > 5000.0 * (0.1 + six_sigma(0.1, 5000)),
        "{counts:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_is_fast_again_is_found_within_seconds() {
    fastrand::seed(5);
    let balancer = peak_ewma(equals(10));
    let mut clients = Clients::new(&balancer, 20);
    let slow = |number| match number {
        0 => (1000.0, Outcome::Success),
        _ => (10.0, Outcome::Success),
    };
    clients.make(4000, slow).await;
    let well = clients.now;
    clients.make(8000, all_take_ten).await;
    assert!(clients.now - well < 5_000_000, "nearly 1/e is left");
    let counts = clients.make(5000, all_take_ten).await;
    assert!(counts[0] > 250, "half of its share: {counts:?}");
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_stays_slow_is_looked_at_seldom_by_clients_of_few_calls() {
    fastrand::seed(6);
    let source = equals(2);
    let balancer = peak_ewma(source.clone());
    let mut looked = 0;
    const CALLS: u32 = 2000;
    for _ in 0..CALLS {
        tokio::time::advance(Duration::from_secs(2)).await;
        let call = balancer.endpoint().unwrap();
        let is_slow = number(&call) == 0;
        looked += u32::from(is_slow);
        let takes = if is_slow { 10_000 } else { 10 };
        tokio::time::advance(Duration::from_millis(takes)).await;
        call.report(Outcome::Success);
    }
    // One time in 16, and when its latency is forgotten: not within 46 s, which are 22 calls.
    let share = 1.0 / 16.0 + 1.0 / 22.0;
    let bound = f64::from(CALLS) * (share + six_sigma(share, CALLS));
    assert!(looked > 0 && f64::from(looked) <= bound, "{looked} {bound}");
}

/// The latency of the endpoint with this number, in milliseconds.
fn latency(source: &Source, number: usize) -> Option<u32> {
    let now = Millis::of(Instant::now());
    let endpoints = source.endpoints();
    let load = endpoints[number].host().load();
    let seconds = load.latency(now, Decay::new(TEN_SECONDS))?;
    Some((seconds * 1000.0).round() as u32)
}

async fn pass(millis: u64) {
    tokio::time::advance(Duration::from_millis(millis)).await;
}

#[tokio::test(start_paused = true)]
async fn the_latency_is_that_of_the_answer() {
    let source = equals(1);
    let balancer = peak_ewma(source.clone());
    assert_eq!(latency(&source, 0), None);
    let stream = balancer.endpoint().unwrap();
    pass(20).await;
    assert_eq!(latency(&source, 0), None);
    stream.answered();
    assert_eq!(latency(&source, 0), Some(20));
    pass(10).await;
    stream.report(Outcome::Success);
    assert_eq!(latency(&source, 0), Some(20));

    let call = balancer.endpoint().unwrap();
    pass(30).await;
    call.report(Outcome::Success);
    assert_eq!(latency(&source, 0), Some(30));
}

#[tokio::test(start_paused = true)]
async fn calls_without_an_answer_raise_the_latency_and_never_lower_it() {
    for outcome in [
        Outcome::Failure,
        Outcome::Overloaded,
        Outcome::TimedOut,
        Outcome::Cancelled,
    ] {
        let source = equals(1);
        let balancer = peak_ewma(source.clone());
        for (takes, then) in [
            (5, None),
            (1500, Some(1500)),
            (1, Some(1500)),
            (2000, Some(2000)),
        ] {
            let call = balancer.endpoint().unwrap();
            pass(takes).await;
            call.report(outcome);
            assert_eq!(latency(&source, 0), then, "{outcome} after {takes}");
        }
        let call = balancer.endpoint().unwrap();
        pass(1).await;
        call.answered();
        pass(5000).await;
        call.report(outcome);
        let decayed = 2000.0 * (-0.5001_f32).exp();
        assert_eq!(
            latency(&source, 0),
            Some(decayed.round() as u32),
            "{outcome}"
        );
    }
}

/// How many of 100 calls, which are cancelled at once, go to the endpoint with this number.
fn of_100(balancer: &LeastLoaded<Source>, to: usize) -> usize {
    let picked = |_: &i32| number(&balancer.endpoint().unwrap()) == to;
    (0..100).filter(picked).count()
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_without_history_gets_one_call_at_a_time() {
    fastrand::seed(7);
    let source = equals(2);
    let balancer = peak_ewma(source.clone());
    let call = balancer.endpoint().unwrap();
    let known = number(&call);
    pass(10).await;
    call.report(Outcome::Success);
    let unknown = 1 - known;
    assert!(of_100(&balancer, unknown) >= 60, "whenever it is drawn");
    let call = loop {
        let call = balancer.endpoint().unwrap();
        if number(&call) == unknown {
            break call;
        }
    };
    // Of 100 calls, 25 draw it twice, and one in 256 of these 8 times more.
    assert!(of_100(&balancer, unknown) <= 2);
    pass(5).await;
    call.report(Outcome::Success);
    assert!(of_100(&balancer, unknown) >= 60);
}

#[tokio::test(start_paused = true)]
async fn failures_count_and_cancelled_calls_do_not() {
    let source = equals(1);
    let balancer = pending(source.clone());
    for (outcome, failures) in [
        (Outcome::Success, 0),
        (Outcome::Cancelled, 0),
        (Outcome::Failure, 1),
        (Outcome::Overloaded, 2),
        (Outcome::TimedOut, 3),
    ] {
        balancer.endpoint().unwrap().report(outcome);
        let endpoints = source.endpoints();
        let load = endpoints[0].host().load();
        assert_eq!(
            load.failures(Millis::of(Instant::now())),
            failures,
            "{outcome}"
        );
    }
}

#[test]
fn the_load_is_shared_by_balancers_and_survives_a_change_of_weight() {
    fastrand::seed(8);
    let source = equals(2);
    let (balancer, other) = (pending(source.clone()), peak_ewma(source.clone()));
    let calls: Vec<_> = std::iter::repeat_with(|| balancer.endpoint().unwrap())
        .filter(|call| number(call) == 0)
        .take(2)
        .collect();
    // Of 100 calls, 25 draw it twice, and one in 256 of these 8 times more.
    assert!(of_100(&balancer, 0) <= 2);
    assert!(of_100(&other, 0) <= 2);
    let changed = source.endpoints()[0].with_weight_factor(0.9);
    let unchanged = source.endpoints()[1].clone();
    source.set_shared([Arc::new(changed), unchanged]);
    assert!(of_100(&balancer, 0) <= 2);
    drop(calls);
    assert!(of_100(&balancer, 0) >= 20);
}

#[test]
fn the_untried_come_first_and_of_these_the_less_loaded() {
    fastrand::seed(9);
    let source = equals(100);
    let instances: Vec<_> = (0..100).map(|n| instance(&format!("{n:03}"))).collect();
    for balancer in [pending(source.clone()), peak_ewma(source.clone())] {
        let pick = |tried: &[_]| {
            let context = PickContext::new().with_tried(tried);
            balancer.pick(&context).unwrap()
        };
        let calls: Vec<_> = (0..50).map(|_| pick(&instances[..99])).collect();
        assert!(calls.iter().all(|call| number(call) == 99));
        let untried = |_: &i32| number(&pick(&instances[..98])) == 98;
        // 99 is picked where the draws have missed the other one.
        assert!((0..100).filter(untried).count() >= 50);
        drop(pick(&instances));
    }
}

#[test]
fn no_endpoints_is_an_error_that_says_why() {
    let source = Arc::new(FixedEndpointer::unknown());
    for balancer in [pending(source.clone()), peak_ewma(source.clone())] {
        assert!(matches!(balancer.endpoint(), Err(NoEndpoints::Unknown)));
    }
    let balancer = pending(source.clone());
    source.set([]);
    assert!(matches!(balancer.endpoint(), Err(NoEndpoints::Empty)));
    source.set_shared(equals(1).endpoints().iter().cloned());
    assert!(balancer.endpoint().is_ok());
}

#[derive(Debug, Clone)]
enum Step {
    Pick { balancer: usize, tried: usize },
    Answered(usize),
    Report(usize, Outcome),
    Drop(usize),
    Reweigh(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let outcome = prop_oneof![
        Just(Outcome::Success),
        Just(Outcome::Failure),
        Just(Outcome::TimedOut),
        Just(Outcome::Cancelled),
    ];
    prop_oneof![
        4 => (0..3_usize, 0..4_usize).prop_map(|(balancer, tried)| Step::Pick { balancer, tried }),
        1 => (0..20_usize).prop_map(Step::Answered),
        2 => (0..20_usize, outcome).prop_map(|(call, outcome)| Step::Report(call, outcome)),
        2 => (0..20_usize).prop_map(Step::Drop),
        1 => (0..3_usize).prop_map(Step::Reweigh),
    ]
}

proptest! {
    #[test]
    fn the_calls_in_flight_are_those_that_have_not_ended_in_whatever_order(
        steps in prop::collection::vec(step(), 0..100),
    ) {
        let source = equals(3);
        let first = source.endpoints().to_vec();
        let instances: Vec<_> = first.iter().map(|one| one.instance().clone()).collect();
        let balancers =
            [pending(source.clone()), peak_ewma(source.clone()), pending(source.clone())];
        let mut calls: Vec<(Pick<()>, bool)> = Vec::new();
        for step in steps {
            match step {
                Step::Pick { balancer, tried } => {
                    let context = PickContext::new().with_tried(&instances[..tried]);
                    calls.push((balancers[balancer].pick(&context).unwrap(), false));
                }
                Step::Answered(call) if call < calls.len() => calls[call].0.answered(),
                Step::Report(call, outcome) if call < calls.len() => {
                    calls[call].0.report(outcome);
                    calls[call].1 = true;
                }
                Step::Drop(call) if call < calls.len() => drop(calls.swap_remove(call)),
                Step::Reweigh(heavier) => {
                    let factor = |n| if n == heavier { 1.0 } else { 0.3 };
                    let reweighed = first.iter().enumerate();
                    source.set(reweighed.map(|(n, one)| one.with_weight_factor(factor(n))));
                }
                _ => {}
            }
            for (n, endpoint) in first.iter().enumerate() {
                let in_flight = calls.iter().filter(|(call, ended)| !ended && number(call) == n);
                prop_assert_eq!(endpoint.host().load().pending(), in_flight.count());
            }
        }
        drop(calls);
        for endpoint in first {
            prop_assert_eq!(endpoint.host().load().pending(), 0);
        }
    }
}
