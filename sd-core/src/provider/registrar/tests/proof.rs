//! A registration has an expiry date: what the registrar says when nobody confirms it.

use super::*;
use crate::support::Log;

const TTL: Duration = Ttl::DEFAULT.duration();

fn confirm(fake: &FakeClient) {
    fake.with(|state| {
        let proof = state.proof.as_ref().expect("a registration");
        proof.confirmed(TTL, Instant::now());
    });
}

/// Row 30: also if the backend never says a word.
#[tokio::test(start_paused = true)]
async fn who_is_not_confirmed_for_a_ttl_is_unproven_and_not_lost() {
    let (fake, registrar) = registered().await;
    assert!(registrar.is_proven());
    until(&registrar, |status| !status.is_proven()).await;
    let status = registrar.status().borrow();
    assert!(status.is_registered() && !registrar.is_proven(), "{status}");
    assert_eq!(fake.calls().len(), 1);

    confirm(&fake);
    registrar.wait_proven().await;
    assert!(registrar.is_proven());
}

/// Row 30.
#[tokio::test(start_paused = true)]
async fn who_is_confirmed_stays_proven() {
    let (fake, registrar) = registered().await;
    let mut status = registrar.status();
    status.borrow_and_update();
    for _ in 0..12 {
        tokio::time::sleep(TTL / 3).await;
        confirm(&fake);
    }
    assert!(!status.has_changed().unwrap(), "{:?}", status.borrow());
}

/// Row 30.
#[tokio::test(start_paused = true)]
async fn the_status_has_the_cause_also_if_it_shows_later() {
    let (fake, registrar) = registered().await;
    until(&registrar, |status| !status.is_proven()).await;
    fake.with(|state| {
        let proof = state.proof.as_ref().expect("a registration");
        proof.failed(Error::unauthenticated("another password"));
    });
    until(&registrar, |status| {
        status.to_string().contains("another password")
    })
    .await;
}

/// Row 30.
#[tokio::test(start_paused = true)]
async fn a_loss_ends_what_is_unproven() {
    let log = Log::capture();
    let (fake, registrar) = registered().await;
    until(&registrar, |status| !status.is_proven()).await;
    fake.lose(Lost::LeaseExpired);
    registrar.wait_proven().await;
    let warnings = || log.text().into_iter().filter(|it| it.starts_with("WARN"));
    assert_eq!(warnings().count(), 1, "{:?}", log.text());

    // One that is lost is not said to be unproven, too.
    fake.set(Behaviour::Down);
    fake.lose(Lost::LeaseExpired);
    tokio::time::sleep(10 * TTL).await;
    assert!(!registrar.is_proven());
    let unproven = warnings().filter(|it| it.contains("unproven")).count();
    assert_eq!(unproven, 1, "{:?}", log.text());
}

/// Row 30: a probe is right also while nothing of the registrar runs.
#[test]
fn a_probe_needs_no_task() {
    let runtime = || {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_all().start_paused(true).build().unwrap()
    };
    let (undriven, driven) = (runtime(), runtime());
    let (_fake, registrar) = undriven.block_on(registered());
    driven.block_on(async {
        assert!(registrar.is_proven());
        tokio::time::sleep(2 * TTL).await;
        assert!(!registrar.is_proven());
    });
}

#[tokio::test(start_paused = true)]
async fn a_longer_ttl_than_asked_for_is_shown() {
    let (fake, registrar) = registered().await;
    fake.with(|state| {
        let proof = state.proof.as_ref().expect("a registration");
        proof.confirmed(2 * TTL, Instant::now());
    });
    until(&registrar, |status| match status {
        RegistrarStatus::Registered { ttl, .. } => *ttl == Some(2 * TTL),
        _ => false,
    })
    .await;
}
