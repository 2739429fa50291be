//! Faults of what consumers see: held removals, gaps, unreadable entries, failing factories.

use crate::*;
use futures::StreamExt;

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

#[tokio::test(start_paused = true)]
async fn a_factory_fails() {
    let monitor = Monitor::start();
    let registry = Registry::new();
    registry.put(KEY, ADDRESS).unwrap();

    monitor.reset();
    let factory = factory_fn(|_| Err::<(), _>("no such host".into()));
    let endpointer = Endpointer::new(Instancer::new(registry.client(), prefix()), factory);
    endpointer.ready().await.unwrap();
    tokio::time::sleep(Duration::from_secs(600)).await;

    monitor.shows("no endpoint can be made").await;
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
