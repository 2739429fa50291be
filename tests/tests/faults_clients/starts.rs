//! A registry that is not there yet. (faults row 13)

use crate::{BOUND, LONG, client, in_time, registrar, service};
use sd_core::{Error, Instancer, Prefix, RegistrarStatus, Trouble};
use sd_etcd::EtcdClient;
use sd_tests::{Etcd, PATIENCE, eventually};
use std::{sync::Arc, time::Duration};

/// faults row 13
#[tokio::test]
async fn a_registry_that_is_not_there_yet_is_waited_for() {
    let etcd = Etcd::start().await;
    etcd.kill();
    let client = client(etcd.endpoint());
    let registrar = Arc::new(registrar(&client, service("/svc/a", 2)));
    let prefix = Prefix::new("/svc").unwrap();
    let instancer = Arc::new(Instancer::new(client.clone(), prefix));

    let (provider, consumer) = (registrar.clone(), instancer.clone());
    let registered = tokio::spawn(async move { provider.register().await });
    let ready = tokio::spawn(async move { consumer.ready().await });
    let mut status = registrar.status();
    let tries = |status: &RegistrarStatus| {
        matches!(status, RegistrarStatus::Registering { attempt: 4.., .. })
    };
    in_time(status.wait_for(tries)).await.unwrap();
    let trouble = || async { instancer.trouble() };
    eventually(PATIENCE, "a failed list", trouble, Option::is_some).await;
    assert!(!registered.is_finished() && !ready.is_finished());
    assert!(instancer.state().is_none(), "nothing is known yet");
    etcd.start_again().await;

    in_time(registered).await.unwrap().unwrap();
    in_time(ready).await.unwrap().unwrap();
    assert_eq!(etcd.get("/svc/a").await.unwrap(), b"10.0.0.1:6");
    assert_eq!(etcd.leases().await.len(), 1, "no try has left a lease");
    let instances = || async { instancer.state().map_or(0, |it| it.instances().len()) };
    eventually(PATIENCE, "the instance", instances, |n| *n == 1).await;
}

/// faults row 13, with deadlines.
#[tokio::test]
async fn who_waits_for_a_registry_no_longer_than_so_is_told_what_is_wrong() {
    let etcd = Etcd::start().await;
    etcd.kill();
    let client = client(etcd.endpoint());
    let registrar = registrar(&client, service("/svc/a", 2));
    let prefix = Prefix::new("/svc").unwrap();
    let instancer = Instancer::new(client.clone(), prefix);

    let limit = Duration::from_secs(1);
    let (registered, ready) = tokio::join!(
        registrar.register_within(limit),
        instancer.ready_within(limit)
    );

    for error in [registered.unwrap_err(), ready.unwrap_err()] {
        assert!(matches!(error, Error::Unavailable { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains("Connection refused"), "{text}");
        let address = etcd.address().to_string();
        assert!(text.contains(&address), "{text} does not say where");
    }
    assert!(matches!(instancer.trouble(), Some(Trouble::List(_))));

    // The consumer goes on trying. The provider does not, until it is asked to register again.
    etcd.start_again().await;
    in_time(instancer.ready()).await.unwrap();
    assert_eq!(etcd.keys("/svc/").await, [""; 0]);
    in_time(registrar.register_within(PATIENCE)).await.unwrap();
    assert_eq!(etcd.keys("/svc/").await, ["/svc/a"]);
}

/// faults row 13, with an etcd that runs but does not answer.
#[tokio::test]
async fn who_waits_for_a_frozen_registry_no_longer_than_so_is_told_what_is_wrong() {
    let etcd = Etcd::start().await;
    let client = EtcdClient::builder([etcd.endpoint()])
        .request_timeout(BOUND)
        .build()
        .unwrap();
    let registrar = registrar(&client, service("/svc/a", LONG));
    let instancer = Instancer::new(client.clone(), Prefix::new("/svc").unwrap());

    etcd.freeze();
    let limit = Duration::from_secs(2);
    let (registered, ready) = tokio::join!(
        registrar.register_within(limit),
        instancer.ready_within(limit)
    );
    etcd.thaw();

    for error in [registered.unwrap_err(), ready.unwrap_err()] {
        assert!(matches!(error, Error::Timeout { .. }), "{error}");
        assert!(error.to_string().contains("no answer to"), "{error}");
    }
    in_time(instancer.ready()).await.unwrap();
    // Leases and entries of unanswered requests are removed again.
    eventually(PATIENCE, "no lease", || etcd.leases(), Vec::is_empty).await;
    assert_eq!(etcd.keys("/svc/").await, [""; 0]);
}
