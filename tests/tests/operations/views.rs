//! Faults of what consumers see: held removals, gaps, unreadable entries, failing factories.

use crate::*;
use futures::StreamExt;
use sd_core::{Endpoint, FixedEndpointer, Instance, Key, LaneFallback, Lanes, PrefixLimits};
use sd_memory::ClientOptions;

#[tokio::test]
async fn etcd_comes_back_empty() {
    let monitor = Monitor::start();
    let etcd = Etcd::start().await;
    let (consumer, _provider) = fleet(etcd.endpoint()).await;
    // No provider will put it back.
    etcd.put("/services/hello/z", "10.0.0.9:80").await;
    consumer.settles_on(&[ADDRESS, "10.0.0.9:80"]).await;

    monitor.reset();
    etcd.wipe().await;

    monitor.shows("etcd comes back empty").await;
    monitor.shows("an instance does not come back").await;
    consumer.settles_on(&[ADDRESS]).await;
}

#[tokio::test]
async fn etcd_is_restored_from_a_backup() {
    let monitor = Monitor::start();
    let etcd = Etcd::start().await;
    let proxy = Proxy::to(etcd.address()).await;
    etcd.put(KEY, ADDRESS).await;
    let backup = etcd.back_up();
    etcd.put("/other", "x").await;
    let consumer = Consumer::start(proxy.endpoint(), "/services/hello").await;
    consumer.settles_on(&[ADDRESS]).await;

    monitor.reset();
    proxy.refuse().await;
    proxy.drop_connections();
    consumer.sees("trouble", |view| !view.live).await;
    etcd.restore(&backup).await;
    etcd.put("/services/hello/b", "10.0.0.2:80").await;
    etcd.put("/other", "x").await;
    proxy.resume();

    monitor.shows("etcd is restored from a backup").await;
    consumer.settles_on(&[ADDRESS, "10.0.0.2:80"]).await;
}

#[tokio::test]
async fn the_history_is_compacted_meanwhile() {
    let monitor = Monitor::start();
    let etcd = Etcd::start().await;
    let proxy = Proxy::to(etcd.address()).await;
    etcd.put(KEY, ADDRESS).await;
    let consumer = Consumer::start(proxy.endpoint(), "/services/hello").await;
    // Once it sees this, its watch is open.
    etcd.put("/services/hello/b", "10.0.0.2:80").await;
    consumer.settles_on(&[ADDRESS, "10.0.0.2:80"]).await;

    monitor.reset();
    proxy.refuse().await;
    proxy.drop_connections();
    consumer.sees("trouble", |view| !view.live).await;
    etcd.put("/services/hello/c", "10.0.0.3:80").await;
    etcd.put("/other", "x").await;
    etcd.compact().await;
    proxy.resume();

    monitor.shows("the history was compacted meanwhile").await;
}

#[tokio::test(start_paused = true)]
async fn an_entry_cannot_be_read() {
    let monitor = Monitor::start();
    let registry = Registry::new();
    let instancer = Instancer::new(registry.client(), prefix());
    instancer.ready().await.unwrap();

    monitor.reset();
    registry.put(KEY, "{").unwrap();

    monitor.shows("an entry cannot be read").await;
}

/// Hostile row 4, as an operator sees it.
#[tokio::test(start_paused = true)]
async fn a_prefix_holds_too_much() {
    let monitor = Monitor::start();
    let registry = Registry::new();
    let instancer = Instancer::builder(registry.client(), prefix());
    let instancer = instancer
        .limits(PrefixLimits::default().instances(1))
        .build();
    instancer.ready().await.unwrap();

    monitor.reset();
    registry.put(KEY, ADDRESS).unwrap();
    registry.put("/services/hello/b", "10.0.0.2:80").unwrap();

    monitor
        .shows("a prefix holds more than a consumer keeps")
        .await;
    assert_eq!(instancer.state().unwrap().instances().len(), 1);

    registry.delete(KEY);
    let shown = async || {
        let state = instancer.state().unwrap();
        let addresses: Vec<_> = state
            .instances()
            .iter()
            .map(|it| it.address().to_owned())
            .collect();
        (state.health().is_live(), addresses)
    };
    let is_well = |(live, addresses): &(bool, Vec<String>)| *live && *addresses == ["10.0.0.2:80"];
    eventually(Duration::from_secs(600), "the other", shown, is_well).await;
}

#[tokio::test(start_paused = true)]
async fn an_attribute_cannot_be_read() {
    let monitor = Monitor::start();
    let registry = Registry::new();
    let instancer = Instancer::new(registry.client(), prefix());
    instancer.ready().await.unwrap();

    monitor.reset();
    let value = r#"{"address":"10.0.0.1:80","weight":"10%"}"#;
    registry.put(KEY, value).unwrap();

    monitor
        .shows("an attribute of an entry cannot be read")
        .await;
    assert_eq!(instancer.state().unwrap().instances().len(), 1);
}

