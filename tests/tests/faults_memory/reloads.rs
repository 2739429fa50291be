//! Row 28: registrars that follow each other under one key on one client.

use crate::*;
use sd_core::{Client, Deregistered, Error, Registrar, RegistrarStatus, Updated};
use std::sync::Arc;
use tokio::time::{sleep, timeout};

const OLD: &str = r#"{"address":"10.0.0.1:80","weight":1}"#;
const NEW: &str = r#"{"address":"10.0.0.1:80","weight":2}"#;

fn registrar(client: &MemoryClient, value: &'static str) -> Registrar {
    Registrar::new(client.clone(), service(KEY, value))
}

/// The successor stands ten minutes later, and can be deregistered.
async fn stands(registry: &Registry, successor: &Registrar) {
    sleep(seconds(600)).await;
    let status = successor.status().borrow();
    assert!(status.is_registered(), "the successor is {status}");
    let entry = registry.get(KEY).expect("the successor's entry");
    assert_eq!(entry.value, NEW);
    assert_eq!(successor.deregister().await.unwrap(), Deregistered::Removed);
    assert!(registry.entries().is_empty() && registry.leases().is_empty());
}

/// Row 28: a registrar that drains, was told to deregister or was dropped, and its successor at any
/// moment of that.
#[tokio::test(start_paused = true)]
async fn who_drains_or_is_dropped_ends_only_its_own() {
    for (drain, wait, is_dropped) in [
        (0, 0, true),
        (0, 1, true),
        (2, 0, true),
        (2, 500, true),
        (2, 0, false),
        (2, 500, false),
        (2, 2500, true),
        (2, 2500, false),
    ] {
        let registry = Registry::new();
        let client = registry.client();
        let old = Registrar::builder(client.clone(), service(KEY, OLD))
            .drain(seconds(drain))
            .build();
        old.register().await.unwrap();

        let going = (!is_dropped).then_some(old);
        let going = going.map(|old| tokio::spawn(async move { old.deregister().await }));
        sleep(millis(wait)).await;
        let new = registrar(&client, NEW);
        new.register().await.unwrap();

        stands(&registry, &new).await;
        if let Some(going) = going {
            let outcome = going.await.unwrap().unwrap();
            let expected = match wait < 1000 * drain {
                true => Deregistered::NotOurs,
                false => Deregistered::Removed,
            };
            assert_eq!(
                outcome, expected,
                "drain {drain} s, successor after {wait} ms"
            );
        }
    }
}

/// Row 28: the old one goes after its successor has come.
#[tokio::test(start_paused = true)]
async fn who_deregisters_after_its_successor_has_come_removes_nothing() {
    for is_dropped in [false, true] {
        let registry = Registry::new();
        let client = registry.client();
        let old = registrar(&client, OLD);
        old.register().await.unwrap();
        let new = registrar(&client, NEW);
        new.register().await.unwrap();

        if !is_dropped {
            assert_eq!(old.deregister().await.unwrap(), Deregistered::NotOurs);
        }
        drop(old);

        stands(&registry, &new).await;
    }
}

/// Row 28: the old one was still trying to register, or to reclaim, when it was dropped.
#[tokio::test(start_paused = true)]
async fn who_is_dropped_during_an_outage_ends_only_its_own() {
    for was_registered in [false, true] {
        let registry = Registry::new();
        let client = registry.client();
        let old = registrar(&client, OLD);
        if was_registered {
            old.register().await.unwrap();
            registry.expire_lease(&client.lease_id().unwrap());
            sleep(millis(1)).await;
        }
        registry.refuse(Error::unavailable("down"));
        sleep(seconds(1)).await;
        let tried = timeout(seconds(3), old.register()).await;
        assert!(tried.is_err(), "{tried:?}");
        let new = registrar(&client, NEW);
        let registering = new.register();
        let outage = async {
            sleep(seconds(3)).await;
            drop(old);
            registry.accept();
        };

        let (registered, ()) = tokio::join!(registering, outage);

        registered.unwrap();
        stands(&registry, &new).await;
    }
}

