//! Puts that were answered, while others wait behind them.

use super::*;

/// A bench where the put of "a" was carried out and `behind` waits, with the answer to it.
fn carried_out(behind: &[&str]) -> (Bench, Answer<Reclaimed>, Vec<Answer<Reclaimed>>) {
    let mut bench = Bench::new();
    let a = bench.register("a");
    bench.grant();
    let transaction = bench.transaction();
    let behind = behind.iter().map(|key| bench.register(key)).collect();
    bench.carry_out(transaction);
    (bench, a, behind)
}

#[test]
fn callers_are_told_when_the_next_puts_are_on_their_way() {
    let (mut bench, mut a, _b) = carried_out(&["b"]);
    assert!(said(&mut a).is_none(), "b has been sent first");
    assert_eq!(bench.transaction().puts(), ["b"]);
    bench.state.settle();
    assert!(held(a).loss().is_none());
}

#[test]
fn callers_are_told_at_once_if_nothing_can_be_sent() {
    let (mut bench, a, again) = carried_out(&["a"]);
    let transaction = bench.transaction();
    assert_eq!(
        put_guards(&transaction),
        [Guard::Stands {
            lease: transaction.lease,
            modified: 7,
        }]
    );
    assert!(held(a).loss().is_none());
    drop(again);
    let (mut bench, a, caller) = carried_out(&["b"]);
    drop(caller);
    assert!(bench.next().is_none());
    assert!(held(a).loss().is_none());
}

#[test]
fn what_becomes_of_a_registration_comes_after_it() {
    let (mut bench, a, _b) = carried_out(&["b"]);
    let mut gone = bench.deregister("a");
    assert_eq!(bench.transaction().removals(), ["a"]);
    assert_eq!(held(a).loss(), Some(Lost::Deregistered));
    assert!(said(&mut gone).is_none());

    let (mut bench, a, _b) = carried_out(&["b"]);
    let lease = bench.state.lease().unwrap();
    bench.state.lease_lost(lease);
    assert_eq!(held(a).loss(), Some(Lost::LeaseExpired));

    let (bench, a, _b) = carried_out(&["b"]);
    let _ = bench.state.close();
    assert_eq!(held(a).loss(), Some(Lost::Closed));
}

#[test]
fn callers_are_told_while_another_lease_is_granted() {
    let mut bench = Bench::new();
    let a = bench.register("a");
    let lease = bench.grant();
    let transaction = bench.transaction();
    let b = bench.register("b");
    bench.state.lease_lost(lease);
    bench.carry_out(transaction);
    let granted = bench.grant();
    assert_eq!(held(a).loss(), Some(Lost::LeaseExpired));
    let transaction = bench.transaction();
    bench.carry_out(transaction);
    assert_eq!(held(b).lease_id(), &LeaseId::from(granted));
}

#[test]
fn a_deregistration_that_waited_for_its_put_comes_before_other_puts() {
    let mut bench = Bench::new();
    let _a = bench.register("a");
    bench.grant();
    let transaction = bench.transaction();
    let _b = bench.register("b");
    let mut gone = bench.deregister("a");
    bench.carry_out(transaction);
    assert_eq!(bench.transaction().removals(), ["a"]);
    assert!(said(&mut gone).is_none());
}
