//! Formats of other frameworks on a real etcd: their keys and values, and that instances come and go.

use sd_core::{
    Advert, Edit, Event, Format, Instancer, Key, LeaseId, Registrar, RegistrarStatus, Source, Ttl,
    Updated,
};
use sd_etcd::EtcdClient;
use sd_formats::DubboInterface;
use sd_tests::{Etcd, PATIENCE, eventually};
use std::time::Duration;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

/// What a provider holds, as etcd says: key, value and the seconds that it was granted.
async fn held(etcd: &Etcd, registrar: &Registrar) -> (String, String, i64) {
    let status = registrar.status();
    let RegistrarStatus::Registered { key, lease, .. } = &*status.borrow() else {
        panic!("not registered");
    };
    let (key, lease): (Key, LeaseId) = (key.clone(), lease.clone());
    let entry = etcd.entry(key.as_str()).await.unwrap();
    assert_eq!(entry.lease().to_string(), lease.as_str());
    let value = entry.value_str().unwrap().to_owned();
    (key.to_string(), value, entry.lease())
}

#[tokio::test]
async fn what_etcd_holds_is_what_the_fleet_has() {
    let etcd = Etcd::start().await;
    let client = EtcdClient::connect([etcd.endpoint()]).unwrap();
    for format in sd_formats::all() {
        let name = format.name();
        let consumer = Instancer::of(client.clone(), &*format, "hello").unwrap();
        consumer.ready_within(PATIENCE).await.unwrap();
        let advert = Advert::new("10.0.0.1:8080");
        let registrar = Registrar::of(client.clone(), &*format, "hello", &advert).unwrap();
        registrar.register_within(PATIENCE).await.unwrap();

        let (key, value, lease) = held(&etcd, &registrar).await;
        let service = format.service("hello", &advert).unwrap();
        assert_eq!(value.as_bytes(), service.value, "{name}");
        assert!(etcd.seconds_left(lease).await <= i64::from(service.ttl.as_secs()));
        let expected = match name {
            // The id of the lease in decimal, as etcd's own clients have it in Go.
            "gozero" => format!("hello/{lease}"),
            "lease-named" => format!("hello{lease}"),
            _ => service.key.to_string(),
        };
        assert_eq!(key, expected, "{name}");

        let mut events = consumer.subscribe();
        let is_there = |event: &Event| {
            let mut instances = event.instances().iter();
            instances.any(|it| it.address() == "10.0.0.1:8080" && it.key().as_str() == key)
        };
        events.until(is_there).await.unwrap();
        registrar.deregister().await.unwrap();
        events
            .until(|event| event.instances().is_empty())
            .await
            .unwrap();
        assert_eq!(etcd.get(key).await, None, "{name}");
    }
    client.close().await;
}

/// A lost lease is another key where the lease is in the key, and the same key elsewhere.
#[tokio::test]
async fn a_new_lease_is_a_new_key_where_the_key_has_it() {
    let etcd = Etcd::start().await;
    let client = EtcdClient::connect([etcd.endpoint()]).unwrap();
    for (format, has_lease) in [("gozero", true), ("lease-named", true), ("kratos", false)] {
        let format = sd_formats::by_name(format).unwrap();
        let advert = Advert::new("10.0.0.1:8080").ttl(sd_core::Ttl::from_secs(5).unwrap());
        let registrar = Registrar::of(client.clone(), &*format, "hello", &advert).unwrap();
        registrar.register_within(PATIENCE).await.unwrap();
        let (before, value, lease) = held(&etcd, &registrar).await;

        etcd.revoke(lease).await;
        let prefix = format.prefix("hello").unwrap();
        let entries = || etcd.entries(prefix.as_str());
        let is_back =
            |entries: &Vec<sd_tests::KeyValue>| entries.len() == 1 && entries[0].lease() != lease;
        eventually(PATIENCE, "the entry to be back", entries, is_back).await;
        let entry = &etcd.entries(prefix.as_str()).await[0];
        let key = entry.key_str().unwrap();
        assert_eq!(etcd.get(key).await.unwrap(), value.as_bytes());
        assert_eq!(key != before, has_lease, "{key}");
        assert!(
            !has_lease || key.ends_with(&entry.lease().to_string()),
            "{key}"
        );
        registrar.deregister().await.unwrap();
    }
    client.close().await;
}

