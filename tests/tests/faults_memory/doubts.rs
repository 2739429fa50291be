//! What is not believed: many removals at once, and a registry that has not answered.

use crate::*;
use futures::{StreamExt, future, stream};
use sd_core::{
    Balancer, Client, Codec, DefaultCodec, Deregistered, Edit, Endpointer, Entry, Error, Instancer,
    Key, LeaseId, Lister, NoEndpoints, Poller, Prefix, Registration, Result, Revision, RoundRobin,
    Snapshot, Source, Status, Watch, WatchError, async_trait, factory_fn,
};
use sd_memory::ClientOptions;
use sd_tests::View;
use std::sync::{Arc, Mutex};
use tokio::time::sleep;

const FIVE: [&str; 5] = [
    "10.0.0.1:80",
    "10.0.0.2:80",
    "10.0.0.3:80",
    "10.0.0.4:80",
    "10.0.0.5:80",
];

fn all_five(view: &View) -> bool {
    view.live && FIVE.iter().all(|address| view.has(address))
}

/// Five providers, each with a lease of its own, and a consumer that has all of them to call.
async fn five(registry: &Registry) -> (Vec<Provider>, Consumer) {
    let consumer = consumer(registry).await;
    let mut providers = Vec::new();
    for address in FIVE {
        let key = format!("{PREFIX}/{address}");
        providers.push(Provider::in_memory(registry, &key, address, ttl()).await);
    }
    consumer.settles_on(&FIVE).await;
    (providers, consumer)
}

/// Row 31: all leases lost at once on a healthy watch.
#[tokio::test(start_paused = true)]
async fn all_leases_lost_at_once_take_nobody_from_consumers() {
    let registry = Registry::new();
    let (providers, consumer) = five(&registry).await;
    let fault = async {
        for provider in &providers {
            let lease = provider.stands_in(&registry).await;
            assert!(registry.expire_lease(&lease));
        }
        sleep(millis(1)).await;
        assert!(!consumer.view().held.is_empty());
        // Back within TTL / 3, and not doubted any more.
        consumer.settles_on(&FIVE).await;
        sleep(2 * GRACE).await;
    };
    let look = async || consumer.view();
    sd_tests::throughout(fault, "all, and live", look, all_five).await;
    assert_eq!(consumer.made(), 5, "their endpoints are kept");
}

/// Row 31: all providers die at once on a healthy registry.
#[tokio::test(start_paused = true)]
async fn who_is_really_gone_goes_after_the_grace_period() {
    let registry = Registry::new();
    let (providers, consumer) = five(&registry).await;
    for provider in &providers[1..] {
        provider.client().crash();
    }
    let view = consumer.sees("doubts", |view| !view.held.is_empty()).await;
    assert!(view.live && view.instances.len() >= 3, "{view:?}");
    let doubted = Instant::now();
    consumer.settles_on(&FIVE[..1]).await;
    assert_within(GRACE + ttl().duration(), doubted);
    assert!(doubted.elapsed() >= GRACE);
}

/// Row 31: a rolling restart of addresses alone, which cannot announce it.
#[tokio::test(start_paused = true)]
async fn a_rolling_restart_is_not_doubted() {
    let registry = Registry::new();
    let (mut providers, consumer) = five(&registry).await;
    for (index, address) in FIVE.into_iter().enumerate() {
        let key = format!("{PREFIX}/{address}");
        providers[index].registrar().deregister().await.unwrap();
        sleep(millis(1)).await;
        let view = consumer.view();
        assert!(view.held.is_empty() && !view.has(address), "{view:?}");
        sleep(seconds(1)).await;
        providers[index] = Provider::in_memory(&registry, &key, address, ttl()).await;
        consumer.settles_on(&FIVE).await;
    }
}

/// A lister whose answer is set by the test.
#[derive(Clone)]
struct Answers(Arc<Mutex<Result<Vec<Entry>>>>);

impl Answers {
    fn with(addresses: &[&str]) -> Self {
        let answers = Self(Arc::new(Mutex::new(Ok(Vec::new()))));
        answers.are(addresses);
        answers
    }

    fn are(&self, addresses: &[&str]) {
        let entry = |it: &&str| {
            let key = Key::new(format!("{PREFIX}/{it}")).unwrap();
            Entry::new(key, (*it).to_owned())
        };
        *self.0.lock().unwrap() = Ok(addresses.iter().map(entry).collect());
    }

    fn fail(&self, error: Error) {
        *self.0.lock().unwrap() = Err(error);
    }
}

#[async_trait]
impl Lister for Answers {
    async fn list(&self, _: &Prefix) -> Result<Vec<Entry>> {
        self.0.lock().unwrap().clone()
    }
}

