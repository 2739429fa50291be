//! What is ours: by owner, lease and modification.

use super::*;
use crate::registering::actions::Listing;

/// The revision at which the bench carries out every write.
const OURS: i64 = 7;

fn found(value: &'static str, lease: i64, modified: i64) -> Found {
    Found {
        value: value.into(),
        lease,
        modified,
    }
}

impl Bench {
    /// Registers with an owner of its own.
    fn register_as(&mut self, owner: Owner, key: &str) -> Answer<Reclaimed> {
        self.owner = owner;
        self.register(key)
    }

    fn hold_as(&mut self, owner: Owner, key: &str) -> Registration {
        self.owner = owner;
        self.hold(key)
    }

    /// Verifies the lease, with the key `a` on it, which has another modification.
    fn finds(&mut self, value: &'static str, lease: i64, modified: i64) {
        self.pass(5);
        assert!(matches!(self.next(), Some(Action::Verify(..))));
        self.verified(100 + modified, Some(&["a"]));
        self.compared(&["a"]);
        self.examined(|_| Some(found(value, lease, modified)));
    }

    /// The transaction that is asked for is one put of `a` with this guard.
    fn puts_over(&mut self, guard: Guard) {
        let put = self.transaction();
        assert_eq!(put.puts(), ["a"]);
        assert_eq!(put_guards(&put), [guard]);
        self.carry_out(put);
    }
}

/// Row 28
#[test]
fn an_owner_ends_only_its_own_registration() {
    let mut bench = Bench::new();
    let [old, new] = [Owner::new(), Owner::new()];
    let _before = bench.hold_as(old, "a");
    let after = bench.hold_as(new, "a");

    let mut removed = bench.deregister_within("a", Scope::OwnedBy(old));

    assert!(matches!(
        said(&mut removed),
        Some(Ok(Deregistered::NotOurs))
    ));
    assert!(bench.next().is_none());
    assert_eq!(after.loss(), None);
}

/// Row 28
#[test]
fn an_owner_does_not_stop_the_registration_of_its_successor() {
    let [old, new] = [Owner::new(), Owner::new()];
    for is_sent in [false, true] {
        let mut bench = Bench::new();
        let before = bench.hold_as(old, "a");
        let answer = bench.register_as(new, "a");
        let put = is_sent.then(|| bench.transaction());

        let mut removed = bench.deregister_within("a", Scope::OwnedBy(old));
        drop(before);
        bench.hear();

        match put {
            // It has to wait for what comes of the put.
            Some(put) => {
                assert!(said(&mut removed).is_none());
                bench.carry_out(put);
                assert!(matches!(
                    said(&mut removed),
                    Some(Ok(Deregistered::NotOurs))
                ));
            }
            None => {
                let removal = bench.transaction();
                assert_eq!(removal.removals(), ["a"]);
                bench.carry_out(removal);
                assert!(matches!(
                    said(&mut removed),
                    Some(Ok(Deregistered::Removed))
                ));
                let put = bench.transaction();
                bench.carry_out(put);
            }
        }
        assert_eq!(held(answer).loss(), None);
        assert!(bench.next().is_none());
    }
}

fn supersede(id: RegistrationId) -> Request {
    Request::Remove {
        service: service("a"),
        scope: Scope::OlderThan(id),
        why: Lost::Superseded,
        reply: None,
    }
}

/// Row 28
#[test]
fn a_registration_of_another_ttl_supersedes_only_what_is_older() {
    let mut bench = Bench::new();
    let registration = bench.hold("a");
    let mut waiting = bench.register("a");
    bench.state.accept(supersede(bench.id(1)));
    assert_eq!(registration.loss(), None);
    assert!(said(&mut waiting).is_none());
    bench.state.accept(supersede(bench.id(3)));
    assert_eq!(registration.loss(), Some(Lost::Superseded));
    assert!(matches!(said(&mut waiting), Some(Err(Error::Superseded))));
}

fn is_superseded(mut answer: Answer<Reclaimed>) -> bool {
    matches!(said(&mut answer), Some(Err(Error::Superseded)))
}

