//! An etcd that has no room left.

use sd_core::{Deregistered, Error, Instancer, Prefix, Registrar, RegistrarStatus, Service, Ttl};
use sd_etcd::EtcdClient;
use sd_tests::{Etcd, PATIENCE, eventually};
use std::time::Duration;
use tokio::time::timeout;

const KEY: &str = "/svc/10.0.0.1:80";
const OTHER: &str = "/svc/10.0.0.2:80";

/// An etcd with a small quota.
async fn small() -> Etcd {
    Etcd::setup().quota(1 << 20).start().await
}

fn client(etcd: &Etcd) -> EtcdClient {
    EtcdClient::connect([etcd.endpoint()]).unwrap()
}

fn service(key: &str) -> Service {
    Service::new(key, key.trim_start_matches("/svc/").to_owned())
        .unwrap()
        .with_ttl(Ttl::MIN)
}

/// Registers `key`, in time.
async fn registered(client: &EtcdClient, key: &str) -> Registrar {
    let registrar = Registrar::new(client.clone(), service(key));
    let registered = timeout(PATIENCE, registrar.register()).await;
    registered.expect("registered in time").unwrap();
    registrar
}

async fn status_is(registrar: &Registrar, what: &str, accept: impl Fn(&RegistrarStatus) -> bool) {
    let status = registrar.status();
    eventually(
        PATIENCE,
        what,
        async || status.borrow().clone(),
        |status| accept(status),
    )
    .await;
}

async fn instances_are(instancer: &Instancer, keys: &[&str]) {
    let seen = async || {
        let event = instancer.state().expect("it was ready");
        let instances = event.instances().iter();
        instances.map(|it| it.key().to_string()).collect::<Vec<_>>()
    };
    eventually(PATIENCE, "the instances", seen, |seen| seen == keys).await;
}

/// Waits until a lease of the shortest TTL would have expired without keep-alives.
async fn more_than_a_ttl(etcd: &Etcd) {
    let before = etcd.metrics().await;
    let beats = async || etcd.metrics().await.since(&before).keepalives();
    eventually(PATIENCE, "keep-alives", beats, |beats| *beats >= 6).await;
}

/// faults row 26
#[tokio::test]
async fn a_full_etcd_keeps_its_registrations_and_takes_new_ones_when_there_is_room() {
    let etcd = small().await;
    let (provider, newcomer) = (client(&etcd), client(&etcd));
    let instancer = Instancer::new(client(&etcd), Prefix::new("/svc").unwrap());
    timeout(PATIENCE, instancer.ready()).await.unwrap().unwrap();
    let held = registered(&provider, KEY).await;
    instances_are(&instancer, &[KEY]).await;
    let lease = etcd.entry(KEY).await.unwrap().lease();

    etcd.fill_quota().await;
    let before = etcd.metrics().await;
    // One that shares the lease, and one that needs a lease first.
    let neighbour = Registrar::new(provider.clone(), service(OTHER));
    let alone = Registrar::new(newcomer.clone(), service("/svc/10.0.0.3:80"));
    let register = async {
        let (neighbour, alone) = tokio::join!(neighbour.register(), alone.register());
        neighbour.unwrap();
        alone.unwrap();
    };
    let is_told = |status: &RegistrarStatus| {
        matches!(
            status,
            RegistrarStatus::Registering { error: Some(Error::Exhausted { message, .. }), .. }
                if message.contains("space")
        )
    };
    let lifted = async {
        status_is(&neighbour, "the reason", is_told).await;
        status_is(&alone, "the reason", is_told).await;
        more_than_a_ttl(&etcd).await;
        status_is(&neighbour, "the reason still", is_told).await;
        status_is(&alone, "the reason still", is_told).await;
        let asked = etcd.metrics().await.since(&before);
        let asked = asked.txns() + asked.lease_grants() + asked.calls("LeaseRevoke");
        assert!(asked <= 40, "{asked} requests in vain");
        assert_eq!(etcd.entry(KEY).await.unwrap().lease(), lease);
        assert!(held.status().borrow().is_registered());
        instances_are(&instancer, &[KEY]).await;
        etcd.lift_alarm().await;
    };
    let both = async { tokio::join!(register, lifted) };

    timeout(2 * PATIENCE, both).await.expect("registered");

    assert_eq!(etcd.entry(KEY).await.unwrap().lease(), lease);
    instances_are(&instancer, &[KEY, OTHER, "/svc/10.0.0.3:80"]).await;
    assert_eq!(etcd.leases().await.len(), 2, "none was left behind");
}

/// faults row 26: with a deadline, the error is the reason.
#[tokio::test]
async fn who_does_not_want_to_wait_for_room_hears_the_reason() {
    let etcd = small().await;
    etcd.fill_quota().await;
    let registrar = Registrar::new(client(&etcd), service(KEY));

    let refused = registrar.register_within(Duration::from_secs(1)).await;

    assert!(
        matches!(refused, Err(Error::Exhausted { .. })),
        "{refused:?}"
    );
    assert!(refused.unwrap_err().to_string().contains("space"));
    etcd.lift_alarm().await;
    assert_eq!(etcd.get(KEY).await, None);
}

/// faults row 26: deregistering needs no room.
#[tokio::test]
async fn a_full_etcd_lets_go_of_what_is_deregistered() {
    let etcd = small().await;
    let client = client(&etcd);
    let first = registered(&client, KEY).await;
    let second = registered(&client, OTHER).await;
    etcd.fill_quota().await;

    let gone = timeout(PATIENCE, first.deregister()).await.unwrap();
    assert_eq!(gone.unwrap(), Deregistered::Removed);
    assert_eq!(etcd.keys("/svc/").await, [OTHER]);

    let gone = timeout(PATIENCE, second.deregister()).await.unwrap();
    assert_eq!(gone.unwrap(), Deregistered::Removed);
    assert_eq!(etcd.keys("/svc/").await, [""; 0]);
}

/// faults rows 26 and 4: the alarm outlives a restart.
#[tokio::test]
async fn a_full_etcd_that_restarts_is_followed_all_the_same() {
    let etcd = small().await;
    let provider = client(&etcd);
    let instancer = Instancer::new(client(&etcd), Prefix::new("/svc").unwrap());
    timeout(PATIENCE, instancer.ready()).await.unwrap().unwrap();
    let held = registered(&provider, KEY).await;
    instances_are(&instancer, &[KEY]).await;
    let lease = etcd.entry(KEY).await.unwrap().lease();
    etcd.fill_quota().await;

    etcd.restart().await;
    assert!(etcd.has_alarm().await);
    more_than_a_ttl(&etcd).await;

    assert!(held.status().borrow().is_registered());
    assert_eq!(etcd.entry(KEY).await.unwrap().lease(), lease);
    etcd.delete(KEY).await;
    etcd.lift_alarm().await;
    status_is(&held, "it back", RegistrarStatus::is_registered).await;
    let entry = || etcd.get(KEY);
    eventually(PATIENCE, "the entry back", entry, Option::is_some).await;
    instances_are(&instancer, &[KEY]).await;
}
