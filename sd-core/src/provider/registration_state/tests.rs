mod draining;
mod moving;

use super::*;
use crate::{
    instances::{AddressPolicy, DEFAULT_ENTRY_BYTES, DefaultCodec},
    provider::value_format::ValueFormat,
    registry::{Invalid, Key, LeaseId, Lost},
};
use std::{sync::Arc, time::Duration};

const VALUE: &str = r#"{"address":"h:1"}"#;
const DRAINING: &str = r#"{"address":"h:1","status":"draining"}"#;
const BOUND: Duration = Duration::from_secs(5);
const LONGEST: Duration = Duration::from_secs(4);

fn options() -> Options {
    Options {
        retake: false,
        backoff: (Duration::from_millis(100), LONGEST),
        deregister_timeout: BOUND,
        drain: Duration::ZERO,
        format: ValueFormat {
            codec: Some(Arc::new(DefaultCodec)),
            addresses: AddressPolicy::default(),
            most_bytes: DEFAULT_ENTRY_BYTES,
        },
    }
}

/// The owner asks to be registered.
fn asked() -> Input {
    Input::Register(Generation::new())
}

/// A state and its clock.
#[derive(Debug)]
struct Fixture {
    state: RegistrationState,
    now: Instant,
}

impl Fixture {
    fn with(options: Options) -> Self {
        Self {
            state: RegistrationState::new(options, written(VALUE)),
            now: Instant::now(),
        }
    }

    fn new() -> Self {
        Self::with(options())
    }

    fn registered() -> Self {
        let mut it = Self::new();
        it.on(asked());
        it.on(registered());
        it
    }

    /// One in every phase, by name.
    fn in_every_phase() -> Vec<(&'static str, Self)> {
        let mut fixtures = Vec::new();
        let mut add = |name, inputs: &[Input]| {
            let mut it = Self::with(Options {
                drain: Duration::from_secs(3),
                ..options()
            });
            for input in inputs {
                match input {
                    Input::TimerFired => it.fire(),
                    input => it.on(input.clone()),
                };
            }
            fixtures.push((name, it));
        };
        let lost = || Input::Lost(Lost::LeaseExpired);
        let taken = || Input::Lost(Lost::Taken { value: "x".into() });
        use Input::{Deregister, TimerFired};
        add("idle", &[]);
        add("registering", &[asked()]);
        add(
            "backing off",
            &[asked(), Input::RegisterFailed(transient())],
        );
        add("registered", &[asked(), registered()]);
        add("writing", &[asked(), registered(), update("h:2")]);
        add(
            "writing later",
            &[
                asked(),
                registered(),
                update("h:2"),
                Input::ReclaimFailed(transient()),
            ],
        );
        let moving = [asked(), registered(), moved("h:1")];
        add("moving", &moving);
        let failed = [Input::RegisterFailed(transient())];
        add("moving later", &[&moving[..], &failed].concat());
        add(
            "ending the former",
            &[&moving[..], &[registered()]].concat(),
        );
        add("lost", &[asked(), registered(), lost()]);
        add("reclaiming", &[asked(), registered(), lost(), TimerFired]);
        add("taken", &[asked(), registered(), taken()]);
        add(
            "looking again",
            &[asked(), registered(), taken(), TimerFired],
        );
        add(
            "taking over",
            &[asked(), registered(), taken(), TimerFired, asked()],
        );
        add("announcing", &[asked(), registered(), Deregister]);
        add(
            "draining",
            &[asked(), registered(), Deregister, reclaimed()],
        );
        add("removing", &[asked(), Deregister]);
        add(
            "removing, then draining",
            &[asked(), registered(), lost(), Deregister],
        );
        let removed = || Input::Deregistered(Ok(Deregistered::Removed));
        add(
            "draining after the removal",
            &[asked(), registered(), lost(), Deregister, removed()],
        );
        add(
            "removed",
            &[
                asked(),
                Deregister,
                Input::Deregistered(Ok(Deregistered::Removed)),
            ],
        );
        add("failed", &[asked(), Input::RegisterFailed(permanent())]);
        add(
            "superseded",
            &[asked(), registered(), Input::Lost(Lost::Superseded)],
        );
        add(
            "superseded before it was registered",
            &[asked(), Input::RegisterFailed(Error::Superseded)],
        );
        add(
            "closed",
            &[asked(), registered(), Input::Lost(Lost::Closed)],
        );
        add("aborted", &[asked(), registered()]);
        let (_, aborted) = fixtures.last_mut().expect("a fixture");
        aborted.abort();
        fixtures
    }

