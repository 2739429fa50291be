mod proof;
mod task_ends;

use super::*;
use crate::registry::{
    Key, LeaseId, LossSender, Lost, Prefix, ProofSender, Reclaim, Reclaimed, Registration,
    Revision, Snapshot, Ttl, Watch, WatchError,
};
use async_trait::async_trait;
use futures::FutureExt;
use std::{future::pending, sync::Mutex};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

const KEY: &str = "/svc/a";
const VALUE: &str = r#"{"address":"h:1"}"#;
const DRAINING: &str = r#"{"address":"h:1","status":"draining"}"#;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Call {
    Register(String),
    Reclaim(String),
    Deregister,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Behaviour {
    Ok,
    Down,
    Refusing,
    Frozen,
    Panicking,
    PanickingWhenDropped,
}

struct PanicsWhenDropped;

impl Drop for PanicsWhenDropped {
    fn drop(&mut self) {
        panic!("a bug in a drop");
    }
}

/// A client of a registry of one key, with a behaviour to choose.
#[derive(Clone)]
struct FakeClient(Arc<Mutex<FakeState>>);

struct FakeState {
    behaviour: Behaviour,
    calls: Vec<(Instant, Call)>,
    /// The value, and whether it is ours.
    entry: Option<(String, bool)>,
    loss: Option<LossSender>,
    proof: Option<ProofSender>,
    lease: i64,
}

impl FakeClient {
    fn new(behaviour: Behaviour) -> Self {
        Self(Arc::new(Mutex::new(FakeState {
            behaviour,
            calls: Vec::new(),
            entry: None,
            loss: None,
            proof: None,
            lease: 0,
        })))
    }

    fn with<T>(&self, f: impl FnOnce(&mut FakeState) -> T) -> T {
        f(&mut self.0.lock().unwrap())
    }

    fn set(&self, behaviour: Behaviour) {
        self.with(|state| state.behaviour = behaviour);
    }

    fn calls(&self) -> Vec<Call> {
        self.with(|state| state.calls.iter().map(|(_, call)| call.clone()).collect())
    }

    fn entry(&self) -> Option<String> {
        self.with(|state| state.entry.clone().map(|(value, _)| value))
    }

    /// Takes the entry away, or gives it to somebody else.
    fn lose(&self, why: Lost) {
        self.with(|state| {
            state.entry = match &why {
                Lost::Taken { value } => Some((String::from_utf8(value.to_vec()).unwrap(), false)),
                _ => None,
            };
            state.loss.take().expect("a registration").send(why);
        });
    }

    /// Records the call and answers it.
    async fn answer(&self, call: Call) -> Result<()> {
        let behaviour = self.with(|state| {
            state.calls.push((Instant::now(), call));
            state.behaviour
        });
        match behaviour {
            Behaviour::Ok => Ok(()),
            Behaviour::Down => Err(Error::unavailable("down")),
            Behaviour::Refusing => Err(Error::PermissionDenied {
                message: "no".into(),
                source: None,
            }),
            Behaviour::Frozen => pending().await,
            Behaviour::Panicking => panic!("a bug"),
            Behaviour::PanickingWhenDropped => {
                let _guard = PanicsWhenDropped;
                pending().await
            }
        }
    }

    fn put(&self, value: String) -> Registration {
        self.with(|state| {
            state.lease += 1;
            state.entry = Some((value, true));
            let key = Key::new(KEY).unwrap();
            let lease = LeaseId::from(state.lease);
            let proof = ProofSender::new(lease, Ttl::DEFAULT.duration(), Instant::now());
            let reclaim = FakeReclaim(self.clone());
            let (loss, registration) = Registration::channel(key, proof.proof(), reclaim);
            state.proof = Some(proof);
            state.loss = Some(loss);
            registration
        })
    }
}

struct FakeReclaim(FakeClient);

