//! The endpointer as its callers see it, on paused time.

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
        let why = Trouble::Watch(WatchError::Disrupted(Error::unavailable("frozen")));
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
async fn not_known_yet_differs_from_known_to_be_empty() {
    let source = Scripted::new();
    let endpointer = Endpointer::new(source.clone(), addresses());
    advance(Duration::from_secs(10)).await;
    assert!(matches!(no_endpoints(&endpointer), NoEndpoints::Unknown));
    assert_eq!(endpointer.status().borrow().instances, None);

    source.set([]);
    ready(&endpointer).await.unwrap();
    assert!(matches!(no_endpoints(&endpointer), NoEndpoints::Empty));
    assert_eq!(endpointer.status().borrow().instances, Some(0));
}

#[tokio::test(start_paused = true)]
async fn instances_without_endpoints_are_not_unknown() {
    let factory = async_factory_fn(async |_| std::future::pending().await);
    let endpointer = Endpointer::<String>::new(Scripted::of([instance("a", "h:1")]), factory);
    let unmade = || {
        matches!(
            no_endpoints(&endpointer),
            NoEndpoints::FactoryPending {
                instances: 1,
                why: None
            }
        )
    };
    until("another reason", unmade).await;
    let status = endpointer.status().borrow().clone();
    assert_eq!((status.instances, status.making), (Some(1), 1));
    assert!(!status.is_ready());
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
async fn a_caller_gets_another_target_for_a_dead_one() {
    let made = Arc::default();
    let source = Scripted::of([instance("a", "h:1")]);
    let endpointer = Arc::new(Endpointer::new(source, counting(&made)));
    ready(&endpointer).await.unwrap();
    let balancer = RoundRobin::new(endpointer.clone());
    let pick = balancer.endpoint().unwrap();
    pick.replace_target();
    let other = || !balancer.endpoint().unwrap().shares_target_with(&pick);
    until("another target", other).await;
    pick.replace_target();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(made.load(Ordering::Relaxed), 2);

    endpointer.stop().await;
    balancer.endpoint().unwrap().replace_target();
    let nobody_s = Endpoint::new(instance("a", "h:1"), ());
    nobody_s.replace_target();
}

#[tokio::test(start_paused = true)]
async fn the_old_endpoint_stays_until_the_new_address_works() {
    let broken = Arc::new(Mutex::new(true));
    let factory = {
        let broken = broken.clone();
        factory_fn(move |instance| match instance.address() {
            "h:2" if *broken.lock().unwrap() => Err("refused".into()),
            address => Ok(address.to_owned()),
        })
    };
    let source = Scripted::of([instance("a", "h:1")]);
    let endpointer = Endpointer::new(source.clone(), factory);
    ready(&endpointer).await.unwrap();

    source.set([instance("a", "h:2")]);
    let status = endpointer.status();
    until("a failure", || status.borrow().failures().len() == 1).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(table(&endpointer), pairs([("a", "h:1")]));
    assert_eq!(endpointer.endpoints()[0].address(), "h:1");
    {
        let status = status.borrow();
        let (failing, failure) = status.failures().next().unwrap();
        assert_eq!((failing.as_str(), &*failure.address), ("a", "h:2"));
        assert!(failure.attempts > 2, "{failure:?}");
        assert_eq!(failure.error.to_string(), "refused");
    }

    *broken.lock().unwrap() = false;
    until_table(&endpointer, [("a", "h:2")]).await;
    until("no failure", || status.borrow().failures().len() == 0).await;
}

#[tokio::test(start_paused = true)]
async fn a_waiting_factory_holds_up_nobody() {
    // More of them than may run at once, for longer than the others are ready to wait.
    let slow = |n| instance(&format!("slow{n:02}"), &format!("slow:{n}"));
    let factory = async_factory_fn(async |instance: Instance| {
        if instance.address().starts_with("slow") {
            std::future::pending::<()>().await;
        }
        Ok(instance.address().to_owned())
    });
    let source = Scripted::of((0..10).map(slow).chain([instance("z", "h:1")]));
    let endpointer = Endpointer::builder(source, factory)
        .factories_at_once(4)
        .factory_timeout(Duration::from_secs(60))
        .build();
    let begun = Instant::now();
    until_table(&endpointer, [("z", "h:1")]).await;
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn a_host_that_answers_has_an_endpoint_within_a_second_behind_thousands_that_do_not() {
    for dead in [100, 1_000, 5_000] {
        let factory = async_factory_fn(async |instance: Instance| {
            if instance.address().starts_with("dead") {
                std::future::pending::<()>().await;
            }
            Ok(instance.address().to_owned())
        });
        let dead_hosts = (0..dead).map(|n| instance(&format!("a{n:04}"), &format!("dead:{n}")));
        let source = Scripted::of(dead_hosts.chain([instance("z", "h:1")]));
        let endpointer = Endpointer::new(source, factory);
        let begun = Instant::now();
        until_table(&endpointer, [("z", "h:1")]).await;
        let first = begun.elapsed();
        assert!(first < Duration::from_secs(1), "{first:?} behind {dead}");
        ready(&endpointer).await.unwrap();
        let all = begun.elapsed();
        // The timeout of the factory, and the turns.
        assert!(all < Duration::from_secs(6), "{all:?} with {dead}");
    }
}

#[tokio::test(start_paused = true)]
async fn no_more_factories_run_at_once_than_allowed() {
    let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let factory = {
        let (running, most) = (running.clone(), most.clone());
        async_factory_fn(move |instance: Instance| {
            let (running, most) = (running.clone(), most.clone());
            async move {
                most.fetch_max(
                    running.fetch_add(1, Ordering::Relaxed) + 1,
                    Ordering::Relaxed,
                );
                tokio::time::sleep(Duration::from_millis(50)).await;
                running.fetch_sub(1, Ordering::Relaxed);
                Ok(instance.address().to_owned())
            }
        })
    };
    let source = Scripted::of((0..100).map(|n| instance(&format!("{n}"), &format!("h:{n}"))));
    let endpointer = Endpointer::builder(source, factory)
        .factories_at_once(8)
        .build();
    ready(&endpointer).await.unwrap();
    assert_eq!(endpointer.endpoints().len(), 100);
    assert_eq!(most.load(Ordering::Relaxed), 8);
}

/// Row 36.
#[tokio::test(start_paused = true)]
async fn a_factory_that_fails_hangs_or_panics_is_tried_again() {
    let runs = Arc::new(AtomicUsize::new(0));
    let factory = {
        let runs = runs.clone();
        async_factory_fn(move |instance: Instance| {
            let run = runs.fetch_add(1, Ordering::Relaxed);
            async move {
                match run {
                    0 => Err("no".into()),
                    1 => panic!("bug {run}"),
                    2 => std::future::pending().await,
                    _ => Ok::<_, BoxError>(instance.address().to_owned()),
                }
            }
        })
    };
    let endpointer = Endpointer::builder(Scripted::of([instance("a", "h:1")]), factory)
        .factory_timeout(Duration::from_secs(2))
        .build();
    let error = |attempts| {
        let mut status = endpointer.status();
        async move {
            let reached = |status: &EndpointerStatus| {
                status.failures().any(|(_, one)| one.attempts == attempts)
            };
            let status = status.wait_for(reached).await.unwrap();
            status.failures().next().unwrap().1.error.clone()
        }
    };
    assert!(matches!(error(1).await, FactoryError::Failed(_)));
    // Ready means tried, not made.
    ready(&endpointer).await.unwrap();
    let none = no_endpoints(&endpointer);
    let NoEndpoints::FactoryPending { instances: 1, why } = none else {
        panic!("{none:?}");
    };
    assert_eq!(why.unwrap().to_string(), "no");
    let panicked = error(2).await;
    assert_eq!(panicked.to_string(), "the factory panicked: bug 1");
    let none = no_endpoints(&endpointer);
    let why = std::error::Error::source(&none).unwrap();
    assert_eq!(why.to_string(), "the factory panicked: bug 1");
    let begun = Instant::now();
    assert!(matches!(error(3).await, FactoryError::TimedOut(_)));
    assert!(begun.elapsed() < Duration::from_secs(3));
    until_table(&endpointer, [("a", "h:1")]).await;
    assert_eq!(runs.load(Ordering::Relaxed), 4);
}

#[tokio::test(start_paused = true)]
async fn ready_waits_until_every_instance_was_tried() {
    let gate = Arc::new(Notify::new());
    let factory = {
        let gate = gate.clone();
        async_factory_fn(move |instance: Instance| {
            let gate = gate.clone();
            async move {
                if instance.address() == "slow:1" {
                    gate.notified().await;
                }
                Ok(instance.address().to_owned())
            }
        })
    };
    let source = Scripted::of([instance("a", "h:1"), instance("b", "slow:1")]);
    let endpointer = Endpointer::new(source, factory);
    until_table(&endpointer, [("a", "h:1")]).await;
    assert!(endpointer.ready().now_or_never().is_none());
    gate.notify_one();
    ready(&endpointer).await.unwrap();
    assert_eq!(endpointer.endpoints().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_goes_while_its_factory_runs_leaves_nothing() {
    let running = Arc::new(());
    let factory = {
        let running = running.clone();
        async_factory_fn(move |_| {
            let running = running.clone();
            async move {
                let _running = running;
                std::future::pending::<Result<String, BoxError>>().await
            }
        })
    };
    let source = Scripted::of([instance("a", "h:1")]);
    let endpointer = Endpointer::new(source.clone(), factory);
    // The factory's own, ours, and the run's.
    until("a run", || Arc::strong_count(&running) == 3).await;
    source.set([]);
    let begun = Instant::now();
    until("its end", || Arc::strong_count(&running) == 2).await;
    assert!(
        begun.elapsed() < Duration::from_secs(1),
        "waited for the timeout"
    );
    ready(&endpointer).await.unwrap();
    assert_eq!(endpointer.status().borrow().making, 0);
}

#[tokio::test(start_paused = true)]
async fn the_newest_address_wins() {
    let factory = async_factory_fn(async |instance: Instance| {
        let pause = if instance.address() == "h:1" { 3 } else { 1 };
        tokio::time::sleep(Duration::from_secs(pause)).await;
        Ok(instance.address().to_owned())
    });
    let source = Scripted::of([instance("a", "h:1")]);
    let endpointer = Endpointer::new(source.clone(), factory);
    tokio::time::sleep(Duration::from_millis(500)).await;
    source.set([instance("a", "h:2")]);
    until_table(&endpointer, [("a", "h:2")]).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(table(&endpointer), pairs([("a", "h:2")]));
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

#[tokio::test(start_paused = true)]
async fn a_source_that_ends_leaves_its_last_state() {
    let source = Scripted::of([instance("a", "h:1")]);
    let endpointer = Endpointer::builder(source.clone(), addresses())
        .invalidate_on_error(Duration::from_secs(10))
        .build();
    ready(&endpointer).await.unwrap();
    source.end();
    let ended = endpointer.status();
    until("the end", || ended.borrow().ended).await;
    assert_eq!(table(&endpointer), pairs([("a", "h:1")]));
    tokio::time::sleep(Duration::from_secs(11)).await;
    assert!(matches!(
        no_endpoints(&endpointer),
        NoEndpoints::Invalidated { .. }
    ));
}

/// A source that cannot become ready before it is told its first state.
struct Refused(Arc<Scripted>);

#[crate::async_trait]
impl Source for Refused {
    fn subscribe(&self) -> Events {
        self.0.subscribe()
    }

    fn state(&self) -> Option<Event> {
        self.0.state()
    }

    async fn ready(&self) -> crate::registry::Result<()> {
        match self.state() {
            Some(_) => Ok(()),
            None => Err(denied()),
        }
    }
}

fn is_denied(none: &NoEndpoints) -> bool {
    matches!(none, NoEndpoints::SourceFailed { why } if matches!(**why, Error::PermissionDenied { .. }))
}

#[tokio::test(start_paused = true)]
async fn a_source_that_cannot_know_the_instances_says_why() {
    let source = Scripted::new();
    let endpointer = Endpointer::new(Refused(source.clone()), addresses());
    let refused = ready(&endpointer).await.unwrap_err();
    assert!(is_denied(&refused), "{refused:?}");
    let waited = endpointer.wait_for_endpoints().await.unwrap_err();
    assert!(is_denied(&waited), "{waited:?}");
    assert!(is_denied(&no_endpoints(&endpointer)));
    let status = endpointer.status();
    assert_eq!(
        status.borrow().to_string(),
        "0 endpoints, the instances are not known yet: permission denied: no"
    );

    // Somebody grants the right.
    source.set([instance("a", "h:1")]);
    until_table(&endpointer, [("a", "h:1")]).await;
    ready(&endpointer).await.unwrap();
    assert!(status.borrow().source_error.is_none());
}

fn is_closed(ready: Result<(), NoEndpoints>) -> bool {
    matches!(ready, Err(NoEndpoints::SourceFailed { why }) if matches!(*why, Error::Closed))
}

#[tokio::test(start_paused = true)]
async fn ready_does_not_wait_for_a_source_that_is_gone() {
    let source = Scripted::new();
    let endpointer = Endpointer::new(source.clone(), addresses());
    source.end();
    assert!(is_closed(ready(&endpointer).await));
    assert!(is_closed(endpointer.wait_for_endpoints().await));

    let endpointer = Endpointer::new(Scripted::new(), addresses());
    endpointer.stop().await;
    assert!(matches!(
        ready(&endpointer).await,
        Err(NoEndpoints::Ended { .. })
    ));
}

#[tokio::test(start_paused = true)]
async fn ready_waits_no_longer_than_it_is_told() {
    let limit = Duration::from_secs(3);
    let source = Scripted::new();
    let factory = async_factory_fn(async |instance: Instance| match instance.address() {
        "slow:1" => std::future::pending().await,
        address => Ok(address.to_owned()),
    });
    let endpointer = Endpointer::builder(source.clone(), factory)
        .factory_timeout(Duration::from_secs(3600))
        .build();
    let begun = Instant::now();
    let none = endpointer.ready_within(limit).await.unwrap_err();
    assert!(matches!(none, NoEndpoints::Unknown), "{none:?}");
    assert_eq!(begun.elapsed(), limit);
    source.set([instance("a", "slow:1")]);
    let none = endpointer.ready_within(limit).await.unwrap_err();
    assert!(
        matches!(none, NoEndpoints::FactoryPending { .. }),
        "{none:?}"
    );
    // What is there is enough.
    source.set([instance("a", "slow:1"), instance("b", "h:1")]);
    endpointer.ready_within(limit).await.unwrap();
    assert_eq!(begun.elapsed(), 3 * limit);
    source.set([instance("b", "h:1")]);
    endpointer.ready_within(limit).await.unwrap();
    assert_eq!(begun.elapsed(), 3 * limit);
}

#[tokio::test(start_paused = true)]
async fn a_wait_for_endpoints_ends_with_the_first_or_when_there_will_be_none() {
    let source = Scripted::new();
    let endpointer = Arc::new(Endpointer::new(source.clone(), addresses()));
    let mut wait = Box::pin(endpointer.wait_for_endpoints());
    for instances in [None, Some(vec![]), Some(vec![instance("a", "h:1")])] {
        let is_there = instances.as_ref().is_some_and(|all| !all.is_empty());
        if let Some(instances) = instances {
            source.set(instances);
        }
        let waited = timeout(Duration::from_secs(60), &mut wait).await;
        assert_eq!(waited.is_ok(), is_there);
    }
    endpointer.wait_for_endpoints().await.unwrap();

    source.set([]);
    until_table(&endpointer, []).await;
    let wait = tokio::spawn({
        let endpointer = endpointer.clone();
        async move { endpointer.wait_for_endpoints().await }
    });
    source.end();
    let waited = timeout(Duration::from_secs(60), wait).await;
    let none = waited.unwrap().unwrap().unwrap_err();
    assert!(matches!(none, NoEndpoints::Ended { .. }), "{none:?}");
}

#[tokio::test(start_paused = true)]
async fn stopping_waits_for_the_task_and_keeps_the_endpoints() {
    let source = Scripted::of([instance("a", "h:1")]);
    let endpointer = Endpointer::new(source.clone(), addresses());
    ready(&endpointer).await.unwrap();
    endpointer.stop().await;
    assert_eq!(Arc::strong_count(&source), 1);
    source.set([]);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(table(&endpointer), pairs([("a", "h:1")]));
    endpointer.stop().await;
}

#[tokio::test(start_paused = true)]
async fn dropping_it_leaves_nothing_behind() {
    let source = Scripted::of([instance("a", "h:1")]);
    let held = Arc::new(());
    let factory = {
        let held = held.clone();
        async_factory_fn(move |_| {
            let held = held.clone();
            async move {
                let _held = held;
                std::future::pending::<Result<String, BoxError>>().await
            }
        })
    };
    let endpointer = Endpointer::new(source.clone(), factory);
    until("a run", || Arc::strong_count(&held) == 3).await;
    drop(endpointer);
    until("the end of the run", || Arc::strong_count(&held) == 1).await;
    until("the end of the source", || Arc::strong_count(&source) == 1).await;
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

/// Panics when it is dropped.
struct Faulty(bool);

impl Drop for Faulty {
    fn drop(&mut self) {
        if std::mem::take(&mut self.0) {
            panic!("faulty");
        }
    }
}

/// Row 36.
#[tokio::test(start_paused = true)]
async fn a_target_that_panics_when_dropped_costs_that_endpoint_only() {
    let log = Log::capture();
    let source = Scripted::of([instance("a", "bad:1"), instance("b", "h:1")]);
    let faulty = factory_fn(|instance| Ok(Faulty(instance.address() == "bad:1")));
    let endpointer = Endpointer::new(source.clone(), faulty);
    endpointer.ready().await.unwrap();
    source.set([instance("b", "h:1"), instance("c", "h:2")]);
    let keys = || {
        let endpoints = endpointer.endpoints();
        let keys: Vec<_> = endpoints.iter().map(|one| one.key().to_string()).collect();
        keys == ["b", "c"]
    };
    until("b and c", keys).await;
    assert!(!endpointer.status().borrow().ended);
    let logged = log.text();
    assert_eq!(logged.len(), 1, "{logged:?}");
    assert!(logged[0].contains("key=a"), "{logged:?}");
}

#[tokio::test(start_paused = true)]
async fn a_run_that_panics_when_dropped_costs_that_instance_only() {
    let factory = async_factory_fn(async |instance: Instance| {
        let _faulty = Faulty(instance.address().starts_with("bad"));
        match instance.address() {
            "h:1" | "h:2" => Ok(instance.address().to_owned()),
            _ => std::future::pending().await,
        }
    });
    let source = Scripted::of([instance("a", "bad:1"), instance("b", "bad:2")]);
    let endpointer = Endpointer::builder(source.clone(), factory)
        .factory_timeout(Duration::from_secs(2))
        .build();
    until("a run", || endpointer.status().borrow().making == 2).await;
    // One is aborted, the other takes too long.
    source.set([instance("b", "bad:2"), instance("c", "h:1")]);
    until_table(&endpointer, [("c", "h:1")]).await;
    let mut status = endpointer.status();
    let failed = status.wait_for(|status| status.failures().len() == 1).await;
    let (key, failure) = failed
        .unwrap()
        .failures()
        .next()
        .map(|(key, failure)| (key.to_string(), failure.to_string()))
        .unwrap();
    assert_eq!(key, "b");
    assert_eq!(failure, "bad:2: the factory panicked: faulty (1 attempt)");
    source.set([instance("c", "h:1"), instance("d", "h:2")]);
    until_table(&endpointer, [("c", "h:1"), ("d", "h:2")]).await;
}

/// An error that panics when it is printed, as the endpointer's log does.
#[derive(Debug)]
struct Unprintable;

impl std::fmt::Display for Unprintable {
    fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        panic!("unprintable")
    }
}

impl std::error::Error for Unprintable {}

/// Makes endpoints of all addresses but "bad:1", which makes the task panic.
fn panicking() -> impl Factory<Target = String> {
    factory_fn(|instance| match instance.address() {
        "bad:1" => Err(Unprintable.into()),
        address => Ok(address.to_owned()),
    })
}

fn has_panicked(health: &Option<Health>) -> bool {
    let why = match health {
        Some(Health::Stale { why, .. }) => why,
        _ => return false,
    };
    matches!(why, Trouble::Panicked { message } if message == "unprintable")
}

#[tokio::test(start_paused = true)]
async fn a_panic_of_the_task_is_published_and_keeps_the_endpoints() {
    let _log = Log::capture();
    let source = Scripted::of([instance("a", "h:1")]);
    let endpointer = Endpointer::new(source.clone(), panicking());
    ready(&endpointer).await.unwrap();
    let mut status = endpointer.status();
    source.set([instance("a", "h:1"), instance("b", "bad:1")]);
    let last = status
        .wait_for(|status| status.ended)
        .await
        .unwrap()
        .clone();
    assert!(has_panicked(&last.health), "{last:?}");
    assert!(status.changed().await.is_err(), "closed");
    assert_eq!(table(&endpointer), pairs([("a", "h:1")]));
    ready(&endpointer).await.unwrap();
    until("the end of the source", || Arc::strong_count(&source) == 1).await;
    endpointer.stop().await;
}

#[tokio::test(start_paused = true)]
async fn ready_does_not_wait_for_a_task_that_has_panicked() {
    let _log = Log::capture();
    let source = Scripted::new();
    let endpointer = Endpointer::new(source.clone(), panicking());
    let waiting = ready(&endpointer);
    source.set([instance("a", "bad:1")]);
    let error = waiting.await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "no endpoints: the endpointer or an adapter has ended"
    );
    let NoEndpoints::Ended { why } = no_endpoints(&endpointer) else {
        panic!("{:?}", no_endpoints(&endpointer));
    };
    assert!(matches!(&*why, Trouble::Panicked { .. }), "{why:?}");
    assert!(has_panicked(&endpointer.status().borrow().health));
}

#[test]
fn the_end_of_the_runtime_is_published_and_keeps_the_endpoints() {
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap()
    };
    let (first, second) = (runtime(), runtime());
    let source = Scripted::of([instance("a", "h:1")]);
    let (known, unknown) = first.block_on(async {
        let known = Endpointer::new(source.clone(), addresses());
        ready(&known).await.unwrap();
        (known, Endpointer::new(Scripted::new(), addresses()))
    });
    drop(first);
    assert_eq!(table(&known), pairs([("a", "h:1")]));
    let status = known.status().borrow().clone();
    let stopped = "1 endpoint for 1 instance, stale: stopped, ended";
    assert_eq!(status.to_string(), stopped);
    assert_eq!(Arc::strong_count(&source), 1);
    second.block_on(async {
        ready(&known).await.unwrap();
        let error = ready(&unknown).await.unwrap_err();
        assert!(matches!(error, NoEndpoints::Ended { .. }), "{error:?}");
        known.stop().await;
    });
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
