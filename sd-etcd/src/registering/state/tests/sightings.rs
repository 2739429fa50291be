//! What others do to own keys, as a watch tells it.

use super::*;
use crate::registering::own_keys::Seen;

impl Bench {
    fn sighted(&mut self, sightings: &[(&str, i64)]) {
        let keys = sightings.iter();
        let keys = keys.map(|(key, modified)| (service(key), *modified));
        let seen = Seen {
            keys: keys.collect(),
            has_missed: false,
        };
        self.state.sighted(seen, self.now);
    }

    /// The lease is asked for and nothing else, and is there.
    fn looked(&mut self) {
        let Some(Action::Verify(lease, Listing::Nothing)) = self.next() else {
            panic!("not a look");
        };
        let keys = LeaseKeys::NotAsked;
        let answer = LeaseState { revision: 99, keys };
        self.complete(Completion::Verified(lease, Ok(Some(answer))));
    }
}

#[test]
fn a_deleted_key_is_read_at_once() {
    let mut bench = Bench::with(Arc::default(), Ttl::from_secs(60).unwrap());
    let (a, b) = (bench.hold("a"), bench.hold("b"));
    bench.sighted(&[("a", 8)]);
    bench.looked();
    bench.examined(|key| {
        assert_eq!(key, b"a", "nobody has seen the other change");
        None
    });
    assert_eq!((a.loss(), b.loss()), (Some(Lost::KeyDeleted), None));
    assert!(bench.next().is_none());
}

#[test]
fn a_taken_key_is_read_at_once() {
    let mut bench = Bench::with(Arc::default(), Ttl::from_secs(60).unwrap());
    let a = bench.hold("a");
    bench.sighted(&[("a", 8)]);
    bench.looked();
    bench.examined(|_| {
        Some(Found {
            value: "other".into(),
            lease: 0,
            modified: 8,
        })
    });
    assert_eq!(a.loss(), Some(Lost::taken("other")));
}

#[test]
fn what_we_put_ourselves_is_no_news() {
    let mut bench = Bench::new();
    let _a = bench.hold("a");
    bench.sighted(&[("a", 7), ("b", 9)]);
    assert!(bench.next().is_none());
    // Seen before the answer to the put.
    let _answer = bench.put(&service("a"), "w", Some(1));
    let update = bench.transaction();
    bench.sighted(&[("a", 8)]);
    let done = Written::Done { revision: 8 };
    bench.answer(update, Ok(vec![done]));
    assert!(bench.next().is_none());
}

#[test]
fn keys_that_went_with_their_lease_are_not_taken_for_deleted() {
    let mut bench = Bench::new();
    let a = bench.hold("a");
    bench.sighted(&[("a", 8)]);
    let Some(Action::Verify(lease, Listing::Nothing)) = bench.next() else {
        panic!("not a look");
    };
    bench.complete(Completion::Verified(lease, Ok(None)));
    assert_eq!(a.loss(), Some(Lost::LeaseExpired));
    assert!(bench.next().is_none());
}

#[test]
fn a_look_that_was_not_answered_is_repeated() {
    let mut bench = Bench::with(Arc::default(), Ttl::from_secs(60).unwrap());
    let a = bench.hold("a");
    bench.sighted(&[("a", 8)]);
    let Some(Action::Verify(lease, Listing::Nothing)) = bench.next() else {
        panic!("not a look");
    };
    let error = LeaseError::Other(Error::unavailable("away"));
    bench.complete(Completion::Verified(lease, Err(error)));
    assert!(bench.next().is_none(), "not at once");
    bench.now = bench.state.timer().unwrap();
    bench.looked();
    bench.examined(|_| None);
    assert_eq!(a.loss(), Some(Lost::KeyDeleted));
}

#[test]
fn a_look_that_etcd_denies_because_of_another_key_hides_no_loss() {
    let mut bench = Bench::new();
    let a = bench.hold("a");
    bench.sighted(&[("a", 8)]);
    let Some(Action::Verify(lease, Listing::Nothing)) = bench.next() else {
        panic!("not a look");
    };
    bench.complete(Completion::Verified(lease, Err(denied())));
    bench.examined(|_| None);
    assert_eq!(a.loss(), Some(Lost::KeyDeleted));
}

#[test]
fn changes_that_may_have_been_missed_are_looked_for() {
    let mut bench = Bench::with(Arc::default(), Ttl::from_secs(60).unwrap());
    let a = bench.hold("a");
    let seen = Seen {
        has_missed: true,
        ..Seen::default()
    };
    bench.state.sighted(seen, bench.now);
    assert!(matches!(
        bench.next(),
        Some(Action::Verify(_, Listing::Keys))
    ));
    bench.verified(8, Some(&[]));
    bench.examined(|_| None);
    assert_eq!(a.loss(), Some(Lost::KeyDeleted));
}

#[test]
fn a_key_that_changes_all_the_time_is_looked_at_seldom() {
    let mut bench = Bench::with(Arc::default(), Ttl::from_secs(60).unwrap());
    let a = bench.hold("a");
    let start = bench.now;
    let mut looks = 0;
    for revision in 8.. {
        bench.now += Duration::from_millis(1);
        if bench.now - start > Duration::from_secs(19) {
            break;
        }
        bench.sighted(&[("a", revision)]);
        let Some(Action::Verify(lease, Listing::Nothing)) = bench.next() else {
            continue;
        };
        looks += 1;
        let keys = LeaseKeys::NotAsked;
        let answer = LeaseState { revision, keys };
        bench.complete(Completion::Verified(lease, Ok(Some(answer))));
        // By the time that it is read it is ours again.
        bench.examined(|_| {
            Some(Found {
                value: "v".into(),
                lease,
                modified: 7,
            })
        });
    }
    assert!(a.loss().is_none());
    assert!((5..=20).contains(&looks), "{looks} looks in 19 s");
}
