//! Keys that are put and deleted in a loop.

use super::*;
use sd_core::{Endpointer, factory_fn};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::time::sleep;

/// Hostile rows 5 and 9: after one interruption neither phantoms nor endpoints of them are left, and one
/// key makes few connections, whatever it says.
#[tokio::test(start_paused = true)]
async fn keys_in_a_loop_are_no_phantoms_and_few_connections() {
    let registry = Registry::new();
    registry.put(key("honest"), "10.0.0.1:80").unwrap();
    let instancer = Arc::new(Instancer::new(registry.client(), hello()));
    let made = Arc::new(AtomicUsize::new(0));
    let counted = made.clone();
    let factory = factory_fn(move |instance| {
        counted.fetch_add(1, Ordering::Relaxed);
        Ok(instance.address().to_owned())
    });
    let endpointer = Endpointer::new(instancer.clone(), factory);
    endpointer.ready().await.unwrap();
    registry.disconnect_watchers();
    sleep(Duration::from_millis(500)).await;

    for n in 0..5_000 {
        let evil = key(&format!("evil{n}"));
        registry.put(&evil, "6.6.6.6:80").unwrap();
        registry
            .put(key("flaps"), format!("7.7.7.7:{}", n + 1))
            .unwrap();
        registry.delete(&evil);
        sleep(Duration::from_millis(1)).await;
        let state = instancer.state().unwrap();
        assert!(state.instances().len() <= 3 && state.held().count() == 0);
    }
    registry.delete(key("flaps"));
    sleep(Duration::from_millis(500)).await;
    assert_eq!(addresses(&instancer), ["10.0.0.1:80"]);
    assert_eq!(endpointer.status().borrow().endpoints, 1);
    let made = made.load(Ordering::Relaxed);
    assert!(made <= 1 + 8 + 8 + 3, "{made}");
}
