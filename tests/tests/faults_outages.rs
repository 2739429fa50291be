//! Registrations when etcd or a provider is frozen for a while.

use futures::future::join_all;
use sd_core::{
    Client, Deregistered, Instancer, LeaseId, Prefix, Registrar, RegistrarStatus, Registration,
    Result, Revision, Service, Snapshot, Trouble, Ttl, Watch, WatchError, async_trait,
};
use sd_etcd::EtcdClient;
use sd_tests::{
    Consumer, Etcd, PATIENCE, Provider, Proxy, RemoteProvider, View, eventually, throughout,
};
use std::{sync::Arc, time::Duration};
use tokio::time::{Instant, sleep, timeout};

const A: &str = "10.0.0.1:80";
const B: &str = "10.0.0.2:80";

fn both(view: &View) -> bool {
    view.has(A) && view.has(B)
}

/// faults row 2
#[tokio::test]
async fn a_freeze_of_two_ttls_takes_nobody_from_consumers_and_all_providers_come_back() {
    let etcd = Etcd::start().await;
    let consumer = Consumer::start(etcd.endpoint(), "/svc").await;
    let a = Provider::start(etcd.endpoint(), "/svc/a", A).await;
    let b = Provider::start(etcd.endpoint(), "/svc/b", B).await;
    consumer.settles_on(&[A, B]).await;
    let leases = [a.stands(&etcd).await, b.stands(&etcd).await];

    let outage = async {
        etcd.freeze();
        let notices = consumer.sees("the outage", |view| !view.live);
        tokio::join!(notices, sleep(2 * Ttl::MIN.duration()));
        etcd.thaw();
        // The leases have expired, and etcd reports that with its first answer.
        let renewed = async || [a.stands(&etcd).await, b.stands(&etcd).await];
        let is_new = |new: &[i64; 2]| new.iter().all(|lease| !leases.contains(lease));
        let new = eventually(PATIENCE, "new leases", renewed, is_new).await;
        consumer.settles_on(&[A, B]).await;
        new
    };
    let mut new = throughout(outage, "both", async || consumer.view(), both).await;

    assert_eq!(consumer.made(), 2, "endpoints are kept");
    // A consumer may see an entry before its provider has the answer.
    let registered = async || [&a, &b].map(|it| it.registrar().status().borrow().is_registered());
    eventually(PATIENCE, "both registered", registered, |all| {
        *all == [true; 2]
    })
    .await;
    let leases = async || {
        let mut leases = etcd.leases().await;
        leases.sort_unstable();
        leases
    };
    new.sort_unstable();
    eventually(PATIENCE, "no lease more", leases, |now| *now == new).await;
}

/// faults row 3
#[tokio::test]
async fn a_freeze_of_less_than_half_a_ttl_is_seen_as_staleness_and_costs_no_lease() {
    const TTL: Duration = Duration::from_secs(6);
    let etcd = Etcd::start().await;
    let consumer = Consumer::start(etcd.endpoint(), "/svc").await;
    let provider = async |key: &str, address: &'static str| {
        let service = Service::new(key, address).unwrap();
        let service = service.with_ttl(Ttl::new(TTL).unwrap());
        let registrar = |client| Registrar::new(client, service);
        Provider::with(etcd.endpoint(), key, registrar).await
    };
    let providers = [provider("/svc/a", A).await, provider("/svc/b", B).await];
    consumer.settles_on(&[A, B]).await;
    let entries = [etcd.last_put("/svc/a").await, etcd.last_put("/svc/b").await];
    let before = etcd.metrics().await;

    let outage = async {
        // So that the next keep-alive is sent and given up during the freeze, after 3 s in all.
        sleep(TTL / 6).await;
        etcd.freeze();
        let notices = consumer.sees("the outage", |view| !view.live);
        tokio::join!(notices, sleep(TTL * 9 / 20));
        etcd.thaw();
        consumer.settles_on(&[A, B]).await;
        // The leases have their full TTL again, which they can have only after a keep-alive.
        let left = async || {
            let leases = entries.map(|entry| entry.expect("it stands").0);
            [
                etcd.seconds_left(leases[0]).await,
                etcd.seconds_left(leases[1]).await,
            ]
        };
        let is_whole = |left: &[i64; 2]| left.iter().all(|left| *left >= 4);
        eventually(PATIENCE, "both leases prolonged", left, is_whole).await;
    };
    let look = async || {
        let statuses = providers.each_ref().map(|it| it.registrar().status());
        let statuses = statuses.map(|status| status.borrow());
        (consumer.view(), statuses)
    };
    let nothing = |(view, statuses): &(View, [Arc<RegistrarStatus>; 2])| {
        both(view) && view.held.is_empty() && statuses.iter().all(|it| it.is_registered())
    };
    throughout(outage, "both registered, undoubted", look, nothing).await;

    let now = [etcd.last_put("/svc/a").await, etcd.last_put("/svc/b").await];
    assert_eq!(now, entries, "the same leases, and nothing was put again");
    let asked = etcd.metrics().await.since(&before);
    assert_eq!((asked.lease_grants(), asked.puts()), (0, 0));
    let verified = asked.calls("LeaseTimeToLive");
    assert!(
        asked.txns() <= verified,
        "a comparison for each of {verified} verifications, and no write: {asked:?}"
    );
    assert_eq!(consumer.made(), 2, "endpoints are kept");
}

