//! A fault of one member of a cluster.

use crate::*;
use sd_tests::Cluster;

/// A cluster, with a consumer and a provider that know all its members, and the index of the member
/// to which the consumer is connected.
async fn scene() -> (Cluster, usize, Consumer, Provider) {
    let cluster = Cluster::start().await;
    let client = || EtcdClient::connect(cluster.endpoints()).unwrap();
    let consumer = Consumer::on(client(), "/services/hello").await;
    let mut members = cluster.members().iter();
    let used = members.position(|it| it.client_connections() > 0);
    let used = used.expect("it hangs on one");
    let provider = Provider::on(client(), KEY, |client| Registrar::new(client, service())).await;
    consumer.settles_on(&[ADDRESS]).await;
    (cluster, used, consumer, provider)
}

#[tokio::test]
async fn a_member_is_frozen() {
    let monitor = Monitor::start();
    let (cluster, used, consumer, _provider) = scene().await;

    monitor.reset();
    cluster.members()[used].freeze();

    monitor
        .shows("a member of the cluster is frozen or cut off")
        .await;
    consumer.settles_on(&[ADDRESS]).await;
}

#[tokio::test]
async fn the_leader_is_lost() {
    let monitor = Monitor::start();
    let (cluster, used, consumer, _provider) = scene().await;
    cluster.move_leader(used).await;

    monitor.reset();
    cluster.members()[used].kill();

    monitor.shows("the leader is lost").await;
    consumer.settles_on(&[ADDRESS]).await;
}