#[async_trait]
impl Reclaim for FakeReclaim {
    async fn reclaim(&self, value: Bytes) -> Result<Reclaimed> {
        let value = String::from_utf8(value.to_vec()).unwrap();
        self.0.answer(Call::Reclaim(value.clone())).await?;
        match self.0.with(|state| state.entry.clone()) {
            Some((value, false)) => Ok(Reclaimed::Taken {
                value: value.into(),
            }),
            _ => Ok(Reclaimed::Held(self.0.put(value))),
        }
    }
}

#[async_trait]
impl Client for FakeClient {
    async fn get_entries(&self, _: &Prefix) -> Result<Snapshot> {
        Ok(Snapshot {
            entries: Vec::new(),
            revision: Revision::new(0),
            skipped: 0,
        })
    }

    async fn watch_prefix(&self, _: &Prefix, _: &Revision) -> Result<Watch, WatchError> {
        Ok(Watch::new(futures::stream::pending()))
    }

    async fn register(&self, service: &Service) -> Result<Registration> {
        let value = String::from_utf8(service.value.to_vec()).unwrap();
        self.answer(Call::Register(value.clone())).await?;
        Ok(self.put(value))
    }

    async fn deregister(&self, _: &Service) -> Result<Deregistered> {
        self.answer(Call::Deregister).await?;
        Ok(self.with(|state| match state.entry {
            Some((_, true)) => {
                state.entry = None;
                Deregistered::Removed
            }
            _ => Deregistered::NotOurs,
        }))
    }

    fn lease_id(&self) -> Option<LeaseId> {
        None
    }
}

fn service() -> Service {
    Service::new(KEY, VALUE).unwrap()
}

async fn registered() -> (FakeClient, Registrar) {
    let fake = FakeClient::new(Behaviour::Ok);
    let registrar = Registrar::new(fake.clone(), service());
    registrar.register().await.unwrap();
    (fake, registrar)
}

/// Waits for a status, or fails after an hour.
async fn until(registrar: &Registrar, is: impl FnMut(&RegistrarStatus) -> bool) {
    let mut status = registrar.status();
    let reached = timeout(Duration::from_secs(3600), status.wait_for(is)).await;
    assert!(matches!(reached, Ok(Ok(_))), "{registrar:?}");
}

/// Waits until the runtime has no task left, or fails after an hour.
async fn no_task_left() {
    let ended = async {
        while Handle::current().metrics().num_alive_tasks() > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(Duration::from_secs(3600), ended)
        .await
        .expect("a task is left");
}

#[test]
fn making_one_needs_no_runtime() {
    let registrar = Registrar::new(FakeClient::new(Behaviour::Ok), service());
    assert!(matches!(
        *registrar.status().borrow(),
        RegistrarStatus::Idle
    ));
    let registered = registrar.register().now_or_never();
    assert!(matches!(registered, Some(Err(Error::Invalid(_)))));
}

#[tokio::test(start_paused = true)]
async fn register_waits_for_a_registry_that_is_not_there() {
    let fake = FakeClient::new(Behaviour::Down);
    let registrar = Arc::new(Registrar::new(fake.clone(), service()));
    let waiting = tokio::spawn({
        let registrar = registrar.clone();
        async move { registrar.register().await }
    });
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert!(!waiting.is_finished() && fake.calls().len() > 100);
    fake.set(Behaviour::Ok);
    waiting.await.unwrap().unwrap();
    assert!(registrar.status().borrow().is_registered());
    let calls = fake.calls().len();
    registrar.register().await.unwrap();
    assert_eq!(fake.calls().len(), calls);
}

#[tokio::test(start_paused = true)]
async fn register_returns_a_permanent_error() {
    let fake = FakeClient::new(Behaviour::Refusing);
    let registrar = Registrar::new(fake.clone(), service());
    let error = registrar.register().await.unwrap_err();
    assert!(matches!(error, Error::PermissionDenied { .. }));
    no_task_left().await;
    assert_eq!(fake.calls().len(), 1);
    fake.set(Behaviour::Ok);
    registrar.register().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_register_goes_on() {
    let fake = FakeClient::new(Behaviour::Down);
    let registrar = Registrar::new(fake.clone(), service());
    let limit = Duration::from_secs(5);
    assert!(timeout(limit, registrar.register()).await.is_err());
    fake.set(Behaviour::Ok);
    until(&registrar, RegistrarStatus::is_registered).await;
}

#[tokio::test(start_paused = true)]
async fn register_within_gives_the_last_error_and_gives_up() {
    let fake = FakeClient::new(Behaviour::Down);
    let registrar = Registrar::new(fake.clone(), service());
    let limit = Duration::from_secs(5);
    let error = registrar.register_within(limit).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }));
    until(&registrar, |status| {
        !matches!(status, RegistrarStatus::Deregistering)
    })
    .await;
    fake.set(Behaviour::Ok);
    let calls = fake.calls().len();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(fake.calls().len(), calls);

    fake.set(Behaviour::Frozen);
    let error = registrar.register_within(limit).await.unwrap_err();
    assert!(matches!(error, Error::Timeout { after, .. } if after == limit));
}

