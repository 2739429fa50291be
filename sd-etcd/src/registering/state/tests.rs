mod ownership;
mod settling;
mod sightings;

use super::*;
use crate::registering::{
    actions::{LeaseError, LeaseKeys, LeaseState, Listing},
    requests::{PutRequest, Receiver, Requests, Scope},
    write::{Effect, Found, Guard, Write, Written},
};
use bytes::Bytes;
use sd_core::{Generation, Key, Owner, Reclaimed, Registration, RegistrationId, Result};
use std::{collections::HashSet, time::Duration};
use tokio::sync::oneshot;

type Answer<T> = oneshot::Receiver<Result<T>>;

/// A session state, and an etcd that answers what the test says.
struct Bench {
    state: SessionState,
    shared: Arc<Shared>,
    receiver: Receiver,
    now: Instant,
    /// The number of the last put.
    calls: u64,
    owner: Owner,
    generation: Generation,
}

impl Bench {
    fn new() -> Self {
        Self::with(Arc::default(), Ttl::MIN)
    }

    /// A session of this TTL, of the client that has `shared`.
    fn with(shared: Arc<Shared>, ttl: Ttl) -> Self {
        let options = Arc::new(Options::unchecked());
        let (requests, receiver) = Requests::new(shared.clone(), options);
        let now = Instant::now();
        Self {
            state: SessionState::new(requests, ttl, now),
            shared,
            receiver,
            now,
            calls: 0,
            owner: Owner::new(),
            generation: Generation::new(),
        }
    }

    /// The id of a put, by its number.
    fn id(&self, call: u64) -> RegistrationId {
        RegistrationId::new(self.generation, call)
    }

    fn put(
        &mut self,
        service: &ServiceKey,
        value: &str,
        reclaims: Option<u64>,
    ) -> Answer<Reclaimed> {
        let (reply, answer) = oneshot::channel();
        self.calls += 1;
        self.state.accept(Request::Put(PutRequest {
            id: self.id(self.calls),
            owner: self.owner,
            service: service.clone(),
            value: Bytes::copy_from_slice(value.as_bytes()),
            reclaims: reclaims.map(|call| self.id(call)),
            reply,
        }));
        answer
    }

    fn register(&mut self, key: &str) -> Answer<Reclaimed> {
        self.put(&service(key), "v", None)
    }

    fn deregister(&mut self, key: &str) -> Answer<Deregistered> {
        self.deregister_within(key, Scope::All)
    }

    fn deregister_within(&mut self, key: &str, scope: Scope) -> Answer<Deregistered> {
        let (to, answer) = oneshot::channel();
        let deadline = self.now + Duration::from_secs(3);
        self.state.accept(Request::Remove {
            service: service(key),
            scope,
            why: Lost::Deregistered,
            reply: Some(RemovalReply { deadline, to }),
        });
        answer
    }

    /// Passes on the requests of dropped handles.
    fn hear(&mut self) {
        while let Ok(op) = self.receiver.try_recv() {
            self.state.accept(op);
        }
    }

    fn pass(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
        self.state.tick(self.now);
    }

    fn next(&mut self) -> Option<Action> {
        self.state.next(self.now)
    }

    fn complete(&mut self, completion: Completion) {
        self.state.complete(completion, self.now);
    }

    /// The lease that is asked for.
    fn asked_for(&mut self) -> i64 {
        match self.next() {
            Some(Action::Grant(lease, _)) => lease,
            other => panic!("not a grant: {}", name(other.as_ref())),
        }
    }

    fn grant(&mut self) -> i64 {
        let lease = self.asked_for();
        self.complete(Completion::Granted(lease, Ok(())));
        lease
    }

    /// The transaction that is to be sent.
    fn transaction(&mut self) -> Transaction {
        match self.next() {
            Some(Action::Write(batch)) => Transaction {
                lease: self.state.lease().unwrap_or_default(),
                writes: batch.writes(),
                batch,
            },
            other => panic!("not a transaction: {}", name(other.as_ref())),
        }
    }

    fn carry_out(&mut self, transaction: Transaction) {
        let done = Written::Done { revision: 7 };
        let written = vec![done; transaction.writes.len()];
        self.answer(transaction, Ok(written));
    }

    fn answer(&mut self, transaction: Transaction, result: Result<Vec<Written>, LeaseError>) {
        self.complete(Completion::Wrote(transaction.batch, result));
    }

