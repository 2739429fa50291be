//! One of several members is in trouble, and the others are not.

use crate::*;
use sd_tests::Cluster;

/// A cluster, with a consumer and a provider that know all its members.
async fn scene() -> (Cluster, Consumer, Provider) {
    let cluster = Cluster::start().await;
    let client = || EtcdClient::connect(cluster.endpoints()).unwrap();
    let consumer = Consumer::on(client(), "/services/hello").await;
    let provider = Provider::on(client(), KEY, |client| Registrar::new(client, service())).await;
    consumer.settles_on(&[ADDRESS]).await;
    (cluster, consumer, provider)
}

/// The index of a member that one of the two hangs on.
fn used(cluster: &Cluster) -> usize {
    let mut members = cluster.members().iter();
    let used = members.position(|it| it.client_connections() > 0);
    used.expect("they hang on some")
}

#[tokio::test]
async fn a_member_is_frozen() {
    let desk = Desk::open();
    let (cluster, consumer, _provider) = scene().await;

    desk.begins();
    cluster.members()[used(&cluster)].freeze();

    desk.shows("a member of the cluster is frozen or cut off")
        .await;
    consumer.settles_on(&[ADDRESS]).await;
}

#[tokio::test]
async fn the_leader_is_lost() {
    let desk = Desk::open();
    let (cluster, consumer, _provider) = scene().await;
    let leader = used(&cluster);
    cluster.move_leader(leader).await;

    desk.begins();
    cluster.members()[leader].kill();

    desk.shows("the leader is lost").await;
    consumer.settles_on(&[ADDRESS]).await;
}