/// Row 31, as an operator sees it.
#[tokio::test]
async fn many_instances_are_removed_at_once() {
    let monitor = Monitor::start();
    let etcd = Etcd::start().await;
    let addresses = ["10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"];
    for address in addresses {
        let key = format!("/services/hello/{address}");
        etcd.put(key, address).await;
    }
    let consumer = Consumer::start(etcd.endpoint(), "/services/hello").await;
    consumer.settles_on(&addresses).await;

    monitor.reset();
    etcd.delete("/services/hello/10.0.0.1:80").await;
    etcd.delete("/services/hello/10.0.0.2:80").await;

    monitor.shows("many instances are removed at once").await;
    monitor.shows("an instance does not come back").await;
    consumer.settles_on(&addresses[2..]).await;
}

/// Row 32, as an operator sees it.
#[tokio::test(start_paused = true)]
async fn a_watch_is_not_answered_yet() {
    let monitor = Monitor::start();
    let registry = Registry::new();
    registry.put(KEY, ADDRESS).unwrap();
    let options = ClientOptions::default().with_request_timeout(Duration::from_secs(600));
    let client = registry.client_with(options);
    registry.delay(Duration::from_secs(60));

    monitor.reset();
    let instancer = Instancer::new(client, prefix());
    instancer.ready().await.unwrap();
    assert!(!instancer.state().unwrap().health().is_live());

    monitor
        .shows("the registry has not answered about a watch yet")
        .await;
    let live = async || instancer.state().unwrap().health().is_live();
    eventually(Duration::from_secs(600), "an answer", live, |live| *live).await;
    let warned = |line: &sd_tests::Line| line.level <= Level::WARN;
    assert!(!monitor.log.lines().iter().any(warned));
}

#[tokio::test(start_paused = true)]
async fn many_entries_cannot_be_read() {
    let monitor = Monitor::start();
    let registry = Registry::new();
    for n in 0..1_000 {
        registry.put(format!("/services/hello/{n}"), "{").unwrap();
    }

    monitor.reset();
    let instancer = Instancer::new(registry.client(), prefix());
    instancer.ready().await.unwrap();

    monitor.shows_up_to(16, "many entries cannot be read").await;
    let lines = monitor.log.lines();
    let more = lines.iter().filter_map(|line| line.field("entries"));
    let more: Vec<_> = more.collect();
    assert_eq!(more, ["1000", "998"], "{lines:?}");
}

#[tokio::test(start_paused = true)]
async fn a_factory_fails() {
    let monitor = Monitor::start();
    let registry = Registry::new();
    registry.put(KEY, ADDRESS).unwrap();

    monitor.reset();
    let start = tokio::time::Instant::now();
    let factory = factory_fn(move |_| match start.elapsed().as_secs() {
        0..600 => Err("no such host".into()),
        _ => Ok(()),
    });
    let endpointer = Endpointer::new(Instancer::new(registry.client(), prefix()), factory);
    endpointer.ready().await.unwrap();
    tokio::time::sleep(Duration::from_secs(700)).await;

    monitor.shows("no endpoint can be made").await;
}

#[tokio::test(start_paused = true)]
async fn metadata_makes_too_many_lanes() {
    let monitor = Monitor::start();
    let endpoint = |n: u32| {
        let key = Key::new(format!("/services/hello/{n}")).unwrap();
        let instance = Instance::new(key, ADDRESS);
        Endpoint::new(instance.with_metadata("tenant", n.to_string()), ())
    };
    let endpoints = FixedEndpointer::new((0..257).map(endpoint));

    monitor.reset();
    let _lanes = Lanes::new(endpoints, "tenant", LaneFallback::Error);

    monitor.shows("metadata makes too many lanes").await;
}

/// An error that panics when it is logged.
#[derive(Debug)]
struct Unprintable;

impl std::fmt::Display for Unprintable {
    fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        panic!("unprintable")
    }
}

impl std::error::Error for Unprintable {}

/// Row 36, as an operator sees it.
#[tokio::test(start_paused = true)]
async fn foreign_code_panics() {
    let monitor = Monitor::start();
    let registry = Registry::new();
    registry.put(KEY, ADDRESS).unwrap();
    let factory = factory_fn(|_| Err::<(), _>(Unprintable.into()));

    monitor.reset();
    let endpointer = Endpointer::new(Instancer::new(registry.client(), prefix()), factory);
    endpointer.ready().await.unwrap_err();

    monitor.shows("code that the toolkit calls panics").await;
    assert!(endpointer.status().borrow().ended);
}

#[tokio::test(start_paused = true)]
async fn a_subscriber_lags() {
    let monitor = Monitor::start();
    let registry = Registry::new();
    let instancer = Instancer::new(registry.client(), prefix());
    instancer.ready().await.unwrap();
    let mut lagging = instancer.subscribe();

    monitor.reset();
    for n in 0..1_000 {
        registry
            .put(format!("/services/hello/{n}"), ADDRESS)
            .unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
    }

    let newest = lagging.next().await.unwrap();
    assert_eq!(newest.instances().len(), 1_000);
    monitor.shows("a subscriber does not read").await;
    assert!(monitor.log.lines().is_empty(), "{:?}", monitor.log.lines());
}