/// Between faults rows 2 and 3: etcd is back before its clients give up the connection, and the
/// lease may be lost.
#[tokio::test]
async fn a_freeze_that_just_costs_a_lease_takes_nobody_from_consumers() {
    let etcd = Etcd::start().await;
    let provider = Provider::start(etcd.endpoint(), "/svc/a", A).await;
    let beats = async || etcd.metrics().await.keepalives();
    let mut lost = 0;
    for millis in [1500, 1650, 1700, 1800, 1900] {
        // A consumer that has seen no trouble yet applies removals at once.
        let consumer = Consumer::start(etcd.endpoint(), "/svc").await;
        let lease = provider.stands(&etcd).await;
        consumer.settles_on(&[A]).await;

        let outage = async {
            let before = beats().await;
            eventually(PATIENCE, "a beat", beats, |beats| *beats > before).await;
            // Just before the next keep-alive, when the lease has the least time left.
            sleep(Ttl::MIN.duration() / 4).await;
            etcd.freeze();
            sleep(Duration::from_millis(millis)).await;
            etcd.thaw();
            // Old or new, the lease is renewed, and no request is in flight any more.
            let before = beats().await;
            eventually(PATIENCE, "two beats", beats, |beats| *beats > before + 1).await;
            consumer.settles_on(&[A]).await;
            provider.stands(&etcd).await
        };
        let has_it = |view: &_| View::has(view, A);
        let new = throughout(outage, "the instance", async || consumer.view(), has_it).await;

        lost += u32::from(new != lease);
        assert_eq!(consumer.made(), 1, "the endpoint is kept");
    }
    assert!(lost > 0, "no lease was lost: that was too easy");
}

/// faults row 14
#[tokio::test]
async fn a_provider_that_was_frozen_comes_back_when_it_wakes() {
    let etcd = Etcd::start().await;
    let consumer = Consumer::start(etcd.endpoint(), "/svc").await;
    let _other = Provider::start(etcd.endpoint(), "/svc/b", B).await;
    let dir = tempfile::tempdir().unwrap();
    let program = env!("CARGO_BIN_EXE_sd-tests-provider");
    let log = dir.path().join("log");
    let mut provider = RemoteProvider::start(program, etcd.endpoint(), "/svc/a", A, &log);
    consumer.settles_on(&[A, B]).await;
    let (lease, _) = etcd.last_put("/svc/a").await.expect("it is seen");

    let absence = async {
        provider.freeze();
        // The registry is healthy, so the removal applies at once.
        consumer.settles_on(&[B]).await;
        sleep(Ttl::MIN.duration()).await;
        assert_eq!(consumer.view().instances, [B], "a frozen one does nothing");
        provider.thaw();
        consumer.settles_on(&[A, B]).await;
    };
    let has_other = |view: &_| View::has(view, B);
    throughout(
        absence,
        "the other one",
        async || consumer.view(),
        has_other,
    )
    .await;

    let (new, put) = etcd.last_put("/svc/a").await.expect("it is back");
    assert_ne!(new, lease);
    assert_eq!(etcd.leases().await.len(), 2, "the old lease is gone");
    // It sends keep-alives again: a whole TTL later, its entry is still the same.
    sleep(Ttl::MIN.duration() + Duration::from_secs(1)).await;
    assert_eq!(etcd.last_put("/svc/a").await, Some((new, put)));
}

const FIVE: [&str; 5] = [
    "10.0.0.1:80",
    "10.0.0.2:80",
    "10.0.0.3:80",
    "10.0.0.4:80",
    "10.0.0.5:80",
];

/// Five providers, each with a lease of its own, and a consumer that has all of them to call.
async fn five(etcd: &Etcd, endpoint: String) -> (Vec<Provider>, Consumer) {
    let consumer = Consumer::start(etcd.endpoint(), "/svc").await;
    let starting = FIVE.map(|address| {
        let endpoint = endpoint.clone();
        async move { Provider::start(endpoint, &format!("/svc/{address}"), address).await }
    });
    let providers = join_all(starting).await;
    consumer.settles_on(&FIVE).await;
    (providers, consumer)
}

