//! Targets such as `etcd://10.0.0.1:2379/hello`, resolved on a real etcd.

use sd_core::{Error, Registrar, Service, Source};
use sd_tests::{Etcd, PATIENCE, eventually};
use sd_tower::{EtcdResolver, ResolvedTarget, Resolvers, Target};
use tokio::time::timeout;

/// Waits until it has so many instances.
async fn until_there_are(instances: usize, resolved: &ResolvedTarget) {
    let until = resolved.until(|event| event.instances().len() == instances);
    timeout(PATIENCE, until)
        .await
        .expect("in time")
        .expect("the source goes on");
}

#[tokio::test]
async fn all_targets_on_one_etcd_share_a_connection() {
    let etcd = Etcd::start().await;
    etcd.put("/services/hello/a", "10.0.0.1:80").await;
    etcd.put("/services/team/hello/b", "10.0.0.2:80").await;
    etcd.put("/other/hello/c", "10.0.0.3:80").await;
    let resolvers = Resolvers::new();
    let mut all = Vec::new();
    for path in [
        "hello",
        "hello?zone=north",
        "team/hello",
        "hello?prefix=/other",
    ] {
        let target = format!("etcd://{}/{path}", etcd.address());
        let resolved = resolvers.resolve(target).unwrap();
        until_there_are(1, &resolved).await;
        all.push(resolved);
    }
    assert_eq!(etcd.client_connections(), 1);
    assert_eq!(etcd.metrics().await.watch_streams(), 1);
    etcd.delete("/services/hello/a").await;
    until_there_are(0, &all[1]).await;
    until_there_are(1, &all[2]).await;

    // The client ends with the last of them, though the resolvers stay.
    drop(all);
    let connections = async || etcd.client_connections();
    eventually(PATIENCE, "no connection", connections, |connections| {
        *connections == 0
    })
    .await;
    drop(resolvers);
}

#[tokio::test]
async fn credentials_are_given_to_the_resolver_and_not_in_the_target() {
    let etcd = Etcd::start().await;
    etcd.enable_auth().await;
    etcd.add_user("discovery", "secret", "/services/").await;
    let target: Target = format!("etcd://{}/hello", etcd.address()).parse().unwrap();

    let guarded = EtcdResolver::new(|client| client.user("discovery", "secret"));
    let service = Service::new("/services/hello/a", "10.0.0.1:80").unwrap();
    let registrar = Registrar::new(guarded.client(&target).unwrap(), service);
    timeout(PATIENCE, registrar.register())
        .await
        .expect("in time")
        .unwrap();
    let resolvers = Resolvers::new().with("etcd", move |target| Ok(guarded.resolve(target)?));
    let hello = resolvers.resolve(target.clone()).unwrap();
    until_there_are(1, &hello).await;

    let unknown = Resolvers::new().resolve(target).unwrap();
    let refused = timeout(PATIENCE, unknown.ready()).await.expect("in time");
    assert!(
        matches!(
            refused,
            Err(Error::Unauthenticated { .. } | Error::PermissionDenied { .. })
        ),
        "{refused:?}"
    );
    registrar.deregister().await.unwrap();
}