    /// The runtime of the task has ended.
    fn abort(&mut self) {
        let removed = Ok(Deregistered::Unconfirmed);
        self.state.abort(RegistrarStatus::RuntimeEnded, removed);
    }

    fn on(&mut self, input: Input) -> Option<Action> {
        self.state.on(input, self.now)
    }

    /// Lets the time of the timer come.
    fn fire(&mut self) -> Option<Action> {
        self.now = self.state.timer().expect("a timer");
        self.on(Input::TimerFired)
    }

    fn wait(&self) -> Duration {
        self.state.timer().expect("a timer") - self.now
    }
}

fn registered() -> Input {
    Input::Registered {
        key: key(),
        lease: LeaseId::from(1),
    }
}

fn reclaimed() -> Input {
    Input::Reclaimed {
        key: key(),
        lease: LeaseId::from(2),
    }
}

fn transient() -> Error {
    Error::unavailable("down")
}

fn permanent() -> Error {
    Error::PermissionDenied {
        message: "no".into(),
        source: None,
    }
}

fn key() -> Key {
    Key::new("/svc/a").unwrap()
}

fn written(value: &str) -> KeyValue {
    KeyValue::new(key(), value.to_owned())
}

fn update(value: &str) -> Input {
    Input::Update {
        wanted: written(value),
        said: Vec::new(),
    }
}

/// The owner wants the value under another key.
fn moved(value: &str) -> Input {
    Input::Update {
        wanted: KeyValue::new(Key::new("/svc/b").unwrap(), value.to_owned()),
        said: Vec::new(),
    }
}

fn register(value: &str) -> Option<Action> {
    Some(Action::Register(written(value)))
}

fn deregister() -> Option<Action> {
    Some(Action::Deregister(vec![key().into()]))
}

fn reclaim(value: &str) -> Option<Action> {
    Some(Action::Reclaim(Bytes::copy_from_slice(value.as_bytes())))
}

#[test]
fn a_transient_error_is_retried_without_limit() {
    let mut it = Fixture::new();
    assert_eq!(it.on(asked()), register(VALUE));
    for attempt in 2..100 {
        let action = it.on(Input::RegisterFailed(transient()));
        assert_eq!(action, Some(Action::Idle));
        assert!(it.wait() <= LONGEST);
        assert!(matches!(
            it.state.status(),
            RegistrarStatus::Registering { attempt: a, error: Some(_) } if a == attempt
        ));
        assert!(it.state.register_result().is_none());
        assert_eq!(it.fire(), register(VALUE));
    }
    assert_eq!(it.on(registered()), Some(Action::AwaitLoss));
    assert!(matches!(it.state.register_result(), Some(Ok(()))));
}

#[test]
fn a_permanent_error_is_returned() {
    let mut it = Fixture::new();
    it.on(asked());
    assert_eq!(
        it.on(Input::RegisterFailed(permanent())),
        Some(Action::Idle)
    );
    assert!(matches!(
        it.state.register_result(),
        Some(Err(Error::PermissionDenied { .. }))
    ));
    assert!(it.state.timer().is_none());
    assert_eq!(it.on(asked()), register(VALUE));
}

#[test]
fn a_lost_registration_is_reclaimed_at_once_and_then_ever_more_slowly() {
    for lost in [Lost::LeaseExpired, Lost::KeyDeleted] {
        let mut it = Fixture::registered();
        it.now += Duration::from_secs(60);
        it.on(Input::Lost(lost));
        assert!(it.wait() <= Duration::from_millis(100));
        for _ in 0..10 {
            assert_eq!(it.fire(), reclaim(VALUE));
            it.on(Input::ReclaimFailed(transient()));
        }
        assert!((LONGEST / 2..=LONGEST).contains(&it.wait()));
        it.fire();
        assert_eq!(it.on(reclaimed()), Some(Action::AwaitLoss));
    }
}

