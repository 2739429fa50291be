//! What is known of credentials, members and the way to etcd turns out otherwise.

use crate::*;
use sd_tests::Cluster;

async fn guarded(setup: sd_tests::Setup) -> Etcd {
    let etcd = setup.flag("--auth-token=simple").start().await;
    etcd.enable_auth().await;
    etcd.add_user("discovery", "secret", "/services/").await;
    etcd
}

#[tokio::test]
async fn a_password_is_changed_under_a_running_client() {
    let monitor = Monitor::start();
    let etcd = guarded(Etcd::setup().flag("--bcrypt-cost=4")).await;
    let builder = EtcdClient::builder([etcd.endpoint()]).user("discovery", "secret");
    let client = builder.build().unwrap();
    let registrar = Registrar::new(client, service());
    registrar.register().await.unwrap();

    monitor.reset();
    etcd.change_password("discovery", "another").await;
    // It is tried again.
    registrar.update("10.0.0.2:80").await.unwrap_err();
    etcd.change_password("discovery", "secret").await;

    monitor
        .shows("a password is changed under a running client")
        .await;
}

#[tokio::test]
async fn etcd_is_busy_with_authentications() {
    let monitor = Monitor::start();
    // 1.5 s of one core each.
    let etcd = guarded(Etcd::setup().flag("--bcrypt-cost=14")).await;
    let others = async || {
        let asking = (0..6).map(|_| {
            let user = etcd_client::ConnectOptions::new().with_user("discovery", "secret");
            etcd_client::Client::connect([etcd.endpoint()], Some(user))
        });
        drop(futures::future::join_all(asking).await);
    };

    monitor.reset();
    let builder = EtcdClient::builder([etcd.endpoint()]).user("discovery", "secret");
    let builder = builder.authentication_timeout(Duration::from_secs(4));
    let client = builder.build().unwrap();
    let instancer = Instancer::new(client, prefix());
    let (_, ready) = tokio::join!(others(), instancer.ready_within(2 * PATIENCE));
    ready.unwrap();

    monitor.shows("etcd is busy with authentications").await;
}

#[tokio::test]
async fn etcd_is_too_far_away() {
    let monitor = Monitor::start();
    let etcd = Etcd::start().await;
    let proxy = Proxy::to(etcd.address()).await;

    monitor.reset();
    proxy.delay(Duration::from_millis(700));
    let client = EtcdClient::connect([proxy.endpoint()]).unwrap();
    let instancer = Instancer::new(client.clone(), prefix());
    instancer.ready_within(PATIENCE).await.unwrap();
    let registrar = Registrar::new(client, service());
    registrar.register_within(PATIENCE).await.unwrap();

    monitor.shows("etcd is too far away").await;
}

#[tokio::test]
async fn etcd_grants_a_longer_ttl() {
    let monitor = Monitor::start();
    let setup = Etcd::setup().flag("--election-timeout=3000");
    let etcd = setup.flag("--heartbeat-interval=300").start().await;
    let client = EtcdClient::connect([etcd.endpoint()]).unwrap();

    monitor.reset();
    let registrar = Registrar::new(client, service());
    registrar.register().await.unwrap();

    monitor.shows("etcd grants a longer TTL").await;
}

#[tokio::test]
async fn members_are_replaced() {
    let monitor = Monitor::start();
    let cluster = Cluster::start().await;
    let [first, second, _] = cluster.members();
    let client = EtcdClient::connect([first.endpoint()]).unwrap();
    let instancer = Instancer::new(client.clone(), prefix());
    instancer.ready().await.unwrap();

    monitor.reset();
    client.set_endpoints([second.endpoint()]).unwrap();

    monitor.shows("members are replaced").await;
}

#[tokio::test]
async fn members_are_learnt() {
    let monitor = Monitor::start();
    let cluster = Cluster::start().await;

    monitor.reset();
    let builder = EtcdClient::builder([cluster.members()[0].endpoint()]);
    let _client = builder.follow_members(Duration::from_secs(1)).build();

    monitor.shows("members are learnt").await;
}

#[tokio::test]
async fn the_cluster_does_not_tell_its_members() {
    let monitor = Monitor::start();
    let etcd = guarded(Etcd::setup().flag("--bcrypt-cost=4")).await;
    let version = etcd.version().await;
    if version.starts_with("3.4.") || version.starts_with("3.5.") {
        // Tells everybody.
        return;
    }

    monitor.reset();
    let builder = EtcdClient::builder([etcd.endpoint()]);
    let _client = builder.follow_members(Duration::from_secs(1)).build();

    monitor.shows("the cluster does not tell its members").await;
}
