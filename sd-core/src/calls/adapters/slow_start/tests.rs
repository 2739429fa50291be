use super::*;
use crate::{
    calls::{
        adapters::Ejection, endpointer::FixedEndpointer, no_endpoints::NoEndpoints,
        observer::Outcome, pick::Pick,
    },
    instances::Instance,
    registry::Key,
};

fn endpoint(name: &str) -> Arc<Endpoint<()>> {
    let instance = Instance::new(Key::new(name).unwrap(), name);
    Arc::new(Endpoint::new(instance, ()))
}

async fn pass(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    // The slow start's own timer may be due at the same time.
    tokio::task::yield_now().await;
}

fn weights(source: &impl EndpointSource) -> Vec<u64> {
    let endpoints = source.endpoints();
    endpoints.iter().map(|one| one.effective_weight()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_new_endpoint_is_eased_in_and_its_weight_can_change_meanwhile() {
    let [a, b, c] = ["a", "b", "c"].map(endpoint);
    let source = Arc::new(FixedEndpointer::unknown());
    source.set_shared([a.clone(), b.clone()]);
    let slow_start = SlowStart::new(source.clone());
    assert_eq!(weights(&slow_start), [1000, 1000], "at the start");
    pass(60).await;
    source.set_shared([a.clone(), b.clone(), c.clone()]);
    pass(0).await;
    assert_eq!(weights(&slow_start), [1000, 1000, 100]);
    pass(15).await;
    assert_eq!(weights(&slow_start), [1000, 1000, 500]);
    let heavy = Instance::clone(c.instance()).with_weight(4);
    let heavy = Arc::new(c.with_instance(heavy));
    source.set_shared([a.clone(), b.clone(), heavy.clone()]);
    pass(0).await;
    assert_eq!(weights(&slow_start), [1000, 1000, 2000]);
    pass(15).await;
    let table = slow_start.endpoints();
    let whole = table.iter().zip([&a, &b, &heavy]);
    assert!(whole.fold(true, |all, (one, other)| all && Arc::ptr_eq(one, other)));
}

#[tokio::test(start_paused = true)]
async fn a_table_is_published_with_a_step_and_not_more_often() {
    let [a, b, c] = ["a", "b", "c"].map(endpoint);
    let source = Arc::new(FixedEndpointer::unknown());
    source.set_shared([a.clone(), b.clone()]);
    let slow_start = SlowStart::new(source.clone());
    pass(60).await;
    let before = slow_start.endpoints().version();
    source.set_shared([a, b, c]);
    pass(100).await;
    // The addition, and the 18 steps in which the weight grows.
    assert_eq!(slow_start.endpoints().version() - before, 19);
}

#[tokio::test(start_paused = true)]
async fn what_an_ejection_lets_back_is_eased_in() {
    let source = FixedEndpointer::unknown();
    source.set_shared(["a", "b", "c"].map(endpoint));
    let slow_start = SlowStart::new(Ejection::new(source));
    pass(60).await;
    let failing = slow_start.endpoints()[1].clone();
    for _ in 0..5 {
        Pick::new(failing.clone()).report(Outcome::Failure);
    }
    pass(1).await;
    assert_eq!(weights(&slow_start), [1000, 1000]);
    pass(30).await;
    assert_eq!(weights(&slow_start), [1000, 100, 1000]);
    pass(32).await;
    assert_eq!(weights(&slow_start), [1000, 1000, 1000]);
}

#[tokio::test(start_paused = true)]
async fn it_passes_on_what_the_source_says_and_ends_with_its_owner() {
    let source = Arc::new(FixedEndpointer::<()>::unknown());
    let slow_start = SlowStart::new(source.clone());
    let none = slow_start.endpoints().non_empty().err();
    assert!(matches!(none, Some(NoEndpoints::Unknown)));
    source.set_shared([endpoint("a")]);
    pass(1).await;
    assert_eq!(slow_start.endpoints().len(), 1);
    slow_start.stop().await;
    source.set_shared([]);
    pass(1).await;
    assert_eq!(slow_start.endpoints().len(), 1, "the table stays");
    drop(slow_start);
    assert_eq!(Arc::strong_count(&source), 1);
}
