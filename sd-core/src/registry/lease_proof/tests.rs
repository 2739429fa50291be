use super::*;
use crate::support::{Log, denied, down};
use futures::FutureExt;
use std::pin::pin;
use tokio::time::{advance, sleep};

const TTL: Duration = Duration::from_secs(9);

fn sender() -> ProofSender {
    ProofSender::new(LeaseId::from(1), TTL, Instant::now())
}

#[tokio::test(start_paused = true)]
async fn a_proof_runs_out_a_ttl_after_the_last_confirmed_keep_alive_was_sent() {
    let sender = sender();
    let sent_at = Instant::now();
    advance(Duration::from_secs(3)).await;
    sender.confirmed(TTL, sent_at);
    advance(TTL - Duration::from_secs(3) - Duration::from_millis(1)).await;
    assert!(sender.proof().unproven().is_none());
    advance(Duration::from_millis(1)).await;
    assert_eq!(sender.proof().unproven().unwrap().since, sent_at + TTL);
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_needs_no_word_of_the_backend() {
    let sender = sender();
    let proof = sender.proof().clone();
    drop(sender);
    let began = Instant::now();
    let unproven = proof.until_unproven().await;
    assert_eq!((unproven.since, began.elapsed()), (began + TTL, TTL));
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_comes_after_its_ttl_proves_nothing() {
    let sender = sender();
    let sent_at = Instant::now();
    sleep(2 * TTL).await;
    sender.proof().unproven();
    sender.confirmed(TTL, sent_at);
    assert!(sender.proof().unproven().is_some());
    sender.confirmed(TTL, Instant::now());
    assert!(sender.proof().until_proven().now_or_never().is_some());
}

#[tokio::test(start_paused = true)]
async fn it_is_logged_once_for_the_lease_with_the_cause_and_its_end() {
    let log = Log::capture();
    let sender = sender();
    let services: Vec<_> = (0..1_000).map(|_| sender.proof().join()).collect();
    sender.failed(down());
    sleep(TTL).await;
    for service in &services {
        service.proof().unproven();
    }
    sleep(TTL).await;
    sender.confirmed(TTL, Instant::now());
    sender.confirmed(TTL, Instant::now());
    assert_eq!(
        log.text(),
        [
            "WARN lease unproven: no keep-alive was confirmed for its TTL lease=1 \
             services=1000 ttl=9s error=the registry is unavailable: down",
            "INFO lease proven again lease=1 services=1000 after=9s",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_cause_that_cannot_pass_is_an_error() {
    let log = Log::capture();
    let sender = sender();
    sender.failed(down());
    sender.failed(Error::unauthenticated("who"));
    sender.failed(down());
    sleep(TTL).await;
    sender.proof().unproven();
    let lines = log.text();
    assert!(lines[0].starts_with("ERROR"), "{lines:?}");
    assert!(lines[0].ends_with("who"), "{lines:?}");
}

#[tokio::test(start_paused = true)]
async fn the_newest_cause_is_told_but_one_that_cannot_pass_stays() {
    let sender = sender();
    let cause = || {
        let unproven = sender.proof().unproven().unwrap();
        cause(unproven.why.as_ref())
    };
    sender.failed(Error::unavailable("connection reset"));
    sender.failed(Error::unavailable("certificate expired"));
    sleep(TTL).await;
    assert!(cause().ends_with("certificate expired"), "{}", cause());
    sender.failed(Error::unavailable("connection refused"));
    assert!(cause().ends_with("connection refused"), "{}", cause());
    sender.failed(Error::unauthenticated("who"));
    sender.failed(Error::unavailable("connection refused"));
    assert!(cause().ends_with("who"), "{}", cause());
}

#[tokio::test(start_paused = true)]
async fn a_cause_that_shows_later_is_told_too() {
    let sender = sender();
    sleep(TTL).await;
    assert!(sender.proof().unproven().unwrap().why.is_none());
    let changed = sender.proof().clone();
    let changed = tokio::spawn(async move {
        changed
            .until(|status| status.unproven.as_ref().is_some_and(|it| it.why.is_some()))
            .await;
    });
    tokio::task::yield_now().await;
    sender.failed(down());
    changed.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_lease_whose_keys_may_not_be_read_says_so_to_whoever_waits() {
    let sender = sender();
    let proof = sender.proof().clone();
    let is_shown = |is: bool| proof.until(move |status| status.unverified.is_some() == is);
    let mut refused = pin!(is_shown(true));
    assert!(refused.as_mut().now_or_never().is_none());
    sender.not_verified(denied());
    refused.await;
    let why = proof.unverified();
    assert!(
        matches!(why, Some(Error::PermissionDenied { .. })),
        "{why:?}"
    );
    assert!(proof.unproven().is_none());
    sender.verified();
    is_shown(false).await;
}

#[tokio::test(start_paused = true)]
async fn a_longer_ttl_than_asked_for_is_what_counts() {
    let sender = sender();
    sender.confirmed(2 * TTL, Instant::now());
    assert_eq!(sender.proof().ttl(), Some(2 * TTL));
    sleep(2 * TTL - Duration::from_millis(1)).await;
    assert!(sender.proof().unproven().is_none());
}

#[tokio::test(start_paused = true)]
async fn what_needs_no_keep_alive_is_always_proven() {
    let proof = LeaseProof::lasting(LeaseId::from(1));
    sleep(Duration::from_secs(1_000_000)).await;
    assert!(proof.unproven().is_none());
    assert_eq!(proof.ttl(), None);
}
