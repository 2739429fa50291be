//! Many services and prefixes in one process: a fault of all of them is logged once.

use crate::*;
use futures::future::join_all;
use sd_core::Client;

const MANY: usize = 50;

/// Many instancers and registrars on one client.
async fn crowd(etcd: &Etcd) -> (Vec<Instancer>, Vec<Registrar>) {
    let client = EtcdClient::connect([etcd.endpoint()]).unwrap();
    let registrars = (0..MANY).map(|n| {
        let service = Service::new(format!("/services/{n}/a"), ADDRESS).unwrap();
        // Longer than an outage here, so that the lease is not unproven, too.
        Registrar::new(
            client.clone(),
            service.with_ttl(Ttl::from_secs(10).unwrap()),
        )
    });
    let registrars: Vec<_> = registrars.collect();
    for registered in join_all(registrars.iter().map(Registrar::register)).await {
        registered.unwrap();
    }
    let instancers = (0..MANY).map(|n| {
        let prefix = Prefix::new(format!("/services/{n}")).unwrap();
        Instancer::new(client.clone(), prefix)
    });
    let instancers: Vec<_> = instancers.collect();
    for ready in join_all(instancers.iter().map(Instancer::ready)).await {
        ready.unwrap();
    }
    let watchers = async || etcd.metrics().await.watchers();
    // Of the prefixes, and of the own keys, which are in as many directories.
    eventually(PATIENCE, "all watches", watchers, |n| *n == 2 * MANY as u64).await;
    (instancers, registrars)
}

fn live(instancers: &[Instancer]) -> usize {
    let live = |it: &&Instancer| it.state().is_some_and(|event| event.health().is_live());
    instancers.iter().filter(live).count()
}

#[tokio::test]
async fn an_outage_is_said_by_each_connection_and_by_nobody_else() {
    let monitor = Monitor::start();
    let etcd = Etcd::start().await;
    let (instancers, _registrars) = crowd(&etcd).await;

    monitor.reset();
    etcd.kill();
    let live = async || live(&instancers);
    eventually(PATIENCE, "trouble", live, |live| *live == 0).await;
    etcd.start_again().await;

    monitor.shows("etcd is killed, and restarted").await;
    eventually(PATIENCE, "the end of it", live, |live| *live == MANY).await;
    let given_up = "connection to etcd given up, trying the next member";
    let again = "connected to etcd again";
    let lines = async || {
        let lines = monitor.log.lines().into_iter();
        let mut lines: Vec<_> = lines.map(|it| it.message).collect();
        lines.sort();
        lines
    };
    let all = [again, again, given_up, given_up];
    eventually(PATIENCE, "these lines", lines, |lines| *lines == all).await;
}

#[tokio::test]
async fn a_lost_lease_is_said_once_and_so_is_that_all_its_services_are_back() {
    let monitor = Monitor::start();
    let etcd = Etcd::start().await;
    let (_instancers, registrars) = crowd(&etcd).await;
    let [lease] = etcd.leases().await[..] else {
        panic!("one lease for all");
    };

    monitor.reset();
    etcd.revoke(lease).await;

    monitor.shows("a lease is lost").await;
    let standing = async || {
        let statuses = registrars.iter().map(Registrar::status);
        statuses.filter(|it| it.borrow().is_registered()).count()
    };
    eventually(PATIENCE, "all again", standing, |n| *n == MANY).await;
    let lines = monitor.log.lines();
    let told: Vec<_> = lines
        .iter()
        .map(|it| it.field("services").unwrap())
        .collect();
    assert_eq!(told, [MANY.to_string(), MANY.to_string()], "{lines:?}");
}

#[tokio::test(start_paused = true)]
async fn in_memory_a_lost_lease_is_said_once_too() {
    let monitor = Monitor::start();
    let registry = Registry::new();
    let client = registry.client();
    let registrars = (0..MANY).map(|n| {
        let service = Service::new(format!("/services/{n}/a"), ADDRESS).unwrap();
        Registrar::new(client.clone(), service)
    });
    let registrars: Vec<_> = registrars.collect();
    for registered in join_all(registrars.iter().map(Registrar::register)).await {
        registered.unwrap();
    }

    monitor.reset();
    assert!(registry.expire_lease(&client.lease_id().unwrap()));
    tokio::time::sleep(Duration::from_secs(60)).await;

    let lines = monitor.log.lines();
    let told: Vec<_> = lines
        .iter()
        .map(|it| (it.message.as_str(), it.field("services").unwrap()))
        .collect();
    let many = MANY.to_string();
    let expected = [
        "lease lost, its services register again",
        "services registered again",
    ];
    assert_eq!(told, expected.map(|message| (message, many.as_str())));
}