    /// etcd's answer about the lease, with the keys on it, if it was asked for them.
    fn verified(&mut self, revision: i64, keys: Option<&[&str]>) {
        let lease = self.state.lease().unwrap();
        let to_bytes = |key: &&str| Bytes::from(key.to_string());
        let keys = match keys {
            Some(keys) => LeaseKeys::All(keys.iter().map(to_bytes).collect()),
            None => LeaseKeys::NotAsked,
        };
        let answer = LeaseState { revision, keys };
        self.complete(Completion::Verified(lease, Ok(Some(answer))));
    }

    /// Answers the comparison that is asked for: these keys have changed.
    fn compared(&mut self, changed: &[&str]) {
        let Some(Action::Compare(lease, mut keys)) = self.next() else {
            panic!("not a comparison");
        };
        keys.retain(|held| changed.iter().any(|key| key.as_bytes() == held.key));
        self.complete(Completion::Compared(lease, keys, Ok(())));
    }

    /// Answers the examination that is asked for.
    fn examined(&mut self, stands: impl Fn(&[u8]) -> Option<Found>) {
        let Some(Action::Examine(lease, keys)) = self.next() else {
            panic!("not an examination");
        };
        let found = keys.into_iter().map(|held| {
            let found = stands(&held.key);
            (held, found)
        });
        self.complete(Completion::Examined(lease, found.collect(), Ok(())));
    }

    /// Registers, all going well.
    fn hold(&mut self, key: &str) -> Registration {
        self.hold_service(&service(key))
    }

    fn hold_service(&mut self, service: &ServiceKey) -> Registration {
        let answer = self.put(service, "v", None);
        if self.state.lease().is_none() {
            self.grant();
        }
        let transaction = self.transaction();
        self.carry_out(transaction);
        held(answer)
    }
}

struct Transaction {
    lease: i64,
    batch: WriteBatch,
    writes: Vec<Write>,
}

impl Transaction {
    fn puts(&self) -> Vec<String> {
        self.keys(|effect| matches!(effect, Effect::Put { .. }))
    }

    fn removals(&self) -> Vec<String> {
        self.keys(|effect| matches!(effect, Effect::Delete))
    }

    fn keys(&self, of: impl Fn(&Effect) -> bool) -> Vec<String> {
        let writes = self.writes.iter().filter(|write| of(&write.effect));
        writes
            .map(|write| String::from_utf8_lossy(&write.key).into_owned())
            .collect()
    }
}

fn name(action: Option<&Action>) -> &'static str {
    match action {
        None => "nothing",
        Some(Action::Grant(..)) => "a grant",
        Some(Action::Write(_)) => "a transaction",
        Some(Action::Revoke(_)) => "a revocation",
        Some(Action::Verify(..)) => "a verification",
        Some(Action::Compare(..)) => "a comparison",
        Some(Action::Examine(..)) => "an examination",
    }
}

fn service(key: &str) -> ServiceKey {
    Key::new(key).unwrap().into()
}

fn put_guards(transaction: &Transaction) -> Vec<Guard> {
    let writes = transaction.writes.iter();
    let puts = writes.filter(|write| matches!(write.effect, Effect::Put { .. }));
    puts.map(|write| write.guard).collect()
}

fn delete(key: &str, guard: Guard) -> Write {
    Write {
        key: key.to_owned().into(),
        guard,
        effect: Effect::Delete,
    }
}

/// The guard for an entry on `lease` that the ledger does not know, and etcd's answer with that entry.
fn stands(lease: i64) -> (Guard, Written) {
    let found = Found {
        value: Bytes::new(),
        lease,
        modified: 9,
    };
    (found.guard(), Written::Refused(Some(found)))
}

fn timed_out() -> LeaseError {
    LeaseError::Other(Error::Timeout {
        operation: "test",
        after: Duration::from_secs(4),
    })
}

fn held(mut answer: Answer<Reclaimed>) -> Registration {
    match answer.try_recv() {
        Ok(Ok(Reclaimed::Held(registration))) => registration,
        other => panic!("not held: {other:?}"),
    }
}

fn said<T>(answer: &mut Answer<T>) -> Option<Result<T>> {
    answer.try_recv().ok()
}

#[test]
fn what_a_thousand_services_want_at_once_is_one_lease_and_eight_transactions() {
    let mut bench = Bench::new();
    let answers: Vec<_> = (0..1000).map(|n| bench.register(&n.to_string())).collect();
    bench.grant();
    for _ in 0..8 {
        let transaction = bench.transaction();
        assert_eq!(transaction.puts().len(), 125);
        bench.carry_out(transaction);
    }
    assert!(bench.next().is_none());
    let leases: HashSet<_> = answers
        .into_iter()
        .map(|answer| held(answer).lease_id().clone())
        .collect();
    assert_eq!(
        leases,
        HashSet::from([bench.shared.newest_lease().unwrap()])
    );
}

