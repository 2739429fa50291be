//! Deregistering while the registry is away. (faults row 12)

use crate::{
    BOUND, LONG, SLACK, client, deregister, history, in_time, is_gone, registrar, service,
};
use etcd_client::EventType;
use futures::future::join_all;
use sd_core::{Deregistered, Error, Registrar, RegistrarStatus};
use sd_etcd::EtcdClient;
use sd_tests::{Consumer, Etcd, PATIENCE, Proxy, eventually, throughout};
use std::{sync::Arc, time::Duration};
use tokio::time::{sleep, timeout};

/// The two ways in which etcd can be away.
#[derive(Debug, Clone, Copy)]
enum Away {
    Down,
    Frozen,
}

impl Away {
    fn begin(self, etcd: &Etcd) {
        match self {
            Self::Down => etcd.kill(),
            Self::Frozen => etcd.freeze(),
        }
    }

    async fn end(self, etcd: &Etcd) {
        match self {
            Self::Down => etcd.start_again().await,
            Self::Frozen => etcd.thaw(),
        }
    }
}

/// One of two services on one lease deregisters while etcd is away.
async fn one_of_two_deregisters_while_etcd_is(away: Away) {
    let etcd = Etcd::start().await;
    let client = client(etcd.endpoint());
    let going = registrar(&client, service("/svc/going", LONG));
    let staying = registrar(&client, service("/svc/staying", LONG));
    in_time(going.register()).await.unwrap();
    in_time(staying.register()).await.unwrap();
    let consumer = Consumer::start(etcd.endpoint(), "/svc").await;
    consumer.settles_on(&["10.0.0.1:10", "10.0.0.1:12"]).await;
    let stood = etcd.entry("/svc/staying").await.unwrap();

    away.begin(&etcd);
    let outcome = deregister(&going).await;
    away.end(&etcd).await;

    assert_eq!(outcome, Deregistered::Unconfirmed);
    // No lease ends meanwhile: the client goes on trying.
    let settled = throughout(
        consumer.settles_on(&["10.0.0.1:12"]),
        "the other to call",
        async || consumer.view(),
        |view| view.has("10.0.0.1:12"),
    );
    settled.await;
    assert_eq!(etcd.get("/svc/going").await, None);
    let stands = etcd.entry("/svc/staying").await.unwrap();
    assert_eq!(
        (stands.lease(), stands.mod_revision()),
        (stood.lease(), stood.mod_revision()),
        "the other was left alone"
    );
    assert_eq!(etcd.leases().await, [stood.lease()]);
    assert!(staying.status().borrow().is_registered());
    // A busy etcd may answer too late, so it is asked again.
    let ask_again = || deregister(&going);
    let is_settled = |outcome: &Deregistered| *outcome != Deregistered::Unconfirmed;
    eventually(PATIENCE, "an answer", ask_again, is_settled).await;
    assert_eq!(
        history(&etcd, "/svc/going").await,
        [EventType::Put, EventType::Delete]
    );
}

/// faults row 12
#[tokio::test]
async fn deregistering_from_a_frozen_etcd_is_bounded_and_comes_true_at_the_thaw() {
    one_of_two_deregisters_while_etcd_is(Away::Frozen).await;
}

/// faults row 12
#[tokio::test]
async fn deregistering_while_etcd_is_down_is_bounded_and_comes_true_when_it_is_back() {
    one_of_two_deregisters_while_etcd_is(Away::Down).await;
}

/// faults row 12, with no client left that could try again.
#[tokio::test]
async fn what_could_not_be_deregistered_ends_with_its_lease() {
    let etcd = Etcd::start().await;
    let (closed, dropped) = (client(etcd.endpoint()), client(etcd.endpoint()));
    let of_closed = registrar(&closed, service("/svc/closed", 2));
    let of_dropped = registrar(&dropped, service("/svc/dropped", 2));
    in_time(of_closed.register()).await.unwrap();
    in_time(of_dropped.register()).await.unwrap();

    etcd.freeze();
    let outcomes = tokio::join!(deregister(&of_closed), deregister(&of_dropped));
    drop((of_closed, of_dropped, dropped));
    let close = timeout(BOUND + SLACK, closed.close());
    close.await.expect("closed within its bound");
    etcd.thaw();

    let unconfirmed = Deregistered::Unconfirmed;
    assert_eq!(outcomes, (unconfirmed, unconfirmed));
    let ttl_and_one = Duration::from_secs(3);
    is_gone(&etcd, "/svc/closed", ttl_and_one + SLACK).await;
    is_gone(&etcd, "/svc/dropped", ttl_and_one + SLACK).await;
    eventually(PATIENCE, "no lease", || etcd.leases(), Vec::is_empty).await;
    for key in ["/svc/closed", "/svc/dropped"] {
        let history = history(&etcd, key).await;
        assert_eq!(history, [EventType::Put, EventType::Delete], "{key}");
    }
}

