//! Cases in which the etcd backend is easily wrong: bounds, stray keys, silence, and large batches.

use etcd_client::PutOptions;
use futures::{FutureExt, StreamExt, future::join_all};
use sd_core::{Change, Client, Deregistered, Key, Lost, Prefix, Service, Ttl, Watch, WatchError};
use sd_etcd::EtcdClient;
use sd_tests::{Etcd, PATIENCE, Proxy, eventually};
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// The bound of a deregistration, with some time for a busy machine.
const BOUND: Duration = Duration::from_secs(3 + 2);

fn client(etcd: &Etcd) -> EtcdClient {
    EtcdClient::connect([etcd.endpoint()]).unwrap()
}

fn service(key: &str) -> Service {
    Service::new(key, "10.0.0.1:80")
        .unwrap()
        .with_ttl(Ttl::from_secs(10).unwrap())
}

fn prefix() -> Prefix {
    Prefix::new("/svc").unwrap()
}

async fn no_lease_is_left(etcd: &Etcd) {
    eventually(PATIENCE, "no lease", || etcd.leases(), Vec::is_empty).await;
    assert_eq!(etcd.keys("/").await, [""; 0]);
}

/// The changes of the next batch, other than progress.
async fn news(watch: &mut Watch) -> Vec<Change> {
    let news = async {
        loop {
            match watch.next().await.expect("an end has a reason") {
                Ok(batch) if batch.changes.is_empty() => {}
                Ok(batch) => return batch.changes,
                Err(WatchError::Disrupted(_)) => {}
                Err(error) => panic!("{error}"),
            }
        }
    };
    timeout(PATIENCE, news).await.expect("news in time")
}

#[tokio::test]
async fn a_deregistration_is_answered_in_time_whatever_is_under_way() {
    let etcd = Etcd::start().await;
    let client = client(&etcd);
    let held = service("/svc/held");
    let _registration = client.register(&held).await.unwrap();

    etcd.freeze();
    // A transaction is in flight, then a grant for another TTL, and maybe a verification of the
    // lease.
    let put = service("/svc/put");
    let granted = service("/svc/granted").with_ttl(Ttl::from_secs(20).unwrap());
    let (put_call, grant_call) = (client.register(&put), client.register(&granted));
    let calls = async { tokio::join!(put_call, grant_call) };
    let deregistrations = async {
        sleep(Duration::from_millis(100)).await;
        let all = [&held, &put].map(|service| client.deregister(service));
        timeout(BOUND, join_all(all)).await
    };
    let ((put_result, grant_result), outcomes) = tokio::join!(calls, deregistrations);
    let outcomes = outcomes.expect("within its bound");

    assert!(
        outcomes
            .iter()
            .all(|it| matches!(it, Ok(Deregistered::Unconfirmed))),
        "{outcomes:?}"
    );
    assert!(put_result.is_err() && grant_result.is_err());
    etcd.thaw();
    no_lease_is_left(&etcd).await;
}

#[tokio::test]
async fn a_close_is_bounded_and_answers_all_who_wait() {
    let etcd = Etcd::start().await;
    let client = client(&etcd);
    let services = [service("/svc/a"), service("/svc/b")];
    let mut registration = client.register(&services[0]).await.unwrap();

    etcd.freeze();
    let pending = client.register(&services[1]);
    let gone = client.deregister(&services[1]);
    let close = async {
        sleep(Duration::from_millis(100)).await;
        client.close().await;
    };
    let all = async { tokio::join!(pending, gone, close) };
    let (pending, gone, ()) = timeout(BOUND, all).await.expect("within its bound");

    assert!(pending.is_err());
    assert!(
        matches!(gone, Ok(Deregistered::Unconfirmed | Deregistered::NotOurs)),
        "{gone:?}"
    );
    assert_eq!(registration.lost().now_or_never(), Some(Lost::Closed));
    etcd.thaw();
}

#[tokio::test]
async fn a_deregistration_reaches_a_member_that_answers_within_its_bound() {
    let etcd = Etcd::start().await;
    let (first, second) = (
        Proxy::to(etcd.address()).await,
        Proxy::to(etcd.address()).await,
    );
    second.refuse().await;
    let client = EtcdClient::connect([first.endpoint(), second.endpoint()]).unwrap();
    let service = service("/svc/a");
    let register = async || client.register(&service).await;
    let registration = eventually(PATIENCE, "a registration", register, Result::is_ok).await;
    second.resume();

    first.stall();
    let outcome = client.deregister(&service).await;

    assert!(matches!(outcome, Ok(Deregistered::Removed)), "{outcome:?}");
    drop(registration);
}

#[tokio::test]
async fn a_service_moves_between_ttls_and_leaves_nothing() {
    let etcd = Etcd::start().await;
    let client = client(&etcd);
    let short = service("/svc/a");
    let long = short.clone().with_ttl(Ttl::from_secs(60).unwrap());
    let mut first = client.register(&short).await.unwrap();
    let second = client.register(&long).await.unwrap();

    assert_eq!(first.lost().await, Lost::Superseded);
    assert_eq!(client.lease_id().as_ref(), Some(second.lease_id()));
    eventually(PATIENCE, "one lease", || etcd.leases(), |it| it.len() == 1).await;
    assert_eq!(etcd.keys("/").await, ["/svc/a"]);
    assert_eq!(second.loss(), None);
    assert!(matches!(
        client.deregister(&short).await,
        Ok(Deregistered::Removed)
    ));
    no_lease_is_left(&etcd).await;
}