#[test]
fn a_registration_lost_again_and_again_is_not_reclaimed_in_a_hot_loop() {
    let mut it = Fixture::registered();
    let began = it.now;
    for _ in 0..20 {
        it.on(Input::Lost(Lost::KeyDeleted));
        it.fire();
        it.on(reclaimed());
    }
    assert!(it.now - began > 10 * LONGEST / 2);
    it.now += 3 * LONGEST;
    it.on(Input::Lost(Lost::KeyDeleted));
    assert!(it.wait() <= Duration::from_millis(100));
}

#[test]
fn after_a_registration_permanent_errors_are_retried_too() {
    let mut it = Fixture::registered();
    it.on(Input::Lost(Lost::LeaseExpired));
    for _ in 0..50 {
        it.fire();
        it.on(Input::ReclaimFailed(permanent()));
        assert!((LONGEST / 2..=LONGEST).contains(&it.wait()));
    }
    assert!(matches!(
        it.state.status(),
        RegistrarStatus::Reclaiming { attempt: 51, error: Some(error), .. } if !error.is_transient()
    ));
}

#[test]
fn a_taken_key_is_waited_for() {
    let mut it = Fixture::registered();
    it.on(Input::Lost(Lost::Taken { value: "x".into() }));
    for _ in 0..50 {
        assert!((LONGEST / 2..=LONGEST).contains(&it.wait()));
        assert_eq!(it.fire(), reclaim(VALUE));
        it.on(Input::Taken { value: "y".into() });
        assert!(matches!(it.state.status(), RegistrarStatus::Taken { value } if value == "y"));
    }
    it.fire();
    assert_eq!(it.on(reclaimed()), Some(Action::AwaitLoss));
}

#[test]
fn a_taken_key_is_taken_over_by_a_register_call() {
    let mut it = Fixture::registered();
    it.on(Input::Lost(Lost::Taken { value: "x".into() }));
    assert_eq!(it.on(asked()), register(VALUE));
    assert!(it.state.register_result().is_none());
    assert_eq!(it.on(registered()), Some(Action::AwaitLoss));
}

#[test]
fn two_owners_that_both_retake_slow_down() {
    let mut it = Fixture::with(Options {
        retake: true,
        ..options()
    });
    it.on(asked());
    it.on(registered());
    let began = it.now;
    for _ in 0..30 {
        it.on(Input::Lost(Lost::Taken { value: "x".into() }));
        while it.fire() != register(VALUE) {
            it.on(Input::Taken { value: "x".into() });
        }
        it.on(registered());
        // The other one takes it back a while later.
        it.now += Duration::from_secs(100);
    }
    let spent = it.now - began - 30 * Duration::from_secs(100);
    assert!(spent > 15 * Duration::from_secs(150), "{spent:?}");
}

#[test]
fn a_superseded_or_closed_registration_ends() {
    for (lost, outcome) in [
        (Lost::Superseded, Some(Deregistered::NotOurs)),
        (Lost::Closed, None),
        (Lost::Deregistered, Some(Deregistered::Removed)),
    ] {
        let mut it = Fixture::registered();
        assert_eq!(it.on(Input::Lost(lost)), Some(Action::Idle));
        assert!(it.state.has_ended() && it.state.timer().is_none());
        assert_eq!(it.on(Input::Deregister), None);
        // Whether the entry of a closed client is gone is not known.
        assert_eq!(it.state.deregister_result().unwrap().ok(), outcome);
    }
}

/// Row 28
#[test]
fn who_is_superseded_takes_the_key_over_only_if_asked_to_register_again() {
    for (name, mut it) in [
        ("registered", Fixture::registered()),
        ("registering", {
            let mut it = Fixture::new();
            it.on(asked());
            it
        }),
    ] {
        let superseded = || match name {
            "registered" => Input::Lost(Lost::Superseded),
            _ => Input::RegisterFailed(Error::Superseded),
        };
        // After the registration that supersedes it, and before it is told.
        let first = it.state.generation();
        assert_eq!(it.on(asked()), None, "{name}");
        assert_eq!(it.on(superseded()), register(VALUE), "{name}");
        assert!(first < it.state.generation());
        assert!(it.state.register_result().is_none());

        let action = it.on(Input::RegisterFailed(Error::Superseded));

        assert_eq!(action, Some(Action::Idle), "{name}");
        let status = it.state.status();
        assert!(matches!(status, RegistrarStatus::Superseded), "{status}");
        let answer = it.state.register_result();
        assert!(matches!(answer, Some(Err(Error::Superseded))), "{answer:?}");
        assert_eq!(it.on(update("h:2")), None);
        assert_eq!(it.on(asked()), register("h:2"));
    }
}