#[tokio::test(start_paused = true)]
async fn a_lost_entry_is_put_back() {
    let (fake, registrar) = registered().await;
    for lost in [Lost::LeaseExpired, Lost::KeyDeleted] {
        fake.lose(lost);
        until(&registrar, |status| {
            matches!(status, RegistrarStatus::Reclaiming { .. })
        })
        .await;
        until(&registrar, RegistrarStatus::is_registered).await;
        assert_eq!(fake.entry().as_deref(), Some(VALUE));
    }
}

#[tokio::test(start_paused = true)]
async fn an_entry_lost_in_an_outage_is_put_back_after_it() {
    let (fake, registrar) = registered().await;
    fake.set(Behaviour::Down);
    fake.lose(Lost::LeaseExpired);
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert!(fake.calls().len() < 2_000);
    fake.set(Behaviour::Ok);
    let back = Instant::now();
    until(&registrar, RegistrarStatus::is_registered).await;
    assert!(back.elapsed() < Duration::from_secs(5));
}

#[tokio::test(start_paused = true)]
async fn a_taken_key_is_not_fought_over() {
    let (fake, registrar) = registered().await;
    fake.lose(Lost::Taken {
        value: "x:1".into(),
    });
    until(
        &registrar,
        |status| matches!(status, RegistrarStatus::Taken { value } if value == "x:1"),
    )
    .await;
    assert_eq!(registrar.update("h:2").await.unwrap(), Updated::Remembered);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(fake.entry().as_deref(), Some("x:1"));

    fake.with(|state| state.entry = None);
    until(&registrar, RegistrarStatus::is_registered).await;
    assert_eq!(fake.entry().as_deref(), Some("h:2"));
}

#[tokio::test(start_paused = true)]
async fn a_taken_key_is_retaken_where_asked_for() {
    let fake = FakeClient::new(Behaviour::Ok);
    let registrar = Registrar::builder(fake.clone(), service())
        .retake(true)
        .build();
    registrar.register().await.unwrap();
    let began = Instant::now();
    for _ in 0..30 {
        fake.lose(Lost::Taken {
            value: "x:1".into(),
        });
        until(&registrar, |status| !status.is_registered()).await;
        until(&registrar, RegistrarStatus::is_registered).await;
        assert_eq!(fake.entry().as_deref(), Some(VALUE));
    }
    assert!(began.elapsed() > Duration::from_secs(1800));
}

#[tokio::test(start_paused = true)]
async fn a_new_value_is_written_under_the_same_registration() {
    let (fake, registrar) = registered().await;
    assert_eq!(registrar.update("h:2").await.unwrap(), Updated::Written);
    assert_eq!(fake.entry().as_deref(), Some("h:2"));
    fake.lose(Lost::LeaseExpired);
    until(&registrar, |status| !status.is_registered()).await;
    until(&registrar, RegistrarStatus::is_registered).await;
    assert_eq!(fake.entry().as_deref(), Some("h:2"));
}

