use super::*;
use crate::{
    calls::{
        balancer::{Balancer, RoundRobin},
        endpoint::Endpoint,
        endpointer::FixedEndpointer,
        no_endpoints::NoEndpoints,
        observer::Outcome,
        pick::Pick,
    },
    instances::Instance,
    registry::Key,
    support::Log,
};
use std::time::Duration;

fn endpoint(name: &str) -> Endpoint<()> {
    at(name, name)
}

fn at(name: &str, address: &str) -> Endpoint<()> {
    Endpoint::new(Instance::new(Key::new(name).unwrap(), address), ())
}

fn endpoints(names: &[&str]) -> Arc<FixedEndpointer<()>> {
    Arc::new(FixedEndpointer::new(
        names.iter().map(|name| endpoint(name)),
    ))
}

fn keys(source: &impl EndpointSource) -> Vec<String> {
    let endpoints = source.endpoints();
    endpoints.iter().map(|one| one.key().to_string()).collect()
}

/// Calls of the endpoint under a key of the table that fail.
fn fail(source: &impl EndpointSource<Target = ()>, key: &str, count: usize) {
    let endpoints = source.endpoints();
    let endpoint = endpoints.iter().find(|one| one.key().as_str() == key);
    for _ in 0..count {
        Pick::new(endpoint.unwrap().clone()).report(Outcome::Failure);
    }
}

/// Waits for what happens within an hour, if at all. The clock never stands still: there is always
/// another sweep.
async fn in_time<T>(wait: impl Future<Output = T>) -> T {
    let waited = tokio::time::timeout(Duration::from_secs(3600), wait).await;
    waited.expect("it never happens")
}

/// Waits until so many are ejected.
async fn ejected<S: EndpointSource>(ejection: &Ejection<S>, count: usize) -> Arc<EjectionStatus> {
    let mut status = ejection.status();
    let has = |status: &EjectionStatus| status.ejected.len() == count;
    let status = in_time(status.wait_for(has)).await.unwrap();
    // The table is set by the same turn of the task.
    tokio::task::yield_now().await;
    status
}

#[tokio::test(start_paused = true)]
async fn who_fails_gets_no_calls_for_the_ejection_time() {
    let log = Log::capture();
    // Not at the time of a sweep.
    let time = Duration::from_secs(33);
    let builder = Ejection::builder(endpoints(&["a", "b", "c"])).ejection_time(time, time);
    let ejection = Arc::new(builder.build());
    let balancer = RoundRobin::new(ejection.clone());
    let start = Instant::now();
    let mut failed = 0;
    for _ in 0..300 {
        let pick = balancer.endpoint().unwrap();
        if pick.key().as_str() == "b" {
            failed += 1;
            pick.report(Outcome::Failure);
        } else {
            pick.report(Outcome::Success);
        }
        tokio::task::yield_now().await;
    }
    assert_eq!(failed, 5);
    assert_eq!(start.elapsed(), Duration::ZERO, "no sweep was needed");
    let status = ejection.status().borrow();
    let text = "1 of 3 endpoints ejected: b for 33s: 5 calls in a row failed";
    assert_eq!(status.to_string(), text);
    assert_eq!(keys(&*ejection), ["a", "c"]);

    ejected(&ejection, 0).await;
    assert_eq!(start.elapsed(), time);
    assert_eq!(keys(&*ejection), ["a", "b", "c"]);
    let lines = [
        "WARN endpoint ejected address=b reason=5 calls in a row failed ejection_time=33s",
        "INFO endpoint no longer ejected address=b after=33s",
    ];
    assert_eq!(log.text(), lines);
}

#[tokio::test(start_paused = true)]
async fn an_ejection_outlasts_a_change_of_weight_and_a_removal() {
    let source = endpoints(&["a", "b", "c"]);
    let ejection = Ejection::new(source.clone());
    fail(&ejection, "b", 3);
    let heavy = |weight| {
        let [a, b, c] = ["a", "b", "c"].map(endpoint);
        let instance = Instance::clone(b.instance()).with_weight(weight);
        [a, b.with_instance(instance), c]
    };
    let mut versions = ejection.versions();
    versions.mark_unchanged();
    source.set(heavy(2));
    in_time(versions.changed()).await.unwrap();
    fail(&ejection, "b", 2);
    ejected(&ejection, 1).await;
    source.set(heavy(3));
    in_time(versions.changed()).await.unwrap();
    assert_eq!(keys(&ejection), ["a", "c"], "a new weight");
    source.set(["a", "c"].map(endpoint));
    ejected(&ejection, 0).await;
    source.set(heavy(4));
    ejected(&ejection, 1).await;
    assert_eq!(keys(&ejection), ["a", "c"], "back at its address");
}

