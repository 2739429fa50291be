//! Providers and consumers when the registry goes down and comes back, with or without its data.

use sd_core::Ttl;
use sd_tests::{Consumer, Etcd, PATIENCE, Provider, Proxy, View, eventually, throughout};
use std::time::Duration;
use tokio::time::sleep;

const A: &str = "10.0.0.1:80";
const B: &str = "10.0.0.2:80";
/// The address in an entry of a stranger.
const C: &str = "10.0.0.3:80";

async fn providers(endpoint: &str) -> [Provider; 2] {
    let a = Provider::start(endpoint, "/svc/a", A).await;
    [a, Provider::start(endpoint, "/svc/b", B).await]
}

fn both(view: &View) -> bool {
    view.has(A) && view.has(B)
}

/// faults row 4
#[tokio::test]
async fn a_restart_with_its_data_costs_neither_a_list_nor_a_lease() {
    let etcd = Etcd::start().await;
    let consumer = Consumer::start(etcd.endpoint(), "/svc").await;
    let [a, b] = providers(&etcd.endpoint()).await;
    etcd.put("/svc/gone", C).await;
    consumer.settles_on(&[A, B, C]).await;
    let leases = [a.stands(&etcd).await, b.stands(&etcd).await];
    let entries = [etcd.last_put("/svc/a").await, etcd.last_put("/svc/b").await];

    let outage = async {
        etcd.kill();
        consumer.sees("the outage", |view| !view.live).await;
        sleep(Duration::from_secs(1)).await;
        etcd.start_again().await;
        // Seen only by a watch that misses nothing of the time before it has resumed.
        etcd.delete("/svc/gone").await;
        etcd.put("/svc/new", "10.0.0.4:80").await;
        consumer.settles_on(&[A, B, "10.0.0.4:80"]).await;
    };
    throughout(outage, "both", async || consumer.view(), both).await;

    assert_eq!(
        [a.stands(&etcd).await, b.stands(&etcd).await],
        leases,
        "the old leases"
    );
    let now = [etcd.last_put("/svc/a").await, etcd.last_put("/svc/b").await];
    assert_eq!(now, entries, "nothing was put again");
    let asked = etcd.metrics().await;
    assert_eq!((asked.lease_grants(), asked.puts()), (0, 0));
    let verified = asked.calls("LeaseTimeToLive");
    assert!(
        asked.txns() <= verified,
        "a comparison for each of {verified} verifications, and no write: {asked:?}"
    );
    let resumed = asked.calls("Watch");
    assert!(
        asked.range_requests() <= resumed,
        "a look at the witness for each of {resumed} watches, and no list: {asked:?}"
    );
    assert_eq!(consumer.made(), 4, "endpoints are kept");
}

/// faults row 5
#[tokio::test]
async fn an_outage_longer_than_the_ttl_changes_nothing_for_consumers() {
    let etcd = Etcd::start().await;
    let consumer = Consumer::start(etcd.endpoint(), "/svc").await;
    let [a, b] = providers(&etcd.endpoint()).await;
    consumer.settles_on(&[A, B]).await;

    let outage = async {
        etcd.kill();
        sleep(Ttl::MIN.duration() + Duration::from_millis(500)).await;
        etcd.start_again().await;
        // Without keep-alives, its leases would expire before that.
        let beats = async || etcd.metrics().await.keepalives();
        eventually(PATIENCE, "more than a TTL of beats", beats, |beats| {
            *beats >= 10
        })
        .await;
        a.stands(&etcd).await;
        b.stands(&etcd).await;
        consumer.settles_on(&[A, B]).await;
    };
    throughout(outage, "both", async || consumer.view(), both).await;

    assert_eq!(consumer.made(), 2, "endpoints are kept");
}

