//! Clients that reach etcd through its gRPC proxy, which does not answer requests for progress and
//! hides what happens behind it.

use sd_core::{Client, Deregistered, Registrar, Service, Ttl};
use sd_etcd::EtcdClient;
use sd_tests::{
    Consumer, Etcd, GrpcProxy, PATIENCE, Provider, RemoteProvider, View, eventually, throughout,
};
use std::time::Duration;
use tokio::time::{Instant, sleep};

const A: &str = "10.0.0.1:80";
const B: &str = "10.0.0.2:80";

/// Long enough to give up a connection twice for silence.
const IDLE: Duration = Duration::from_secs(10);

fn undoubted(view: &View) -> bool {
    view.live && view.held.is_empty() && view.has(A)
}

/// Awaits `outage`, and checks that the consumer can call the first provider all the time.
async fn always_usable<O>(outage: impl Future<Output = O>, consumer: &Consumer) -> O {
    let look = async || consumer.view();
    throughout(outage, "one to call", look, |view| view.has(A)).await
}

/// An etcd, a proxy in front of it, and a provider and a consumer that see each other through the
/// proxy.
async fn behind_a_proxy() -> (Etcd, GrpcProxy, Provider, Consumer) {
    let etcd = Etcd::start().await;
    let proxy = GrpcProxy::to(&etcd).await;
    let consumer = Consumer::start(proxy.endpoint(), "/svc").await;
    let provider = Provider::start(proxy.endpoint(), "/svc/a", A).await;
    consumer.settles_on(&[A]).await;
    (etcd, proxy, provider, consumer)
}

#[tokio::test]
async fn an_idle_registry_behind_a_proxy_is_not_taken_for_a_dead_one() {
    let etcd = Etcd::start().await;
    let proxy = GrpcProxy::to(&etcd).await;
    // The second joins the watch of the first at the proxy.
    let consumers = [
        Consumer::start(proxy.endpoint(), "/svc").await,
        Consumer::start(proxy.endpoint(), "/svc").await,
    ];
    // Once they see this, their watches are open.
    etcd.put("/svc/a", A).await;
    for consumer in &consumers {
        consumer.settles_on(&[A]).await;
    }
    let (before, ports) = (etcd.metrics().await, proxy.client_ports());
    assert_eq!(ports.len(), 2, "a connection each");

    let look = async || consumers.each_ref().map(Consumer::view);
    let both_undoubted = |views: &[View; 2]| views.iter().all(undoubted);
    let begun = Instant::now();
    throughout(sleep(IDLE), "live", look, both_undoubted).await;

    assert_eq!(proxy.client_ports(), ports, "the same connections");
    let asked = etcd.metrics().await.since(&before);
    assert_eq!(asked.watch_messages(), 0, "nothing was watched anew");
    // One read per interval. Each interval begins with the answer to the last read.
    let (reads, idle) = (asked.range_requests(), begun.elapsed());
    let most = 2 * (idle.as_secs() + 1);
    assert!((10..=most).contains(&reads), "{reads} reads in {idle:?}");
    etcd.put("/svc/b", B).await;
    for consumer in &consumers {
        consumer.settles_on(&[A, B]).await;
    }
}

#[tokio::test]
async fn consumers_of_one_prefix_share_watches_and_each_follows() {
    let etcd = Etcd::start().await;
    let proxy = GrpcProxy::to(&etcd).await;
    etcd.put("/svc/a", A).await;
    let watchers = async || etcd.metrics().await.watchers();
    let own = watchers().await;
    let mut consumers = Vec::new();
    for _ in 0..5 {
        consumers.push(Consumer::start(proxy.endpoint(), "/svc").await);
    }

    etcd.put("/svc/b", B).await;
    for consumer in &consumers {
        consumer.settles_on(&[A, B]).await;
    }
    assert!(etcd.delete("/svc/a").await);
    for consumer in &consumers {
        consumer.settles_on(&[B]).await;
    }

    // The proxy may have opened more than one watch, and does not always merge them later.
    let shared = |watchers: &u64| *watchers < own + 5;
    eventually(PATIENCE, "shared watches", watchers, shared).await;
    assert_eq!(etcd.client_connections(), 1, "the proxy's");
}