#[test]
fn the_lease_goes_with_its_last_service() {
    let mut bench = Bench::new();
    let _a = bench.hold("a");
    let lease = bench.state.lease().unwrap();
    let mut gone = bench.deregister("a");
    let transaction = bench.transaction();
    assert_eq!(transaction.removals(), ["a"]);
    bench.carry_out(transaction);
    assert!(matches!(said(&mut gone), Some(Ok(Deregistered::Removed))));
    assert_eq!(bench.shared.newest_lease(), None);
    assert!(matches!(bench.next(), Some(Action::Revoke(it)) if it == lease));
    bench.complete(Completion::Revoked(lease, Ok(())));
    assert!(bench.next().is_none());
    assert_eq!(bench.state.timer(), None, "nothing is left to do");
}

#[test]
fn a_deregistration_is_answered_in_time_while_its_put_is_under_way() {
    let mut bench = Bench::new();
    let mut put = bench.register("a");
    bench.grant();
    let transaction = bench.transaction();
    let mut gone = bench.deregister("a");
    assert_eq!(
        bench.state.timer(),
        Some(bench.now + Duration::from_secs(3))
    );
    bench.pass(3);
    assert!(matches!(
        said(&mut gone),
        Some(Ok(Deregistered::Unconfirmed))
    ));

    bench.carry_out(transaction);
    assert!(matches!(said(&mut put), Some(Ok(_))));
    bench.hear();
    let next = bench.next();
    assert!(
        matches!(next, Some(Action::Revoke(_) | Action::Write(_))),
        "what it put has to go: {}",
        name(next.as_ref())
    );
}

#[test]
fn a_deregistration_before_its_put_is_sent_needs_no_etcd() {
    let mut bench = Bench::new();
    let mut put = bench.register("a");
    let lease = bench.asked_for();
    let mut gone = bench.deregister("a");
    assert!(matches!(said(&mut put), Some(Err(Error::Closed))));
    assert!(matches!(said(&mut gone), Some(Ok(Deregistered::NotOurs))));
    bench.complete(Completion::Granted(lease, Ok(())));
    assert!(matches!(bench.next(), Some(Action::Revoke(_))));
}

#[test]
fn a_registration_after_a_deregistration_stands() {
    let mut bench = Bench::new();
    let _first = bench.register("a");
    bench.grant();
    let transaction = bench.transaction();
    let mut gone = bench.deregister("a");
    let second = bench.register("a");
    bench.carry_out(transaction);

    let removal = bench.transaction();
    assert_eq!(removal.removals(), ["a"]);
    bench.carry_out(removal);
    assert!(matches!(said(&mut gone), Some(Ok(Deregistered::Removed))));
    let put = bench.transaction();
    assert_eq!(put.puts(), ["a"]);
    bench.carry_out(put);
    assert_eq!(held(second).loss(), None);
}

#[test]
fn a_deregistration_does_not_wait_for_a_look() {
    let mut bench = Bench::new();
    let _a = bench.hold("a");
    let _b = bench.hold("b");
    bench.pass(1);
    assert!(matches!(bench.next(), Some(Action::Verify(..))));
    let _gone = bench.deregister("a");
    assert!(bench.state.abandon_read(bench.now));
    assert_eq!(bench.transaction().removals(), ["a"]);
}

#[test]
fn what_is_wrong_with_a_put_holds_up_no_removal() {
    let mut bench = Bench::new();
    let _a = bench.hold("a");
    let _b = bench.register("b");
    let _gone = bench.deregister("a");
    let removal = bench.transaction();
    assert_eq!((removal.removals().len(), removal.puts().len()), (1, 0));
}

#[test]
fn a_registration_that_lands_on_a_lost_lease_is_lost() {
    let mut bench = Bench::new();
    let answer = bench.register("a");
    let lease = bench.grant();
    let transaction = bench.transaction();
    bench.state.lease_lost(lease);
    bench.carry_out(transaction);
    assert_eq!(held(answer).loss(), Some(Lost::LeaseExpired));
}

#[test]
fn an_outage_leaves_one_lease_behind_at_most() {
    let mut bench = Bench::new();
    let mut asked = HashSet::new();
    for _ in 0..10 {
        let mut answer = bench.register("a");
        let lease = bench.asked_for();
        bench.complete(Completion::Granted(lease, Err(timed_out())));
        assert!(matches!(said(&mut answer), Some(Err(_))));
        asked.insert(lease);
        // As a registrar pauses.
        bench.pass(4);
        assert!(bench.next().is_none(), "it may be asked for again");
    }
    assert_eq!(asked.len(), 1);

    let answer = bench.register("a");
    let lease = bench.asked_for();
    bench.complete(Completion::Granted(lease, Err(LeaseError::AlreadyExists)));
    let transaction = bench.transaction();
    bench.carry_out(transaction);
    assert_eq!(held(answer).lease_id(), &LeaseId::from(lease));
}