/// faults row 6
#[tokio::test]
async fn a_wiped_registry_is_filled_again_before_anybody_is_removed() {
    let etcd = Etcd::start().await;
    let consumer = Consumer::start(etcd.endpoint(), "/svc").await;
    let [a, b] = providers(&etcd.endpoint()).await;
    etcd.put("/svc/gone", C).await;
    consumer.settles_on(&[A, B, C]).await;

    let rebuild = async {
        etcd.wipe().await;
        a.stands(&etcd).await;
        b.stands(&etcd).await;
        let notices = |view: &View| view.live && view.held == ["/svc/gone"];
        let view = consumer.sees("what is not there any more", notices).await;
        assert_eq!(view.endpoints, [A, B, C], "held, not removed");
        consumer.settles_on(&[A, B]).await;
    };
    throughout(rebuild, "both", async || consumer.view(), both).await;

    assert_eq!(etcd.keys("/svc").await, ["/svc/a", "/svc/b"]);
    assert_eq!(etcd.leases().await.len(), 2);
    assert_eq!(consumer.made(), 3, "endpoints are kept");
    etcd.put("/svc/new", C).await;
    consumer.settles_on(&[A, B, C]).await;
}

/// faults row 6, when the counter has passed ours before we reconnect
#[tokio::test]
async fn a_wiped_registry_that_has_moved_on_is_not_taken_for_the_old_one() {
    let etcd = Etcd::start().await;
    let to_consumer = Proxy::to(etcd.address()).await;
    let to_providers = Proxy::to(etcd.address()).await;
    let consumer = Consumer::start(to_consumer.endpoint(), "/svc").await;
    let [a, b] = providers(&to_providers.endpoint()).await;
    etcd.put("/svc/gone", C).await;
    consumer.settles_on(&[A, B, C]).await;

    let rebuild = async {
        for proxy in [&to_consumer, &to_providers] {
            proxy.refuse().await;
            proxy.drop_connections();
        }
        let known = etcd.revision().await;
        etcd.wipe().await;
        // A watch from the known revision does not see this.
        etcd.put("/svc/new", "10.0.0.4:80").await;
        while etcd.revision().await <= known + 10 {
            etcd.put("/strangers", "busy").await;
        }
        to_consumer.resume();
        let notices = |view: &View| view.live && view.held.len() == 3 && view.has("10.0.0.4:80");
        consumer.sees("that three are not there", notices).await;
        to_providers.resume();
        a.stands(&etcd).await;
        b.stands(&etcd).await;
        consumer.settles_on(&[A, B, "10.0.0.4:80"]).await;
    };
    throughout(rebuild, "both", async || consumer.view(), both).await;

    assert_eq!(etcd.keys("/svc").await, ["/svc/a", "/svc/b", "/svc/new"]);
    assert_eq!(consumer.made(), 4, "endpoints are kept");
}

/// faults row 7
#[tokio::test]
async fn a_compaction_while_the_watch_was_down_costs_one_list_and_misses_no_removal() {
    let etcd = Etcd::start().await;
    let proxy = Proxy::to(etcd.address()).await;
    let consumer = Consumer::start(proxy.endpoint(), "/svc").await;
    let _providers = providers(&etcd.endpoint()).await;
    etcd.put("/svc/gone", C).await;
    consumer.settles_on(&[A, B, C]).await;
    let before = etcd.metrics().await;

    let gap = async {
        proxy.refuse().await;
        proxy.drop_connections();
        consumer.sees("the outage", |view| !view.live).await;
        etcd.delete("/svc/gone").await;
        etcd.put("/svc/new", "10.0.0.4:80").await;
        etcd.compact().await;
        proxy.resume();
        let notices = |view: &View| view.live && view.held == ["/svc/gone"];
        consumer.sees("what is not there any more", notices).await;
        consumer.settles_on(&[A, B, "10.0.0.4:80"]).await;
    };
    throughout(gap, "both", async || consumer.view(), both).await;

    let asked = etcd.metrics().await.since(&before);
    // One read of the witness, unless etcd reported the compaction first; the list; and one read of
    // the witness for the next watch.
    let looks = asked.range_requests();
    assert!((2..=3).contains(&looks), "{looks} reads");
    assert_eq!(
        asked.watchers(),
        3,
        "of the prefix, and of two providers' own keys"
    );
    assert_eq!(consumer.made(), 4, "endpoints are kept");
    etcd.delete("/svc/new").await;
    consumer.settles_on(&[A, B]).await;
}
