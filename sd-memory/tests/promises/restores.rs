//! A registry that is put back to what it was.

use super::*;
use sd_core::{Deregistered, Gap, Lost, Reclaimed};
use sd_memory::Backup;
use tokio::time::sleep;

const C: &str = "/services/hello/c";

/// Both ways to restore.
const WAYS: [fn(&Registry, &Backup); 2] = [Registry::restore, Registry::restore_bumped];

#[tokio::test(start_paused = true)]
async fn a_restore_puts_back_entries_leases_and_the_counter() {
    let registry = Registry::new();
    let client = registry.client();
    let held = registered(&client, A, "1").await;
    registry.put(B, "1").unwrap();
    let backup = registry.backup();
    let (entries, revision) = (registry.entries(), registry.revision());
    sleep(TTL / 2).await;
    drop(held);
    registry.put(B, "2").unwrap();
    registry.put(C, "2").unwrap();

    registry.restore(&backup);
    assert_eq!(registry.entries(), entries);
    assert_eq!(registry.revision(), revision);
    assert_eq!(registry.changes_after(revision), Some(Vec::new()));
    // Nobody keeps the lease alive any more, and it has its whole TTL.
    sleep(TTL - seconds(1)).await;
    assert_eq!(registry.leases().len(), 1);
    sleep(seconds(1)).await;
    assert_eq!(registry.leases().len(), 0);
    assert_eq!(value(&registry, A), None);

    let newest = registry.put(C, "3").unwrap();
    registry.restore_bumped(&backup);
    assert_eq!(registry.entries(), entries);
    assert_eq!(registry.revision(), newest + 1, "none comes twice");
}

#[tokio::test(start_paused = true)]
async fn watches_find_a_gap_wherever_the_counter_stands() {
    for (bumped, restore) in WAYS.into_iter().enumerate() {
        let registry = Registry::new();
        let client = registry.client();
        let backup = registry.backup();
        registry.put(A, "1").unwrap();
        let listed = client.get_entries(&hello()).await.unwrap().revision;
        let mut seen = client.watch_prefix(&hello(), &listed).await.unwrap();

        restore(&registry, &backup);
        assert!(matches!(
            item(&mut seen).await,
            Err(WatchError::Interrupted(_))
        ));
        for _ in 0..10 {
            let Err(WatchError::Gap(gap)) = client.watch_prefix(&hello(), &listed).await else {
                panic!("no gap at revision {}", registry.revision());
            };
            assert_eq!(gap == Gap::Compacted, bumped == 1, "{gap}");
            registry.put(B, "strangers").unwrap();
        }
        let mut anew = watch(&client).await;
        registry.put(C, "2").unwrap();
        assert_eq!(changes(&mut anew).await, [format!("+{C}=2")]);
    }
}

/// faults row 37
#[tokio::test(start_paused = true)]
async fn who_lives_hears_that_its_predecessors_entry_has_come_back_and_overwrites_it() {
    for restore in WAYS {
        let registry = Registry::new();
        let predecessor = registry.client();
        let _dead = registered(&predecessor, A, "dead").await;
        predecessor.crash();
        let backup = registry.backup();
        let client = registry.client();
        let mut lives = registered(&client, A, "lives").await;

        restore(&registry, &backup);
        assert_eq!(value(&registry, A).as_deref(), Some("dead"));
        soon(lives.lost()).await;
        let Reclaimed::Held(lives) = lives.reclaim("lives").await.unwrap() else {
            panic!("it waits for what a restore has brought back");
        };
        sleep(2 * TTL).await;
        assert_eq!(value(&registry, A).as_deref(), Some("lives"));
        assert_eq!(lives.loss(), None);
    }
}

/// faults row 37: the registry was empty in between and counts anew, so that the entry of the backup has a
/// larger modification than the one that was put last.
#[tokio::test(start_paused = true)]
async fn who_lives_overwrites_its_own_entry_from_before_a_rebuild() {
    for restore in WAYS {
        let registry = Registry::new();
        for _ in 0..10 {
            registry.put(B, "busy").unwrap();
        }
        let client = registry.client();
        let mut first = registered(&client, A, "1").await;
        let backup = registry.backup();
        registry.rebuild_empty();
        soon(first.lost()).await;
        let Reclaimed::Held(mut second) = first.reclaim("2").await.unwrap() else {
            panic!("taken");
        };

        restore(&registry, &backup);
        assert_eq!(value(&registry, A).as_deref(), Some("1"));
        assert_eq!(soon(second.lost()).await, Lost::RolledBack);
        let Reclaimed::Held(third) = second.reclaim("2").await.unwrap() else {
            panic!("it waits for what it had put itself");
        };
        sleep(2 * TTL).await;
        assert_eq!(value(&registry, A).as_deref(), Some("2"));
        assert_eq!(third.loss(), None);
    }
}

/// faults row 38
#[tokio::test(start_paused = true)]
async fn an_older_value_under_the_same_lease_is_noticed() {
    for restore in WAYS {
        let registry = Registry::new();
        let client = registry.client();
        let first = registered(&client, A, "1").await;
        let backup = registry.backup();
        let Reclaimed::Held(mut second) = first.reclaim("2").await.unwrap() else {
            panic!("taken");
        };
        restore(&registry, &backup);
        soon(second.lost()).await;
        let Reclaimed::Held(_third) = second.reclaim("2").await.unwrap() else {
            panic!("taken by itself");
        };
        assert_eq!(value(&registry, A).as_deref(), Some("2"));
        assert_eq!(registry.leases().len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_put_after_the_restore_is_somebody_elses() {
    let registry = Registry::new();
    let backup = registry.backup();
    let client = registry.client();
    let mut registration = registered(&client, A, "1").await;
    client.cut_off();
    registry.restore_bumped(&backup);
    registry.put(A, "foreign").unwrap();
    client.reconnect();
    assert_eq!(soon(registration.lost()).await, Lost::taken("foreign"));
    let outcome = registration.reclaim("1").await.unwrap();
    assert!(matches!(outcome, Reclaimed::Taken { .. }), "{outcome:?}");
}

#[tokio::test(start_paused = true)]
async fn what_was_deregistered_does_not_come_back_on_a_living_lease() {
    for restore in WAYS {
        let registry = Registry::new();
        let client = registry.client();
        let (_a, b) = (
            registered(&client, A, "1").await,
            registered(&client, B, "1").await,
        );
        let backup = registry.backup();
        drop(b);
        restore(&registry, &backup);
        sleep(seconds(1)).await;
        assert_eq!(value(&registry, A).as_deref(), Some("1"));
        assert_eq!(value(&registry, B), None);

        // The same with a removal that has not been heard of.
        let backup = {
            let _b = registered(&client, B, "1").await;
            registry.backup()
        };
        registry.freeze();
        let outcome = client.deregister(&service(B, "1")).await.unwrap();
        assert_eq!(outcome, Deregistered::NotOurs);
        restore(&registry, &backup);
        registry.thaw();
        sleep(seconds(1)).await;
        assert_eq!(value(&registry, B), None);
    }
}
