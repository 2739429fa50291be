//! Row 8: own keys are watched, so that what others do to them is noticed at once.

use crate::*;
use futures::future::join_all;
use sd_core::{Deregistered, RegistrarStatus};
use sd_tests::Log;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Far below the third of the TTL after which the lease is verified.
const AT_ONCE: Duration = Duration::from_secs(10);

fn long(key: &str) -> Service {
    let service = Service::new(key, ADDRESS).unwrap();
    service.with_ttl(Ttl::from_secs(60).unwrap())
}

fn keep(client: &EtcdClient, key: &str) -> Registrar {
    Registrar::new(client.clone(), long(key))
}

async fn watchers(etcd: &Etcd, expected: u64) {
    let open = async || etcd.metrics().await.watchers();
    eventually(PATIENCE, "the watches", open, |n| *n == expected).await;
}

async fn is_back(etcd: &Etcd, key: &str) {
    let look = async || etcd.entry(key).await.map_or(0, |entry| entry.lease());
    eventually(AT_ONCE, "the key to be back", look, |lease| *lease != 0).await;
}

/// Row 8
#[tokio::test]
async fn a_key_that_is_deleted_is_back_without_waiting_for_the_verification() {
    let etcd = Etcd::start().await;
    let client = client(&etcd);
    let registrar = keep(&client, KEY);
    registrar.register().await.unwrap();
    // Whether the watch stands yet or not.
    for _ in 0..3 {
        assert!(etcd.delete(KEY).await);
        is_back(&etcd, KEY).await;
    }
    assert_eq!(registrar.deregister().await.unwrap(), Deregistered::Removed);
    watchers(&etcd, 0).await;
    assert_eq!(etcd.get(KEY).await, None);
}

#[tokio::test]
async fn a_key_that_is_taken_is_reported_at_once() {
    let etcd = Etcd::start().await;
    let client = client(&etcd);
    let registrar = keep(&client, KEY);
    registrar.register().await.unwrap();
    etcd.put(KEY, "10.9.9.9:80").await;
    let status = async || registrar.status().borrow().to_string();
    let taken = async || matches!(&*registrar.status().borrow(), RegistrarStatus::Taken { .. });
    eventually(AT_ONCE, &status().await, taken, |it| *it).await;
}

#[tokio::test]
async fn a_lost_lease_is_no_deleted_key() {
    let etcd = Etcd::start().await;
    let log = Log::capture();
    let client = client(&etcd);
    let registrars: Vec<_> = (0..5)
        .map(|n| keep(&client, &format!("/svc/{n}")))
        .collect();
    for registered in join_all(registrars.iter().map(Registrar::register)).await {
        registered.unwrap();
    }
    watchers(&etcd, 1).await;
    let lease = etcd.leases().await[0];
    etcd.revoke(lease).await;
    for n in 0..5 {
        is_back(&etcd, &format!("/svc/{n}")).await;
    }
    let lines = log.text();
    assert!(
        lines.iter().any(|line| line.contains("lease")),
        "{lines:#?}"
    );
    assert!(
        !lines.iter().any(|line| line.contains("deleted")),
        "{lines:#?}"
    );
}

#[tokio::test]
async fn one_watch_for_each_directory_and_no_request_for_what_others_do_between() {
    let etcd = Etcd::start().await;
    let client = client(&etcd);
    let keys: Vec<_> = (0..30)
        .flat_map(|n| [format!("/a/{n:02}"), format!("/b/{n:02}")])
        .collect();
    let registrars: Vec<_> = keys.iter().map(|key| keep(&client, key)).collect();
    for registered in join_all(registrars.iter().map(Registrar::register)).await {
        registered.unwrap();
    }
    watchers(&etcd, 2).await;
    let before = etcd.metrics().await;
    assert_eq!((before.watch_streams(), etcd.client_connections()), (1, 1));
    let messages = before.watch_messages();
    assert!(messages <= 6, "{messages} for 60 keys");

    for n in 0..50 {
        etcd.put(format!("/a/05-{n}"), "10.9.9.9:80").await;
    }
    // The own change comes after those of others.
    assert!(etcd.delete("/a/07").await);
    is_back(&etcd, "/a/07").await;

    let asked = etcd.metrics().await.since(&before);
    let requests = (
        asked.calls("LeaseTimeToLive"),
        asked.txns(),
        asked.range_requests(),
    );
    assert_eq!(requests, (1, 2, 0), "a look, a read, and the put");
    assert_eq!(asked.watch_messages(), 0, "nothing to be watched anew");
}

