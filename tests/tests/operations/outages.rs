//! Outages: the registry cannot be reached, or serves nobody.

use crate::*;

#[tokio::test]
async fn etcd_is_killed_and_restarted() {
    let monitor = Monitor::start();
    let etcd = Etcd::start().await;
    let (consumer, provider) = fleet(etcd.endpoint()).await;

    monitor.reset();
    etcd.kill();
    consumer.sees("trouble", |view| !view.live).await;
    etcd.start_again().await;

    monitor.shows("etcd is killed, and restarted").await;
    consumer.settles_on(&[ADDRESS]).await;
    drop(provider);
}

#[tokio::test]
async fn etcd_is_frozen() {
    let monitor = Monitor::start();
    let etcd = Etcd::start().await;
    let (consumer, _provider) = fleet(etcd.endpoint()).await;

    monitor.reset();
    etcd.freeze();
    consumer.sees("trouble", |view| !view.live).await;
    etcd.thaw();

    monitor.shows("etcd is frozen").await;
}

#[tokio::test]
async fn etcd_is_not_there_at_the_start() {
    let monitor = Monitor::start();
    let nobody = "http://127.0.0.1:1";
    let client = EtcdClient::connect([nobody]).unwrap();

    monitor.reset();
    let _instancer = Instancer::new(client.clone(), prefix());
    let registrar = Registrar::new(client, service());
    let _ = registrar.register_within(Duration::from_secs(1)).await;

    monitor.shows("etcd is not there at the start").await;
}

#[tokio::test(start_paused = true)]
async fn the_registry_is_away_for_long() {
    let monitor = Monitor::start();
    let registry = Registry::new();
    registry.put(KEY, ADDRESS).unwrap();
    let factory = factory_fn(|instance| Ok(instance.address().to_owned()));
    let endpointer = Endpointer::builder(Instancer::new(registry.client(), prefix()), factory)
        .invalidate_on_error(Duration::from_secs(30))
        .build();
    endpointer.ready().await.unwrap();

    monitor.reset();
    registry.kill();
    let registrar = Registrar::new(registry.client(), service());
    let _ = registrar.register_within(Duration::from_secs(60)).await;
    tokio::time::sleep(Duration::from_secs(600)).await;

    monitor.shows("the registry is away for long").await;
}

#[tokio::test(start_paused = true)]
async fn the_quota_is_used_up() {
    let monitor = Monitor::start();
    let registry = Registry::new();
    let registrar = |key| {
        let service = Service::new(key, ADDRESS).unwrap();
        Registrar::new(registry.client(), service)
    };
    let [updated, deleted, new] = ["/services/b", "/services/c", KEY].map(registrar);
    updated.register().await.unwrap();
    deleted.register().await.unwrap();

    monitor.reset();
    registry.delete("/services/c");
    // The loss is noticed at once, and the entry is put back a moment later.
    tokio::time::sleep(Duration::from_millis(1)).await;
    registry.refuse(Error::Exhausted {
        message: "database space exceeded".into(),
        source: None,
    });
    let update = updated.update("10.0.0.2:80");
    let _ = tokio::time::timeout(Duration::from_secs(60), update).await;
    let _ = new.register_within(Duration::from_secs(60)).await;

    monitor.shows("etcd's quota is used up").await;
}