/// Row 31: all leases lost at once on a healthy watch.
#[tokio::test]
async fn all_leases_lost_at_once_take_nobody_from_consumers() {
    let etcd = Etcd::start().await;
    let (providers, consumer) = five(&etcd, etcd.endpoint()).await;
    let mut old = Vec::new();
    for provider in &providers {
        old.push(provider.stands(&etcd).await);
    }
    let loss = async {
        let revoking = old.iter().map(|lease| etcd.revoke(*lease));
        join_all(revoking).await;
        for (provider, old) in providers.iter().zip(&old) {
            let lease = async || provider.stands(&etcd).await;
            eventually(PATIENCE, "a new lease", lease, |new| new != old).await;
        }
        consumer.settles_on(&FIVE).await;
    };
    // Two of five are believed until it is known that there are more.
    let most = |view: &View| view.live && view.instances.len() >= 3 && view.is_usable();
    throughout(
        loss,
        "three to call, and live",
        async || consumer.view(),
        most,
    )
    .await;
}

/// Row 31: the providers are cut off from etcd, and the consumer is not.
#[tokio::test]
async fn providers_that_are_cut_off_are_kept_for_the_grace_period_and_return_without_a_gap() {
    let etcd = Etcd::start().await;
    let proxy = Proxy::to(etcd.address()).await;
    let (_providers, consumer) = five(&etcd, proxy.endpoint()).await;
    let cut = async {
        proxy.stall();
        let doubted = |view: &View| view.held.len() >= 3;
        let view = consumer.sees("at least three held", doubted).await;
        assert!(view.live, "the registry is followed: {view:?}");
        let state = consumer.instancer().state().unwrap();
        for (_, held) in state.held() {
            let why = &held.why;
            assert!(matches!(why, Trouble::ManyRemoved { of: 5, .. }), "{why}");
        }
        proxy.resume();
        consumer.settles_on(&FIVE).await;
    };
    let most = |view: &View| view.live && view.instances.len() >= 3 && view.is_usable();
    throughout(
        cut,
        "three to call, and live",
        async || consumer.view(),
        most,
    )
    .await;

    // Cut off for longer than anybody waits, they are gone.
    proxy.stall();
    consumer
        .sees("nobody", |view| view.instances.is_empty())
        .await;
}

/// A client whose etcd freezes as soon as it has listed.
struct FreezesAfterList(EtcdClient, Arc<Etcd>);

#[async_trait]
impl Client for FreezesAfterList {
    async fn get_entries(&self, prefix: &Prefix) -> Result<Snapshot> {
        let listed = self.0.get_entries(prefix).await?;
        self.1.freeze();
        Ok(listed)
    }

    async fn watch_prefix(&self, prefix: &Prefix, after: &Revision) -> Result<Watch, WatchError> {
        self.0.watch_prefix(prefix, after).await
    }

    async fn register(&self, service: &Service) -> Result<Registration> {
        self.0.register(service).await
    }

    async fn deregister(&self, service: &Service) -> Result<Deregistered> {
        self.0.deregister(service).await
    }

    fn lease_id(&self) -> Option<LeaseId> {
        self.0.lease_id()
    }
}

/// Row 32: etcd freezes between the list and the watch.
#[tokio::test]
async fn a_source_is_live_when_etcd_has_answered_about_its_watch() {
    let etcd = Arc::new(Etcd::start().await);
    etcd.put("/svc/a", A).await;
    let client = EtcdClient::connect([etcd.endpoint()]).unwrap();
    let client = FreezesAfterList(client, etcd.clone());
    let instancer = Instancer::new(client, Prefix::new("/svc").unwrap());
    let ready = timeout(PATIENCE, instancer.ready()).await;
    ready.expect("ready in time").unwrap();
    let is_live = async || instancer.state().unwrap().health().is_live();
    let while_frozen = sleep(Duration::from_secs(3));
    throughout(while_frozen, "not live", is_live, |live| !live).await;
    etcd.thaw();
    eventually(PATIENCE, "live", is_live, |live| *live).await;
}

/// Row 41: etcd stalls again and again, for ever.
#[tokio::test]
async fn a_removal_applies_in_bounded_time_however_often_etcd_stalls() {
    const GRACE: Duration = Duration::from_secs(4);
    let etcd = Etcd::start().await;
    etcd.put("/svc/a", A).await;
    etcd.put("/svc/b", B).await;
    let consumer = Consumer::start(etcd.endpoint(), "/svc").await;
    consumer.settles_on(&[A, B]).await;
    let stalls = async {
        loop {
            etcd.freeze();
            sleep(Duration::from_millis(1_700)).await;
            etcd.thaw();
            sleep(Duration::from_millis(1_800)).await;
        }
    };
    let removal = async {
        consumer.sees("a stall", |view| !view.live).await;
        consumer.sees("its end", |view| view.live).await;
        assert!(etcd.delete("/svc/a").await);
        consumer.sees("it held", |view| !view.held.is_empty()).await;
        let held = Instant::now();
        consumer.sees("it gone", |view| view.instances == [B]).await;
        held.elapsed()
    };
    let took = tokio::select! {
        never = stalls => never,
        took = removal => took,
    };
    // Generous: the stalls take half of the time.
    assert!(took >= GRACE && took < 5 * GRACE, "{took:?}");
}
