//! Many instances that change at once, and many registrations that are lost at once.

use etcd_client::{Txn, TxnOp};
use futures::{StreamExt, future::join_all, stream};
use sd_core::{Codec, DefaultCodec, EndpointSource, Event, Instance, Key, Registrar, Service, Ttl};
use sd_etcd::EtcdClient;
use sd_tests::{Consumer, Etcd, PATIENCE, eventually};
use std::collections::BTreeMap;
use tokio::time::timeout;

/// What is registered: addresses by key.
type Addresses = BTreeMap<String, String>;

/// A value as large as that of an instance with some metadata.
fn value(key: &str, address: &str) -> Vec<u8> {
    let instance = Instance::new(Key::new(key).unwrap(), address);
    let instance = instance
        .with_zone("eu-north-1a")
        .with_metadata("version", "2026.11.21-1")
        .with_metadata("build", "0123456789abcdef".repeat(10));
    let encoded = DefaultCodec.encode(&instance);
    encoded.expect("an instance can be written").to_vec()
}

fn key(n: usize) -> String {
    format!("/svc/{n:06}")
}

fn address(n: usize) -> String {
    format!("10.{}.{}.{}:80", n >> 16, (n >> 8) & 0xff, n & 0xff)
}

fn addresses(event: &Event) -> Addresses {
    let instances = event.instances().iter();
    let pairs = instances.map(|it| (it.key().to_string(), it.address().to_owned()));
    pairs.collect()
}

/// faults row 18
#[tokio::test]
async fn a_thousand_changes_of_twenty_thousand_are_followed_without_a_list() {
    const COUNT: usize = 20_000;
    let etcd = Etcd::start().await;
    let strangers = etcd.client().await.kv_client();
    let mut expected: Addresses = (0..COUNT).map(|n| (key(n), address(n))).collect();
    let puts = expected
        .iter()
        .map(|(key, address)| (key.clone(), value(key, address)));
    let puts: Vec<(String, Vec<u8>)> = puts.collect();
    let bytes: usize = puts.iter().map(|(_, value)| value.len()).sum();
    assert!(
        bytes > 4 * 1024 * 1024,
        "{bytes} bytes fit into one message"
    );
    for batch in puts.chunks(100) {
        let puts = batch.iter().cloned();
        let puts = puts.map(|(key, value)| TxnOp::put(key, value, None));
        let txn = Txn::new().and_then(puts.collect::<Vec<_>>());
        strangers.clone().txn(txn).await.unwrap();
    }
    let before = etcd.metrics().await;

    let consumer = Consumer::start(etcd.endpoint(), "/svc").await;

    let state = || consumer.instancer().state().expect("it was ready");
    assert_eq!(addresses(&state()), expected);
    assert_eq!(consumer.endpointer().endpoints().len(), COUNT);
    let watchers = async || etcd.metrics().await.watchers();
    eventually(PATIENCE, "the watch", watchers, |n| *n == 1).await;
    let listed = etcd.metrics().await.since(&before);
    // Twenty pages, and one read of the witness.
    assert!((20..=21).contains(&listed.range_requests()), "{listed:?}");

    // As fast as etcd takes them.
    let before = etcd.metrics().await;
    let made = consumer.made();
    let mut changes = Vec::new();
    for n in 0..1000 {
        let mut client = strangers.clone();
        let (key, address) = match n % 10 {
            0 => (key(20 * n), None),
            1 => (key(COUNT + n), Some(address(COUNT + n))),
            _ => (key(20 * n), Some(address(2 * COUNT + n))),
        };
        match &address {
            Some(address) => expected.insert(key.clone(), address.clone()),
            None => expected.remove(&key),
        };
        changes.push(async move {
            match address {
                Some(address) => drop(
                    client
                        .put(key.as_str(), value(&key, &address), None)
                        .await
                        .unwrap(),
                ),
                None => drop(client.delete(key, None).await.unwrap()),
            }
        });
    }
    let all = stream::iter(changes).buffer_unordered(64).collect::<()>();
    timeout(PATIENCE, all).await.expect("in time");
    // Removals too, though a machine that is busy with all this may be silent for so long that they are held first.
    let view = async || addresses(&state()) == expected;
    eventually(PATIENCE, "all changes", view, |complete| *complete).await;
    assert!(state().health().is_live());

    let callable = async || consumer.endpointer().endpoints().len();
    eventually(PATIENCE, "all endpoints", callable, |n| {
        *n == expected.len()
    })
    .await;
    assert_eq!(consumer.made() - made, 900, "one for each new address");
    let asked = etcd.metrics().await.since(&before);
    assert_eq!(asked.range_requests(), 0, "nothing was listed");
    assert_eq!(asked.calls("Watch"), 0, "the same stream all the while");
}

/// faults row 25
#[tokio::test]
async fn a_thousand_registrations_that_are_lost_at_once_come_back_in_batches() {
    const COUNT: usize = 1000;
    let etcd = Etcd::start().await;
    let consumer = Consumer::start(etcd.endpoint(), "/svc").await;
    let client = EtcdClient::connect([etcd.endpoint()]).unwrap();
    let registrars: Vec<Registrar> = (0..COUNT)
        .map(|n| Service::new(key(n), address(n)).unwrap())
        .map(|service| Registrar::new(client.clone(), service.with_ttl(Ttl::MIN)))
        .collect();
    for registered in join_all(registrars.iter().map(Registrar::register)).await {
        registered.unwrap();
    }
    let all: Vec<String> = (0..COUNT).map(address).collect();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    consumer.settles_on(&all).await;
    let [lease] = etcd.leases().await[..] else {
        panic!("one lease for all");
    };
    let before = etcd.metrics().await;

    etcd.revoke(lease).await;

    let stand = async || {
        let registered = |it: &&Registrar| it.status().borrow().is_registered();
        let leases = etcd.leases().await;
        let keys = etcd.keys("/svc/").await.len();
        let count = registrars.iter().filter(registered).count();
        (leases.len() == 1 && leases != [lease], keys, count)
    };
    eventually(PATIENCE, "all back", stand, |stand| {
        *stand == (true, COUNT, COUNT)
    })
    .await;

    consumer.settles_on(&all).await;
    let streams = async || etcd.metrics().await.keepalive_streams();
    eventually(PATIENCE, "one keep-alive stream", streams, |n| *n == 1).await;
    let asked = etcd.metrics().await.since(&before);
    assert_eq!(asked.lease_grants(), 1);
    assert_eq!((asked.puts(), asked.range_requests()), (0, 0));
    // Eight batches are the minimum. There are more, since attempts are spread over a tenth of a
    // second, and a fast etcd answers before many have come together.
    let batches = asked.txns();
    assert!((8..=100).contains(&batches), "{batches} transactions");
    // Two for the provider's client, one for the consumer's.
    let connections = etcd.client_connections();
    assert!(connections <= 3, "{connections} connections");
}
