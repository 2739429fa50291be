//! The time between telling consumers and the end of a registration.

use super::*;

#[test]
fn draining_is_announced_for_the_time_given() {
    for drain in [Duration::ZERO, Duration::from_secs(3)] {
        let mut it = Fixture::with(Options { drain, ..options() });
        it.on(asked());
        it.on(registered());
        assert_eq!(it.on(Input::Deregister), reclaim(DRAINING));
        it.now += Duration::from_secs(1);
        if drain.is_zero() {
            assert_eq!(it.on(reclaimed()), deregister());
        } else {
            assert_eq!(it.on(reclaimed()), Some(Action::AwaitLoss));
            assert_eq!(it.wait(), drain);
            assert_eq!(it.fire(), deregister());
        }
        assert_eq!(it.wait(), Duration::from_secs(4));
        it.on(Input::Deregistered(Ok(Deregistered::Removed)));
        // The value that announced draining is not the service's.
        assert_eq!(it.on(asked()), register(VALUE));
    }
}

const DRAIN: Duration = Duration::from_secs(3);

/// The inputs, after a registration of `value`.
fn registered_to_drain(value: &'static str, inputs: &[Input]) -> Fixture {
    let mut it = Fixture::with(Options {
        drain: DRAIN,
        ..options()
    });
    it.on(update(value));
    it.on(asked());
    it.on(registered());
    for input in inputs {
        it.on(input.clone());
    }
    it
}

fn removed() -> Input {
    Input::Deregistered(Ok(Deregistered::Removed))
}

#[test]
fn where_draining_cannot_be_announced_the_wait_follows_the_removal() {
    use Input::Deregister;
    let unconfirmed = Input::Deregistered(Ok(Deregistered::Unconfirmed));
    let lost = Input::Lost(Lost::LeaseExpired);
    let of_nothing = Input::Deregistered(Ok(Deregistered::NotOurs));
    for (mut it, answer) in [
        (registered_to_drain("h:1", &[Deregister]), removed()),
        (registered_to_drain("h:1", &[Deregister]), unconfirmed),
        (
            registered_to_drain(VALUE, &[Deregister, Input::ReclaimFailed(transient())]),
            removed(),
        ),
        // Consumers keep an instance that was lost for a while.
        (registered_to_drain("h:1", &[lost, Deregister]), of_nothing),
    ] {
        assert_eq!(it.state.action(), &deregister().unwrap(), "{it:?}");
        assert_eq!(it.on(answer), Some(Action::Idle));
        assert!(it.state.deregister_result().is_none(), "{it:?}");
        assert_eq!(it.wait(), DRAIN);
        it.fire();
        assert!(it.state.has_ended(), "{it:?}");
        assert!(matches!(it.state.deregister_result(), Some(Ok(_))));
    }
}

/// An operator may just have ended the draining, which is not known here yet.
#[test]
fn draining_is_announced_also_where_it_should_stand_already() {
    let edited = Input::Lost(Lost::overwritten(DRAINING));
    for mut it in [
        registered_to_drain(DRAINING, &[]),
        registered_to_drain(VALUE, &[edited, reclaimed()]),
    ] {
        assert_eq!(it.on(Input::Deregister), reclaim(DRAINING), "{it:?}");
        assert_eq!(it.on(reclaimed()), Some(Action::AwaitLoss));
        assert_eq!(it.wait(), DRAIN);
        assert_eq!(it.fire(), deregister());
    }
}

#[test]
fn an_entry_that_is_lost_while_it_drains_costs_none_of_the_wait() {
    let mut it = registered_to_drain(VALUE, &[Input::Deregister, reclaimed()]);
    it.now += Duration::from_secs(1);
    let lost = Input::Lost(Lost::KeyDeleted);
    assert_eq!(it.on(lost), deregister());
    it.on(Input::Deregistered(Ok(Deregistered::NotOurs)));
    assert_eq!(it.wait(), DRAIN - Duration::from_secs(1));
    it.fire();
    assert!(it.state.has_ended());
}

#[test]
fn nobody_waits_for_consumers_that_know_another_or_none() {
    let announced = [Input::Deregister, reclaimed()];
    let mut it = registered_to_drain(VALUE, &announced);
    it.fire();
    it.on(removed());
    assert!(it.state.has_ended(), "waited before");

    let mut it = registered_to_drain(VALUE, &announced);
    it.on(Input::Lost(Lost::Superseded));
    assert!(it.state.has_ended(), "superseded");

    let mut it = Fixture::with(Options {
        drain: DRAIN,
        ..options()
    });
    it.on(asked());
    it.on(Input::Deregister);
    it.on(removed());
    assert!(it.state.has_ended(), "never registered");

    let mut it = registered_to_drain("h:1", &[Input::Deregister, removed()]);
    assert_eq!(it.on(asked()), register("h:1"), "registered again");
    let outcome = it.state.deregister_result();
    assert!(matches!(outcome, Some(Ok(Deregistered::Removed))));
}

#[test]
fn deregistering_now_announces_nothing_and_ends_every_wait() {
    let now = Input::DeregisterNow;
    for inputs in [
        &[now.clone()][..],
        &[Input::Deregister, now.clone()],
        &[Input::Deregister, reclaimed(), now.clone()],
    ] {
        let mut it = registered_to_drain(VALUE, inputs);
        assert_eq!(it.state.action(), &deregister().unwrap(), "{inputs:?}");
        assert_eq!(it.wait(), BOUND);
        it.on(removed());
        assert!(it.state.has_ended(), "{inputs:?}");
    }
    for inputs in [
        &[Input::Deregister, now.clone(), removed()],
        &[Input::Deregister, removed(), now],
    ] {
        let it = registered_to_drain("h:1", inputs);
        assert!(it.state.has_ended(), "{inputs:?}");
        let outcome = it.state.deregister_result();
        assert!(matches!(outcome, Some(Ok(Deregistered::Removed))));
    }
}

#[test]
fn an_entry_is_removed_at_once_if_draining_cannot_be_announced() {
    let mut plain = Fixture::registered();
    plain.on(update("h:2"));
    plain.on(reclaimed());
    assert_eq!(plain.on(Input::Deregister), deregister());

    for answer in [
        Input::ReclaimFailed(transient()),
        Input::Taken { value: "x".into() },
    ] {
        let mut it = Fixture::registered();
        it.on(Input::Deregister);
        assert_eq!(it.on(answer), deregister());
    }
    let mut silent = Fixture::registered();
    silent.on(Input::Deregister);
    assert_eq!(silent.wait(), BOUND / 4);
    assert_eq!(silent.fire(), deregister());
    assert_eq!(silent.wait(), BOUND - BOUND / 4);
}