#[tokio::test]
async fn a_deregistration_whose_caller_goes_away_goes_on_for_every_ttl() {
    let etcd = Etcd::start().await;
    let client = client(&etcd);
    let a = service("/svc/a");
    let b = service("/svc/b").with_ttl(Ttl::from_secs(60).unwrap());
    let _held = [
        client.register(&a).await.unwrap(),
        client.register(&b).await.unwrap(),
    ];

    assert!(client.deregister(&a).now_or_never().is_none());
    assert!(client.deregister(&b).now_or_never().is_none());

    no_lease_is_left(&etcd).await;
}

#[tokio::test]
async fn a_key_that_its_lease_completes_follows_it() {
    let etcd = Etcd::start().await;
    let client = client(&etcd);
    let suffixed = service("/svc/unused").with_key(Key::lease_suffixed("/svc/hello").unwrap());
    // With the same stem, but another service.
    let fixed = client.register(&service("/svc/hello")).await.unwrap();
    let mut first = client.register(&suffixed).await.unwrap();
    let lease: i64 = first.lease_id().as_str().parse().unwrap();
    assert_eq!(first.key().as_str(), format!("/svc/hello{lease}"));
    assert_eq!(fixed.loss(), None);

    etcd.revoke(lease).await;
    assert_eq!(
        timeout(PATIENCE, first.lost()).await,
        Ok(Lost::LeaseExpired)
    );
    let second = first.reclaim("10.0.0.1:80").await.unwrap();
    drop(first);

    let sd_core::Reclaimed::Held(second) = second else {
        panic!("nobody else holds it");
    };
    assert_ne!(second.lease_id().as_str(), lease.to_string());
    assert_eq!(etcd.keys("/").await, [second.key().as_str()]);
    assert!(matches!(
        client.deregister(&suffixed).await,
        Ok(Deregistered::Removed)
    ));
    drop(fixed);
    no_lease_is_left(&etcd).await;
}

#[tokio::test]
async fn namespaces_do_not_see_each_other() {
    let etcd = Etcd::start().await;
    etcd.put("/svc/outside", "x").await;
    etcd.put("/production/svc/neighbour", "x").await;
    let client = EtcdClient::builder([etcd.endpoint()])
        .namespace("/prod")
        .build()
        .unwrap();
    let everything = Prefix::raw("/").unwrap();
    let before = client.get_entries(&everything).await.unwrap();
    let mut watch = client
        .watch_prefix(&everything, &before.revision)
        .await
        .unwrap();
    let _registration = client.register(&service("/svc/a")).await.unwrap();

    assert_eq!(before.entries.len(), 0);
    assert_eq!(news(&mut watch).await[0].key().as_str(), "/svc/a");
    assert_eq!(etcd.keys("/prod/").await, ["/prod/svc/a"]);
    let listed = client.get_entries(&prefix()).await.unwrap();
    assert_eq!(listed.entries[0].key.as_str(), "/svc/a");
    // The verification of its lease finds it neither missing nor stray.
    sleep(Duration::from_secs(4)).await;
    assert_eq!(etcd.keys("/prod/").await, ["/prod/svc/a"]);
}

/// etcd sends what exceeds 2 MiB in fragments.
#[tokio::test]
async fn what_happened_at_once_is_one_batch_however_large() {
    let etcd = Etcd::start().await;
    let client = client(&etcd);
    let mut raw = etcd.client().await;
    let lease = raw.lease_grant(60, None).await.unwrap().id();
    let long = "x".repeat(3000);
    for n in 0..1000 {
        let options = PutOptions::new().with_lease(lease);
        raw.put(format!("/svc/{n}/{long}"), "", Some(options))
            .await
            .unwrap();
    }
    let before = client.get_entries(&prefix()).await.unwrap();
    let mut watch = client
        .watch_prefix(&prefix(), &before.revision)
        .await
        .unwrap();

    etcd.revoke(lease).await;

    assert_eq!(before.entries.len(), 1000);
    assert_eq!(news(&mut watch).await.len(), 1000);
}

/// The values together are more than one read returns.
#[tokio::test]
async fn however_much_takes_the_keys_of_many_is_noticed() {
    const MIB: usize = 1024 * 1024;
    let etcd = Etcd::start().await;
    let builder = EtcdClient::builder([etcd.endpoint()]).max_message_bytes(2 * MIB);
    let client = builder.build().unwrap();
    let keys = ["/svc/a", "/svc/b", "/svc/c", "/svc/d", "/svc/e"];
    let short = |key| service(key).with_ttl(Ttl::MIN);
    let registering = keys.map(|key| async { client.register(&short(key)).await.unwrap() });
    let mut registrations = join_all(registering).await;
    // On the same lease. It must stay.
    let standing = client.register(&short("/svc/z")).await.unwrap();

    let large = "x".repeat(MIB);
    for key in keys {
        etcd.put(key, large.as_str()).await;
    }

    for registration in &mut registrations {
        let lost = timeout(PATIENCE, registration.lost()).await.unwrap();
        let Lost::Taken { value, .. } = lost else {
            panic!("{lost:?}");
        };
        assert_eq!(value.len(), MIB);
    }
    assert_eq!(standing.loss(), None);
}