/// Row 28
#[test]
fn all_attempts_at_one_registration_have_its_generation() {
    let mut it = Fixture::new();
    it.on(asked());
    let generation = it.state.generation();
    for _ in 0..3 {
        it.on(Input::RegisterFailed(transient()));
        it.fire();
        assert_eq!(it.state.generation(), generation);
    }
    it.on(update("h:2"));
    it.on(Input::RegisterFailed(transient()));
    assert_eq!(it.fire(), register("h:2"));
    assert_eq!(it.state.generation(), generation);
    // The owner asks again: the next attempt has the new generation.
    it.on(asked());
    assert_eq!(it.state.generation(), generation);
    it.on(Input::RegisterFailed(transient()));
    it.fire();
    assert!(generation < it.state.generation());
}

/// Row 28: an attempt before may still take effect.
#[test]
fn who_is_superseded_after_an_attempt_without_an_answer_still_deregisters() {
    for (error, action) in [(None, None), (Some(transient()), deregister())] {
        let mut it = Fixture::new();
        it.on(asked());
        if let Some(error) = error {
            it.on(Input::RegisterFailed(error));
            it.fire();
        }
        it.on(Input::RegisterFailed(Error::Superseded));
        assert_eq!(it.on(Input::Deregister), action);
    }
}

#[test]
fn of_several_values_the_latest_is_written() {
    let mut it = Fixture::registered();
    assert_eq!(it.on(update("h:2")), reclaim("h:2"));
    assert_eq!(it.on(update("h:3")), None);
    assert_eq!(it.on(update("h:4")), None);
    assert_eq!(it.on(reclaimed()), reclaim("h:4"));
    assert!(it.state.update_result().is_none());
    assert_eq!(it.on(reclaimed()), Some(Action::AwaitLoss));
    assert!(matches!(
        it.state.update_result(),
        Some(Ok(Updated::Written))
    ));
}

#[test]
fn a_value_that_cannot_be_written_yet_is_tried_again() {
    let mut it = Fixture::registered();
    it.on(update("h:2"));
    for _ in 0..10 {
        assert_eq!(
            it.on(Input::ReclaimFailed(transient())),
            Some(Action::AwaitLoss)
        );
        assert!(it.state.update_result().is_none());
        assert!(matches!(
            it.state.status(),
            RegistrarStatus::Registered { error: Some(_), .. }
        ));
        assert_eq!(it.fire(), reclaim("h:2"));
    }
    it.on(Input::ReclaimFailed(permanent()));
    assert!(matches!(it.state.update_result(), Some(Err(_))));
    assert_eq!(it.fire(), reclaim("h:2"));
    it.on(reclaimed());
    assert!(matches!(
        it.state.status(),
        RegistrarStatus::Registered { error: None, .. }
    ));
}

#[test]
fn newer_values_do_not_shorten_the_delay_after_a_failure() {
    let mut it = Fixture::registered();
    let began = it.now;
    it.on(update("h:0"));
    for n in 1..20 {
        it.on(update(&format!("h:{n}")));
        let action = it.on(Input::ReclaimFailed(transient()));
        assert_eq!(action, Some(Action::AwaitLoss));
        assert_eq!(it.on(update("h:99")), None);
        assert_eq!(it.fire(), reclaim("h:99"));
    }
    assert!(it.now - began > 10 * LONGEST / 2);

    // An unacceptable one does not delay the next.
    it.on(update("h:2"));
    let unacceptable = Input::ReclaimFailed(Error::Invalid(Invalid::EmptyKey));
    assert_eq!(it.on(unacceptable), reclaim("h:2"));
    assert!(it.state.update_result().is_none());
}