#[test]
fn a_lease_that_may_still_be_granted_is_revoked_once_more() {
    let mut bench = Bench::new();
    let _answer = bench.register("a");
    let lease = bench.asked_for();
    bench.complete(Completion::Granted(lease, Err(timed_out())));
    assert_eq!(
        bench.state.timer(),
        Some(bench.now + Duration::from_secs(10))
    );
    bench.pass(10);
    for _ in 0..2 {
        assert!(matches!(bench.next(), Some(Action::Revoke(it)) if it == lease));
        bench.complete(Completion::Revoked(lease, Err(LeaseError::NotFound)));
        assert!(bench.next().is_none(), "not at once");
        bench.pass(2);
    }
    assert!(bench.next().is_none());
    assert_eq!(bench.state.timer(), None, "nothing is left to do");
}

#[test]
fn a_lease_whose_revocation_was_not_answered_is_not_put_to_use() {
    let mut bench = Bench::new();
    let _answer = bench.register("a");
    let lease = bench.asked_for();
    bench.complete(Completion::Granted(lease, Err(timed_out())));
    bench.pass(10);
    assert!(matches!(bench.next(), Some(Action::Revoke(it)) if it == lease));
    let _answer = bench.register("a");
    bench.complete(Completion::Revoked(lease, Err(timed_out())));
    assert_ne!(bench.grant(), lease);
    let transaction = bench.transaction();
    bench.carry_out(transaction);
    bench.pass(1);
    let next = bench.next();
    assert!(matches!(next, Some(Action::Revoke(it)) if it == lease));
}

#[test]
fn the_lease_of_somebody_else_is_not_taken_for_ours() {
    let mut bench = Bench::new();
    let _answer = bench.register("a");
    let lease = bench.asked_for();
    bench.complete(Completion::Granted(lease, Err(LeaseError::AlreadyExists)));
    assert_ne!(bench.asked_for(), lease);
}

#[test]
fn a_key_that_somebody_holds_is_taken_over_as_it_was_found() {
    let mut bench = Bench::new();
    let answer = bench.register("a");
    bench.grant();
    let first = bench.transaction();
    assert_eq!(put_guards(&first), [Guard::Absent]);
    let (theirs, refused) = stands(0);
    bench.answer(first, Ok(vec![refused]));
    let second = bench.transaction();
    assert_eq!(put_guards(&second), [theirs]);
    // The entry is gone by now.
    bench.answer(second, Ok(vec![Written::Refused(None)]));
    let third = bench.transaction();
    assert_eq!(put_guards(&third), [Guard::Absent]);
    bench.carry_out(third);
    assert_eq!(held(answer).loss(), None);
}

#[test]
fn who_writes_a_key_again_and_again_is_not_fought_for_ever() {
    let mut bench = Bench::new();
    let mut answer = bench.register("a");
    bench.grant();
    for modified in 0..100 {
        if let Some(answer) = said(&mut answer) {
            assert!(answer.unwrap_err().is_transient());
            return;
        }
        let put = bench.transaction();
        let found = Found {
            value: "x".into(),
            lease: 0,
            modified,
        };
        bench.answer(put, Ok(vec![Written::Refused(Some(found))]));
    }
    panic!("it is tried for ever");
}

#[test]
fn a_handle_that_is_dropped_while_its_successor_is_on_its_way_takes_nothing_with_it() {
    let mut bench = Bench::new();
    let first = bench.hold("a");
    let second = bench.register("a");
    let transaction = bench.transaction();
    drop(first);
    bench.hear();
    bench.carry_out(transaction);
    assert!(bench.next().is_none(), "nothing has to go");
    assert_eq!(held(second).loss(), None);
}

#[test]
fn a_handle_that_is_dropped_while_its_successor_fails_leaves_nothing() {
    let mut bench = Bench::new();
    let _b = bench.hold("b");
    let first = bench.hold("a");
    let mut second = bench.register("a");
    let transaction = bench.transaction();
    drop(first);
    bench.hear();
    bench.answer(transaction, Err(timed_out()));
    assert!(matches!(said(&mut second), Some(Err(_))));
    assert_eq!(bench.transaction().removals(), ["a"]);
}

