//! A short soak; see `sd_tests::soak`. For a longer one, with other seeds: `./run soak --minutes
//! 10`.

use sd_tests::soak::{Soak, soak};
use std::time::Duration;

const SHORT: Duration = Duration::from_secs(20);
/// Its first faults: a key deleted, a backup restored, all leases revoked, a reload that drops the old
/// registrar, an update, a kill, a rebuild with a crash, a freeze that costs leases.
const SEED: u64 = 2_420;

#[tokio::test]
async fn one_fault_after_the_other_leaves_all_in_agreement_and_nothing_behind() {
    let outcome = soak(Soak::new(SEED, SHORT), |line| println!("{line}")).await;

    let summary = outcome.unwrap_or_else(|broken| panic!("{broken}"));
    println!("{summary}");
    assert!(summary.faults > 0, "{summary}");
    assert!(summary.rounds > 0, "{summary}");
}
