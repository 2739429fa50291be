//! The conformance suite on the etcd backend, with a real etcd.

use sd_tests::EtcdHarness;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_etcd_backend_keeps_every_promise() {
    let harness = EtcdHarness::start().await;
    let report = sd_conformance::run(&harness).await;
    println!("{report}");
    report.assert_passed();
    assert!(report.not_run().is_empty(), "{report}");
}