#[tokio::test(start_paused = true)]
async fn two_keys_of_one_address_are_ejected_together() {
    let source = FixedEndpointer::new([at("a", "h:1"), at("b", "h:2"), at("c", "h:1")]);
    let ejection = Ejection::new(source);
    fail(&ejection, "a", 3);
    fail(&ejection, "c", 2);
    let status = ejected(&ejection, 1).await;
    assert_eq!((&*status.ejected[0].address, status.endpoints), ("h:1", 2));
    assert_eq!(keys(&ejection), ["b"]);
}

#[tokio::test(start_paused = true)]
async fn the_only_endpoint_is_used_although_it_is_ejected() {
    let log = Log::capture();
    let source = endpoints(&["a"]);
    let ejection = Ejection::new(source.clone());
    fail(&ejection, "a", 5);
    let status = ejected(&ejection, 1).await;
    assert!(status.in_panic && ejection.endpoints().in_panic());
    assert_eq!(keys(&ejection), ["a"]);
    let line = "WARN too few endpoints are healthy, using all \
                adapter=\"ejection\" healthy=0 endpoints=1";
    assert_eq!(log.text()[1..], [line]);

    source.set(["a", "b"].map(endpoint));
    let mut status = ejection.status();
    in_time(status.wait_for(|status| !status.in_panic))
        .await
        .unwrap();
    tokio::task::yield_now().await;
    assert_eq!(keys(&ejection), ["b"]);
    assert!(!ejection.endpoints().in_panic());
}

#[tokio::test(start_paused = true)]
async fn without_a_panic_threshold_the_callers_are_told() {
    let builder = Ejection::builder(endpoints(&["a"])).panic_percent(0);
    let ejection = Arc::new(builder.build());
    fail(&*ejection, "a", 5);
    ejected(&ejection, 1).await;
    let none = RoundRobin::new(ejection).endpoint().unwrap_err();
    assert_eq!(none.to_string(), "no endpoints: none of 1 is healthy");
}

#[tokio::test(start_paused = true)]
async fn an_empty_source_gives_its_own_reason() {
    let ejection = Arc::new(Ejection::new(FixedEndpointer::<()>::unknown()));
    let none = RoundRobin::new(ejection.clone()).endpoint().unwrap_err();
    assert!(matches!(none, NoEndpoints::Unknown));
    assert!(!ejection.endpoints().in_panic());
}

#[tokio::test(start_paused = true)]
async fn panic_below_is_panic_above() {
    let below = Ejection::new(endpoints(&["a"]));
    let ejection = Ejection::builder(below).consecutive_failures(None).build();
    assert!(!ejection.endpoints().in_panic());
    fail(&ejection, "a", 5);
    let mut versions = ejection.versions();
    while !ejection.endpoints().in_panic() {
        in_time(versions.changed()).await.unwrap();
    }
    assert!(!ejection.status().borrow().in_panic);
    assert_eq!(keys(&ejection), ["a"]);
}

#[tokio::test(start_paused = true)]
async fn a_sweep_that_changes_nothing_publishes_nothing() {
    let ejection = Ejection::new(endpoints(&["a", "b"]));
    let (before, mut status) = (ejection.endpoints().version(), ejection.status());
    status.borrow_and_update();
    tokio::time::sleep(Duration::from_secs(100)).await;
    assert_eq!(ejection.endpoints().version(), before);
    assert!(!status.has_changed().unwrap());
}

#[tokio::test(start_paused = true)]
async fn calls_of_endpoints_that_are_gone_harm_nobody() {
    let source = endpoints(&["a", "b"]);
    let ejection = Ejection::new(source.clone());
    let gone = Pick::new(ejection.endpoints()[1].clone());
    source.set([endpoint("a")]);
    let mut versions = ejection.versions();
    in_time(versions.wait_for(|version| *version == 2))
        .await
        .unwrap();
    gone.report(Outcome::Failure);
    tokio::time::sleep(Duration::from_secs(100)).await;
    assert_eq!(keys(&ejection), ["a"]);
}

#[tokio::test(start_paused = true)]
async fn many_ejections_are_some_lines() {
    let log = Log::capture();
    let names: Vec<_> = (0..200).map(|n| format!("{n:03}")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let builder = Ejection::builder(endpoints(&names)).max_ejection_percent(100);
    let ejection = builder.build();
    for name in &names {
        fail(&ejection, name, 5);
    }
    ejected(&ejection, 200).await;
    ejected(&ejection, 0).await;
    // Those of four endpoints, and those of panic.
    assert_eq!(log.text().len(), 2 * 4 + 2);
}

#[tokio::test(start_paused = true)]
async fn it_ends_with_its_owner() {
    let source = endpoints(&["a", "b"]);
    let ejection = Ejection::new(source.clone());
    let mut status = ejection.status();
    status.borrow_and_update();
    fail(&ejection, "a", 5);
    ejected(&ejection, 1).await;
    ejection.stop().await;
    assert_eq!(keys(&ejection), ["b"], "the table stays");
    status.changed().await.unwrap();
    assert!(status.changed().await.is_err(), "nobody will change it");
    drop(ejection);
    assert_eq!(Arc::strong_count(&source), 1);
}