/// Row 28
#[test]
fn an_older_registration_does_not_take_the_key_from_a_newer_one() {
    let mut bench = Bench::new();
    let (older, newer) = (bench.generation, Generation::new());
    let before = bench.hold("a");
    bench.generation = newer;
    let after = bench.hold("a");
    assert_eq!(before.loss(), Some(Lost::Superseded));

    bench.generation = older;
    assert!(is_superseded(bench.register("a")));
    let held = bench.state.ledger.get_mut(&service("a")).unwrap();
    held.lose(Lost::KeyDeleted);
    assert!(is_superseded(bench.register("a")));
    assert!(bench.next().is_none());

    drop(after);
    bench.hear();
    let removal = bench.transaction();
    bench.carry_out(removal);
    assert_eq!(bench.hold("a").loss(), None);
}

/// Two sessions of one client, of which the second has newer registrations.
fn two_sessions() -> [Bench; 2] {
    let shared = Arc::new(Shared::default());
    [Ttl::MIN, Ttl::MAX].map(|ttl| Bench::with(shared.clone(), ttl))
}

/// Row 28
#[test]
fn an_older_registration_does_not_take_the_key_from_a_newer_one_of_another_ttl() {
    let [mut older, mut newer] = two_sessions();
    let held = newer.hold("a");
    assert!(is_superseded(older.register("a")));
    assert!(older.next().is_none());
    assert_eq!(held.loss(), None);

    drop(held);
    newer.hear();
    assert_eq!(older.hold("a").loss(), None);
}

/// Row 28: a put that has found the entry of the newer registration is not sent again.
#[test]
fn of_two_puts_at_once_the_older_does_not_overwrite_the_newer() {
    for is_heard in [false, true] {
        let [mut older, mut newer] = two_sessions();
        let mut refused = older.register("a");
        older.grant();
        let early = older.transaction();
        let answer = newer.register("a");
        newer.grant();
        let late = newer.transaction();

        // etcd carries out the newer one first.
        let (_, found) = stands(late.lease);
        let late = match is_heard {
            true => {
                newer.carry_out(late);
                None
            }
            false => Some(late),
        };
        older.answer(early, Ok(vec![found]));

        let next = older.next();
        assert!(!matches!(next, Some(Action::Write(_))), "sent again");
        match (is_heard, said(&mut refused)) {
            (true, Some(Err(Error::Superseded))) => {}
            // Nobody knows yet what becomes of the newer one.
            (false, Some(Err(error))) if error.is_transient() => {}
            (_, answer) => panic!("{is_heard}: {answer:?}"),
        }
        if let Some(late) = late {
            newer.carry_out(late);
            assert!(is_superseded(older.register("a")));
        }
        assert_eq!(held(answer).loss(), None);
    }
}

/// Row 28
#[test]
fn the_removal_of_somebody_elses_registration_is_not_waited_for() {
    let mut bench = Bench::new();
    let [old, new] = [Owner::new(), Owner::new()];
    let registration = bench.hold_as(new, "a");
    drop(registration);
    bench.hear();
    let mut removed = bench.deregister_within("a", Scope::OwnedBy(old));
    assert!(matches!(
        said(&mut removed),
        Some(Ok(Deregistered::NotOurs))
    ));
}

/// Row 38
#[test]
fn an_older_modification_on_our_lease_is_a_rollback_and_is_overwritten() {
    let mut bench = Bench::new();
    let a = bench.hold("a");
    let lease = bench.state.lease().unwrap();
    bench.finds("old", lease, OURS - 1);
    assert_eq!(a.loss(), Some(Lost::RolledBack));

    let answer = bench.put(&service("a"), "v", Some(1));
    bench.puts_over(found("", lease, OURS - 1).guard());
    assert_eq!(held(answer).loss(), None);
}

