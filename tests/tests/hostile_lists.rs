//! Large values among many entries: `docs/hostile.md`, row 3.

use etcd_client::{Txn, TxnOp};
use sd_core::{Client, Error, Prefix};
use sd_etcd::EtcdClient;
use sd_tests::{Etcd, Log};
use std::time::Instant;

const COUNT: usize = 20_000;

async fn fill(etcd: &Etcd) {
    let others = etcd.client().await.kv_client();
    let keys: Vec<usize> = (0..COUNT).collect();
    for keys in keys.chunks(100) {
        let puts = keys.iter();
        let puts = puts.map(|n| TxnOp::put(format!("/svc/{n:06}"), "10.0.0.1:80", None));
        let txn = Txn::new().and_then(puts.collect::<Vec<_>>());
        others.clone().txn(txn).await.unwrap();
    }
}

/// Puts nine values of 1.4 MB behind these entries.
async fn add_junk(etcd: &Etcd, behind: impl Fn(usize) -> usize) {
    for n in 0..9 {
        let key = format!("/svc/{:06}-junk{n}", behind(n));
        etcd.put(key, vec![b'x'; 1_400_000]).await;
    }
}

/// Lists all entries. Returns how many there are, and how many reads that took.
async fn list(etcd: &Etcd, client: &EtcdClient) -> (usize, u64) {
    let prefix = Prefix::new("/svc/").unwrap();
    let before = etcd.metrics().await;
    let started_at = Instant::now();
    let listed = client.get_entries(&prefix).await.unwrap();
    let took = started_at.elapsed();
    let reads = etcd.metrics().await.since(&before).range_requests();
    println!("{reads} reads in {took:?}");
    (listed.entries.len(), reads)
}

/// hostile row 3
#[tokio::test]
async fn a_few_large_values_make_few_pages_small() {
    let etcd = Etcd::start().await;
    fill(&etcd).await;
    let client = EtcdClient::connect([etcd.endpoint()]).unwrap();
    let log = Log::capture();
    assert_eq!(list(&etcd, &client).await, (COUNT, 20));

    add_junk(&etcd, |_| 10_000).await;
    let (entries, reads) = list(&etcd, &client).await;
    assert_eq!(entries, COUNT + 9);
    assert!(reads <= 60, "{reads} reads");

    // As many again, all over the prefix.
    add_junk(&etcd, |n| n * 2000).await;
    let (entries, reads) = list(&etcd, &client).await;
    assert_eq!(entries, COUNT + 18 - 1, "one of them was there");
    assert!(reads <= 60, "{reads} reads");
    assert_eq!(log.text(), [""; 0]);
}

/// hostile row 4: what is past the limits of a list is not read.
#[tokio::test]
async fn a_prefix_past_its_limits_is_an_error_and_stays_one() {
    let etcd = Etcd::start().await;
    add_junk(&etcd, |n| n).await;
    let client = EtcdClient::builder([etcd.endpoint()]);
    let client = client.list_limits(1000, 4_000_000).build().unwrap();
    let prefix = Prefix::new("/svc/").unwrap();
    for _ in 0..2 {
        let error = client.get_entries(&prefix).await.unwrap_err();
        let is_said = matches!(&error, Error::Backend { message, transient: true, .. }
            if message.contains("limits of a list"));
        assert!(is_said, "{error}");
    }
}
