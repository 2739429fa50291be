use super::*;
use crate::{instances::DefaultCodec, registry::Invalid};
use std::{sync::Arc, time::Duration};

const VALUE: &str = r#"{"address":"h:1"}"#;
const DRAINING: &str = r#"{"address":"h:1","status":"draining"}"#;
const BOUND: Duration = Duration::from_secs(5);
const LONGEST: Duration = Duration::from_secs(4);

fn terms() -> Terms {
    Terms {
        retake: false,
        backoff: (Duration::from_millis(100), LONGEST),
        deregister_timeout: BOUND,
        drain: Duration::ZERO,
        codec: Arc::new(DefaultCodec),
    }
}

/// A tenure and its clock.
struct Scene {
    tenure: Tenure,
    now: Instant,
}

impl Scene {
    fn of(terms: Terms) -> Self {
        Self {
            tenure: Tenure::new(terms, Bytes::from(VALUE)),
            now: Instant::now(),
        }
    }

    fn new() -> Self {
        Self::of(terms())
    }

    fn held() -> Self {
        let mut scene = Self::new();
        scene.on(Input::Register);
        scene.on(registered());
        scene
    }

    /// In every state that a tenure can be in, with what is under way there.
    fn everywhere() -> Vec<(&'static str, Self)> {
        let mut scenes = Vec::new();
        let mut add = |name, inputs: &[Input]| {
            let mut scene = Self::of(Terms {
                drain: Duration::from_secs(3),
                ..terms()
            });
            for input in inputs {
                match input {
                    Input::TimerFired => scene.fire(),
                    input => scene.on(input.clone()),
                };
            }
            scenes.push((name, scene));
        };
        let lost = || Input::Lost(Lost::LeaseExpired);
        let taken = || Input::Lost(Lost::Taken { value: "x".into() });
        use Input::{Deregister, Register, TimerFired, Update};
        add("idle", &[]);
        add("registering", &[Register]);
        add(
            "backing off",
            &[Register, Input::RegisterFailed(transient())],
        );
        add("held", &[Register, registered()]);
        add("writing", &[Register, registered(), Update("h:2".into())]);
        add(
            "writing later",
            &[
                Register,
                registered(),
                Update("h:2".into()),
                Input::ReclaimFailed(transient()),
            ],
        );
        add("lost", &[Register, registered(), lost()]);
        add("reclaiming", &[Register, registered(), lost(), TimerFired]);
        add("taken", &[Register, registered(), taken()]);
        add(
            "looking again",
            &[Register, registered(), taken(), TimerFired],
        );
        add(
            "taking over",
            &[Register, registered(), taken(), TimerFired, Register],
        );
        add("announcing", &[Register, registered(), Deregister]);
        add(
            "draining",
            &[Register, registered(), Deregister, reclaimed()],
        );
        add("removing", &[Register, Deregister]);
        add(
            "removed",
            &[
                Register,
                Deregister,
                Input::Deregistered(Ok(Deregistered::Removed)),
            ],
        );
        add("failed", &[Register, Input::RegisterFailed(permanent())]);
        add(
            "superseded",
            &[Register, registered(), Input::Lost(Lost::Superseded)],
        );
        add(
            "closed",
            &[Register, registered(), Input::Lost(Lost::Closed)],
        );
        scenes
    }

    fn on(&mut self, input: Input) -> Option<Action> {
        self.tenure.on(input, self.now)
    }

    /// Lets the time of the timer come.
    fn fire(&mut self) -> Option<Action> {
        self.now = self.tenure.timer().expect("a timer");
        self.on(Input::TimerFired)
    }

    fn wait(&self) -> Duration {
        self.tenure.timer().expect("a timer") - self.now
    }
}

fn registered() -> Input {
    Input::Registered {
        key: Key::new("k").unwrap(),
        lease: LeaseId::from(1),
    }
}

