//! A registry that is restored from a backup, as consumers see it.

use crate::*;
use sd_memory::Backup;
use tokio::time::sleep;

/// Of entries without a lease.
const KEPT: &str = "10.0.0.3:80";
const LOST: &str = "10.0.0.4:80";
const NEW: &str = "10.0.0.5:80";

/// Row 39: what the consumer knows is the same in both histories, and the counter has passed it.
#[tokio::test(start_paused = true)]
async fn a_rollback_is_noticed_wherever_the_counter_stands() {
    for restore in [Registry::restore, Registry::restore_bumped] {
        restored_from_a_backup(restore).await;
    }
}

async fn restored_from_a_backup(restore: fn(&Registry, &Backup)) {
    let registry = Registry::new();
    registry.put("/svc/c", KEPT).unwrap();
    let (provider, other, consumer) = {
        let consumer = consumer(&registry).await;
        let (provider, other) = (provider(&registry).await, other(&registry).await);
        consumer.settles_on(&[ADDRESS, OTHER, KEPT]).await;
        (provider, other, consumer)
    };
    let backup = registry.backup();
    registry.put("/elsewhere", "at work").unwrap();
    registry.put("/svc/d", LOST).unwrap();
    registry.put("/elsewhere", "at work").unwrap();
    consumer.settles_on(&[ADDRESS, OTHER, KEPT, LOST]).await;
    let (known, lists) = (registry.revision(), registry.calls().lists);

    let fault = async {
        registry.kill();
        restore(&registry, &backup);
        registry.put("/svc/e", NEW).unwrap();
        while registry.revision() <= known + 10 {
            registry.put("/elsewhere", "strangers").unwrap();
        }
        sleep(seconds(1)).await;
        registry.restart();
        let noticed = consumer.sees("what is new", |view| view.has(NEW) && view.live);
        let view = noticed.await;
        assert_eq!(view.held, ["/svc/d"], "what is gone is doubted first");
        assert!(view.has(LOST));
        consumer.settles_on(&[ADDRESS, OTHER, KEPT, NEW]).await;
    };
    let look = async || consumer.view();
    let has_all = |view: &sd_tests::View| [ADDRESS, OTHER, KEPT].iter().all(|it| view.has(it));
    sd_tests::throughout(fault, "all who live", look, has_all).await;

    assert_eq!(registry.calls().lists, lists + 1, "one list");
    assert_eq!(consumer.made(), 5, "the endpoints were kept");
    provider.stands_in(&registry).await;
    other.stands_in(&registry).await;
}
