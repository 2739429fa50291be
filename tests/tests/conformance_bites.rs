//! The conformance suite notices: each wrong client fails the check that names its promise.

use sd_core::conformance;
use sd_tests::wrong_clients::*;

/// Asserts that the checks which fail for clients with the flaw are these, and all of these.
async fn assert_fails<F: Flaw>(expected: &[&str]) {
    let report = conformance::run(&FlawedHarness::<F>::default()).await;
    assert_eq!(report.failed(), expected, "\n{report}");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_lists_one_page() {
    assert_fails::<ListsOnePage>(&[]).await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_lists_at_two_revisions() {
    assert_fails::<ListsAtTwoRevisions>(&[]).await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_ignores_path_boundaries() {
    assert_fails::<IgnoresPathBoundaries>(&[]).await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_loses_changes_before_the_watch() {
    assert_fails::<LosesChangesBeforeTheWatch>(&[]).await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_splits_revisions() {
    assert_fails::<SplitsRevisions>(&[]).await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_repeats_changes_on_resume() {
    assert_fails::<RepeatsChangesOnResume>(&[]).await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_answers_gaps_with_silence() {
    assert_fails::<AnswersGapsWithSilence>(&[]).await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_is_silent_in_outages() {
    assert_fails::<IsSilentInOutages>(&[]).await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaks_its_watch() {
    assert_fails::<LeaksItsWatch>(&[]).await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_panics_at_foreign_tokens() {
    assert_fails::<PanicsAtForeignTokens>(&[]).await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_removes_its_successor() {
    assert_fails::<RemovesItsSuccessor>(&[]).await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_deregisters_without_bound() {
    assert_fails::<DeregistersWithoutBound>(&[]).await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_keeps_dropped_registrations() {
    assert_fails::<KeepsDroppedRegistrations>(&[]).await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_a_lease_per_service() {
    assert_fails::<TakesALeasePerService>(&[]).await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_forgets_to_keep_alive() {
    assert_fails::<ForgetsToKeepAlive>(&[]).await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_never_speaks_of_a_loss() {
    assert_fails::<NeverSpeaksOfALoss>(&[]).await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_reclaims_what_a_successor_holds() {
    assert_fails::<ReclaimsWhatASuccessorHolds>(&[]).await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_puts_after_deregister() {
    assert_fails::<PutsAfterDeregister>(&[]).await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_silence_for_a_loss() {
    assert_fails::<TakesSilenceForALoss>(&[]).await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_removes_with_every_handle() {
    assert_fails::<RemovesWithEveryHandle>(&[]).await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_nothing() {
    assert_fails::<DoesNothing>(&[]).await;
}