fn prefix() -> Prefix {
    Prefix::new(PREFIX).unwrap()
}

async fn live(instancer: &Instancer) {
    let live = instancer.until(|event| event.health().is_live());
    tokio::time::timeout(seconds(5), live)
        .await
        .unwrap()
        .unwrap();
}

/// Row 31: a lister that answers empty once.
#[tokio::test(start_paused = true)]
async fn a_lister_that_answers_empty_once_empties_nobody() {
    let answers = Answers::with(&FIVE);
    let instancer = Instancer::new(Poller::new(answers.clone(), seconds(5)), prefix());
    live(&instancer).await;
    answers.are(&[]);
    let held = instancer.until(|event| event.held().len() == 5);
    let event = held.await.unwrap();
    assert!(event.health().is_live());
    answers.are(&FIVE);
    let back = instancer.until(|event| event.held().len() == 0);
    assert_eq!(back.await.unwrap().instances().len(), 5);
}

/// Row 32: a poller that is refused for ever.
#[tokio::test(start_paused = true)]
async fn a_poller_that_is_refused_is_never_live_and_removes_nothing() {
    for error in [
        Error::unavailable("down"),
        Error::permission_denied("not for consumers"),
    ] {
        let answers = Answers::with(&FIVE[..2]);
        let instancer = Instancer::new(Poller::new(answers.clone(), seconds(20)), prefix());
        live(&instancer).await;
        answers.fail(error);
        let trouble = instancer.until(|event| !event.health().is_live());
        trouble.await.unwrap();
        let ever_live = instancer.until(|event| event.health().is_live());
        let ten_minutes = tokio::time::timeout(seconds(600), ever_live);
        assert!(ten_minutes.await.is_err(), "live without an answer");
        // The registry is back, rebuilt empty.
        answers.are(&[]);
        let event = instancer.until(|event| event.health().is_live());
        let event = event.await.unwrap();
        assert_eq!((event.instances().len(), event.held().len()), (2, 2));
    }
}

/// A client that changes how a watch is opened.
#[derive(Clone)]
struct Opening(MemoryClient, How);

#[derive(Clone, Copy)]
enum How {
    /// The registry is asked when the watch is read.
    Lazily,
    /// It never answers.
    Never,
}

#[async_trait]
impl Client for Opening {
    async fn get_entries(&self, prefix: &Prefix) -> Result<Snapshot> {
        self.0.get_entries(prefix).await
    }

    async fn watch_prefix(&self, prefix: &Prefix, after: &Revision) -> Result<Watch, WatchError> {
        let How::Lazily = self.1 else {
            return future::pending().await;
        };
        let (client, prefix, after) = (self.0.clone(), prefix.clone(), after.clone());
        let opened = stream::once(async move { client.watch_prefix(&prefix, &after).await });
        Ok(Watch::new(opened.flat_map(|opened| match opened {
            Ok(watch) => watch.left_stream(),
            Err(error) => stream::iter([Err(error)]).right_stream(),
        })))
    }

    async fn register(&self, service: &Service) -> Result<Registration> {
        self.0.register(service).await
    }

    async fn deregister(&self, service: &Service) -> Result<Deregistered> {
        self.0.deregister(service).await
    }

    fn lease_id(&self) -> Option<LeaseId> {
        self.0.lease_id()
    }
}

/// Row 32: a registry that answers lists but never the watch.
#[tokio::test(start_paused = true)]
async fn a_source_whose_watch_nobody_answered_is_not_live() {
    let registry = Registry::new();
    registry.put(KEY, ADDRESS).unwrap();
    let instancer = Instancer::new(Opening(registry.client(), How::Never), prefix());
    instancer.ready().await.unwrap();
    sleep(seconds(3600)).await;
    let state = instancer.state().unwrap();
    assert_eq!(
        state.to_string(),
        "version 1: 1 instance, stale: the registry has not answered about the watch yet"
    );
}

/// Row 32: a watch that is opened lazily, and a freeze in which all leases end.
#[tokio::test(start_paused = true)]
async fn a_lazily_opened_watch_does_not_empty_its_consumer() {
    for timeout in [3, 20, 30] {
        let registry = Registry::new();
        let (_provider, _other) = (provider(&registry).await, other(&registry).await);
        let options = ClientOptions::default().with_request_timeout(seconds(timeout));
        let client = Opening(registry.client_with(options), How::Lazily);
        let instancer = Instancer::new(client, prefix());
        live(&instancer).await;
        let fault = async {
            registry.freeze();
            sleep(seconds(60)).await;
            assert!(!instancer.state().unwrap().health().is_live());
            registry.thaw();
            sleep(seconds(60)).await;
        };
        let look = async || instancer.state().unwrap().instances().len();
        sd_tests::throughout(fault, "both", look, |shown| *shown == 2).await;
        assert!(instancer.state().unwrap().health().is_live());
    }
}

