//! Row 28: registrars that follow each other under one key on one client.

use crate::*;
use sd_core::Deregistered;
use std::time::Duration;
use tokio::time::timeout;

async fn in_time<T>(future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.expect("in time")
}

/// Row 28: the old one drains, and hears nothing of its successor but that it is superseded.
#[tokio::test]
async fn who_drains_ends_only_its_own() {
    let etcd = Etcd::start().await;
    let client = client(&etcd);
    let old = Registrar::builder(client.clone(), service(KEY, OWN))
        .drain(PATIENCE)
        .build();
    in_time(old.register()).await.unwrap();

    let going = tokio::spawn(async move { old.deregister().await });
    let value = || etcd.get(KEY);
    let is_draining = |value: &Option<Vec<u8>>| {
        let value = value.as_deref().unwrap_or_default();
        String::from_utf8_lossy(value).contains("draining")
    };
    eventually(PATIENCE, "draining", value, is_draining).await;
    let new = registrar(&client, OTHER);
    in_time(new.register()).await.unwrap();

    let outcome = in_time(going).await.unwrap().unwrap();
    assert_eq!(outcome, Deregistered::NotOurs);
    has(&etcd, &client, &new, OTHER).await;
    assert_eq!(
        in_time(new.deregister()).await.unwrap(),
        Deregistered::Removed
    );
    eventually(PATIENCE, "no lease", || etcd.leases(), Vec::is_empty).await;
}

/// Row 28: dropped while etcd does not answer.
#[tokio::test]
async fn who_is_dropped_during_an_outage_ends_only_its_own() {
    for was_registered in [true, false] {
        let etcd = Etcd::start().await;
        let client = client(&etcd);
        let old = registrar(&client, OWN);
        if was_registered {
            in_time(old.register()).await.unwrap();
        }
        etcd.kill();
        let waiting = timeout(Duration::from_millis(500), async {
            match was_registered {
                true => drop(old.update(OWN).await),
                false => drop(old.register().await),
            }
        });
        waiting.await.expect_err("there is no etcd");
        let new = registrar(&client, OTHER);
        let registering = new.register();
        let outage = async {
            drop(old);
            etcd.start_again().await;
        };

        let (registered, ()) = in_time(async { tokio::join!(registering, outage) }).await;

        registered.unwrap();
        has(&etcd, &client, &new, OTHER).await;
    }
}

/// Row 28: a registrar for each try, in a loop, with calls that are given up at any moment.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_three_hundred_reloads_none_is_lost() {
    let etcd = Etcd::start().await;
    let client = client(&etcd);
    // Keeps the lease in use.
    let other = Registrar::new(client.clone(), service("/svc/other", OWN));
    in_time(other.register()).await.unwrap();
    let mut random = fastrand::Rng::with_seed(28);
    for round in 0..300 {
        let before = registrar(&client, OWN);
        match random.u8(0..4) {
            0 => in_time(before.register()).await.unwrap(),
            1 => {
                in_time(before.register()).await.unwrap();
                in_time(before.deregister()).await.unwrap();
            }
            // Dropped mid-call.
            _ => {
                let patience = Duration::from_micros(random.u64(0..4000));
                let _ = timeout(patience, before.register()).await;
            }
        }
        let new = registrar(&client, OTHER);
        let going = async {
            match random.bool() {
                true => drop(before),
                false => drop(before.deregister().await),
            }
        };
        let (registered, ()) = in_time(async { tokio::join!(new.register(), going) }).await;

        registered.unwrap_or_else(|error| panic!("round {round}: {error}"));
        // Whatever was still to come comes before this.
        in_time(other.update(OWN)).await.unwrap();
        let value = etcd.get(KEY).await;
        assert_eq!(value.as_deref(), Some(OTHER.as_bytes()), "round {round}");
        let status = new.status().borrow();
        assert!(status.is_registered(), "round {round}: {status}");
        match random.bool() {
            true => drop(new),
            false => drop(in_time(new.deregister()).await),
        }
    }
}
