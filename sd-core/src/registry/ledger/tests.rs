use super::*;
use crate::{
    registry::{generation::Generation, owner::Owner, registration::NoReclaim},
    support::Log,
};

fn service(key: &str) -> Service {
    Service::new(key, "10.0.0.1:80").unwrap()
}

fn lease(n: i64) -> LeaseId {
    LeaseId::from(n)
}

/// Registers on `lease`; the removals name key, mark and lease.
fn register(
    ledger: &mut Ledger<u32>,
    service: &Service,
    lease: &LeaseId,
    mark: u32,
) -> (Registration, Vec<(String, u32, Option<LeaseId>)>) {
    let call = ledger.register(service).unwrap();
    ledger.admit(&call).unwrap();
    let (registration, removals) = ledger.hold(call, lease, mark, NoReclaim);
    (registration, removals.into_iter().map(told).collect())
}

fn told(removal: Removal<u32>) -> (String, u32, Option<LeaseId>) {
    (removal.key.to_string(), removal.mark, removal.lease)
}

#[test]
fn services_of_one_ttl_share_a_lease_until_the_last_has_gone() {
    let mut ledger = Ledger::default();
    let [a, b] = ["a", "b"].map(service);
    assert_eq!(ledger.lease_for(a.ttl), None);
    let (_a, _) = register(&mut ledger, &a, &lease(1), 1);
    assert_eq!(ledger.lease_for(b.ttl), Some(lease(1)));
    let (_b, _) = register(&mut ledger, &b, &lease(1), 2);
    let long = service("c").with_ttl(Ttl::MAX);
    assert_eq!(ledger.lease_for(Ttl::MAX), None);
    let (_c, _) = register(&mut ledger, &long, &lease(2), 3);
    assert_eq!(ledger.lease_id(), Some(lease(2)));
    assert!(ledger.leases().eq([&lease(1), &lease(2)]));

    let removal = ledger.deregister(&a).unwrap().map(told);
    assert_eq!(removal, Some(("a".into(), 1, None)));
    let removal = ledger.deregister(&b).unwrap().map(told);
    assert_eq!(removal, Some(("b".into(), 2, Some(lease(1)))));
    assert!(ledger.deregister(&b).unwrap().is_none());
    assert!(ledger.leases().eq([&lease(2)]));
}

#[test]
fn a_later_registration_of_a_key_supersedes_the_one_before() {
    let mut ledger = Ledger::default();
    let (before, _) = register(&mut ledger, &service("a"), &lease(1), 1);
    let (after, removals) = register(&mut ledger, &service("a"), &lease(1), 2);
    assert_eq!(before.loss(), Some(Lost::Superseded));
    assert_eq!((after.loss(), removals), (None, vec![]));
    assert!(ledger.held().map(|(_, mark)| *mark).eq([2]));
    assert_eq!(ledger.release_dropped(), []);
    drop(before);
    assert_eq!(ledger.release_dropped(), []);
}

#[test]
fn what_moved_to_another_lease_or_key_is_removed_where_it_stood() {
    let mut ledger = Ledger::default();
    let plain = service("a");
    let (_one, _) = register(&mut ledger, &plain, &lease(1), 1);
    let moved = plain.with_ttl(Ttl::MAX);
    let (_two, removals) = register(&mut ledger, &moved, &lease(2), 2);
    assert_eq!(removals, [("a".into(), 1, Some(lease(1)))]);

    let suffixed = moved.with_key(Key::lease_suffixed("b").unwrap());
    let key = |ledger: &Ledger<_>, ttl| ledger.key_for(&suffixed.clone().with_ttl(ttl));
    assert_eq!(key(&ledger, Ttl::MAX).unwrap().as_str(), "b2");
    assert_eq!(key(&ledger, Ttl::MIN), None);
    assert_eq!(ledger.key_for(&service("a")).unwrap().as_str(), "a");
    let (_three, _) = register(&mut ledger, &suffixed, &lease(2), 3);
    let (_four, removals) = register(&mut ledger, &suffixed, &lease(4), 4);
    assert_eq!(removals, [("b2".into(), 3, None)]);
}

#[test]
fn an_owner_ends_only_what_it_registered() {
    let mut ledger = Ledger::default();
    let [old, new] = [0, 1].map(|_| service("a").owned_by(Owner::new()));
    let (_old, _) = register(&mut ledger, &old, &lease(1), 1);
    let (after, _) = register(&mut ledger, &new, &lease(1), 2);
    assert!(ledger.deregister(&old).unwrap().is_none());
    assert_eq!(after.loss(), None);

    let removal = ledger.deregister(&new).unwrap().map(told);
    assert_eq!(removal, Some(("a".into(), 2, Some(lease(1)))));
    assert_eq!(after.loss(), Some(Lost::Deregistered));
}