/// Row 41: a registry that stalls for 1.3 s every 6 s, for ever.
#[tokio::test(start_paused = true)]
async fn a_removal_applies_in_bounded_time_however_often_the_registry_stalls() {
    for (stall, ttl, limit) in [
        // Too short to cost a lease of the fleet: believed at once.
        (1_300, Some(Ttl::DEFAULT), Duration::ZERO),
        // Short enough for a lease of any fleet.
        (1_300, None, Duration::ZERO),
        // Perhaps not, where the fleet's TTL is not told.
        (1_500, Some(Ttl::DEFAULT), Duration::ZERO),
        (1_500, None, 3 * GRACE),
    ] {
        let registry = Registry::new();
        registry.put(KEY, ADDRESS).unwrap();
        registry.put(OTHER_KEY, OTHER).unwrap();
        let options = ClientOptions::default().with_silence(seconds(1), seconds(6));
        let builder = Instancer::builder(registry.client_with(options), prefix());
        let builder = builder.shortest_ttl(ttl.unwrap_or(Ttl::MIN));
        let instancer = Arc::new(builder.build());
        live(&instancer).await;
        let stalls = async {
            loop {
                sleep(millis(6_000 - stall)).await;
                registry.freeze();
                sleep(millis(stall)).await;
                registry.thaw();
            }
        };
        let removal = async {
            sleep(seconds(20)).await;
            assert!(registry.delete(KEY));
            let deleted = Instant::now();
            let gone = instancer.until(|event| event.instances().len() == 1);
            gone.await.unwrap();
            deleted.elapsed()
        };
        let took = tokio::select! {
            () = stalls => unreachable!(),
            took = removal => took,
        };
        // Its news may fall into a stall.
        assert!(took <= limit + seconds(2), "{stall} ms, {ttl:?}: {took:?}");
    }
}

/// Row 34: a newer or foreign provider writes an attribute that we do not know.
#[tokio::test(start_paused = true)]
async fn a_strange_attribute_costs_the_attribute_only() {
    let registry = Registry::new();
    let consumer = consumer(&registry).await;
    registry.put(KEY, r#"{"address":"10.0.0.1:80"}"#).unwrap();
    consumer.settles_on(&[ADDRESS]).await;
    for field in [
        r#""weight":1.0"#,
        r#""weight":"10""#,
        r#""weight":-1"#,
        r#""metadata":null"#,
        r#""metadata":{"shard":7}"#,
        r#""status":"starting""#,
        r#""status":null"#,
    ] {
        let value = format!(r#"{{"address":"10.0.0.1:80",{field}}}"#);
        registry.put(KEY, value.clone()).unwrap();
        sleep(millis(1)).await;
        assert_eq!(consumer.view().endpoints, [ADDRESS], "{field}");
        assert_eq!(consumer.instancer().skipped(), 0, "{field}");
        // Announced as draining, it is still there for those who can read it.
        let entry = Entry::new(Key::new(KEY).unwrap(), value);
        let edit = Edit::new().status(Status::Draining);
        let drained = DefaultCodec.edit(&entry, &edit).unwrap().value;
        let drained = String::from_utf8(drained.to_vec()).unwrap();
        assert!(
            drained.contains(field) || field.contains("status"),
            "{drained}"
        );
    }
}

/// Row 34: entries none of which can be read are not nothing.
#[tokio::test(start_paused = true)]
async fn who_finds_only_unreadable_entries_is_told_so() {
    let registry = Registry::new();
    let instancer = Arc::new(Instancer::new(registry.client(), prefix()));
    let factory = factory_fn(|instance| Ok(instance.address().to_owned()));
    let balancer = RoundRobin::new(Endpointer::new(instancer.clone(), factory));
    balancer.source().ready().await.unwrap();
    let nobody = || balancer.endpoint().expect_err("nobody");
    assert!(matches!(nobody(), NoEndpoints::Empty));
    for (key, unreadable) in [(KEY, 1), (OTHER_KEY, 2)] {
        registry.put(key, "what is this?").unwrap();
        sleep(seconds(1)).await;
        assert_eq!(instancer.state().unwrap().unreadable(), unreadable);
        assert_eq!(
            nobody().to_string(),
            format!("no endpoints: none of the {unreadable} registered entries can be read")
        );
    }
    registry.delete(KEY);
    registry.delete(OTHER_KEY);
    sleep(seconds(1)).await;
    assert!(matches!(nobody(), NoEndpoints::Empty));
    registry.put(KEY, ADDRESS).unwrap();
    sleep(seconds(1)).await;
    assert!(balancer.endpoint().is_ok());
}