/// Of two puts with the same guard, the later one finds what the earlier one has put.
#[test]
fn a_registration_replaces_what_we_know_to_stand() {
    let mut bench = Bench::new();
    let first = bench.hold("a");
    let mut given_up = bench.put(&service("a"), "old", None);
    let old = bench.transaction();
    let known = put_guards(&old);
    bench.answer(old, Err(timed_out()));
    assert!(matches!(said(&mut given_up), Some(Err(_))));
    let newer = bench.put(&service("a"), "new", None);
    let new = bench.transaction();
    assert_eq!(put_guards(&new), known, "of the two, one is carried out");
    let (applied, refused) = stands(new.lease);
    bench.answer(new, Ok(vec![refused]));
    let again = bench.transaction();
    assert_eq!(put_guards(&again), [applied]);
    bench.carry_out(again);
    assert_eq!(held(newer).loss(), None);
    assert_eq!(first.loss(), Some(Lost::Superseded));
}

#[test]
fn a_superseded_handle_does_not_overwrite_its_successor() {
    for is_lost in [false, true] {
        let mut bench = Bench::new();
        let first = bench.hold("a");
        if is_lost {
            let entry = bench.state.ledger.get_mut(&service("a")).unwrap();
            entry.lose(Lost::KeyDeleted);
        }
        let second = bench.put(&service("a"), "second", None);
        let transaction = bench.transaction();
        let mut reclaim = bench.put(&service("a"), "first", Some(1));
        bench.carry_out(transaction);

        assert!(bench.next().is_none());
        assert!(matches!(said(&mut reclaim), Some(Err(Error::Superseded))));
        assert!(first.loss().is_some());
        assert_eq!(held(second).loss(), None);
    }
}

#[test]
fn what_may_have_been_put_all_the_same_has_to_go() {
    let mut bench = Bench::new();
    let _a = bench.hold("a");
    let mut answer = bench.register("b");
    let transaction = bench.transaction();
    let mut gone = bench.deregister("b");
    bench.answer(transaction, Err(timed_out()));

    assert!(matches!(said(&mut answer), Some(Err(_))));
    assert!(said(&mut gone).is_none(), "nobody knows yet");
    let look = bench.transaction();
    assert_eq!(look.removals(), ["b"]);
    let (guard, refused) = stands(look.lease);
    bench.answer(look, Ok(vec![refused]));
    let removal = bench.transaction();
    assert_eq!(removal.writes, [delete("b", guard)]);
    bench.carry_out(removal);
    assert!(matches!(said(&mut gone), Some(Ok(Deregistered::Removed))));
}

#[test]
fn a_reclaim_that_was_not_answered_is_removed_from_the_lease_that_it_was_put_on() {
    let mut bench = Bench::new();
    let _a = bench.hold("a");
    let old = bench.state.lease().unwrap();
    bench.state.lease_lost(old);
    let _reclaim = bench.put(&service("a"), "v", Some(1));
    let new = bench.grant();
    let transaction = bench.transaction();
    bench.answer(transaction, Err(timed_out()));
    let _gone = bench.deregister("a");
    let look = bench.transaction();
    let (guard, refused) = stands(new);
    bench.answer(look, Ok(vec![refused]));
    assert_eq!(bench.transaction().writes, [delete("a", guard)]);
}

#[test]
fn what_a_deregistration_waits_for_is_given_up_in_time_to_ask_another_member() {
    let mut bench = Bench::new();
    let _a = bench.hold("a");
    let _b = bench.hold("b");
    let _update = bench.put(&service("a"), "w", Some(1));
    let transaction = bench.transaction();
    assert_eq!(bench.state.give_up_at(), None, "nobody waits");
    bench.pass(1);
    let mut gone = bench.deregister("a");
    let bound = bench.now + Duration::from_secs(3);
    let brief = Duration::from_millis(1500);
    assert_eq!(bench.state.give_up_at(), Some(bound - brief));

    bench.now += brief;
    bench.answer(transaction, Err(timed_out()));
    let removal = bench.transaction();
    let known = Guard::Stands {
        lease: removal.lease,
        modified: 7,
    };
    // The guard of the update: once the key is deleted, the update does nothing.
    assert_eq!(removal.writes, [delete("a", known)]);
    assert_eq!(bench.state.give_up_at(), None);
    bench.carry_out(removal);
    assert!(matches!(said(&mut gone), Some(Ok(Deregistered::Removed))));
}

