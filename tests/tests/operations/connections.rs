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
    let proxy = Proxy::to(etcd.address()).await;
    let before = etcd.metrics().await;

    monitor.reset();
    let builder = EtcdClient::builder([proxy.endpoint()]).user("discovery", "secret");
    let builder = builder.authentication_timeout(Duration::from_secs(4));
    let instancer = Instancer::new(builder.build().unwrap(), prefix());
    let asked = async || etcd.metrics().await.since(&before).calls("Authenticate");
    eventually(PATIENCE, "an authentication", asked, |asked| *asked == 1).await;
    // As if there were many before it.
    proxy.stall();
    let given_up = async || {
        let lines = monitor.log.lines();
        lines
            .iter()
            .any(|it| it.message.starts_with("not authenticated"))
    };
    eventually(PATIENCE, "the end of it", given_up, |given_up| *given_up).await;
    proxy.resume();
    instancer.ready_within(PATIENCE).await.unwrap();

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
    // Each further silence is none of the operator's business.
    tokio::time::sleep(Duration::from_secs(12)).await;
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
    let anybody = etcd_client::Client::connect([etcd.endpoint()], None).await;
    if anybody.unwrap().member_list().await.is_ok() {
        // It tells everybody.
        return;
    }

    monitor.reset();
    let builder = EtcdClient::builder([etcd.endpoint()]);
    let _client = builder.follow_members(Duration::from_secs(1)).build();

    monitor.shows("the cluster does not tell its members").await;
}
