//! What ends the task of a registrar early, and what holds it up.

use super::*;
use crate::{
    instances::{Codec, CodecError, Decoded, DefaultCodec, Instance},
    registry::Entry,
    support::Log,
};
use tokio::runtime::Runtime;

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap()
}

/// Row 36.
#[tokio::test(start_paused = true)]
async fn a_client_that_panics_has_failed_one_call() {
    let (fake, registrar) = registered().await;
    fake.set(Behaviour::Panicking);
    let outcome = registrar.deregister().await;
    assert!(matches!(outcome, Err(Error::Panicked { message }) if message == "a bug"));
    assert!(matches!(
        *registrar.status().borrow(),
        RegistrarStatus::Failed(Error::Panicked { .. })
    ));
    let registered = registrar.register().await;
    assert!(matches!(registered, Err(Error::Panicked { .. })));
    no_task_left().await;

    fake.set(Behaviour::Ok);
    registrar.register().await.unwrap();
    fake.set(Behaviour::Panicking);
    let updated = registrar.update("h:2").await;
    assert!(matches!(updated, Err(Error::Panicked { .. })));
    fake.lose(Lost::LeaseExpired);
    tokio::time::sleep(Duration::from_secs(60)).await;
    fake.set(Behaviour::Ok);
    until(&registrar, RegistrarStatus::is_registered).await;
    assert_eq!(fake.entry().as_deref(), Some("h:2"));
}

struct PanickingCodec;

impl Codec for PanickingCodec {
    fn decode(&self, entry: &Entry) -> Result<Decoded, CodecError> {
        DefaultCodec.decode(entry)
    }

    fn encode(&self, _: &Instance) -> Result<Bytes, CodecError> {
        panic!("not an instance of mine")
    }
}

#[tokio::test(start_paused = true)]
async fn a_codec_that_panics_costs_the_announcement_only() {
    let log = Log::capture();
    let fake = FakeClient::new(Behaviour::Ok);
    let registrar = Registrar::builder(fake.clone(), service())
        .codec(PanickingCodec)
        .drain(Duration::from_secs(2))
        .build();
    registrar.register().await.unwrap();
    assert_eq!(registrar.deregister().await.unwrap(), Deregistered::Removed);
    assert_eq!(fake.calls()[1..], [Call::Deregister]);
    let errors = log.text().into_iter().filter(|it| it.starts_with("ERROR"));
    assert_eq!(
        errors.collect::<Vec<_>>(),
        ["ERROR the codec failed, draining is not announced \
             key=/svc/a why=panicked: not an instance of mine"]
    );
}

/// Row 36.
#[tokio::test(start_paused = true)]
async fn a_task_that_panics_says_so_and_is_started_again() {
    let log = Log::capture();
    let (fake, registrar) = registered().await;
    // Dropping what is under way is outside of any call.
    fake.set(Behaviour::PanickingWhenDropped);
    let mut updated = Box::pin(registrar.update("h:2"));
    let limit = Duration::from_secs(1);
    assert!(timeout(limit, &mut updated).await.is_err());
    let (updated, outcome) = futures::join!(updated, registrar.deregister());
    assert_eq!(updated.unwrap(), Updated::Remembered);
    assert!(matches!(outcome, Err(Error::Panicked { .. })));
    assert!(matches!(
        *registrar.status().borrow(),
        RegistrarStatus::Failed(Error::Panicked { .. })
    ));
    no_task_left().await;
    let lines = log.text();
    let logged = |text: &str| lines.iter().any(|line| line.starts_with(text));
    assert!(logged(
        "ERROR a background task has ended task=\"registrar\""
    ));
    assert!(logged("ERROR gave up service=/svc/a error=panicked: "));

    fake.set(Behaviour::Ok);
    registrar.register().await.unwrap();
    assert_eq!(fake.entry().as_deref(), Some("h:2"));
    assert_eq!(registrar.deregister().await.unwrap(), Deregistered::Removed);
}