#[test]
fn what_was_begun_late_is_not_given_up_at_once() {
    let mut bench = Bench::new();
    let _a = bench.hold("a");
    let _b = bench.hold("b");
    let _gone = bench.deregister("a");
    let removal = bench.transaction();
    bench.answer(removal, Err(timed_out()));
    let _c = bench.register("c");
    bench.pass(2);
    bench.state.cleanup_at = bench.now + Duration::from_secs(1);
    let put = bench.transaction();
    assert_eq!(put.puts(), ["c"]);
    let brief = Duration::from_millis(1500);
    assert_eq!(bench.state.give_up_at(), Some(bench.now + brief));
}

#[test]
fn a_deregistration_does_not_rule_out_a_put_that_may_yet_be_carried_out() {
    let mut bench = Bench::new();
    let _a = bench.hold("a");
    let _b = bench.register("b");
    let transaction = bench.transaction();
    let mut gone = bench.deregister("b");
    bench.answer(transaction, Err(timed_out()));
    let look = bench.transaction();
    assert_eq!(look.writes, [delete("b", Guard::Absent)]);
    bench.carry_out(look);
    assert!(matches!(
        said(&mut gone),
        Some(Ok(Deregistered::Unconfirmed))
    ));
}

#[test]
fn a_take_over_that_may_yet_be_carried_out_is_not_ruled_out_either() {
    let mut bench = Bench::new();
    let _a = bench.hold("a");
    let _b = bench.register("b");
    let first = bench.transaction();
    let (before_us, refused) = stands(1);
    bench.answer(first, Ok(vec![refused.clone()]));
    let transaction = bench.transaction();
    assert_eq!(put_guards(&transaction), [before_us]);
    let mut gone = bench.deregister("b");
    bench.answer(transaction, Err(timed_out()));

    let look = bench.transaction();
    bench.answer(look, Ok(vec![refused]));
    assert!(matches!(
        said(&mut gone),
        Some(Ok(Deregistered::Unconfirmed))
    ));
}

#[test]
fn a_take_over_that_finds_another_owner_by_now_does_nothing() {
    let mut bench = Bench::new();
    let _a = bench.hold("a");
    let _b = bench.register("b");
    let first = bench.transaction();
    let (_, refused) = stands(1);
    bench.answer(first, Ok(vec![refused]));
    let transaction = bench.transaction();
    let mut gone = bench.deregister("b");
    bench.answer(transaction, Err(timed_out()));

    let look = bench.transaction();
    let (_, successor) = stands(2);
    bench.answer(look, Ok(vec![successor]));
    assert!(matches!(said(&mut gone), Some(Ok(Deregistered::NotOurs))));
}

#[test]
fn a_lease_that_may_have_been_granted_is_revoked_when_another_request_for_it_is_refused() {
    let mut bench = Bench::new();
    let _first = bench.register("a");
    let lease = bench.asked_for();
    bench.complete(Completion::Granted(lease, Err(timed_out())));
    let mut second = bench.register("a");
    assert_eq!(bench.asked_for(), lease, "it is asked for again");
    let denied = Error::PermissionDenied {
        message: "no".into(),
        source: None,
    };
    bench.complete(Completion::Granted(lease, Err(LeaseError::Other(denied))));

    assert!(matches!(said(&mut second), Some(Err(_))));
    assert!(matches!(bench.next(), Some(Action::Revoke(it)) if it == lease));
}

#[test]
fn what_was_refused_leaves_nothing_to_remove() {
    let mut bench = Bench::new();
    let _a = bench.hold("a");
    let _answer = bench.register("b");
    let transaction = bench.transaction();
    let no_room = Error::Exhausted {
        message: "no space".into(),
        source: None,
    };
    bench.answer(transaction, Err(LeaseError::Other(no_room)));
    assert!(bench.next().is_none());
}

#[test]
fn a_lease_that_nobody_uses_is_revoked_with_all_that_may_hang_on_it() {
    let mut bench = Bench::new();
    let _answer = bench.register("a");
    let lease = bench.grant();
    let transaction = bench.transaction();
    bench.answer(transaction, Err(timed_out()));
    bench.pass(1);
    // The key goes by its removal or with its lease.
    while let Some(action) = bench.next() {
        match action {
            Action::Write(batch) => {
                let nothing = Written::Done { revision: 8 };
                let written = vec![nothing; batch.writes().len()];
                bench.complete(Completion::Wrote(batch, Ok(written)));
            }
            Action::Revoke(it) => {
                assert_eq!(it, lease);
                return;
            }
            other => panic!("{}", name(Some(&other))),
        }
    }
    panic!("the lease is not revoked");
}

