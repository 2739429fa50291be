//! A short soak; see `sd_tests::soak`. For a longer one, with other seeds: `./run soak --minutes
//! 10`.

use sd_tests::soak::{Soak, soak};
use std::time::Duration;

const SHORT: Duration = Duration::from_secs(20);
/// The first faults of this seed are: a delay, a kill, a compaction, a deleted key, a revoked
/// lease, a rebuild with a crash, a freeze that loses leases, a takeover.
const SEED: u64 = 28_334;

#[tokio::test]
async fn one_fault_after_the_other_leaves_all_in_agreement_and_nothing_behind() {
    let outcome = soak(Soak::new(SEED, SHORT), |line| println!("{line}")).await;

    let summary = outcome.unwrap_or_else(|broken| panic!("{broken}"));
    println!("{summary}");
    assert!(summary.faults > 0, "{summary}");
    assert!(summary.rounds > 0, "{summary}");
}