#[test]
fn a_value_is_written_again_after_another_that_may_have_been_written() {
    let mut it = Fixture::registered();
    it.on(update("h:2"));
    it.on(Input::ReclaimFailed(transient()));
    it.on(update(VALUE));
    assert!(it.state.update_result().is_none());
    assert_eq!(it.fire(), reclaim(VALUE));

    // Even if that cannot be done, it is not tried in a hot loop.
    let unsupported = Error::Unsupported {
        operation: "reclaim",
    };
    let action = it.on(Input::ReclaimFailed(unsupported));
    assert_eq!(action, Some(Action::AwaitLoss));
    assert!(it.wait() >= LONGEST / 2);
    assert_eq!(it.fire(), reclaim(VALUE));
    assert_eq!(it.on(reclaimed()), Some(Action::AwaitLoss));
    assert!(matches!(
        it.state.update_result(),
        Some(Ok(Updated::Written))
    ));
}

#[test]
fn a_registration_that_may_exist_is_removed_even_after_giving_up() {
    for (before, expected) in [(None, None), (Some(transient()), deregister())] {
        let mut it = Fixture::new();
        it.on(asked());
        if let Some(error) = before {
            it.on(Input::RegisterFailed(error));
            it.fire();
        }
        it.on(Input::RegisterFailed(permanent()));
        assert_eq!(it.on(Input::Deregister), expected);
    }
}

#[test]
fn an_unacceptable_value_does_not_keep_the_entry_away() {
    let unacceptable = || Error::Invalid(Invalid::Config("too large".into()));
    let mut it = Fixture::registered();
    it.on(update("h:2"));
    assert_eq!(
        it.on(Input::ReclaimFailed(unacceptable())),
        Some(Action::AwaitLoss)
    );
    assert!(matches!(
        it.state.update_result(),
        Some(Err(Error::Invalid(_)))
    ));

    it.on(Input::Lost(Lost::LeaseExpired));
    it.on(update("h:3"));
    assert_eq!(it.fire(), reclaim("h:3"));
    it.on(Input::ReclaimFailed(unacceptable()));
    assert_eq!(it.fire(), reclaim(VALUE));
    it.on(reclaimed());
    let updated = it.state.update_result();
    assert!(
        matches!(updated, Some(Err(_))),
        "the registry has the older one"
    );
}

#[test]
fn a_value_stays_given_up_whatever_becomes_of_the_older() {
    let mut it = Fixture::registered();
    it.on(update("h:2"));
    it.on(Input::ReclaimFailed(transient()));
    it.on(update("h:3"));
    assert_eq!(it.fire(), reclaim("h:3"));
    let unacceptable = Error::Invalid(Invalid::Config("too large".into()));
    // The one before may have been written, so the oldest is written again.
    assert_eq!(it.on(Input::ReclaimFailed(unacceptable)), reclaim(VALUE));
    it.on(Input::ReclaimFailed(transient()));
    assert_eq!(it.fire(), reclaim(VALUE));
    it.on(reclaimed());
    assert!(matches!(it.state.update_result(), Some(Err(_))));
}

#[test]
fn a_value_is_remembered_while_not_registered() {
    for (name, mut it) in Fixture::in_every_phase() {
        it.on(update("h:9"));
        if !matches!(it.state.status(), RegistrarStatus::Registered { .. }) {
            let updated = it.state.update_result();
            assert!(matches!(updated, Some(Ok(Updated::Remembered))), "{name}");
        }
        // The next put has the new value.
        if it.state.has_ended() {
            assert_eq!(it.on(asked()), register("h:9"), "{name}");
        }
    }
}

#[test]
fn deregistering_wins_in_every_phase() {
    for (name, mut it) in Fixture::in_every_phase() {
        let before = it.now;
        let mut action = it.on(Input::Deregister);
        let mut announced = 0;
        while !it.state.has_ended() {
            match action.take().unwrap_or_else(|| it.state.action().clone()) {
                Action::Reclaim(value) => {
                    assert!(
                        std::str::from_utf8(&value).unwrap().contains("draining")
                            || name == "announcing"
                    );
                    announced += 1;
                    assert!(announced == 1, "{name}");
                }
                Action::Register(_) => panic!("{name} registers"),
                Action::Idle | Action::AwaitLoss | Action::EndFormer(_) | Action::Deregister(_) => {
                }
            }
            // Nobody answers anything.
            action = it.fire();
        }
        assert!(it.state.deregister_result().is_some(), "{name}");
        assert!(it.now - before <= BOUND + Duration::from_secs(3), "{name}");
        assert!(matches!(it.state.register_result(), Some(Err(_))), "{name}");
    }
}

