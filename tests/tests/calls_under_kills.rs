//! Calls through a channel, while providers are killed and started again.

use sd_tests::{
    Etcd,
    kills::{CallKind, Kills},
};

#[tokio::test(flavor = "multi_thread")]
async fn kills_cost_no_idempotent_and_no_unsent_call_and_nothing_is_executed_twice() {
    let etcd = Etcd::start().await;

    let summary = Kills::new(env!("CARGO_BIN_EXE_kills")).run(&etcd).await;

    println!("{summary}");
    assert_eq!(summary.broken(), [""; 0]);
    assert!(summary.kills() > 0);
    for kind in [
        CallKind::Idempotent,
        CallKind::NotIdempotent,
        CallKind::Tonic,
    ] {
        assert!(summary.of(kind).made > 0, "{kind:?}");
    }
}