#[tokio::test]
async fn a_registration_through_a_proxy_stands_and_goes() {
    let etcd = Etcd::start().await;
    let proxy = GrpcProxy::to(&etcd).await;
    for ttl in [2, 6] {
        let service = Service::new("/svc/a", A).unwrap();
        let service = service.with_ttl(Ttl::from_secs(ttl).unwrap());
        let registrar = |client| Registrar::new(client, service);
        let provider = Provider::with(proxy.endpoint(), "/svc/a", registrar).await;
        provider.stands(&etcd).await;
        let entry = etcd.last_put("/svc/a").await;
        // With the shortest TTL, an answer must come within a sixth of a second, which a busy
        // machine may miss.
        let ports = async || (ttl > 2).then(|| proxy.client_ports());
        let begun = ports().await;

        let look = async || (etcd.last_put("/svc/a").await, ports().await);
        let is_kept = |seen: &_| *seen == (entry, begun.clone());
        throughout(
            sleep(IDLE),
            "the same lease on the same connection",
            look,
            is_kept,
        )
        .await;

        let gone = provider.registrar().deregister().await.unwrap();
        assert_eq!(gone, Deregistered::Removed);
        assert_eq!(etcd.keys("/svc/").await, [""; 0]);
        eventually(PATIENCE, "no lease", || etcd.leases(), Vec::is_empty).await;
    }
}

/// The proxy sends keep-alives for a hanging provider for a limited time, not for as long as it is
/// connected.
#[tokio::test]
async fn a_provider_that_hangs_or_dies_before_a_proxy_goes() {
    let etcd = Etcd::start().await;
    let proxy = GrpcProxy::to(&etcd).await;
    let consumer = Consumer::start(proxy.endpoint(), "/svc").await;
    let dir = tempfile::tempdir().unwrap();
    let program = env!("CARGO_BIN_EXE_sd-tests-provider");
    let log = dir.path().join("log");
    let mut provider = RemoteProvider::start(program, proxy.endpoint(), "/svc/a", A, &log);
    consumer.settles_on(&[A]).await;

    provider.freeze();
    consumer.settles_on(&[]).await;
    sleep(Ttl::MIN.duration()).await;
    assert_eq!(etcd.leases().await, [0; 0], "nobody keeps it alive");
    provider.thaw();
    consumer.settles_on(&[A]).await;
    sleep(Ttl::MIN.duration()).await;

    drop(provider);
    consumer.settles_on(&[]).await;
}

#[tokio::test]
async fn an_etcd_that_freezes_behind_a_proxy_is_noticed_and_nobody_is_emptied() {
    let (etcd, _proxy, provider, consumer) = behind_a_proxy().await;
    let lease = provider.stands(&etcd).await;

    let outage = async {
        etcd.freeze();
        let notices = consumer.sees("the outage", |view| !view.live);
        tokio::join!(notices, sleep(2 * Ttl::MIN.duration()));
        etcd.thaw();
        let stands = async || provider.stands(&etcd).await;
        eventually(PATIENCE, "a new lease", stands, |new| *new != lease).await;
        consumer.settles_on(&[A]).await;
    };
    always_usable(outage, &consumer).await;

    assert_eq!(consumer.made(), 1, "the endpoint is kept");
}

#[tokio::test]
async fn an_etcd_that_restarts_behind_a_proxy_costs_no_change() {
    let (etcd, _proxy, provider, consumer) = behind_a_proxy().await;
    let lease = provider.stands(&etcd).await;

    let outage = async {
        etcd.restart().await;
        etcd.put("/svc/b", B).await;
        consumer.settles_on(&[A, B]).await;
    };
    always_usable(outage, &consumer).await;

    assert_eq!(provider.stands(&etcd).await, lease);
}

#[tokio::test]
async fn an_etcd_that_is_wiped_behind_a_proxy_is_noticed() {
    for strangers in [0, 50] {
        let etcd = Etcd::start().await;
        let proxy = GrpcProxy::to(&etcd).await;
        let consumer = Consumer::start(proxy.endpoint(), "/svc").await;
        let provider = Provider::start(proxy.endpoint(), "/svc/a", A).await;
        etcd.put("/svc/b", B).await;
        consumer.settles_on(&[A, B]).await;

        let outage = async {
            etcd.wipe().await;
            for n in 0..strangers {
                etcd.put("/other", format!("{n}")).await;
            }
            consumer.settles_on(&[A]).await;
        };
        always_usable(outage, &consumer).await;

        provider.stands(&etcd).await;
        etcd.put("/svc/b", B).await;
        consumer.settles_on(&[A, B]).await;
    }
}