#[test]
fn whoever_has_the_client_ends_what_it_holds() {
    let mut ledger = Ledger::default();
    let owned = service("a").owned_by(Owner::new());
    let (registration, _) = register(&mut ledger, &owned, &lease(1), 1);
    let removal = ledger.deregister(&service("a")).unwrap().unwrap();
    assert_eq!(removal.service.owner(), owned.owner());
    assert_eq!(registration.loss(), Some(Lost::Deregistered));
}

#[test]
fn a_call_puts_nothing_after_a_deregistration_of_its_owner() {
    let mut ledger = Ledger::<u32>::default();
    let [old, new] = [0, 1].map(|_| service("a").owned_by(Owner::new()));
    let [early, other] = [&old, &new].map(|service| ledger.register(service).unwrap());
    assert!(ledger.deregister(&old).unwrap().is_none());
    assert!(matches!(ledger.admit(&early), Err(Error::Closed)));
    assert!(ledger.admit(&other).is_ok());

    // If the put was carried out all the same, its entry and its lease are removed again.
    let (registration, removals) = ledger.hold(early, &lease(1), 1, NoReclaim);
    assert_eq!(registration.loss(), Some(Lost::Deregistered));
    let removals: Vec<_> = removals.into_iter().map(told).collect();
    assert_eq!(removals, [("a".into(), 1, Some(lease(1)))]);
    assert_eq!(ledger.leases().count(), 0);
}

#[test]
fn of_two_calls_the_later_wins_whichever_the_registry_answers_first() {
    let mut ledger = Ledger::<u32>::default();
    let [early, late] = [0, 1].map(|_| ledger.register(&service("a")).unwrap());
    let (winner, _) = ledger.hold(late, &lease(1), 1, NoReclaim);
    assert!(ledger.admit(&early).is_err());
    let (loser, removals) = ledger.hold(early, &lease(1), 2, NoReclaim);
    assert_eq!(loser.loss(), Some(Lost::Superseded));
    let removals: Vec<_> = removals.into_iter().map(told).collect();
    assert_eq!(removals, [("a".into(), 2, None)], "the lease is in use");
    assert_eq!(winner.loss(), None);
}

/// Row 28
#[test]
fn a_call_of_an_older_generation_puts_nothing_over_a_newer_registration() {
    let [old, new] = [0, 1].map(|_| {
        let service = service("a").owned_by(Owner::new());
        service.with_generation(Generation::new())
    });
    for is_lost in [false, true] {
        let mut ledger = Ledger::default();
        let (before, _) = register(&mut ledger, &old, &lease(1), 1);
        let (after, _) = register(&mut ledger, &new.clone().with_ttl(Ttl::MAX), &lease(2), 2);
        assert_eq!(before.loss(), Some(Lost::Superseded));
        if is_lost {
            ledger.lease_lost(&lease(2));
        }

        // It began later, and is older all the same.
        let call = ledger.register(&old).unwrap();
        assert!(matches!(ledger.admit(&call), Err(Error::Superseded)));
        let (refused, removals) = ledger.hold(call, &lease(3), 3, NoReclaim);
        assert_eq!(refused.loss(), Some(Lost::Superseded));
        assert_eq!(removals.len(), 1, "what it has put");
        assert_eq!(after.loss(), is_lost.then_some(Lost::LeaseExpired));

        // Once that has gone, or the program asks again, it may.
        let again = old.clone().with_generation(Generation::new());
        let call = ledger.register(&again).unwrap();
        ledger.admit(&call).unwrap();
        assert!(ledger.deregister(&new).unwrap().is_some());
        let call = ledger.register(&old).unwrap();
        ledger.admit(&call).unwrap();
    }
}

/// Row 28
#[test]
fn a_reclaimed_registration_keeps_its_generation() {
    let mut ledger = Ledger::default();
    let [old, new] = [0, 1].map(|_| service("a").with_generation(Generation::new()));
    let call = ledger.register(&old).unwrap();
    let service = call.service().clone();
    let (_one, _) = ledger.hold(call, &lease(1), 1, NoReclaim);
    let again = ledger.reclaim(&service).unwrap();
    let (two, _) = ledger.hold(again, &lease(1), 2, NoReclaim);
    let (_three, _) = register(&mut ledger, &new, &lease(1), 3);
    assert_eq!(two.loss(), Some(Lost::Superseded));
    // Without a generation, the call is the newest.
    let (_four, _) = register(&mut ledger, &self::service("a"), &lease(1), 4);
    let call = ledger.register(&new).unwrap();
    assert!(matches!(ledger.admit(&call), Err(Error::Superseded)));
}