#[test]
fn a_deregistration_after_a_put_that_was_not_answered_is_not_confirmed_by_silence() {
    let mut bench = Bench::new();
    let _answer = bench.register("a");
    bench.grant();
    let transaction = bench.transaction();
    bench.answer(transaction, Err(timed_out()));
    let removal = bench.transaction();
    let mut gone = bench.deregister("a");
    bench.answer(removal, Err(timed_out()));
    bench.pass(3);
    assert!(matches!(
        said(&mut gone),
        Some(Ok(Deregistered::Unconfirmed))
    ));
    assert_eq!(bench.transaction().removals(), ["a"], "it is still tried");
}

#[test]
fn long_keys_go_in_several_requests() {
    let mut bench = Bench::new();
    let limit = bench.state.options.max_request_bytes;
    let keys: Vec<String> = (0..10).map(|n| n.to_string().repeat(limit / 20)).collect();
    let held: Vec<_> = keys.iter().map(|key| bench.hold(key)).collect();
    let _last = bench.hold("b");
    drop(held);
    bench.hear();
    let mut requests = 0;
    while let Some(Action::Write(batch)) = bench.next() {
        let bytes: usize = keys
            .first()
            .map_or(0, |key| 2 * key.len() * batch.writes().len());
        assert!(bytes < limit, "{bytes} bytes");
        requests += 1;
        let done = vec![Written::Done { revision: 8 }; batch.writes().len()];
        bench.complete(Completion::Wrote(batch, Ok(done)));
    }
    assert!(requests > 1);
}

#[test]
fn a_put_that_waits_for_a_removal_hears_that_etcd_does_not_answer() {
    let mut bench = Bench::new();
    let _other = bench.hold("b");
    let _a = bench.hold("a");
    let _gone = bench.deregister("a");
    let removal = bench.transaction();
    let mut again = bench.register("a");
    bench.answer(removal, Err(timed_out()));
    assert!(matches!(said(&mut again), Some(Err(Error::Timeout { .. }))));
}

#[test]
fn nothing_is_sent_for_a_caller_that_went_away() {
    let mut bench = Bench::new();
    drop(bench.register("a"));
    assert!(bench.next().is_none());
    let _b = bench.hold("b");
    drop(bench.register("a"));
    let _c = bench.register("c");
    drop(bench.register("d"));
    assert_eq!(bench.transaction().puts(), ["c"]);
}

#[test]
fn one_bad_put_does_not_fail_its_neighbours() {
    let mut bench = Bench::new();
    let mut answers = [bench.register("a"), bench.register("b")];
    bench.grant();
    let transaction = bench.transaction();
    bench.answer(transaction, Err(denied()));
    let a = bench.transaction();
    assert_eq!(a.puts(), ["a"]);
    bench.answer(a, Err(denied()));
    let b = bench.transaction();
    assert_eq!(b.puts(), ["b"]);
    bench.carry_out(b);
    assert!(matches!(
        said(&mut answers[0]),
        Some(Err(Error::PermissionDenied { .. }))
    ));
    assert!(matches!(said(&mut answers[1]), Some(Ok(_))));
}

#[test]
fn a_lease_that_is_gone_again_and_again_is_an_error_in_the_end() {
    let mut bench = Bench::new();
    let mut answer = bench.register("a");
    for _ in 0..100 {
        if let Some(answer) = said(&mut answer) {
            let error = answer.expect_err("it is given up");
            let is_right = matches!(
                &error,
                Error::Backend {
                    transient: true,
                    ..
                }
            );
            assert!(is_right, "{error}: the registry is not away");
            return;
        }
        bench.grant();
        let transaction = bench.transaction();
        bench.answer(transaction, Err(LeaseError::NotFound));
    }
    panic!("it is tried for ever");
}

#[test]
fn a_key_that_its_lease_completes_moves_to_the_new_lease() {
    let mut bench = Bench::new();
    let service = Key::lease_suffixed("hello").unwrap();
    let first = bench.hold_service(&service);
    let lease = bench.state.lease().unwrap();
    bench.state.lease_lost(lease);
    assert_eq!(first.loss(), Some(Lost::LeaseExpired));

    let reclaim = bench.put(&service, "v", Some(1));
    let new = bench.grant();
    let transaction = bench.transaction();
    assert_eq!(transaction.puts(), [format!("hello{new}")]);
    bench.carry_out(transaction);
    assert_eq!(held(reclaim).key().as_str(), format!("hello{new}"));
    assert_eq!(bench.transaction().removals(), [format!("hello{lease}")]);
}