fn reclaimed() -> Input {
    Input::Reclaimed {
        key: Key::new("k").unwrap(),
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

fn register(value: &str) -> Option<Action> {
    Some(Action::Register(Bytes::copy_from_slice(value.as_bytes())))
}

fn reclaim(value: &str) -> Option<Action> {
    Some(Action::Reclaim(Bytes::copy_from_slice(value.as_bytes())))
}

#[test]
fn what_can_pass_is_tried_again_without_limit() {
    let mut scene = Scene::new();
    assert_eq!(scene.on(Input::Register), register(VALUE));
    for attempt in 2..100 {
        let action = scene.on(Input::RegisterFailed(transient()));
        assert_eq!(action, Some(Action::Rest));
        assert!(scene.wait() <= LONGEST);
        assert!(matches!(
            scene.tenure.status(),
            RegistrarStatus::Registering { attempt: a, error: Some(_) } if a == attempt
        ));
        assert!(scene.tenure.registered().is_none());
        assert_eq!(scene.fire(), register(VALUE));
    }
    assert_eq!(scene.on(registered()), Some(Action::Hold));
    assert!(matches!(scene.tenure.registered(), Some(Ok(()))));
}

#[test]
fn what_cannot_pass_is_returned() {
    let mut scene = Scene::new();
    scene.on(Input::Register);
    assert_eq!(
        scene.on(Input::RegisterFailed(permanent())),
        Some(Action::Rest)
    );
    assert!(matches!(
        scene.tenure.registered(),
        Some(Err(Error::PermissionDenied { .. }))
    ));
    assert!(scene.tenure.timer().is_none());
    assert_eq!(scene.on(Input::Register), register(VALUE));
}

#[test]
fn what_is_lost_is_reclaimed_at_once_and_then_ever_more_slowly() {
    for lost in [Lost::LeaseExpired, Lost::KeyDeleted] {
        let mut scene = Scene::held();
        scene.now += Duration::from_secs(60);
        scene.on(Input::Lost(lost));
        assert!(scene.wait() <= Duration::from_millis(100));
        for _ in 0..10 {
            assert_eq!(scene.fire(), reclaim(VALUE));
            scene.on(Input::ReclaimFailed(transient()));
        }
        assert!((LONGEST / 2..=LONGEST).contains(&scene.wait()));
        scene.fire();
        assert_eq!(scene.on(reclaimed()), Some(Action::Hold));
    }
}

#[test]
fn what_is_lost_again_and_again_is_not_reclaimed_in_a_hot_loop() {
    let mut scene = Scene::held();
    let began = scene.now;
    for _ in 0..20 {
        scene.on(Input::Lost(Lost::KeyDeleted));
        scene.fire();
        scene.on(reclaimed());
    }
    assert!(scene.now - began > 10 * LONGEST / 2);
    scene.now += 3 * LONGEST;
    scene.on(Input::Lost(Lost::KeyDeleted));
    assert!(scene.wait() <= Duration::from_millis(100));
}

#[test]
fn even_what_cannot_pass_is_tried_again_once_it_was_held() {
    let mut scene = Scene::held();
    scene.on(Input::Lost(Lost::LeaseExpired));
    for _ in 0..50 {
        scene.fire();
        scene.on(Input::ReclaimFailed(permanent()));
        assert!((LONGEST / 2..=LONGEST).contains(&scene.wait()));
    }
    assert!(matches!(
        scene.tenure.status(),
        RegistrarStatus::Reclaiming { attempt: 51, error: Some(error), .. } if !error.is_transient()
    ));
}

#[test]
fn a_taken_key_is_waited_for() {
    let mut scene = Scene::held();
    scene.on(Input::Lost(Lost::Taken { value: "x".into() }));
    for _ in 0..50 {
        assert!((LONGEST / 2..=LONGEST).contains(&scene.wait()));
        assert_eq!(scene.fire(), reclaim(VALUE));
        scene.on(Input::Taken { value: "y".into() });
        assert!(matches!(scene.tenure.status(), RegistrarStatus::Taken { value } if value == "y"));
    }
    scene.fire();
    assert_eq!(scene.on(reclaimed()), Some(Action::Hold));
}

#[test]
fn a_taken_key_is_taken_over_when_registered_by_name() {
    let mut scene = Scene::held();
    scene.on(Input::Lost(Lost::Taken { value: "x".into() }));
    assert_eq!(scene.on(Input::Register), register(VALUE));
    assert!(scene.tenure.registered().is_none());
    assert_eq!(scene.on(registered()), Some(Action::Hold));
}

#[test]
fn two_who_both_insist_slow_down() {
    let mut scene = Scene::of(Terms {
        retake: true,
        ..terms()
    });
    scene.on(Input::Register);
    scene.on(registered());
    let began = scene.now;
    for _ in 0..30 {
        scene.on(Input::Lost(Lost::Taken { value: "x".into() }));
        while scene.fire() != register(VALUE) {
            scene.on(Input::Taken { value: "x".into() });
        }
        scene.on(registered());
        // The other one takes it back a while later.
        scene.now += Duration::from_secs(100);
    }
    let spent = scene.now - began - 30 * Duration::from_secs(100);
    assert!(spent > 15 * Duration::from_secs(150), "{spent:?}");
}

#[test]
fn who_is_superseded_or_closed_stands_down() {
    for (lost, owed) in [
        (Lost::Superseded, Some(Deregistered::NotOurs)),
        (Lost::Closed, None),
        (Lost::Deregistered, Some(Deregistered::Removed)),
    ] {
        let mut scene = Scene::held();
        assert_eq!(scene.on(Input::Lost(lost)), Some(Action::Rest));
        assert!(scene.tenure.has_ended() && scene.tenure.timer().is_none());
        assert_eq!(scene.on(Input::Deregister), None);
        // Whether the entry of a closed client is gone is not known.
        assert_eq!(scene.tenure.deregistered().unwrap().ok(), owed);
    }
}

#[test]
fn of_several_values_the_latest_is_written() {
    let mut scene = Scene::held();
    assert_eq!(scene.on(Input::Update("h:2".into())), reclaim("h:2"));
    assert_eq!(scene.on(Input::Update("h:3".into())), None);
    assert_eq!(scene.on(Input::Update("h:4".into())), None);
    assert_eq!(scene.on(reclaimed()), reclaim("h:4"));
    assert!(scene.tenure.updated().is_none());
    assert_eq!(scene.on(reclaimed()), Some(Action::Hold));
    assert!(matches!(scene.tenure.updated(), Some(Ok(Updated::Written))));
}

#[test]
fn a_value_that_cannot_be_written_yet_is_tried_again() {
    let mut scene = Scene::held();
    scene.on(Input::Update("h:2".into()));
    for _ in 0..10 {
        assert_eq!(
            scene.on(Input::ReclaimFailed(transient())),
            Some(Action::Hold)
        );
        assert!(scene.tenure.updated().is_none());
        assert!(matches!(
            scene.tenure.status(),
            RegistrarStatus::Registered { error: Some(_), .. }
        ));
        assert_eq!(scene.fire(), reclaim("h:2"));
    }
    scene.on(Input::ReclaimFailed(permanent()));
    assert!(matches!(scene.tenure.updated(), Some(Err(_))));
    assert_eq!(scene.fire(), reclaim("h:2"));
    scene.on(reclaimed());
    assert!(matches!(
        scene.tenure.status(),
        RegistrarStatus::Registered { error: None, .. }
    ));
}

#[test]
fn newer_values_do_not_hurry_a_registry_that_fails() {
    let mut scene = Scene::held();
    let began = scene.now;
    scene.on(Input::Update("h:0".into()));
    for n in 1..20 {
        scene.on(Input::Update(format!("h:{n}").into()));
        let action = scene.on(Input::ReclaimFailed(transient()));
        assert_eq!(action, Some(Action::Hold));
        assert_eq!(scene.on(Input::Update("h:99".into())), None);
        assert_eq!(scene.fire(), reclaim("h:99"));
    }
    assert!(scene.now - began > 10 * LONGEST / 2);

    // One that can never stand is no reason to wait with the next.
    scene.on(Input::Update("h:2".into()));
    let hopeless = Input::ReclaimFailed(Error::Invalid(Invalid::EmptyKey));
    assert_eq!(scene.on(hopeless), reclaim("h:2"));
    assert!(scene.tenure.updated().is_none());
}

#[test]
fn a_value_is_written_again_after_another_that_may_have_been_heard() {
    let mut scene = Scene::held();
    scene.on(Input::Update("h:2".into()));
    scene.on(Input::ReclaimFailed(transient()));
    scene.on(Input::Update(VALUE.into()));
    assert!(scene.tenure.updated().is_none());
    assert_eq!(scene.fire(), reclaim(VALUE));

    // Even if that cannot be done, it is not tried in a hot loop.
    let unsupported = Error::Unsupported {
        operation: "reclaim",
    };
    let action = scene.on(Input::ReclaimFailed(unsupported));
    assert_eq!(action, Some(Action::Hold));
    assert!(scene.wait() >= LONGEST / 2);
    assert_eq!(scene.fire(), reclaim(VALUE));
    assert_eq!(scene.on(reclaimed()), Some(Action::Hold));
    assert!(matches!(scene.tenure.updated(), Some(Ok(Updated::Written))));
}

#[test]
fn what_may_have_been_heard_is_removed_even_after_giving_up() {
    for (before, expected) in [(None, None), (Some(transient()), Some(Action::Deregister))] {
        let mut scene = Scene::new();
        scene.on(Input::Register);
        if let Some(error) = before {
            scene.on(Input::RegisterFailed(error));
            scene.fire();
        }
        scene.on(Input::RegisterFailed(permanent()));
        assert_eq!(scene.on(Input::Deregister), expected);
    }
}

#[test]
fn a_value_that_can_never_stand_does_not_keep_the_entry_away() {
    let hopeless = || Error::Invalid(Invalid::Config("too large".into()));
    let mut scene = Scene::held();
    scene.on(Input::Update("h:2".into()));
    assert_eq!(
        scene.on(Input::ReclaimFailed(hopeless())),
        Some(Action::Hold)
    );
    assert!(matches!(
        scene.tenure.updated(),
        Some(Err(Error::Invalid(_)))
    ));

    scene.on(Input::Lost(Lost::LeaseExpired));
    scene.on(Input::Update("h:3".into()));
    assert_eq!(scene.fire(), reclaim("h:3"));
    scene.on(Input::ReclaimFailed(hopeless()));
    assert_eq!(scene.fire(), reclaim(VALUE));
    scene.on(reclaimed());
    let updated = scene.tenure.updated();
    assert!(
        matches!(updated, Some(Err(_))),
        "what stands is the older one"
    );
}

#[test]
fn a_value_that_was_given_up_stays_so_whatever_becomes_of_the_older() {
    let mut scene = Scene::held();
    scene.on(Input::Update("h:2".into()));
    scene.on(Input::ReclaimFailed(transient()));
    scene.on(Input::Update("h:3".into()));
    assert_eq!(scene.fire(), reclaim("h:3"));
    let hopeless = Error::Invalid(Invalid::Config("too large".into()));
    // The one before may have been heard, so the oldest is written again.
    assert_eq!(scene.on(Input::ReclaimFailed(hopeless)), reclaim(VALUE));
    scene.on(Input::ReclaimFailed(transient()));
    assert_eq!(scene.fire(), reclaim(VALUE));
    scene.on(reclaimed());
    assert!(matches!(scene.tenure.updated(), Some(Err(_))));
}

#[test]
fn a_value_is_remembered_while_nothing_stands() {
    for (name, mut scene) in Scene::everywhere() {
        scene.on(Input::Update("h:9".into()));
        if !["held", "writing", "writing later"].contains(&name) {
            let updated = scene.tenure.updated();
            assert!(matches!(updated, Some(Ok(Updated::Remembered))), "{name}");
        }
        // Whatever happens next, the next thing that is put is the new value.
        if scene.tenure.has_ended() {
            assert_eq!(scene.on(Input::Register), register("h:9"), "{name}");
        }
    }
}

#[test]
fn deregistering_wins_from_everywhere() {
    for (name, mut scene) in Scene::everywhere() {
        let before = scene.now;
        let mut action = scene.on(Input::Deregister);
        let mut announced = 0;
        while !scene.tenure.has_ended() {
            match action
                .take()
                .unwrap_or_else(|| scene.tenure.under_way().clone())
            {
                Action::Reclaim(value) => {
                    assert!(
                        std::str::from_utf8(&value).unwrap().contains("draining")
                            || name == "announcing"
                    );
                    announced += 1;
                    assert!(announced == 1, "{name}");
                }
                Action::Register(_) => panic!("{name} registers"),
                Action::Rest | Action::Hold | Action::Deregister => {}
            }
            // Nobody answers anything.
            action = scene.fire();
        }
        assert!(scene.tenure.deregistered().is_some(), "{name}");
        assert!(
            scene.now - before <= BOUND + Duration::from_secs(3),
            "{name}"
        );
        assert!(matches!(scene.tenure.registered(), Some(Err(_))), "{name}");
    }
}

#[test]
fn draining_is_announced_for_as_long_as_asked() {
    for drain in [Duration::ZERO, Duration::from_secs(3)] {
        let mut scene = Scene::of(Terms { drain, ..terms() });
        scene.on(Input::Register);
        scene.on(registered());
        assert_eq!(scene.on(Input::Deregister), reclaim(DRAINING));
        scene.now += Duration::from_secs(1);
        if drain.is_zero() {
            assert_eq!(scene.on(reclaimed()), Some(Action::Deregister));
        } else {
            assert_eq!(scene.on(reclaimed()), Some(Action::Hold));
            assert_eq!(scene.wait(), drain);
            assert_eq!(scene.fire(), Some(Action::Deregister));
        }
        assert_eq!(scene.wait(), Duration::from_secs(4));
        scene.on(Input::Deregistered(Ok(Deregistered::Removed)));
        // Draining was ours to say, not the service's value.
        assert_eq!(scene.on(Input::Register), register(VALUE));
    }
}

#[test]
fn what_cannot_be_announced_is_removed_at_once() {
    let mut plain = Scene::held();
    plain.on(Input::Update("h:2".into()));
    plain.on(reclaimed());
    assert_eq!(plain.on(Input::Deregister), Some(Action::Deregister));

    for answer in [
        Input::ReclaimFailed(transient()),
        Input::Taken { value: "x".into() },
    ] {
        let mut scene = Scene::held();
        scene.on(Input::Deregister);
        assert_eq!(scene.on(answer), Some(Action::Deregister));
    }
    let mut silent = Scene::held();
    silent.on(Input::Deregister);
    assert_eq!(silent.wait(), BOUND / 4);
    assert_eq!(silent.fire(), Some(Action::Deregister));
    assert_eq!(silent.wait(), BOUND - BOUND / 4);
}

#[test]
fn who_registers_while_it_is_removed_comes_after() {
    let mut scene = Scene::held();
    scene.on(Input::Deregister);
    assert_eq!(scene.on(Input::Register), None);
    assert!(scene.tenure.registered().is_none());
    scene.on(reclaimed());
    let removed = Input::Deregistered(Ok(Deregistered::Removed));
    assert_eq!(scene.on(removed), register(VALUE));
    assert!(matches!(
        scene.tenure.deregistered(),
        Some(Ok(Deregistered::Removed))
    ));
}

#[test]
fn an_unconfirmed_removal_is_asked_for_again() {
    let mut scene = Scene::held();
    scene.on(Input::Deregister);
    scene.fire();
    scene.fire();
    let outcome = scene.tenure.deregistered().unwrap().unwrap();
    assert_eq!(outcome, Deregistered::Unconfirmed);
    assert_eq!(scene.on(Input::Deregister), Some(Action::Deregister));
    scene.on(Input::Deregistered(Ok(Deregistered::Removed)));
    assert_eq!(scene.on(Input::Deregister), None);
    let outcome = scene.tenure.deregistered().unwrap().unwrap();
    assert_eq!(outcome, Deregistered::Removed);
}
