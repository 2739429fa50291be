//! The load on etcd during an outage: no fault causes a hot loop, however many services and
//! prefixes wait for its end.
//!
//! Requests are counted on the wire, since an etcd that is down or frozen counts nothing.

use futures::future::join_all;
use sd_core::{Instancer, Prefix, Registrar, Service, Ttl};
use sd_etcd::EtcdClient;
use sd_tests::{
    Cluster, Consumer, Etcd, PATIENCE, Provider, Proxy, Traffic, eventually, throughout,
};
use std::{net::SocketAddr, time::Duration};
use tokio::time::{sleep, timeout};

/// How many services, and how many prefixes, one process has.
const MANY: usize = 20;
/// Three TTLs, and longer than the longest pause between two attempts.
const OUTAGE: Duration = Duration::from_secs(6);
/// A hot loop makes thousands of connections a second. If each service and prefix tried by itself,
/// there would be dozens.
const CONNECTIONS_PER_SECOND: u64 = 10;
/// Each connection creates all watches again.
const MESSAGES_PER_SECOND: u64 = 4 * MANY as u64;

/// A process with many services and many prefixes, behind a proxy that counts.
struct Scene {
    proxy: Proxy,
    registrars: Vec<Registrar>,
    instancers: Vec<Instancer>,
}

impl Scene {
    /// Registers half of the services and follows half of the prefixes. The other half starts
    /// during the outage.
    async fn set(etcd: SocketAddr) -> Self {
        let proxy = Proxy::to(etcd).await;
        let client = EtcdClient::connect([proxy.endpoint()]).unwrap();
        let mut scene = Self {
            proxy,
            registrars: Vec::new(),
            instancers: Vec::new(),
        };
        for n in 0..2 * MANY {
            let service = Service::new(format!("/svc/{n}/a"), "10.0.0.1:80").unwrap();
            let registrar = Registrar::new(client.clone(), service.with_ttl(Ttl::MIN));
            scene.registrars.push(registrar);
        }
        for n in 0..MANY {
            scene.instancers.push(follow(&client, n));
        }
        scene.registered(MANY).await;
        scene.see(MANY).await;
        for n in MANY..2 * MANY {
            // Some are ready before the outage, and some start during it.
            scene.instancers.push(follow(&client, n));
        }
        scene
    }

    async fn registered(&self, count: usize) {
        let registered = join_all(self.registrars[..count].iter().map(Registrar::register));
        let registered = timeout(PATIENCE, registered).await;
        for registered in registered.expect("registered in time") {
            registered.expect("registered");
        }
    }

    /// Waits until `count` prefixes show their service.
    async fn see(&self, count: usize) {
        let full = async || {
            let states = self.instancers.iter().filter_map(Instancer::state);
            states.filter(|state| state.instances().len() == 1).count()
        };
        eventually(PATIENCE, "all services seen", full, |n| *n == count).await;
    }

    /// Checks that during the outage, which has begun, the process tries, but does not cause a
    /// storm.
    async fn tries_in_moderation(&self) {
        let before = self.proxy.traffic();
        let late = join_all(self.registrars[MANY..].iter().map(Registrar::register));
        tokio::select! {
            _ = late => panic!("there is an outage"),
            () = sleep(OUTAGE) => {}
        }
        let Traffic {
            connections,
            messages,
        } = self.proxy.traffic().since(before);
        let seconds = OUTAGE.as_secs();
        assert!(
            (1..=CONNECTIONS_PER_SECOND * seconds).contains(&connections),
            "{connections} connections in {OUTAGE:?}"
        );
        assert!(
            (1..=MESSAGES_PER_SECOND * seconds).contains(&messages),
            "{messages} messages in {OUTAGE:?}"
        );
    }

    /// Waits until all services are registered and seen again.
    async fn recovers(&self) {
        self.registered(2 * MANY).await;
        self.see(2 * MANY).await;
    }
}

fn follow(client: &EtcdClient, n: usize) -> Instancer {
    let prefix = Prefix::new(format!("/svc/{n}")).unwrap();
    Instancer::new(client.clone(), prefix)
}

#[tokio::test]
async fn an_etcd_that_is_down_is_not_stormed() {
    let etcd = Etcd::start().await;
    let scene = Scene::set(etcd.address()).await;

    etcd.kill();
    scene.tries_in_moderation().await;
    etcd.start_again().await;

    scene.recovers().await;
}

#[tokio::test]
async fn an_etcd_that_is_frozen_is_not_stormed() {
    let etcd = Etcd::start().await;
    let scene = Scene::set(etcd.address()).await;

    etcd.freeze();
    scene.tries_in_moderation().await;
    etcd.thaw();

    scene.recovers().await;
}

#[tokio::test]
async fn an_etcd_that_is_out_of_reach_is_not_stormed() {
    let etcd = Etcd::start().await;
    let scene = Scene::set(etcd.address()).await;

    // Messages are counted although they do not arrive.
    scene.proxy.stall();
    scene.tries_in_moderation().await;
    scene.proxy.resume();

    scene.recovers().await;
}

#[tokio::test]
async fn a_cluster_without_a_quorum_is_not_stormed() {
    let cluster = Cluster::start().await;
    let [one, two, three] = cluster.members();
    let scene = Scene::set(one.address()).await;

    two.kill();
    three.kill();
    scene.tries_in_moderation().await;
    two.start_again().await;
    three.start_again().await;

    scene.recovers().await;
}

/// faults row 9, if both providers retake the key.
#[tokio::test]
async fn two_who_both_insist_on_a_key_make_no_put_war() {
    const KEY: &str = "/svc/a";
    let etcd = Etcd::start().await;
    let consumer = Consumer::start(etcd.endpoint(), "/svc").await;
    let insist = |address| {
        move |client| {
            let service = Service::new(KEY, address).unwrap().with_ttl(Ttl::MIN);
            Registrar::builder(client, service).retake(true).build()
        }
    };
    let _one = Provider::with(etcd.endpoint(), KEY, insist("10.0.0.1:80")).await;
    consumer.settles_on(&["10.0.0.1:80"]).await;
    let _two = Provider::with(etcd.endpoint(), KEY, insist("10.0.0.2:80")).await;

    // How often the entry was written; it is never deleted.
    let puts = async || etcd.entry(KEY).await.map_or(0, |entry| entry.version());
    let war = async {
        // Each has taken it back from the other.
        eventually(PATIENCE, "some back and forth", puts, |puts| *puts >= 4).await;
        let before = puts().await;
        sleep(OUTAGE).await;
        puts().await - before
    };
    let somebody = async || consumer.view().instances.len();
    let puts = throughout(war, "one of them", somebody, |n| *n == 1).await;

    let seconds = i64::try_from(OUTAGE.as_secs()).unwrap();
    assert!(puts <= 2 * seconds, "{puts} puts in {OUTAGE:?}");
}
