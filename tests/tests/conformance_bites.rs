//! The conformance suite notices broken promises: each wrong client fails the checks of the
//! promises that it breaks, and no others, and each check is failed by at least one wrong client.

use sd_conformance::Report;
use sd_tests::wrong_clients::*;

async fn report_on<F: Flaw>() -> Report {
    sd_conformance::run(&FlawedHarness::<F>::default()).await
}

/// Makes a test for each wrong client, and a list of all checks that they fail.
macro_rules! wrong_clients {
    ($($name:ident: $flaw:ty => [$($check:ident,)+],)+) => {
        $(
            #[tokio::test(start_paused = true)]
            async fn $name() {
                let report = report_on::<$flaw>().await;
                assert_eq!(report.failed(), [$(stringify!($check)),+], "\n{report}");
            }
        )+

        const FAILED: &[&str] = &[$($(stringify!($check),)+)+];
    };
}

wrong_clients! {
    lists_one_page: ListsOnePage => [
        many_entries_are_listed_completely,
        a_list_is_read_at_one_revision,
    ],
    lists_at_two_revisions: ListsAtTwoRevisions => [
        a_list_is_read_at_one_revision,
    ],
    mixes_up_leases: MixesUpLeases => [
        an_entry_names_its_lease_rightly_or_not_at_all,
    ],
    ignores_path_boundaries: IgnoresPathBoundaries => [
        a_list_ends_at_the_path_boundary,
        a_watch_ends_at_the_path_boundary,
    ],
    loses_changes_before_the_watch: LosesChangesBeforeTheWatch => [
        a_change_between_list_and_watch_is_not_lost,
        a_batch_leads_to_the_state_of_the_registry_at_its_resume,
        a_watch_resumed_from_a_batch_misses_and_repeats_nothing,
        a_resume_token_is_good_for_another_client,
        an_interrupted_watch_goes_on_without_loss,
    ],
    splits_revisions: SplitsRevisions => [
        a_batch_leads_to_the_state_of_the_registry_at_its_resume,
        what_changed_at_once_is_one_batch,
        keys_that_die_with_one_lease_are_one_batch,
    ],
    repeats_changes_on_resume: RepeatsChangesOnResume => [
        a_watch_resumed_from_a_batch_misses_and_repeats_nothing,
        a_resume_token_is_good_for_another_client,
        an_interrupted_watch_goes_on_without_loss,
    ],
    answers_gaps_with_silence: AnswersGapsWithSilence => [
        a_token_of_another_backend_is_a_gap,
        a_compacted_history_is_a_gap,
        a_rebuilt_registry_is_a_gap,
        a_registry_rebuilt_past_the_watch_is_a_gap,
    ],
    is_silent_in_outages: IsSilentInOutages => [
        a_registry_that_stops_answering_is_reported,
        a_disruption_that_passes_is_said_to_be_over,
    ],
    begins_in_silence: BeginsInSilence => [
        a_watch_begins_with_an_answer,
    ],
    answers_for_the_registry: AnswersForTheRegistry => [
        a_watch_that_nobody_answered_yields_no_batch,
    ],
    leaks_its_watch: LeaksItsWatch => [
        a_dropped_watch_leaves_no_watcher,
    ],
    panics_at_foreign_tokens: PanicsAtForeignTokens => [
        a_token_of_another_backend_is_a_gap,
    ],
    removes_its_successor: RemovesItsSuccessor => [
        the_same_value_from_somebody_else_is_not_ours,
        an_old_owner_does_not_remove_its_successor,
        deregister_of_the_unknown_removes_nothing,
        an_owner_removes_only_what_it_registered,
        a_deregistration_beside_its_successors_register_leaves_it_alone,
        a_cancelled_register_withdraws_only_its_own,
    ],
    puts_after_deregister: PutsAfterDeregister => [
        deregister_is_bounded_while_the_registry_does_not_answer,
    ],
    sends_what_it_gave_up: SendsWhatItGaveUp => [
        a_registration_that_was_given_up_undoes_no_later_one,
    ],
    deregisters_without_bound: DeregistersWithoutBound => [
        deregister_is_bounded_while_the_registry_does_not_answer,
    ],
    owns_by_key: OwnsByKey => [
        an_owner_removes_only_what_it_registered,
        a_deregistration_beside_its_successors_register_leaves_it_alone,
        a_cancelled_register_withdraws_only_its_own,
    ],
    ignores_generations: IgnoresGenerations => [
        a_register_of_an_older_generation_is_superseded,
    ],
    stops_its_successor: StopsItsSuccessor => [
        a_deregistration_beside_its_successors_register_leaves_it_alone,
    ],
    asks_for_the_owner: AsksForTheOwner => [
        a_service_without_an_owner_is_removed_whoever_registered_it,
    ],
    outlives_its_owner: OutlivesItsOwner => [
        a_registration_is_gone_when_its_client_is_dropped_in_an_outage,
        a_dropped_registration_goes,
        a_cancelled_register_leaves_no_entry,
        a_dropped_client_leaves_no_lease,
        a_dropped_registration_leaves_no_lease,
        a_cancelled_register_leaves_no_lease,
    ],
    forgets_a_dropped_deregister: ForgetsADroppedDeregister => [
        a_dropped_deregister_goes_on,
    ],
    takes_a_lease_per_service: TakesALeasePerService => [
        keys_that_die_with_one_lease_are_one_batch,
        register_again_supersedes_the_registration_before,
        a_register_of_an_older_generation_is_superseded,
        a_closed_client_says_closed,
        a_superseded_registration_is_not_reclaimed,
        services_of_one_client_share_a_lease,
        a_lost_lease_is_lost_for_all_its_services,
        a_crashed_client_is_gone_after_its_ttl,
    ],
    forgets_to_keep_alive: ForgetsToKeepAlive => [
        a_claim_that_is_not_confirmed_is_unproven,
        a_dropped_registration_leaves_the_others,
        a_lease_outlives_its_ttl_while_it_is_used,
        a_lease_stays_while_one_service_remains,
    ],
    never_speaks_of_a_loss: NeverSpeaksOfALoss => [
        a_claim_that_is_not_confirmed_is_unproven,
        register_takes_another_clients_key_over,
        the_same_value_from_somebody_else_is_not_ours,
        register_again_supersedes_the_registration_before,
        a_closed_client_says_closed,
        deregister_removes_the_entry,
        a_service_without_an_owner_is_removed_whoever_registered_it,
        a_lost_lease_is_said_and_the_entry_reclaimed,
        a_deleted_key_is_said_and_the_entry_reclaimed,
        a_reclaimed_registration_is_held,
        a_taken_key_is_not_reclaimed,
        a_key_taken_after_the_lease_was_lost_is_not_reclaimed,
        a_lost_lease_is_lost_for_all_its_services,
        a_lease_suffixed_key_follows_its_lease,
        an_edit_is_told_to_the_owner,
    ],
    takes_silence_for_a_loss: TakesSilenceForALoss => [
        an_outage_is_not_a_loss,
        a_claim_that_is_not_confirmed_is_unproven,
    ],
    confirms_what_nobody_confirmed: ConfirmsWhatNobodyConfirmed => [
        a_claim_that_is_not_confirmed_is_unproven,
    ],
    never_confirms: NeverConfirms => [
        a_claim_that_is_not_confirmed_is_unproven,
    ],
    removes_with_every_handle: RemovesWithEveryHandle => [
        a_superseded_handle_ends_nothing,
        a_service_can_come_back_after_deregister,
        an_old_owner_does_not_remove_its_successor,
        an_owner_removes_only_what_it_registered,
        a_reclaimed_registration_is_held,
        a_reclaimed_handle_may_be_dropped,
    ],
    reclaims_what_a_successor_holds: ReclaimsWhatASuccessorHolds => [
        a_taken_key_is_not_reclaimed,
        a_key_taken_after_the_lease_was_lost_is_not_reclaimed,
        a_superseded_registration_is_not_reclaimed,
    ],
    reclaims_on_a_new_lease: ReclaimsOnANewLease => [
        reclaim_changes_the_value_of_what_is_held,
        a_reclaimed_handle_may_be_dropped,
    ],
    reads_from_a_cache: ReadsFromACache => [
        an_editor_reads_what_stands,
        an_edit_of_what_was_changed_since_changes_nothing,
        a_deletion_is_fenced_as_an_edit_is,
    ],
    invents_entries: InventsEntries => [
        an_editor_reads_what_stands,
    ],
    edits_off_the_lease: EditsOffTheLease => [
        an_edit_leaves_an_entry_on_its_lease,
        an_edit_is_told_to_the_owner,
    ],
    compares_values: ComparesValues => [
        an_edit_of_what_was_changed_since_changes_nothing,
        a_deletion_is_fenced_as_an_edit_is,
    ],
    brings_back: BringsBack => [
        an_edit_brings_nothing_back,
    ],
    sends_what_is_refused: SendsWhatIsRefused => [
        an_edit_that_the_registry_would_refuse_is_invalid,
    ],
}

