//! The memory registry keeps the contract of `Client`.

use sd_tests::MemoryHarness;

#[tokio::test(start_paused = true)]
async fn the_memory_registry_keeps_every_promise() {
    let report = sd_conformance::run(&MemoryHarness::default()).await;

    report.assert_passed();
    assert_eq!(
        report.not_run(),
        ["a_key_that_is_not_text_is_skipped_and_counted"],
        "{report}"
    );
}

#[tokio::test(start_paused = true)]
async fn every_check_passes_on_its_own() {
    for check in sd_conformance::checks() {
        let report = sd_conformance::run_one(&MemoryHarness::default(), check.name()).await;
        report.expect("the check is there").assert_passed();
    }
}