const GREETER: &str = "org.Greeter";

/// The keys under which dubbo's services are, each with its lease.
async fn of_dubbo(etcd: &Etcd) -> Vec<(String, i64)> {
    let entries = etcd.entries("/dubbo").await.into_iter();
    let held = entries.map(|it| (it.key_str().unwrap().to_owned(), it.lease()));
    held.collect()
}

/// An update of what stands in the key.
#[tokio::test]
async fn the_new_key_stands_on_the_same_lease_before_the_old_one_goes() {
    let etcd = Etcd::start().await;
    let client = EtcdClient::connect([etcd.endpoint()]).unwrap();
    let format = DubboInterface::default();
    let advert = |weight| Advert::new("10.0.0.1:20880").weight(weight);
    let registrar = Registrar::of(client.clone(), &format, GREETER, &advert(3)).unwrap();
    registrar.register_within(PATIENCE).await.unwrap();
    let lease = of_dubbo(&etcd).await[0].1;
    let consumer = Instancer::of(client.clone(), &format, GREETER).unwrap();
    consumer.ready_within(PATIENCE).await.unwrap();
    let (mut events, registered) = (consumer.subscribe(), CancellationToken::new());
    let shown = tokio::spawn({
        let registered = registered.clone();
        async move {
            let mut shown = Vec::new();
            let mut every = async || events.until(|_| true).await;
            while let Some(Ok(event)) = registered.run_until_cancelled(every()).await {
                shown.push(event.instances().len());
            }
            shown
        }
    });

    for weight in 4..24 {
        let edited = registrar.edit(&Edit::new().weight(weight)).await.unwrap();
        assert_eq!(edited, Updated::Written);
        let new = format.service(GREETER, &advert(weight)).unwrap();
        assert_eq!(of_dubbo(&etcd).await, [(new.key.to_string(), lease)]);
    }

    let is_last = |event: &Event| {
        let mut all = event.instances().iter();
        event.instances().len() == 1 && all.all(|it| it.weight() == 23)
    };
    consumer.until(is_last).await.unwrap();
    registered.cancel();
    let shown = shown.await.unwrap();
    assert!(
        shown.iter().all(|shown| (1..=2).contains(shown)),
        "{shown:?}"
    );
    registrar.deregister().await.unwrap();
    assert_eq!(of_dubbo(&etcd).await, []);
    client.close().await;
}

/// An etcd that does not answer from some moment of the update on.
#[tokio::test]
async fn a_provider_that_ends_while_it_moves_leaves_neither_key() {
    let etcd = Etcd::start().await;
    for (is_dropped, wait) in [(false, 0), (true, 0), (false, 50), (true, 50)] {
        let client = EtcdClient::connect([etcd.endpoint()]).unwrap();
        let format = DubboInterface::default();
        let advert = Advert::new("10.0.0.1:20880").ttl(Ttl::from_secs(5).unwrap());
        let registrar = Registrar::of(client.clone(), &format, GREETER, &advert).unwrap();
        registrar.register_within(PATIENCE).await.unwrap();
        etcd.freeze();
        let edit = Edit::new().weight(7);
        let moving = timeout(Duration::from_millis(wait), registrar.edit(&edit));
        assert!(moving.await.is_err(), "nobody answers");
        if is_dropped {
            drop(registrar);
            etcd.thaw();
        } else {
            let thawing = async {
                sleep(Duration::from_millis(50)).await;
                etcd.thaw();
            };
            tokio::join!(registrar.deregister(), thawing).0.unwrap();
        }
        eventually(PATIENCE, "neither key", || of_dubbo(&etcd), Vec::is_empty).await;
        client.close().await;
        assert_eq!(of_dubbo(&etcd).await, []);
        let leases = async || etcd.leases().await;
        eventually(PATIENCE, "no lease", leases, Vec::is_empty).await;
    }
}