#[tokio::test]
async fn a_proxy_that_is_restarted_costs_no_change() {
    let (etcd, proxy, provider, consumer) = behind_a_proxy().await;
    let lease = provider.stands(&etcd).await;
    let before = etcd.metrics().await;

    let outage = async {
        proxy.kill();
        etcd.put("/svc/b", B).await;
        consumer.sees("the outage", |view| !view.live).await;
        proxy.start_again().await;
        consumer.settles_on(&[A, B]).await;
    };
    always_usable(outage, &consumer).await;

    assert_eq!(provider.stands(&etcd).await, lease);
    assert_eq!(etcd.metrics().await.since(&before).lease_grants(), 0);
}

#[tokio::test]
async fn a_history_compacted_behind_a_proxy_costs_one_list() {
    let etcd = Etcd::start().await;
    let proxy = GrpcProxy::to(&etcd).await;
    etcd.put("/svc/a", A).await;
    let consumer = Consumer::start(proxy.endpoint(), "/svc").await;
    etcd.put("/svc/b", B).await;
    consumer.settles_on(&[A, B]).await;

    // While the consumer follows, this has no effect.
    etcd.put("/other", "x").await;
    etcd.compact().await;
    throughout(sleep(IDLE / 2), "live", async || consumer.view(), undoubted).await;

    proxy.kill();
    consumer.sees("the outage", |view| !view.live).await;
    assert!(etcd.delete("/svc/b").await);
    etcd.put("/other", "y").await;
    etcd.compact().await;
    proxy.start_again().await;
    consumer.settles_on(&[A]).await;
    etcd.put("/svc/b", B).await;
    consumer.settles_on(&[A, B]).await;
}

#[tokio::test]
async fn a_proxy_with_a_namespace_keeps_to_it() {
    let etcd = Etcd::start().await;
    let proxy = GrpcProxy::with(&etcd, &["--namespace=/production"]).await;
    let consumer = Consumer::start(proxy.endpoint(), "/svc").await;
    let provider = Provider::start(proxy.endpoint(), "/svc/a", A).await;
    consumer.settles_on(&[A]).await;
    assert_eq!(etcd.keys("/").await, ["/production/svc/a"]);

    // The verification of its lease finds it neither missing nor stray.
    let (lease, put) = etcd.last_put("/production/svc/a").await.unwrap();
    let stands = async || etcd.last_put("/production/svc/a").await;
    throughout(sleep(IDLE / 2), "as it was put", stands, |now| {
        *now == Some((lease, put))
    })
    .await;

    etcd.delete("/production/svc/a").await;
    eventually(PATIENCE, "it to be back", stands, Option::is_some).await;
    consumer.settles_on(&[A]).await;
    let gone = provider.registrar().deregister().await.unwrap();
    assert_eq!(gone, Deregistered::Removed);
}

#[tokio::test]
async fn users_and_their_rights_are_the_same_behind_a_proxy() {
    let etcd = Etcd::setup().token_ttl(60).start().await;
    etcd.put("/svc/a", A).await;
    etcd.enable_auth().await;
    etcd.add_user("discovery", "secret", "/svc/").await;
    let proxy = GrpcProxy::to(&etcd).await;
    let client = || {
        EtcdClient::builder([proxy.endpoint()])
            .user("discovery", "secret")
            .build()
            .unwrap()
    };
    let consumer = Consumer::on(client(), "/svc").await;
    consumer.settles_on(&[A]).await;

    throughout(sleep(IDLE / 2), "live", async || consumer.view(), undoubted).await;

    etcd.put("/svc/b", B).await;
    consumer.settles_on(&[A, B]).await;
    let refused = client();
    let other = sd_core::Prefix::new("/other").unwrap();
    assert!(refused.get_entries(&other).await.is_err());
}
