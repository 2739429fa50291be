//! Formats of other frameworks on a real etcd: their keys and values, and that instances come and go.

use sd_core::{Advert, Event, Instancer, Key, LeaseId, Registrar, RegistrarStatus};
use sd_etcd::EtcdClient;
use sd_tests::{Etcd, PATIENCE, eventually};

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