/// Row 28: an update of the old one does not write into its successor's entry, and the old one says
/// what it is.
#[tokio::test(start_paused = true)]
async fn an_update_of_the_old_one_never_overwrites_its_successor() {
    let registry = Registry::new();
    let client = registry.client();
    let old = Arc::new(registrar(&client, OLD));
    old.register().await.unwrap();
    registry.delay(millis(100));
    let new = registrar(&client, NEW);

    let update = async {
        sleep(millis(50)).await;
        old.update("late").await
    };
    let (registered, _updated) = tokio::join!(new.register(), update);

    registered.unwrap();
    registry.delay(Duration::ZERO);
    sleep(seconds(1)).await;
    let status = old.status().borrow();
    assert!(matches!(*status, RegistrarStatus::Superseded), "{status}");
    stands(&registry, &new).await;
}

fn is_superseded(registrar: &Registrar) -> bool {
    matches!(*registrar.status().borrow(), RegistrarStatus::Superseded)
}

/// Two registrars of one key, with these TTLs.
fn two_registrars(client: &MemoryClient, ttls: [u64; 2]) -> [Arc<Registrar>; 2] {
    let services = [(OLD, ttls[0]), (NEW, ttls[1])].map(|(value, ttl)| {
        let ttl = Ttl::from_secs(ttl).unwrap();
        service(KEY, value).with_ttl(ttl)
    });
    services.map(|service| Arc::new(Registrar::new(client.clone(), service)))
}

/// Row 28: the old one was told to register before its successor, and gets through after it.
#[tokio::test(start_paused = true)]
async fn who_still_tries_to_register_does_not_take_the_key_from_its_successor() {
    for (ttls, is_deregistering) in [
        ([10, 10], false),
        ([10, 30], false),
        ([10, 10], true),
        ([10, 30], true),
    ] {
        let registry = Registry::new();
        let client = registry.client();
        let [old, new] = two_registrars(&client, ttls);
        if is_deregistering {
            // It waits for its own removal.
            old.register().await.unwrap();
            registry.freeze();
            let old = old.clone();
            tokio::spawn(async move { old.deregister().await });
            sleep(millis(1)).await;
        } else {
            registry.refuse(Error::unavailable("down"));
        }
        let trying = tokio::spawn({
            let old = old.clone();
            async move { old.register().await }
        });
        // Until it waits for its next attempt.
        sleep(seconds(3)).await;
        registry.accept();
        let (registered, ()) = tokio::join!(new.register(), async {
            sleep(millis(1)).await;
            registry.thaw();
        });
        registered.unwrap();

        let answer = trying.await.unwrap();
        assert!(matches!(answer, Err(Error::Superseded)), "{answer:?}");
        assert!(is_superseded(&old));
        // A new value is none that asks for the key.
        assert_eq!(old.update(OLD).await.unwrap(), Updated::Remembered);
        sleep(seconds(600)).await;
        assert_eq!(registry.get(KEY).unwrap().value, NEW);
        assert_eq!(old.deregister().await.unwrap(), Deregistered::NotOurs);
        assert!(new.status().borrow().is_registered());

        // Told again, it is the newest.
        old.register().await.unwrap();
        assert_eq!(registry.get(KEY).unwrap().value, OLD);
        sleep(seconds(1)).await;
        assert!(is_superseded(&new));
    }
}

/// Row 28: what a registrar does by itself, after a lost lease or a deleted key, is nothing that it was
/// told.
#[tokio::test(start_paused = true)]
async fn who_was_told_to_register_last_is_back_after_a_loss_before_whoever_still_tries() {
    let registry = Registry::new();
    let client = registry.client();
    let [old, new] = two_registrars(&client, [10, 10]);
    new.register().await.unwrap();
    old.register().await.unwrap();
    new.register().await.unwrap();
    assert!(is_superseded(&old));
    registry.expire_lease(&client.lease_id().unwrap());
    let is_lost = |status: &RegistrarStatus| matches!(status, RegistrarStatus::Reclaiming { .. });
    new.status().wait_for(is_lost).await.unwrap();
    registry.refuse(Error::unavailable("down"));
    let another = registrar(&client, OLD);
    let trying = timeout(millis(1), another.register()).await;
    assert!(trying.is_err(), "{trying:?}");
    // Again the last one, although it still tries to reclaim.
    let again = new.register();
    let (registered, ()) = tokio::join!(again, async {
        sleep(seconds(5)).await;
        registry.accept();
    });
    registered.unwrap();
    sleep(seconds(10)).await;
    assert!(is_superseded(&another));
    stands(&registry, &new).await;
}