#[tokio::test(start_paused = true)]
async fn a_new_value_is_remembered_from_the_first_poll_on() {
    let fake = FakeClient::new(Behaviour::Ok);
    let registrar = Registrar::new(fake.clone(), service());
    assert_eq!(registrar.update("h:2").await.unwrap(), Updated::Remembered);
    registrar.register().await.unwrap();
    assert_eq!(fake.calls(), [Call::Register("h:2".into())]);

    fake.set(Behaviour::Frozen);
    let limit = Duration::from_secs(1);
    assert!(timeout(limit, registrar.update("h:3")).await.is_err());
    assert!(timeout(limit, registrar.update("h:4")).await.is_err());
    fake.set(Behaviour::Ok);
    fake.lose(Lost::KeyDeleted);
    registrar.deregister().await.unwrap();
    registrar.register().await.unwrap();
    assert_eq!(fake.entry().as_deref(), Some("h:4"));
}

#[tokio::test(start_paused = true)]
async fn deregistering_announces_removes_and_ends_the_task() {
    let (fake, registrar) = registered().await;
    assert_eq!(registrar.deregister().await.unwrap(), Deregistered::Removed);
    assert_eq!(Handle::current().metrics().num_alive_tasks(), 0);
    assert_eq!(
        fake.calls()[1..],
        [Call::Reclaim(DRAINING.into()), Call::Deregister]
    );
    assert_eq!(registrar.deregister().await.unwrap(), Deregistered::Removed);
    assert_eq!(fake.calls().len(), 3);
    registrar.register().await.unwrap();
    assert_eq!(fake.entry().as_deref(), Some(VALUE));
}

#[tokio::test(start_paused = true)]
async fn a_service_that_was_never_registered_is_not_ours() {
    let fake = FakeClient::new(Behaviour::Frozen);
    let registrar = Registrar::new(fake.clone(), service());
    let outcome = registrar.deregister().await.unwrap();
    assert_eq!(outcome, Deregistered::NotOurs);
    assert!(fake.calls().is_empty());
}

#[tokio::test(start_paused = true)]
async fn deregistering_is_bounded_whatever_is_under_way() {
    for (behaviour, lost) in [
        (Behaviour::Frozen, None),
        (Behaviour::Down, None),
        (Behaviour::Frozen, Some(Lost::LeaseExpired)),
        (Behaviour::Down, Some(Lost::LeaseExpired)),
    ] {
        let (fake, registrar) = registered().await;
        fake.set(behaviour);
        if let Some(lost) = lost {
            fake.lose(lost);
            tokio::time::sleep(Duration::from_secs(10)).await;
        }
        let asked = Instant::now();
        let outcome = registrar.deregister().await.unwrap();
        assert_eq!(outcome, Deregistered::Unconfirmed);
        assert!(asked.elapsed() <= Duration::from_secs(5));

        fake.set(Behaviour::Ok);
        let calls = fake.calls().len();
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(fake.calls().len(), calls);
        assert_eq!(fake.calls().last(), Some(&Call::Deregister));
    }
}

#[tokio::test(start_paused = true)]
async fn deregistering_ends_a_registration_that_is_under_way() {
    let fake = FakeClient::new(Behaviour::Frozen);
    let registrar = Arc::new(Registrar::new(fake.clone(), service()));
    let waiting = tokio::spawn({
        let registrar = registrar.clone();
        async move { registrar.register().await }
    });
    until(&registrar, |status| {
        matches!(status, RegistrarStatus::Registering { .. })
    })
    .await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    fake.set(Behaviour::Ok);
    let outcome = registrar.deregister().await.unwrap();
    assert_eq!(outcome, Deregistered::NotOurs);
    assert!(matches!(waiting.await.unwrap(), Err(Error::Closed)));
    assert_eq!(
        fake.calls(),
        [Call::Register(VALUE.into()), Call::Deregister]
    );
}

