//! Writes that were given up and reach etcd after later ones were confirmed.

use sd_core::{Client, Deregistered, Error, Registration, Service, Ttl};
use sd_etcd::{EtcdClient, EtcdClientBuilder};
use sd_tests::{Etcd, Metrics, PATIENCE, Proxy, eventually, throughout};
use std::time::Duration;
use tokio::time::{sleep, timeout};

const KEY: &str = "/svc/a";
const OTHER: &str = "/svc/b";
/// The client's request timeout.
const PATIENT: Duration = Duration::from_millis(500);
/// How long a delayed request takes to arrive. Its cancellation is delayed by the same time, so
/// etcd has carried it out by then.
const LATE: Duration = Duration::from_secs(3);

/// A client with two endpoints for one etcd, connected to the first.
struct Scene {
    etcd: Etcd,
    slow: Proxy,
    _fast: Proxy,
    client: EtcdClient,
    /// Keeps the lease in use.
    _other: Registration,
}

impl Scene {
    async fn set() -> Self {
        Self::with(|builder| {
            builder
                .request_timeout(PATIENT)
                .deregister_timeout(4 * PATIENT)
        })
        .await
    }

    async fn with(options: impl FnOnce(EtcdClientBuilder) -> EtcdClientBuilder) -> Self {
        let etcd = Etcd::start().await;
        let slow = Proxy::to(etcd.address()).await;
        let fast = Proxy::to(etcd.address()).await;
        fast.refuse().await;
        let builder = EtcdClient::builder([slow.endpoint(), fast.endpoint()]);
        let client = options(builder).build().unwrap();
        let other = in_time(async {
            loop {
                // The endpoint that refuses may be tried first.
                if let Ok(other) = client.register(&service(OTHER, "b")).await {
                    return other;
                }
            }
        });
        let other = other.await;
        fast.resume();
        Self {
            etcd,
            slow,
            _fast: fast,
            client,
            _other: other,
        }
    }

    /// Waits until as many transactions have come to etcd.
    async fn transactions(&self, before: &Metrics, count: u64) {
        let seen = async || self.etcd.metrics().await.since(before).txns();
        eventually(PATIENCE, "the late one", seen, |seen| *seen >= count).await;
    }

    /// Checks that `KEY` keeps this value, for longer than etcd takes to carry out the received
    /// requests.
    async fn stays(&self, value: &str) {
        let seen = || self.etcd.get(KEY);
        let is_it = |seen: &Option<Vec<u8>>| seen.as_deref() == Some(value.as_bytes());
        throughout(sleep(PATIENT), "the newest value", seen, is_it).await;
    }

    /// Registers `value`, which the client gives up before it is answered.
    async fn gives_up(&self, value: &'static str) {
        let given_up = in_time(self.client.register(&service(KEY, value))).await;
        assert!(
            matches!(given_up, Err(Error::Timeout { .. })),
            "{given_up:?}"
        );
    }
}

fn service(key: &str, value: &'static str) -> Service {
    let ttl = Ttl::from_secs(60).unwrap();
    Service::new(key, value).unwrap().with_ttl(ttl)
}

async fn in_time<T>(future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.expect("in time")
}

#[tokio::test]
async fn a_registration_that_was_given_up_does_not_undo_the_one_after_it() {
    let scene = Scene::set().await;
    let before = scene.etcd.metrics().await;

    scene.slow.delay(LATE);
    scene.gives_up("old").await;
    let newer = in_time(scene.client.register(&service(KEY, "new"))).await;
    let registration = newer.unwrap();
    assert_eq!(scene.etcd.get(KEY).await.unwrap(), b"new");
    // Two puts, and a removal in case the first one takes effect.
    scene.transactions(&before, 3).await;

    scene.stays("new").await;
    assert_eq!(registration.loss(), None);
}

#[tokio::test]
async fn a_take_over_that_was_given_up_does_not_take_the_key_from_its_next_owner() {
    let scene = Scene::set().await;
    scene.etcd.put(KEY, "somebody").await;
    let before = scene.etcd.metrics().await;

    scene.slow.delay(LATE);
    scene.gives_up("old").await;
    scene.etcd.put(KEY, "somebody else").await;
    // A put, and a removal in case it takes effect.
    scene.transactions(&before, 2).await;

    scene.stays("somebody else").await;
}

#[tokio::test]
async fn a_removal_that_was_given_up_does_not_remove_what_was_registered_after_it() {
    let scene = Scene::set().await;
    let first = in_time(scene.client.register(&service(KEY, "old"))).await;
    let _first = first.unwrap();
    let before = scene.etcd.metrics().await;

    scene.slow.delay(LATE);
    let removed = in_time(scene.client.deregister(&service(KEY, "old"))).await;
    assert_eq!(removed.unwrap(), Deregistered::Removed);
    let second = in_time(scene.client.register(&service(KEY, "new"))).await;
    let registration = second.unwrap();
    // Two removals and a put.
    scene.transactions(&before, 3).await;

    scene.stays("new").await;
    assert_eq!(registration.loss(), None);
}

/// An update on its way to a member that does not answer, such as the announcement of draining,
/// does not keep a deregistration from asking another within its bound.
#[tokio::test]
async fn a_deregistration_is_confirmed_although_an_update_hangs() {
    // Longer than the deregistration may take.
    let scene = Scene::with(|builder| builder.request_timeout(PATIENCE)).await;
    let first = in_time(scene.client.register(&service(KEY, "old"))).await;
    let registration = first.unwrap();
    let before = scene.etcd.metrics().await;

    scene.slow.stall();
    let update = registration.reclaim("late");
    let deregistration = async {
        // Later than the update.
        sleep(PATIENT / 5).await;
        scene.client.deregister(&service(KEY, "old")).await
    };
    let (updated, removed) = in_time(async { tokio::join!(update, deregistration) }).await;
    assert!(matches!(updated, Err(Error::Timeout { .. })), "{updated:?}");
    assert_eq!(removed.unwrap(), Deregistered::Removed);
    assert_eq!(scene.etcd.get(KEY).await, None);

    scene.slow.resume();
    // The update, unless etcd hears in time that nobody waits for it, and the removal.
    let gone = || scene.etcd.get(KEY);
    throughout(sleep(4 * PATIENT), "nothing", gone, Option::is_none).await;
    let asked = scene.etcd.metrics().await.since(&before);
    // And a comparison for each verification, as after the change of the member.
    let (asked, verified) = (asked.txns(), asked.calls("LeaseTimeToLive"));
    assert!((1..=2 + verified).contains(&asked), "{asked} transactions");
}

#[tokio::test]
async fn what_was_given_up_and_carried_out_all_the_same_is_removed() {
    let scene = Scene::set().await;
    let first = in_time(scene.client.register(&service(KEY, "old"))).await;
    let _first = first.unwrap();

    scene.slow.delay(2 * PATIENT);
    scene.gives_up("new").await;
    let value = || scene.etcd.get(KEY);
    let is_new = |value: &Option<Vec<u8>>| value.as_deref() == Some(b"new");
    eventually(PATIENCE, "the late one", value, is_new).await;
    let removed = in_time(scene.client.deregister(&service(KEY, "new"))).await;

    assert_eq!(removed.unwrap(), Deregistered::Removed);
    assert_eq!(scene.etcd.get(KEY).await, None);
}