#[tokio::test(start_paused = true)]
async fn what_is_no_flaw_passes() {
    let reports = [
        report_on::<InterruptsWithoutDisruption>().await,
        report_on::<OpensLazily>().await,
    ];
    for report in reports {
        assert!(report.failed().is_empty(), "\n{report}");
    }
}

/// What a client keeps that answers everything and does nothing.
const KEPT_BY_DOING_NOTHING: &[&str] = &[
    "a_watch_that_nobody_answered_yields_no_batch",
    "a_registration_is_gone_when_its_client_is_dropped_in_an_outage",
    "a_dropped_registration_goes",
    "a_cancelled_register_leaves_no_entry",
    "a_dropped_deregister_goes_on",
    "services_of_one_client_share_a_lease",
    "a_dropped_registration_leaves_no_lease",
    "a_cancelled_register_leaves_no_lease",
];

/// The checks that are not run for it.
const NOT_RUN: &[&str] = &[
    "a_key_that_is_not_text_is_skipped_and_counted",
    "reclaim_changes_the_value_of_what_is_held",
    "a_reclaimed_handle_may_be_dropped",
];

#[tokio::test(start_paused = true)]
async fn does_nothing() {
    let report = report_on::<DoesNothing>().await;
    assert_eq!(report.passed(), KEPT_BY_DOING_NOTHING, "\n{report}");
    assert_eq!(report.not_run(), NOT_RUN, "\n{report}");
}

#[test]
fn every_check_is_failed_by_some_wrong_client() {
    let toothless: Vec<_> = sd_conformance::checks()
        .map(|check| check.name())
        .filter(|name| KEPT_BY_DOING_NOTHING.contains(name) || NOT_RUN.contains(name))
        .filter(|name| !FAILED.contains(name))
        .collect();
    // The memory registry cannot hold such a key.
    assert_eq!(toothless, ["a_key_that_is_not_text_is_skipped_and_counted"]);
}
