//! Row 28: registrars that follow each other under one key on one client.

use crate::*;
use sd_core::{Deregistered, RegistrarStatus, Updated};
use std::time::Duration;
use tokio::time::timeout;

/// A client has a session for each.
const TTLS: [u64; 2] = [2, 5];

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

fn is_superseded(status: &RegistrarStatus) -> bool {
    matches!(status, RegistrarStatus::Superseded)
}

async fn until(registrar: &Registrar, condition: impl FnMut(&RegistrarStatus) -> bool) {
    let mut status = registrar.status();
    in_time(status.wait_for(condition)).await.unwrap();
}

/// Row 28: the old one was told to register before its successor, and gets through after it.
#[tokio::test]
async fn who_still_tries_to_register_does_not_take_the_key_from_its_successor() {
    for ttl in TTLS.map(|ttl| Ttl::from_secs(ttl).unwrap()) {
        let etcd = Etcd::start().await;
        let client = client(&etcd);
        let old = Registrar::builder(client.clone(), service(KEY, OWN).with_ttl(ttl))
            .backoff(Duration::from_secs(3), Duration::from_secs(6))
            .build();
        let new = registrar(&client, OTHER);
        etcd.kill();
        let tried = timeout(Duration::from_millis(500), old.register()).await;
        assert!(tried.is_err(), "there is no etcd: {tried:?}");
        etcd.start_again().await;

        in_time(new.register()).await.unwrap();
        until(&old, is_superseded).await;
        let updated = in_time(old.update(OWN)).await.unwrap();

        assert_eq!(updated, Updated::Remembered);
        has(&etcd, &client, &new, OTHER).await;
        let removed = in_time(old.deregister()).await.unwrap();
        assert_eq!(removed, Deregistered::NotOurs);
        has(&etcd, &client, &new, OTHER).await;
        // Told again, it is the newest.
        in_time(old.register()).await.unwrap();
        until(&new, is_superseded).await;
        assert_eq!(etcd.get(KEY).await.as_deref(), Some(OWN.as_bytes()));
    }
}

/// Row 28: a registrar for each try, in a loop, with calls that are given up at any moment.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_three_hundred_reloads_none_is_lost() {
    let etcd = Etcd::start().await;
    let client = client(&etcd);
    let ttls = TTLS.map(|ttl| Ttl::from_secs(ttl).unwrap());
    // Keep the leases in use.
    let others = ttls.map(|ttl| {
        let key = format!("/svc/other-{ttl}");
        Registrar::new(client.clone(), service(&key, OWN).with_ttl(ttl))
    });
    for other in &others {
        in_time(other.register()).await.unwrap();
    }
    let mut random = fastrand::Rng::with_seed(28);
    for round in 0..300 {
        let [before, new] = [OWN, OTHER].map(|value| {
            let service = service(KEY, value).with_ttl(ttls[random.usize(..2)]);
            Registrar::new(client.clone(), service)
        });
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
        let way = random.u8(0..3);
        let going = async {
            match way {
                0 => drop(before),
                1 => drop(before.deregister().await),
                // It goes on, and may be registering still.
                _ => return Some(before),
            }
            None
        };
        let (registered, before) = in_time(async { tokio::join!(new.register(), going) }).await;

        registered.unwrap_or_else(|error| panic!("round {round}: {error}"));
        if let Some(before) = before {
            let has_ended = |status: &RegistrarStatus| {
                is_superseded(status) || matches!(status, RegistrarStatus::Deregistered(_))
            };
            until(&before, has_ended).await;
        }
        // Whatever was still to come comes before this.
        for other in &others {
            in_time(other.update(OWN)).await.unwrap();
        }
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