#[test]
fn a_superseded_registration_is_not_reclaimed_over_its_successor() {
    let mut ledger = Ledger::default();
    let call = ledger.register(&service("a")).unwrap();
    let first = call.service().clone();
    let (_one, _) = ledger.hold(call, &lease(1), 1, NoReclaim);
    // A registration may reclaim over its own successor.
    let again = ledger.reclaim(&first).unwrap();
    ledger.admit(&again).unwrap();
    let (two, _) = ledger.hold(again, &lease(1), 2, NoReclaim);

    let (_three, _) = register(&mut ledger, &service("a"), &lease(1), 3);
    assert_eq!(two.loss(), Some(Lost::Superseded));
    let again = ledger.reclaim(&first).unwrap();
    assert!(matches!(ledger.admit(&again), Err(Error::Superseded)));
}

#[test]
fn a_lost_registration_keeps_its_lease_until_its_handle_goes() {
    let mut ledger = Ledger::default();
    let (registration, _) = register(&mut ledger, &service("a"), &lease(1), 1);
    let (id, mark) = ledger.held_at(registration.key()).unwrap();
    assert_eq!(*mark, 1);
    assert!(ledger.lost(id, Lost::KeyDeleted));
    assert!(!ledger.lost(id, Lost::taken("10.0.0.2:80")));
    assert_eq!(registration.loss(), Some(Lost::KeyDeleted));
    assert!(ledger.held_at(registration.key()).is_none());
    assert_eq!(ledger.held().count(), 0);
    assert_eq!(ledger.lease_id(), Some(lease(1)));

    drop(registration);
    let removals: Vec<_> = ledger.release_dropped().into_iter().map(told).collect();
    assert_eq!(removals, [("a".into(), 1, Some(lease(1)))]);
    assert_eq!(ledger.lease_id(), None);
}

#[test]
fn a_lost_lease_is_told_to_all_on_it_and_logged_once() {
    let log = Log::capture();
    let mut ledger = Ledger::default();
    let (a, _) = register(&mut ledger, &service("a"), &lease(1), 1);
    let (b, _) = register(&mut ledger, &service("b"), &lease(1), 2);
    let (other, _) = register(&mut ledger, &service("c").with_ttl(Ttl::MAX), &lease(2), 3);
    let (id, _) = ledger.held_at(b.key()).unwrap();
    ledger.lost(id, Lost::KeyDeleted);

    ledger.lease_lost(&lease(1));
    ledger.lease_lost(&lease(1));
    let losses = [&a, &b, &other].map(Registration::loss);
    let expected = [Some(Lost::LeaseExpired), Some(Lost::KeyDeleted), None];
    assert_eq!(losses, expected);
    assert!(ledger.leases().eq([&lease(2)]));
    // Superseding what had the lease leaves nothing to revoke.
    let (_again, removals) = register(&mut ledger, &service("a"), &lease(3), 4);
    assert_eq!(removals, []);

    let [lost, back] = [
        "WARN lease lost, its services register again lease=1 services=1",
        "INFO services registered again lease=3 services=1",
    ];
    assert_eq!(log.text(), [lost, back]);
}

#[test]
fn a_closed_ledger_ends_everything_and_begins_nothing() {
    let mut ledger = Ledger::default();
    let (a, _) = register(&mut ledger, &service("a"), &lease(1), 1);
    let (_b, _) = register(&mut ledger, &service("b"), &lease(1), 2);
    let call = ledger.register(&service("c")).unwrap();

    let removals: Vec<_> = ledger.close().into_iter().map(told).collect();
    let expected = [("a".into(), 1, None), ("b".into(), 2, Some(lease(1)))];
    assert_eq!(removals, expected);
    assert_eq!(a.loss(), Some(Lost::Closed));
    assert!(ledger.is_closed());
    assert!(matches!(ledger.admit(&call), Err(Error::Closed)));
    assert!(ledger.register(&service("a")).is_err());
    assert!(ledger.reclaim(&service("a")).is_err());
    assert!(ledger.deregister(&service("a")).is_err());
    assert_eq!(ledger.close(), []);
}

#[test]
fn a_service_that_does_not_come_back_is_not_waited_for() {
    let log = Log::capture();
    let mut ledger = Ledger::default();
    let services = ["a", "b", "c", "d"].map(service);
    let mut handles = Vec::new();
    for (service, mark) in services.iter().zip(1..) {
        handles.push(register(&mut ledger, service, &lease(1), mark).0);
    }
    ledger.lease_lost(&lease(1));

    let (_a, _) = register(&mut ledger, &services[0], &lease(2), 5);
    assert!(ledger.deregister(&services[1]).unwrap().is_some());
    let call = ledger.reclaim(&services[2]).unwrap();
    ledger.taken(&call);
    handles.pop();
    assert_eq!(ledger.release_dropped().len(), 1);

    let back = "INFO services registered again lease=2 services=1";
    assert_eq!(log.text().last().map(String::as_str), Some(back));
}