/// Row 37
#[test]
fn an_older_modification_on_a_dead_predecessors_lease_is_overwritten() {
    let mut bench = Bench::new();
    let a = bench.hold("a");
    let lost = bench.state.lease().unwrap();
    bench.state.lease_lost(lost);
    assert_eq!(a.loss(), Some(Lost::LeaseExpired));

    let answer = bench.put(&service("a"), "v", Some(1));
    bench.grant();
    let put = bench.transaction();
    let predecessors = found("old", lost - 1, OURS - 1);
    let guard = predecessors.guard();
    bench.answer(put, Ok(vec![Written::Refused(Some(predecessors))]));
    bench.puts_over(guard);
    assert_eq!(held(answer).loss(), None);
}

/// Row 37: a rebuilt etcd counts anew, so that the entry of an older backup may have a larger modification.
#[test]
fn an_entry_on_a_lease_that_the_client_had_before_is_overwritten_whatever_its_modification() {
    let [mut earlier, mut bench] = two_sessions();
    let before = earlier.hold("a");
    let former = earlier.state.lease().unwrap();
    drop(before);
    earlier.hear();
    let removal = earlier.transaction();
    earlier.carry_out(removal);
    assert!(matches!(earlier.next(), Some(Action::Revoke(lease)) if lease == former));
    let a = bench.hold("a");
    let lost = bench.state.lease().unwrap();
    bench.state.lease_lost(lost);
    assert_eq!(a.loss(), Some(Lost::LeaseExpired));

    let mut handles = vec![a];
    for (number, from_before) in [(1, former), (2, lost)] {
        let answer = bench.put(&service("a"), "v", Some(number));
        if bench.state.lease().is_none() {
            bench.grant();
        }
        let put = bench.transaction();
        let restored = found("old", from_before, 10 * OURS);
        let guard = restored.guard();
        bench.answer(put, Ok(vec![Written::Refused(Some(restored))]));
        bench.puts_over(guard);
        handles.push(held(answer));
    }
    assert_eq!(handles.last().and_then(Registration::loss), None);
}

/// Row 33
#[test]
fn what_somebody_wrote_on_our_lease_is_kept_without_a_write_or_overwritten() {
    for (value, is_kept) in [("edit", true), ("v", false)] {
        let mut bench = Bench::new();
        let a = bench.hold("a");
        let lease = bench.state.lease().unwrap();
        bench.finds("edit", lease, OURS + 1);
        assert_eq!(a.loss(), Some(Lost::overwritten("edit")));

        let answer = bench.put(&service("a"), value, Some(1));
        if is_kept {
            assert!(bench.next().is_none(), "nothing is written");
        } else {
            bench.puts_over(found("", lease, OURS + 1).guard());
        }
        let registration = held(answer);
        if is_kept {
            // Another edit, which nobody has heard of yet.
            bench.finds("again", lease, OURS + 2);
            assert_eq!(registration.loss(), Some(Lost::overwritten("again")));
        }
    }
}

#[test]
fn a_put_of_ours_that_was_given_up_and_took_effect_is_no_loss() {
    let mut bench = Bench::new();
    let a = bench.hold("a");
    let lease = bench.state.lease().unwrap();
    let _answer = bench.put(&service("a"), "late", Some(1));
    let put = bench.transaction();
    bench.answer(put, Err(timed_out()));

    bench.finds("late", lease, OURS + 1);

    assert_eq!(a.loss(), None);
    let _answer = bench.put(&service("a"), "next", Some(1));
    bench.puts_over(found("", lease, OURS + 1).guard());
}

/// Row 9: the owner's value may be large, and is read once.
#[test]
fn a_taken_key_is_looked_at_without_reading_its_value_again() {
    let mut bench = Bench::new();
    let a = bench.hold("a");
    bench.finds("theirs", 0, OURS + 1);
    assert_eq!(a.loss(), Some(Lost::taken("theirs")));
    let look = Write {
        key: "a".into(),
        guard: found("", 0, OURS + 1).guard(),
        effect: Effect::Look,
    };

    for _ in 0..3 {
        let mut answer = bench.put(&service("a"), "v", Some(1));
        let looking = bench.transaction();
        assert_eq!(looking.writes, std::slice::from_ref(&look));
        bench.carry_out(looking);
        let answer = said(&mut answer);
        assert!(
            matches!(&answer, Some(Ok(Reclaimed::Taken { value, .. })) if value == "theirs"),
            "{answer:?}"
        );
    }

    let answer = bench.put(&service("a"), "v", Some(1));
    let looking = bench.transaction();
    bench.answer(looking, Ok(vec![Written::Refused(None)]));
    bench.puts_over(Guard::Absent);
    assert_eq!(held(answer).loss(), None);
}