#[test]
fn a_value_that_no_consumer_could_use_is_never_put() {
    let mut it = Fixture::new();
    it.on(update("0.0.0.0:80"));
    assert_eq!(it.on(asked()), Some(Action::Idle));
    let refused = it.state.register_result();
    assert!(
        matches!(
            &refused,
            Some(Err(Error::Invalid(Invalid::UncallableAddress { .. })))
        ),
        "{refused:?}"
    );
    assert!(matches!(it.state.status(), RegistrarStatus::Failed(_)));
    it.on(update(VALUE));
    assert_eq!(it.on(asked()), register(VALUE));
}

#[test]
fn a_register_call_during_a_removal_comes_after_it() {
    let mut it = Fixture::registered();
    it.on(Input::Deregister);
    assert_eq!(it.on(asked()), None);
    assert!(it.state.register_result().is_none());
    it.on(reclaimed());
    let removed = Input::Deregistered(Ok(Deregistered::Removed));
    assert_eq!(it.on(removed), register(VALUE));
    assert!(matches!(
        it.state.deregister_result(),
        Some(Ok(Deregistered::Removed))
    ));
}

/// Also where the next one follows at once.
#[test]
fn an_edit_from_outside_ends_with_the_instance() {
    for asks_early in [false, true] {
        let mut it = Fixture::registered();
        let edited = r#"{"address":"h:1","weight":7}"#;
        it.on(Input::Lost(Lost::overwritten(edited)));
        assert!(it.state.value.edit().is_some_and(|value| value == edited));

        it.on(Input::DeregisterNow);
        if asks_early {
            it.on(asked());
        }
        let removed = it.on(Input::Deregistered(Ok(Deregistered::Removed)));
        let next = match asks_early {
            true => removed,
            false => it.on(asked()),
        };
        assert_eq!(next, register(VALUE), "{asks_early}");
    }
}

#[test]
fn an_unconfirmed_removal_is_repeated() {
    let mut it = Fixture::registered();
    it.on(Input::Deregister);
    it.fire();
    it.fire();
    let outcome = it.state.deregister_result().unwrap().unwrap();
    assert_eq!(outcome, Deregistered::Unconfirmed);
    assert_eq!(it.on(Input::Deregister), deregister());
    it.on(Input::Deregistered(Ok(Deregistered::Removed)));
    assert_eq!(it.on(Input::Deregister), None);
    let outcome = it.state.deregister_result().unwrap().unwrap();
    assert_eq!(outcome, Deregistered::Removed);
}

#[test]
fn whatever_is_under_way_an_abort_ends_it_and_answers_all() {
    for (name, mut it) in Fixture::in_every_phase() {
        let was_open = !it.state.has_ended();
        it.abort();
        assert!(it.state.has_ended() && it.state.timer().is_none(), "{name}");
        assert!(it.state.register_result().is_some(), "{name}");
        assert!(it.state.update_result().is_some(), "{name}");
        if was_open {
            let removed = it.state.deregister_result();
            assert!(
                matches!(removed, Some(Ok(Deregistered::Unconfirmed))),
                "{name}"
            );
            assert!(
                matches!(it.state.status(), RegistrarStatus::RuntimeEnded),
                "{name}"
            );
            // The entry may be there, so it is removed if asked for.
            let Some(Action::Deregister(keys)) = it.on(Input::Deregister) else {
                panic!("{name} leaves it");
            };
            assert!(keys.contains(&key().into()), "{name}");
        }
    }
}

#[test]
fn a_registration_that_panicked_may_exist() {
    let panicked = Error::Panicked {
        message: "a bug".into(),
    };
    let mut it = Fixture::new();
    it.on(asked());
    it.on(Input::RegisterFailed(panicked));
    assert!(matches!(it.state.register_result(), Some(Err(_))));
    assert_eq!(it.on(Input::Deregister), deregister());
}