#[tokio::test]
async fn many_registrations_one_after_the_other_do_not_each_change_the_watch() {
    let etcd = Etcd::start().await;
    let client = client(&etcd);
    let start = Instant::now();
    let mut registrars = Vec::new();
    for n in 0..200 {
        let registrar = keep(&client, &format!("/svc/{n:03}"));
        registrar.register().await.unwrap();
        registrars.push(registrar);
    }
    let took = start.elapsed();
    let messages = async || etcd.metrics().await.watch_messages();
    let changes = took.as_secs() + 3;
    // Each is a new watch and the end of the one before.
    let sent = messages().await;
    assert!(sent <= 2 * changes, "{sent} messages in {took:?}");
    // All are watched in the end, and from their own puts on.
    for key in ["/svc/000", "/svc/100", "/svc/199"] {
        assert!(etcd.delete(key).await);
        is_back(&etcd, key).await;
    }
    watchers(&etcd, 1).await;
}

#[tokio::test]
async fn somebody_who_deletes_a_key_all_the_time_costs_few_requests() {
    let etcd = Etcd::start().await;
    let client = client(&etcd);
    let registrar = keep(&client, KEY);
    registrar.register().await.unwrap();
    watchers(&etcd, 1).await;
    let before = etcd.metrics().await;
    let start = Instant::now();
    let mut deleted = 0;
    while start.elapsed() < Duration::from_secs(5) {
        deleted += u64::from(etcd.delete(KEY).await);
        sleep(Duration::from_millis(1)).await;
    }
    let asked = etcd.metrics().await.since(&before);
    let requests = asked.calls("LeaseTimeToLive") + asked.txns();
    assert!(deleted >= 1, "it came back");
    assert!(requests <= 50, "{requests} requests, {deleted} deletions");
    is_back(&etcd, KEY).await;
}

#[tokio::test]
async fn after_a_restart_own_keys_are_watched_again() {
    let etcd = Etcd::start().await;
    let client = client(&etcd);
    let registrar = keep(&client, KEY);
    registrar.register().await.unwrap();
    watchers(&etcd, 1).await;
    etcd.restart().await;
    assert!(etcd.delete(KEY).await);
    is_back(&etcd, KEY).await;
    watchers(&etcd, 1).await;
    assert!(etcd.delete(KEY).await);
    is_back(&etcd, KEY).await;
}

/// The user may read both keys, and not what is between them.
#[tokio::test]
async fn what_may_not_be_watched_is_verified_and_said_once() {
    let etcd = Etcd::start().await;
    etcd.enable_auth().await;
    etcd.add_user("p", "secret", "/svc/a").await;
    etcd.grant("p", "/svc/c").await;
    let log = Log::capture();
    let builder = EtcdClient::builder([etcd.endpoint()]).user("p", "secret");
    let client = builder.build().unwrap();
    let registrars =
        ["/svc/a", "/svc/c"].map(|key| Registrar::new(client.clone(), service(key, ADDRESS)));
    for registrar in &registrars {
        registrar.register().await.unwrap();
    }
    let said = "own keys cannot be watched: changes by others are noticed by the next verification";
    let lines = async || {
        log.lines()
            .iter()
            .filter(|line| line.message == said)
            .count()
    };
    eventually(PATIENCE, "the line", lines, |n| *n == 1).await;
    assert!(etcd.delete("/svc/a").await);
    is_back(&etcd, "/svc/a").await;
    assert_eq!((lines().await, etcd.metrics().await.watchers()), (1, 0));
}