/// faults row 12, at every moment of putting a lost entry back.
#[tokio::test]
async fn deregistering_while_re_registering_wins() {
    let etcd = Etcd::start().await;
    let proxy = Proxy::to(etcd.address()).await;
    let clients: Vec<_> = (0..8).map(|_| client(proxy.endpoint())).collect();
    let provide = |(n, client)| registrar(client, service(&format!("/svc/{n}"), 2));
    let registrars: Vec<_> = clients.iter().enumerate().map(provide).collect();
    for registered in join_all(registrars.iter().map(Registrar::register)).await {
        registered.unwrap();
    }

    // Grants and puts are delayed, so that the freeze hits some of both.
    proxy.delay(Duration::from_millis(100));
    let lost = etcd.leases().await;
    join_all(lost.iter().map(|lease| etcd.revoke(*lease))).await;
    let new = || etcd.leases();
    let renewed = |leases: &Vec<i64>| leases.iter().any(|lease| !lost.contains(lease));
    eventually(PATIENCE, "the first new lease", new, renewed).await;
    etcd.freeze();
    let staggered = registrars.iter().enumerate().map(async |(n, registrar)| {
        sleep(Duration::from_millis(50) * n as u32).await;
        deregister(registrar).await
    });
    let outcomes = join_all(staggered).await;
    proxy.resume();
    etcd.thaw();

    assert_eq!(outcomes, [Deregistered::Unconfirmed; 8]);
    eventually(PATIENCE, "no entry", || etcd.keys("/svc/"), Vec::is_empty).await;
    eventually(PATIENCE, "no lease", || etcd.leases(), Vec::is_empty).await;
    let keys = || etcd.keys("/svc/");
    throughout(sleep(BOUND), "without an entry", keys, Vec::is_empty).await;
    for n in 0..8 {
        let history = history(&etcd, &format!("/svc/{n}")).await;
        let puts = history.iter().filter(|it| **it == EventType::Put).count();
        // The put before, and one that was in flight.
        assert!(puts <= 2, "{history:?}");
        assert_eq!(history.last(), Some(&EventType::Delete), "{history:?}");
    }
}

/// faults row 12, if it is not known whether there is an entry: a put that was not answered may
/// still be carried out after the thaw.
#[tokio::test]
async fn a_put_that_was_given_up_is_deregistered_too() {
    let etcd = Etcd::start().await;
    let client = EtcdClient::builder([etcd.endpoint()])
        .deregister_timeout(BOUND)
        .request_timeout(BOUND)
        .build()
        .unwrap();
    const TTL: u64 = 9;
    let staying = registrar(&client, service("/svc/staying", TTL));
    in_time(staying.register()).await.unwrap();
    let going = Arc::new(registrar(&client, service("/svc/going", TTL)));

    etcd.freeze();
    let registering = going.clone();
    let registered = tokio::spawn(async move { registering.register().await });
    let mut status = going.status();
    let failed_once = |status: &RegistrarStatus| {
        matches!(status, RegistrarStatus::Registering { attempt: 2.., .. })
    };
    in_time(status.wait_for(failed_once)).await.unwrap();
    let outcome = deregister(&going).await;
    etcd.thaw();

    assert_eq!(outcome, Deregistered::Unconfirmed);
    assert!(matches!(registered.await.unwrap(), Err(Error::Closed)));
    // If etcd carries out the put after the thaw, the entry is removed although its lease stays.
    let lease = etcd.leases().await;
    let kept = || etcd.get("/svc/staying");
    let settled = sleep(Duration::from_secs(TTL / 3 + 1));
    throughout(settled, "the other standing", kept, Option::is_some).await;
    is_gone(&etcd, "/svc/going", PATIENCE).await;
    assert_eq!((etcd.leases().await, lease.len()), (lease, 1));
}
