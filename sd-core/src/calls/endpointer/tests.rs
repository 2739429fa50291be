//! The endpointer as its callers see it, on paused time.

mod endings;
mod factories;
mod waiting;

use super::*;
use crate::{
    calls::{
        balancer::{Balancer, RoundRobin},
        endpoint::Endpoint,
        factory::{BoxError, FactoryError, async_factory_fn, factory_fn},
    },
    instances::{
        Event, EventPublisher, EventReader, Events, Health, Instance, Instances, Status, Trouble,
    },
    registry::{Error, Key, WatchError},
    support::{Log, denied},
};
use futures::FutureExt;
use std::{
    collections::BTreeMap,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};
use tokio::{
    sync::Notify,
    time::{Instant, advance, timeout},
};

/// A source that a test sets.
struct Scripted {
    publisher: Mutex<Option<EventPublisher>>,
    reader: EventReader,
}

impl Scripted {
    fn new() -> Arc<Self> {
        let (publisher, reader) = EventPublisher::channel();
        let publisher = Mutex::new(Some(publisher));
        Arc::new(Self { publisher, reader })
    }

    fn of(instances: impl IntoIterator<Item = Instance>) -> Arc<Self> {
        let source = Self::new();
        source.set(instances);
        source
    }

    fn instances(&self) -> Instances {
        let state = self.reader.state();
        state.map_or_else(Instances::default, |event| event.instances().clone())
    }

    fn set(&self, instances: impl IntoIterator<Item = Instance>) {
        // As an instancer does: what did not change is shared with the state before.
        let mut next = self.instances();
        next.update_to(&instances.into_iter().collect());
        self.publish(next, Health::Live);
    }

    fn stale(&self) {
        let why = WatchError::Disrupted(Error::unavailable("frozen"));
        self.stale_because(Trouble::Watch(why));
    }

    fn stale_because(&self, why: Trouble) {
        self.publish(self.instances(), Health::stale(Instant::now(), why));
    }

    fn publish(&self, instances: Instances, health: Health) {
        if let Some(publisher) = &*self.publisher.lock().unwrap() {
            publisher.publish(Event::new(0, instances).with_health(health));
        }
    }

    fn end(&self) {
        self.publisher.lock().unwrap().take();
    }
}

impl Source for Scripted {
    fn subscribe(&self) -> Events {
        self.reader.subscribe()
    }

    fn state(&self) -> Option<Event> {
        self.reader.state()
    }
}

fn key(name: &str) -> Key {
    Key::new(name).unwrap()
}

fn instance(name: &str, address: &str) -> Instance {
    Instance::new(key(name), address)
}

/// Makes of an instance its address, and counts.
fn counting(made: &Arc<AtomicUsize>) -> impl Factory<Target = String> + use<> {
    let made = made.clone();
    factory_fn(move |instance| {
        made.fetch_add(1, Ordering::Relaxed);
        Ok(instance.address().to_owned())
    })
}

fn addresses() -> impl Factory<Target = String> {
    factory_fn(|instance| Ok(instance.address().to_owned()))
}

/// What the table holds: names and targets.
fn table(endpointer: &Endpointer<String>) -> BTreeMap<String, String> {
    let names = |endpoint: &Arc<Endpoint<String>>| {
        (endpoint.key().to_string(), endpoint.target().to_string())
    };
    endpointer.endpoints().iter().map(names).collect()
}

fn pairs<const N: usize>(pairs: [(&str, &str); N]) -> BTreeMap<String, String> {
    let owned = pairs.map(|(name, target)| (name.to_owned(), target.to_owned()));
    owned.into()
}

/// Why the table is empty, as it has to be.
fn no_endpoints(endpointer: &Endpointer<String>) -> NoEndpoints {
    let endpoints = endpointer.endpoints();
    endpoints.non_empty().map(<[_]>::len).unwrap_err()
}

/// Waits until `condition` holds, a minute at most.
async fn until(what: &str, condition: impl Fn() -> bool) {
    let hold = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let held = timeout(Duration::from_secs(60), hold).await;
    assert!(held.is_ok(), "never: {what}");
}

async fn ready(endpointer: &Endpointer<String>) -> Result<(), NoEndpoints> {
    let ready = timeout(Duration::from_secs(60), endpointer.ready()).await;
    ready.expect("never ready")
}