/// Row 28: whatever several registrars of one key are told while the registry comes and goes.
#[tokio::test(start_paused = true)]
async fn of_several_registrars_the_one_told_last_stands() {
    for seed in 0..300 {
        let registry = Registry::new();
        let client = registry.client();
        fastrand::seed(seed);
        let mut random = fastrand::Rng::with_seed(seed);
        let ttls = [10, 20].map(|ttl| Ttl::from_secs(ttl).unwrap());
        let registrars: Vec<_> = (0..3)
            .map(|n| service(KEY, [OLD, NEW, ADDRESS][n]).with_ttl(ttls[random.usize(..2)]))
            .map(|service| Arc::new(Registrar::new(client.clone(), service)))
            .collect();
        let tell = |who: usize, what: u8| {
            let registrar = registrars[who].clone();
            tokio::spawn(async move {
                match what {
                    0 => drop(registrar.deregister().await),
                    1 => drop(registrar.update(format!("10.9.0.{who}:80")).await),
                    _ => drop(registrar.register().await),
                }
            });
        };
        for _ in 0..20 {
            match random.u8(..8) {
                0 => registry.fail_next(random.usize(1..4), Error::exhausted("no space")),
                1 => registry.refuse(Error::unavailable("down")),
                2 => registry.accept(),
                3 => registry.delay(millis(random.u64(..50))),
                4 => drop(client.lease_id().map(|lease| registry.expire_lease(&lease))),
                _ => tell(random.usize(..3), random.u8(..5)),
            }
            // In the order in which they are told.
            tokio::task::yield_now().await;
            sleep(millis(random.u64(..300))).await;
        }
        let last = random.usize(..3);
        tell(last, 2);
        registry.accept();
        sleep(seconds(60)).await;

        let statuses: Vec<_> = registrars
            .iter()
            .map(|it| it.status().borrow().to_string())
            .collect();
        let are_registered: Vec<_> = registrars
            .iter()
            .map(|it| it.status().borrow().is_registered())
            .collect();
        let expected: Vec<_> = (0..3).map(|n| n == last).collect();
        assert_eq!(are_registered, expected, "seed {seed}: {statuses:?}");
    }
}

/// Row 28: a registrar for each try, in a loop, with calls that are given up at any moment.
#[tokio::test(start_paused = true)]
async fn of_a_thousand_reloads_none_is_lost() {
    let registry = Registry::new();
    let client = registry.client();
    let mut random = fastrand::Rng::with_seed(28);
    for round in 0..1000 {
        let before = registrar(&client, OLD);
        registry.delay(millis(random.u64(0..4)));
        match random.u8(0..5) {
            // The new one before the old one.
            0 | 1 => before.register().await.unwrap(),
            // Dropped mid-call.
            2 => {
                let _ = timeout(millis(random.u64(0..6)), before.register()).await;
            }
            // Refused, as in a loop that makes a registrar for each try.
            3 => {
                registry.fail_next(1, Error::exhausted("no space"));
                let _ = before.register_within(millis(random.u64(0..6))).await;
            }
            // The old one before the new one.
            _ => {
                before.register().await.unwrap();
                before.deregister().await.unwrap();
            }
        }
        let new = registrar(&client, NEW);
        let going = async {
            match random.bool() {
                true => drop(before),
                false => {
                    let _ = before.deregister().await;
                }
            }
        };
        let (registered, ()) = tokio::join!(new.register(), going);

        registered.unwrap_or_else(|error| panic!("round {round}: {error}"));
        sleep(seconds(2)).await;
        let status = new.status().borrow();
        assert!(status.is_registered(), "round {round}: {status}");
        let entry = registry.get(KEY).map(|entry| entry.value);
        assert_eq!(entry.as_deref(), Some(NEW.as_bytes()), "round {round}");
    }
}