#[test]
fn what_cannot_have_changed_is_not_compared() {
    let mut bench = Bench::new();
    let _a = bench.hold("a");
    let mut verify = |revision, is_compared| {
        bench.pass(5);
        assert!(matches!(
            bench.next(),
            Some(Action::Verify(_, Listing::Keys))
        ));
        bench.verified(revision, Some(&["a"]));
        match is_compared {
            true => bench.compared(&[]),
            false => assert!(bench.next().is_none()),
        }
    };
    verify(10, true);
    verify(10, false);
    verify(11, true);
    verify(11, false);
    // The registry is another one than before.
    verify(9, true);
    bench.pass(1);
    bench.next();
    bench.verified(12, Some(&["a"]));
    assert!(bench.next().is_none(), "not yet again");
    bench.state.reconnected(bench.now);
    assert!(matches!(bench.next(), Some(Action::Verify(..))));
    bench.verified(12, Some(&["a"]));
    bench.compared(&[]);
}

/// Row 45
#[test]
fn more_keys_than_an_answer_holds_are_compared_without_being_listed() {
    let mut bench = Bench::new();
    let names: Vec<String> = (0..10_000).map(|n| format!("{n:0>450}")).collect();
    let answers: Vec<_> = names.iter().map(|name| bench.register(name)).collect();
    bench.grant();
    for _ in 0..80 {
        let transaction = bench.transaction();
        bench.carry_out(transaction);
    }
    let registrations: Vec<_> = answers.into_iter().map(held).collect();
    bench.pass(5);
    assert!(matches!(
        bench.next(),
        Some(Action::Verify(_, Listing::Nothing))
    ));
    bench.verified(10, None);
    for _ in 0..80 {
        bench.compared(&[&names[5]]);
        if !bench.state.changed.is_empty() {
            bench.examined(|_| None);
        }
    }
    assert!(bench.next().is_none());
    let lost = registrations.iter().enumerate();
    let lost: Vec<_> = lost.filter_map(|(n, it)| Some((n, it.loss()?))).collect();
    assert_eq!(lost, [(5, Lost::KeyDeleted)]);
}

/// Row 33: without a lease it would stay for ever.
#[test]
fn what_took_the_key_without_a_lease_goes_if_its_owner_says_so_and_nothing_was_put_since() {
    // Who holds the key when it is to be removed.
    for (lease, is_removed) in [(0, true), (9, false)] {
        let mut bench = Bench::new();
        let a = bench.hold("a");
        bench.finds("edit", lease, OURS + 1);
        assert_eq!(a.loss(), Some(Lost::taken("edit")));
        let ask = |bench: &mut Bench, value: &'static str| {
            let (to, answer) = oneshot::channel();
            let deadline = bench.now + Duration::from_secs(3);
            bench.state.accept(Request::RemoveUnleased {
                service: service("a"),
                id: bench.id(1),
                value: value.into(),
                reply: Some(RemovalReply { deadline, to }),
            });
            answer
        };
        let mut other = ask(&mut bench, "another value");
        assert!(matches!(said(&mut other), Some(Ok(Deregistered::NotOurs))));

        let mut removed = ask(&mut bench, "edit");

        if !is_removed {
            assert!(matches!(
                said(&mut removed),
                Some(Ok(Deregistered::NotOurs))
            ));
            assert!(bench.next().is_none());
            continue;
        }
        let removal = bench.transaction();
        assert_eq!(
            removal.writes,
            [delete("a", found("", 0, OURS + 1).guard())]
        );
        // Somebody has put something since.
        let successors = found("successor", 0, OURS + 2);
        bench.answer(removal, Ok(vec![Written::Refused(Some(successors))]));
        assert!(matches!(
            said(&mut removed),
            Some(Ok(Deregistered::NotOurs))
        ));
        assert!(bench.next().is_none());
    }
}
