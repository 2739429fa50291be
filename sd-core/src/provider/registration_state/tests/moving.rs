//! Updates that belong under another key.

use super::*;

fn other() -> ServiceKey {
    Key::new("/svc/b").unwrap().into()
}

fn register_other(value: &str) -> Option<Action> {
    Some(Action::Register(KeyValue::new(other(), value.to_owned())))
}

fn end(key: ServiceKey) -> Option<Action> {
    Some(Action::EndFormer(vec![key]))
}

fn ended(outcome: Deregistered) -> Input {
    Input::FormerEnded(Ok(outcome))
}

fn is_written(it: &Fixture) -> bool {
    matches!(it.state.update_result(), Some(Ok(Updated::Written)))
}

#[test]
fn the_new_one_is_registered_before_the_old_one_is_ended() {
    let mut it = Fixture::registered();
    assert_eq!(it.on(moved("h:1")), register_other("h:1"));
    assert!(matches!(it.state.register_result(), Some(Ok(()))));
    assert_eq!(it.on(registered()), end(key().into()));
    assert!(it.state.update_result().is_none());
    assert_eq!(it.on(ended(Deregistered::Removed)), Some(Action::AwaitLoss));
    assert!(is_written(&it) && it.state.timer().is_none());
    // What is lost now is put back under the new key.
    it.on(Input::Lost(Lost::LeaseExpired));
    assert_eq!(it.fire(), reclaim("h:1"));
    it.on(reclaimed());
    let deregister = Action::Deregister(vec![other()]);
    assert_eq!(it.on(Input::Deregister), Some(deregister));
}

#[test]
fn a_new_one_that_fails_leaves_the_old_one_and_is_tried_again() {
    let mut it = Fixture::registered();
    it.on(moved("h:1"));
    for _ in 0..10 {
        let action = it.on(Input::RegisterFailed(transient()));
        assert_eq!(action, Some(Action::AwaitLoss));
        assert!(matches!(
            it.state.status(),
            RegistrarStatus::Registered { error: Some(_), .. }
        ));
        assert!(it.state.update_result().is_none());
        assert_eq!(it.fire(), register_other("h:1"));
    }
    it.on(Input::RegisterFailed(permanent()));
    assert!(matches!(it.state.update_result(), Some(Err(_))));
    // It may stand all the same, so it is ended when nobody wants it any more.
    assert_eq!(it.on(update(VALUE)), None, "not before its time");
    assert_eq!(it.fire(), end(other()));
    assert_eq!(it.on(ended(Deregistered::NotOurs)), reclaim(VALUE));
    assert_eq!(it.on(reclaimed()), Some(Action::AwaitLoss));
    assert!(is_written(&it));
}

#[test]
fn an_entry_that_is_lost_before_it_has_moved_is_put_back_where_it_was() {
    let mut it = Fixture::registered();
    it.on(moved("h:1"));
    it.on(Input::RegisterFailed(transient()));
    it.on(Input::Lost(Lost::LeaseExpired));
    assert_eq!(it.fire(), reclaim(VALUE));
    // Nor is a key that was taken meanwhile changed for the other.
    it.on(Input::Taken { value: "x".into() });
    assert_eq!(it.fire(), reclaim(VALUE));
    assert_eq!(it.on(reclaimed()), register_other("h:1"));
    assert_eq!(it.on(registered()), end(key().into()));
}

/// Row 28
#[test]
fn a_key_that_a_later_registrar_has_is_given_up() {
    let mut it = Fixture::registered();
    it.on(moved("h:1"));
    let action = it.on(Input::RegisterFailed(Error::Superseded));
    assert_eq!(action, Some(Action::AwaitLoss));
    let updated = it.state.update_result();
    assert!(
        matches!(updated, Some(Err(Error::Superseded))),
        "{updated:?}"
    );
    assert!(matches!(
        it.state.status(),
        RegistrarStatus::Registered { .. }
    ));
    assert!(it.state.timer().is_none());
}

#[test]
fn a_former_key_that_is_not_ended_delays_no_value_and_is_tried_again() {
    let mut it = Fixture::registered();
    it.on(moved("h:1"));
    it.on(registered());
    for outcome in [
        Ok(Deregistered::Unconfirmed),
        Err(permanent()),
        Err(transient()),
    ] {
        let action = it.on(Input::FormerEnded(outcome));
        assert_eq!(action, Some(Action::AwaitLoss));
        assert!(is_written(&it));
        assert!(it.wait() <= LONGEST);
        assert_eq!(it.on(moved("h:2")), reclaim("h:2"));
        assert_eq!(it.on(reclaimed()), end(key().into()));
        // Nobody answers.
        assert_eq!(it.fire(), Some(Action::AwaitLoss));
        assert_eq!(it.fire(), end(key().into()));
    }
    it.on(ended(Deregistered::Removed));
    assert!(it.state.timer().is_none());
}

#[test]
fn whoever_ends_in_a_move_ends_under_both_keys() {
    let both = || Some(Action::Deregister(vec![key().into(), other()]));
    let moving = || {
        let mut it = Fixture::registered();
        it.on(moved("h:1"));
        it
    };
    let mut attempting = moving();
    assert_eq!(attempting.on(Input::DeregisterNow), both());

    let mut failed = moving();
    failed.on(Input::RegisterFailed(transient()));
    assert_eq!(failed.on(Input::DeregisterNow), both());

    let mut ending = moving();
    ending.on(registered());
    assert_eq!(ending.on(Input::DeregisterNow), both());

    // Draining is announced where the entry stands.
    let mut draining = moving();
    assert_eq!(draining.on(Input::Deregister), reclaim(DRAINING));
    assert_eq!(draining.on(reclaimed()), both());

    let mut aborted = moving();
    aborted.abort();
    assert_eq!(aborted.on(Input::Deregister), both());
    // What is left is ended also if it is registered anew instead.
    let mut again = moving();
    again.abort();
    assert_eq!(again.on(asked()), register_other("h:1"));
    assert_eq!(again.on(registered()), end(key().into()));
}

/// The successor may have gone before the write came. Found by the model.
#[test]
fn a_write_without_an_answer_is_ended_even_if_another_registration_had_its_key() {
    for is_answered in [true, false] {
        let mut it = Fixture::registered();
        assert_eq!(it.on(update(VALUE)), reclaim(VALUE));
        it.on(asked());
        it.on(moved("h:1"));
        match is_answered {
            true => it.on(Input::ReclaimFailed(Error::Superseded)),
            false => {
                it.on(Input::ReclaimFailed(transient()));
                it.on(Input::Lost(Lost::Superseded))
            }
        };
        let next = match is_answered {
            true => Some(Action::AwaitLoss),
            false => end(key().into()),
        };
        assert_eq!(it.on(registered()), next, "{is_answered}");
    }
}