#[test]
fn a_second_deregistration_waits_for_the_first() {
    for service in [service("a"), Key::lease_suffixed("a").unwrap()] {
        let mut bench = Bench::new();
        let _other = bench.hold("other");
        let _a = bench.hold_service(&service);
        let mut answers = Vec::new();
        for _ in 0..2 {
            let (to, answer) = oneshot::channel();
            let deadline = bench.now + Duration::from_secs(3);
            bench.state.accept(Request::Remove {
                service: service.clone(),
                scope: Scope::All,
                why: Lost::Deregistered,
                reply: Some(RemovalReply { deadline, to }),
            });
            answers.push(answer);
        }
        let removal = bench.transaction();
        bench.carry_out(removal);
        for answer in &mut answers {
            assert!(matches!(said(answer), Some(Ok(Deregistered::Removed))));
        }
    }
}

#[test]
fn a_missing_key_is_lost_and_a_stray_one_removed() {
    let mut bench = Bench::new();
    let a = bench.hold("a");
    let b = bench.hold("b");
    let c = bench.hold("c");
    bench.pass(1);
    assert!(matches!(bench.next(), Some(Action::Verify(..))));
    bench.verified(9, Some(&["c", "stray"]));
    let removal = bench.transaction();
    assert_eq!(removal.removals(), ["stray"]);
    bench.carry_out(removal);
    bench.examined(|key| {
        let found = Found {
            value: "x".into(),
            lease: 0,
            modified: 9,
        };
        (key != b"a").then_some(found)
    });
    assert_eq!(a.loss(), Some(Lost::KeyDeleted));
    assert_eq!(b.loss(), Some(Lost::taken("x")));
    assert_eq!(c.loss(), None);
}

fn denied() -> LeaseError {
    LeaseError::Other(Error::PermissionDenied {
        message: "a".into(),
        source: None,
    })
}

#[test]
fn what_etcd_does_not_let_us_look_at_is_asked_for_again() {
    let mut bench = Bench::new();
    let a = bench.hold("a");
    let lease = bench.state.lease().unwrap();
    bench.pass(1);
    for _ in 0..3 {
        assert!(matches!(bench.next(), Some(Action::Verify(..))));
        bench.complete(Completion::Verified(lease, Err(denied())));
        assert!(matches!(bench.next(), Some(Action::Compare(..))));
        let nothing = Completion::Compared(lease, Vec::new(), Err(denied()));
        bench.complete(nothing);
        assert!(a.proof().unverified().is_some());
        bench.pass(29);
        assert!(bench.next().is_none(), "not as often as usual");
        bench.pass(1);
    }
    bench.next();
    bench.verified(10, Some(&["a"]));
    bench.compared(&[]);
    assert!(a.proof().unverified().is_none());
    assert_eq!(a.loss(), None);
}

#[test]
fn a_lease_that_etcd_says_nothing_of_hides_no_loss() {
    let mut bench = Bench::new();
    let a = bench.hold("a");
    let b = bench.hold("b");
    let lease = bench.state.lease().unwrap();
    bench.pass(1);
    assert!(matches!(bench.next(), Some(Action::Verify(..))));
    bench.complete(Completion::Verified(lease, Err(denied())));
    bench.compared(&["b"]);
    bench.examined(|_| None);
    assert_eq!(a.loss(), None);
    assert_eq!(b.loss(), Some(Lost::KeyDeleted));
    assert!(a.proof().unverified().is_none(), "it was compared");
}

#[test]
fn at_the_end_everybody_is_answered_and_every_lease_is_known() {
    let mut bench = Bench::new();
    let a = bench.hold("a");
    let lease = bench.state.lease().unwrap();
    bench.state.lease_lost(lease);
    let mut first = bench.register("b");
    let asked = bench.asked_for();
    let mut gone = bench.deregister("a");
    let (leases, replies) = bench.state.close();
    assert_eq!(leases, [asked]);
    assert_eq!(replies.len(), 1);
    assert!(said(&mut gone).is_none());
    assert!(matches!(said(&mut first), Some(Err(Error::Closed))));
    assert!(a.loss().is_some());
}

#[test]
fn a_revocation_that_is_under_way_at_the_end_is_not_forgotten() {
    let mut bench = Bench::new();
    drop(bench.hold("a"));
    bench.hear();
    let lease = bench.state.lease().unwrap();
    while let Some(action) = bench.next() {
        match action {
            Action::Revoke(_) => break,
            Action::Write(batch) => {
                let done = vec![Written::Done { revision: 8 }; batch.writes().len()];
                bench.complete(Completion::Wrote(batch, Ok(done)));
            }
            other => panic!("{}", name(Some(&other))),
        }
    }
    let (leases, _) = bench.state.close();
    assert_eq!(leases, [lease]);
}