#[test]
fn a_registrar_whose_runtime_has_ended_says_so_and_starts_anew_on_another() {
    let log = Log::capture();
    let old = runtime();
    let (fake, registrar) = old.block_on(registered());
    let mut waiting = Box::pin(registrar.deregister());
    old.block_on(async {
        fake.set(Behaviour::Frozen);
        let limit = Duration::from_secs(1);
        assert!(timeout(limit, registrar.update("h:2")).await.is_err());
        assert!(futures::poll!(&mut waiting).is_pending());
    });
    drop(old);
    assert!(matches!(
        *registrar.status().borrow(),
        RegistrarStatus::RuntimeEnded
    ));
    let warning = "WARN the runtime has ended before the service was deregistered: \
                   the lease ends by itself service=/svc/a ttl=15 s";
    assert_eq!(log.text().last().map(String::as_str), Some(warning));

    fake.set(Behaviour::Ok);
    runtime().block_on(async {
        assert_eq!(waiting.await.unwrap(), Deregistered::Unconfirmed);
        assert_eq!(registrar.update("h:3").await.unwrap(), Updated::Remembered);
        registrar.register().await.unwrap();
        assert_eq!(fake.entry().as_deref(), Some("h:3"));
        assert_eq!(registrar.deregister().await.unwrap(), Deregistered::Removed);
    });
}

#[test]
fn calls_that_wait_are_answered_when_the_runtime_of_the_task_ends() {
    let fake = FakeClient::new(Behaviour::Frozen);
    let registrar = Registrar::new(fake.clone(), service());
    let old = runtime();
    let mut registered = Box::pin(registrar.register());
    old.block_on(async {
        assert!(futures::poll!(&mut registered).is_pending());
        tokio::task::yield_now().await;
    });
    // Requested while the old runtime is not driven any more.
    let mut late = Box::pin(registrar.register());
    runtime().block_on(async {
        assert!(futures::poll!(&mut late).is_pending());
    });
    drop(old);
    runtime().block_on(async {
        for waiting in [registered, late] {
            let answer = timeout(Duration::from_secs(60), waiting).await;
            assert!(matches!(answer, Ok(Err(Error::Closed))));
        }
        // The client may have put the entry, so it is asked to remove it.
        fake.set(Behaviour::Ok);
        let outcome = registrar.deregister().await.unwrap();
        assert_eq!(outcome, Deregistered::NotOurs);
        assert_eq!(fake.calls().last(), Some(&Call::Deregister));
    });
}

#[test]
fn deregistering_is_bounded_on_a_runtime_that_is_not_driven() {
    let log = Log::capture();
    let old = runtime();
    let (fake, registrar) = old.block_on(registered());
    let failing = Registrar::new(FakeClient::new(Behaviour::Down), service());
    old.block_on(async {
        let limit = Duration::from_secs(1);
        assert!(timeout(limit, failing.register()).await.is_err());
    });
    runtime().block_on(async {
        let asked = Instant::now();
        let outcome = timeout(Duration::from_secs(60), registrar.deregister()).await;
        assert!(matches!(outcome, Ok(Ok(Deregistered::Unconfirmed))));
        assert!(asked.elapsed() <= Duration::from_secs(6));
        let asked = Instant::now();
        let registered = failing.register_within(Duration::from_secs(3));
        let registered = timeout(Duration::from_secs(60), registered).await;
        assert!(matches!(registered, Ok(Err(Error::Unavailable { .. }))));
        assert!(asked.elapsed() <= Duration::from_secs(4));
    });
    let warning = "WARN deregistration unconfirmed: the task does not run service=/svc/a";
    assert!(log.text().iter().any(|line| line == warning));
    // The request was left, and is carried out once the runtime is driven again.
    old.block_on(async {
        until(&registrar, |status| {
            matches!(status, RegistrarStatus::Deregistered(Deregistered::Removed))
        })
        .await;
    });
    assert_eq!(fake.entry(), None);
}

#[tokio::test(start_paused = true)]
async fn a_status_that_is_looked_at_holds_nobody_up() {
    let (fake, registrar) = registered().await;
    match &*registrar.status().borrow() {
        RegistrarStatus::Registered { .. } => {
            assert_eq!(registrar.deregister().await.unwrap(), Deregistered::Removed);
        }
        status => panic!("{status}"),
    }
    assert_eq!(fake.entry(), None);
}