#[tokio::test(start_paused = true)]
async fn of_requests_seen_at_once_the_later_wins() {
    let fake = FakeClient::new(Behaviour::Ok);
    let registrar = Registrar::new(fake.clone(), service());
    let (registered, removed) = futures::join!(registrar.register(), registrar.deregister());
    assert!(matches!(registered, Err(Error::Closed)));
    assert_eq!(removed.unwrap(), Deregistered::NotOurs);
    assert!(fake.calls().is_empty());

    registrar.register().await.unwrap();
    let (removed, registered) = futures::join!(registrar.deregister(), registrar.register());
    assert_eq!(removed.unwrap(), Deregistered::Removed);
    registered.unwrap();
    assert_eq!(fake.entry().as_deref(), Some(VALUE));
}

#[tokio::test(start_paused = true)]
async fn a_dropped_deregister_goes_on() {
    let (fake, registrar) = registered().await;
    fake.set(Behaviour::Frozen);
    let limit = Duration::from_millis(100);
    assert!(timeout(limit, registrar.deregister()).await.is_err());
    fake.set(Behaviour::Ok);
    until(&registrar, |status| {
        matches!(status, RegistrarStatus::Deregistered(Deregistered::Removed))
    })
    .await;
    assert_eq!(fake.entry(), None);
}

#[tokio::test(start_paused = true)]
async fn dropping_it_deregisters_and_ends_the_task() {
    let (fake, registrar) = registered().await;
    let mut status = registrar.status();
    drop(registrar);
    no_task_left().await;
    assert_eq!(fake.entry(), None);
    assert!(matches!(
        *status.borrow_and_update(),
        RegistrarStatus::Deregistered(Deregistered::Removed)
    ));
    assert!(status.changed().await.is_err());
}

#[tokio::test(start_paused = true)]
async fn dropping_it_in_an_outage_ends_the_task_too() {
    for behaviour in [Behaviour::Down, Behaviour::Frozen] {
        let fake = FakeClient::new(behaviour);
        let registrar = Registrar::new(fake.clone(), service());
        assert!(registrar.register_within(Duration::ZERO).await.is_err());
        drop(registrar);
        no_task_left().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_token_deregisters_for_good() {
    let token = CancellationToken::new();
    let fake = FakeClient::new(Behaviour::Ok);
    let registrar = Registrar::builder(fake.clone(), service())
        .cancellation_token(token.clone())
        .build();
    registrar.register().await.unwrap();
    token.cancel();
    no_task_left().await;
    assert_eq!(fake.entry(), None);
    assert!(matches!(registrar.register().await, Err(Error::Closed)));
    assert_eq!(registrar.deregister().await.unwrap(), Deregistered::Removed);
    assert_eq!(fake.calls().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_loss_that_is_known_comes_before_the_requests() {
    let (fake, registrar) = registered().await;
    fake.lose(Lost::Superseded);
    let outcome = registrar.deregister().await.unwrap();
    assert_eq!(outcome, Deregistered::NotOurs);
    assert_eq!(fake.calls().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_goes_away_ends_the_task() {
    let (fake, registrar) = registered().await;
    fake.with(|state| state.loss = None);
    no_task_left().await;
    assert!(matches!(
        *registrar.status().borrow(),
        RegistrarStatus::Closed
    ));
}

#[tokio::test(start_paused = true)]
async fn a_thousand_lost_at_once_are_spread_out() {
    let fakes: Vec<_> = (0..1000).map(|_| FakeClient::new(Behaviour::Ok)).collect();
    let registrars: Vec<_> = fakes
        .iter()
        .map(|fake| Registrar::new(fake.clone(), service()))
        .collect();
    for registrar in &registrars {
        registrar.register().await.unwrap();
    }
    let began = Instant::now();
    fakes.iter().for_each(|fake| fake.lose(Lost::LeaseExpired));
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut tenths = [0; 11];
    for (fake, registrar) in fakes.iter().zip(&registrars) {
        assert!(registrar.status().borrow().is_registered());
        let (at, _) = fake.with(|state| state.calls[1].clone());
        tenths[usize::try_from((at - began).as_millis()).unwrap() / 10] += 1;
    }
    assert!(tenths.iter().all(|tenth| *tenth < 200), "{tenths:?}");
}