async fn until_table<const N: usize>(endpointer: &Endpointer<String>, expected: [(&str, &str); N]) {
    let expected = pairs(expected);
    until(&format!("{expected:?}"), || table(endpointer) == expected).await;
}

#[tokio::test(start_paused = true)]
async fn endpoints_follow_the_instances() {
    let source = Scripted::of([instance("a", "h:1")]);
    let endpointer = Endpointer::new(source.clone(), addresses());
    ready(&endpointer).await.unwrap();
    assert_eq!(table(&endpointer), pairs([("a", "h:1")]));

    source.set([instance("a", "h:1"), instance("b", "h:2")]);
    until_table(&endpointer, [("a", "h:1"), ("b", "h:2")]).await;
    source.set([instance("b", "h:2")]);
    until_table(&endpointer, [("b", "h:2")]).await;
    source.set([]);
    until_table(&endpointer, []).await;
    assert!(matches!(no_endpoints(&endpointer), NoEndpoints::Empty));
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_is_kept_while_its_address_is_unchanged() {
    let made = Arc::default();
    let source = Scripted::of([instance("a", "h:1")]);
    let endpointer = Endpointer::new(source.clone(), counting(&made));
    ready(&endpointer).await.unwrap();
    let before = endpointer.endpoints()[0].clone();

    source.set([instance("a", "h:1").with_weight(7).with_zone("z")]);
    until("the weight", || endpointer.endpoints()[0].weight() == 7).await;
    let after = endpointer.endpoints()[0].clone();
    assert!(after.shares_target_with(&before));
    assert_eq!((before.weight(), after.zone()), (1, Some("z")));
    assert_eq!(made.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_goes_with_its_instance_but_not_from_under_a_call() {
    let source = Scripted::of([instance("a", "h:1")]);
    let shared = factory_fn(|instance| Ok(Arc::new(instance.address().to_owned())));
    let endpointer = Endpointer::new(source.clone(), shared);
    endpointer.ready().await.unwrap();
    let call = endpointer.endpoints()[0].clone();
    source.set([]);
    until("the empty table", || endpointer.endpoints().is_empty()).await;
    assert_eq!(***call, "h:1");
    let target = Arc::downgrade(call.target());
    drop(call);
    assert!(target.upgrade().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_call_hears_that_its_instance_is_gone() {
    let source = Scripted::of([instance("a", "h:1"), instance("b", "h:2")]);
    let endpointer = Endpointer::new(source.clone(), addresses());
    ready(&endpointer).await.unwrap();
    let [a, b] = [0, 1].map(|n| endpointer.endpoints()[n].clone());
    let waiting = tokio::spawn({
        let a = a.clone();
        async move { a.removed().await }
    });
    tokio::task::yield_now().await;
    source.set([instance("b", "h:2")]);
    let heard = timeout(Duration::from_secs(60), waiting).await;
    heard.unwrap().unwrap();
    assert!(a.removed().now_or_never().is_some());
    assert!(b.removed().now_or_never().is_none());
    endpointer.stop().await;
    drop(endpointer);
    assert!(b.removed().now_or_never().is_none(), "nobody knows");
}

#[tokio::test(start_paused = true)]
async fn draining_instances_are_the_last_resort() {
    let draining = |name, address| instance(name, address).with_status(Status::Draining);
    let source = Scripted::of([draining("a", "h:1"), instance("b", "h:2")]);
    let endpointer = Endpointer::new(source.clone(), addresses());
    ready(&endpointer).await.unwrap();
    assert_eq!(table(&endpointer), pairs([("b", "h:2")]));
    let none = instance("b", "h:2").with_weight(0);
    source.set([draining("a", "h:1"), none.clone(), instance("c", "h:3")]);
    until_table(&endpointer, [("c", "h:3")]).await;
    source.set([draining("a", "h:1"), none]);
    until_table(&endpointer, [("b", "h:2")]).await;
    source.set([draining("a", "h:1"), draining("b", "h:2")]);
    until_table(&endpointer, [("a", "h:1"), ("b", "h:2")]).await;
}

#[tokio::test(start_paused = true)]
async fn trouble_keeps_the_endpoints_by_default() {
    let source = Scripted::of([instance("a", "h:1")]);
    let endpointer = Endpointer::new(source.clone(), addresses());
    ready(&endpointer).await.unwrap();
    source.stale();
    tokio::time::sleep(Duration::from_secs(100_000)).await;
    assert_eq!(table(&endpointer), pairs([("a", "h:1")]));
    let status = endpointer.status().borrow().clone();
    assert!(matches!(status.health, Some(Health::Stale { .. })));
}

#[tokio::test(start_paused = true)]
async fn endpoints_are_invalidated_after_so_long_of_trouble_and_restored() {
    let made = Arc::default();
    let source = Scripted::of([instance("a", "h:1")]);
    let endpointer = Endpointer::builder(source.clone(), counting(&made))
        .invalidate_on_error(Duration::from_secs(10))
        .build();
    ready(&endpointer).await.unwrap();
    let endpointer = Arc::new(endpointer);
    let balancer = RoundRobin::new(endpointer.clone());

    source.stale();
    tokio::time::sleep(Duration::from_secs(9)).await;
    assert!(balancer.endpoint().is_ok());
    tokio::time::sleep(Duration::from_secs(2)).await;
    let error = balancer.endpoint().unwrap_err();
    assert!(
        matches!(error, NoEndpoints::Invalidated { .. }),
        "{error:?}"
    );
    let source_of = std::error::Error::source(&error).unwrap();
    assert_eq!(source_of.to_string(), "the registry does not answer");

    source.set([instance("a", "h:1")]);
    until_table(&endpointer, [("a", "h:1")]).await;
    assert_eq!(made.load(Ordering::Relaxed), 1);
}

/// Hostile row 4: whoever fills a prefix does not take the endpoints away.
#[tokio::test(start_paused = true)]
async fn a_full_prefix_invalidates_no_endpoints() {
    let source = Scripted::of([instance("a", "h:1")]);
    let endpointer = Endpointer::builder(source.clone(), addresses())
        .invalidate_on_error(Duration::from_secs(10))
        .build();
    ready(&endpointer).await.unwrap();
    source.stale_because(Trouble::OverLimits {
        instances: 1,
        bytes: 400,
    });
    tokio::time::sleep(Duration::from_secs(1_000)).await;
    assert_eq!(table(&endpointer), pairs([("a", "h:1")]));
    source.stale();
    tokio::time::sleep(Duration::from_secs(11)).await;
    assert_eq!(table(&endpointer), pairs([]));
}

#[tokio::test(start_paused = true)]
async fn many_instances_arrive_in_few_tables() {
    let source = Scripted::of((0..5000).map(|n| instance(&format!("{n:05}"), &format!("h:{n}"))));
    let endpointer = Endpointer::new(source, addresses());
    ready(&endpointer).await.unwrap();
    let endpoints = endpointer.endpoints();
    assert_eq!(endpoints.len(), 5000);
    assert!(endpoints.is_sorted_by_key(|endpoint| endpoint.key().clone()));
    assert!(endpoints.version() <= 21, "{}", endpoints.version());
}

#[tokio::test(start_paused = true)]
async fn other_tables_are_announced() {
    let source = Scripted::of([instance("a", "h:1")]);
    let endpointer = Endpointer::new(source.clone(), addresses());
    ready(&endpointer).await.unwrap();
    let mut versions = endpointer.versions();
    let seen = *versions.borrow_and_update();
    source.set([]);
    let changed = timeout(Duration::from_secs(60), versions.changed()).await;
    changed.unwrap().unwrap();
    assert!(*versions.borrow() > seen);
    assert_eq!(endpointer.endpoints().version(), *versions.borrow());
}

#[tokio::test(start_paused = true)]
async fn a_status_is_one_line_for_the_log() {
    let source = Scripted::new();
    let factory = async_factory_fn(async |instance: Instance| match instance.address() {
        "slow:1" => std::future::pending().await,
        "bad:1" => Err("refused".into()),
        address => Ok(address.to_owned()),
    });
    let endpointer = Endpointer::builder(source.clone(), factory)
        .invalidate_on_error(Duration::from_secs(1))
        .factory_timeout(Duration::from_secs(600))
        .build();
    let text = || endpointer.status().borrow().to_string();
    assert_eq!(text(), "0 endpoints, the instances are not known yet");
    source.set([("a", "h:1"), ("b", "bad:1"), ("c", "slow:1")].map(|(a, b)| instance(a, b)));
    let some = "1 endpoint for 3 instances, 1 being made, 1 failing";
    until(some, || text() == some).await;
    source.stale();
    let none = "0 endpoints for 3 instances, 1 being made, 1 failing, \
                stale: the registry does not answer: the registry is unavailable: frozen, invalidated";
    until(none, || text() == none).await;
}
