//! How near the limits of a client are, and how often they are met.

use crate::*;
use document::Meter;
use sd_core::Client;
use sd_etcd::telemetry::{LIST_BYTES, LISTS_OVER_LIMIT, UNREAD_BYTES};

/// hostile row 4
#[tokio::test]
async fn what_a_client_holds_is_a_gauge_and_what_it_refuses_a_counter() {
    let monitor = Monitor::start();
    let etcd = Etcd::start().await;
    for n in 0..10 {
        etcd.put(format!("/services/hello/{n}"), vec![b'x'; 100_000])
            .await;
    }
    let builder = EtcdClient::builder([etcd.endpoint()]);
    let client = builder.list_limits(10, 2_000_000).build().unwrap();
    let sum = |name| monitor.meters.sum(&Meter::parse(name));
    let prefix = prefix();

    let listed = client.get_entries(&prefix).await.unwrap();
    assert!(monitor.meters.moved(&Meter::parse(LIST_BYTES)));
    assert_eq!(sum(LIST_BYTES), 0.0, "none is being read");
    let watch = client
        .watch_prefix(&prefix, &listed.revision)
        .await
        .unwrap();
    etcd.put("/services/hello/0", vec![b'y'; 100_000]).await;
    let unread = async || sum(UNREAD_BYTES);
    eventually(PATIENCE, "what is not read", unread, |it| *it > 100_000.0).await;
    drop(watch);
    eventually(PATIENCE, "nothing", unread, |it| *it == 0.0).await;

    etcd.put("/services/hello/one-more", "x").await;
    client.get_entries(&prefix).await.unwrap_err();
    assert_eq!((sum(LISTS_OVER_LIMIT), sum(LIST_BYTES)), (1.0, 0.0));
}
