use super::*;
use crate::calls::{
    adapters::ejection::options::SuccessRateEjection,
    observer::{EndedCall, Observer, Outcome},
};
use std::time::Duration;

/// A detector, the time, and the addresses that it was told last.
struct Set {
    detector: OutlierDetector,
    start: Instant,
    now: Instant,
    addresses: Vec<String>,
}

impl Set {
    /// Addresses `0`, `1` and so on.
    fn of(addresses: usize) -> Self {
        Self::with(Options::default(), addresses)
    }

    fn with(options: Options, addresses: usize) -> Self {
        let now = Instant::now();
        let mut set = Self {
            detector: OutlierDetector::new(options, Nudge::default(), now),
            start: now,
            now,
            addresses: (0..addresses).map(|n| n.to_string()).collect(),
        };
        assert_eq!(set.advance(), [""; 0]);
        set
    }

    /// What changes now: `+` or `-` and the address, for an ejection or the end of one.
    fn advance(&mut self) -> Vec<String> {
        let addresses = self.addresses.iter().map(String::as_str);
        let (changes, _) = self.detector.advance(addresses, self.now);
        let text = |change: &Change| match change {
            Change::Ejected(one) => format!("+{}", one.address),
            Change::Returned(one) => format!("-{}", one.address),
            Change::Forgotten(one) => format!("forgotten {}", one.address),
        };
        changes.iter().map(text).collect()
    }

    /// The same, so many seconds after the start, and each time that the detector asked for before.
    fn advance_to(&mut self, seconds: u64) -> Vec<String> {
        let end = self.start + Duration::from_secs(seconds);
        let mut changes = Vec::new();
        loop {
            self.now = end.min(self.detector.wake_at());
            changes.extend(self.advance());
            if self.now == end {
                return changes;
            }
        }
    }

    fn calls(&self, address: usize, outcome: Outcome, count: usize) {
        let counts = self.detector.counts(&address.to_string()).unwrap();
        for _ in 0..count {
            counts.ended(&EndedCall {
                outcome,
                answered_after: None,
                duration: Duration::ZERO,
                ended_at: None,
            });
        }
    }

    fn fail(&self, address: usize, count: usize) {
        self.calls(address, Outcome::Failure, count);
    }

    /// For how many seconds the ejected addresses are ejected.
    fn times(&self) -> Vec<u64> {
        let times = self.detector.ejected().map(|one| one.ejection_time());
        times.map(|time| time.as_secs()).collect()
    }
}

#[test]
fn five_failures_in_a_row_eject_at_once() {
    let mut set = Set::of(3);
    set.fail(1, 4);
    set.calls(1, Outcome::Success, 1);
    set.fail(1, 4);
    assert_eq!(set.advance(), [""; 0]);
    set.calls(1, Outcome::TimedOut, 1);
    assert_eq!(set.advance(), ["+1"]);
    assert!(set.detector.is_ejected("1") && !set.detector.is_ejected("0"));
}

#[test]
fn overloads_and_cancelled_calls_neither_add_to_a_row_nor_end_it() {
    let mut set = Set::of(3);
    set.fail(1, 4);
    set.calls(1, Outcome::Overloaded, 9);
    set.calls(1, Outcome::Cancelled, 9);
    assert_eq!(set.advance(), [""; 0]);
    set.fail(1, 1);
    assert_eq!(set.advance(), ["+1"]);
}

#[test]
fn a_task_is_woken_once_for_each_row() {
    use futures::FutureExt;
    let set = Set::of(1);
    let woken = || set.detector.nudge.nudged().now_or_never().is_some();
    set.fail(0, 4);
    assert!(!woken());
    set.fail(0, 1);
    assert!(woken());
    set.fail(0, 100);
    assert!(!woken());
    set.calls(0, Outcome::Success, 1);
    set.fail(0, 5);
    assert!(woken());
}

#[test]
fn an_ejection_ends_on_time_and_takes_longer_each_time() {
    let mut set = Set::of(3);
    set.now += Duration::from_secs(3);
    let mut next = 3;
    for seconds in [30, 60, 90, 120, 150, 180, 210, 240, 270, 300, 300, 300] {
        set.fail(1, 5);
        assert_eq!(set.advance(), ["+1"]);
        assert_eq!(set.times(), [seconds]);
        next += seconds;
        assert_eq!(set.advance_to(next - 1), [""; 0]);
        assert_eq!(set.advance_to(next), ["-1"]);
    }
}

#[test]
fn each_sweep_interval_without_an_ejection_shortens_the_next() {
    let mut set = Set::of(3);
    for returns in [30, 90, 180] {
        set.fail(1, 5);
        set.advance();
        assert_eq!(set.advance_to(returns), ["-1"]);
    }
    // Returned by the sweep at 180 s: the next whole interval ends at 190 s.
    assert_eq!(set.advance_to(189), [""; 0]);
    set.fail(1, 5);
    set.advance();
    assert_eq!(set.times(), [120]);
    assert_eq!(set.advance_to(189 + 120), ["-1"]);
    assert_eq!(set.advance_to(330), [""; 0], "two whole intervals");
    set.fail(1, 5);
    set.advance();
    assert_eq!(set.times(), [90]);
    set.advance_to(1000);
    set.fail(1, 5);
    set.advance();
    assert_eq!(set.times(), [30]);
}

#[test]
fn calls_that_were_under_way_do_not_eject_again() {
    let mut set = Set::of(3);
    set.fail(1, 5);
    set.advance();
    set.fail(1, 100);
    assert_eq!(set.advance_to(30), ["-1"]);
    set.fail(1, 4);
    assert_eq!(set.advance_to(40), [""; 0]);
}

#[test]
fn an_address_that_comes_back_is_still_ejected() {
    let mut set = Set::of(3);
    set.fail(1, 5);
    set.advance();
    let without = vec!["0".to_owned(), "2".to_owned()];
    let with = std::mem::replace(&mut set.addresses, without.clone());
    assert_eq!(set.advance_to(10), [""; 0]);
    assert_eq!(set.detector.ejected().count(), 0, "in the set");
    set.addresses = with.clone();
    assert_eq!(set.advance_to(29), [""; 0]);
    assert!(set.detector.is_ejected("1"));
    set.addresses = without;
    assert_eq!(set.advance_to(30), ["forgotten 1"]);
    assert_eq!(set.detector.hosts.len(), 2);
    set.addresses = with;
    assert_eq!(set.advance(), [""; 0]);
    set.fail(1, 5);
    set.advance();
    assert_eq!(set.times(), [30], "nothing is remembered");
}

#[test]
fn a_tenth_is_ejected_at_most_and_one_at_least() {
    for (addresses, most) in [(1, 1), (2, 1), (19, 1), (20, 2), (100, 10)] {
        let mut set = Set::of(addresses);
        for address in 0..addresses {
            set.fail(address, 5);
        }
        assert_eq!(set.advance().len(), most, "{addresses}");
    }
}

#[test]
fn the_worst_is_ejected_first_and_the_next_when_there_is_room() {
    let mut set = Set::of(3);
    set.fail(0, 5);
    set.fail(1, 7);
    set.fail(2, 6);
    assert_eq!(set.advance(), ["+1"]);
    assert_eq!(set.advance_to(29), [""; 0]);
    set.calls(2, Outcome::Success, 1);
    assert_eq!(set.advance_to(30), ["-1", "+0"]);
}

#[test]
fn when_the_set_becomes_smaller_those_return_whose_time_is_over_first() {
    let mut set = Set::of(30);
    for address in [5, 3, 7] {
        set.fail(address, 5);
        assert_eq!(set.advance(), [format!("+{address}")]);
        set.now += Duration::from_secs(1);
    }
    set.addresses.truncate(10);
    assert_eq!(set.advance(), ["-5", "-3"]);
    assert_eq!(set.detector.ejected().count(), 1);
}

#[test]
fn a_sweep_ejects_by_success_rate_and_by_failure_percentage() {
    let mut set = Set::of(10);
    for address in 0..10 {
        set.calls(address, Outcome::Success, 200);
    }
    for _ in 0..25 {
        set.calls(4, Outcome::Success, 1);
        set.fail(4, 1);
    }
    assert_eq!(set.advance_to(9), [""; 0]);
    assert_eq!(set.advance_to(10), ["+4"]);
    assert_eq!(
        set.detector.ejected().next().unwrap().reason.label(),
        "success_rate"
    );

    let options = Options {
        consecutive_failures: None,
        success_rate: None,
        ..Options::default()
    };
    let mut set = Set::with(options, 10);
    for address in 0..10 {
        set.calls(address, Outcome::Success, 50);
    }
    set.fail(4, 500);
    assert_eq!(set.advance_to(10), ["+4"]);
    let reason = set.detector.ejected().next().unwrap().reason;
    assert_eq!(reason.to_string(), "90.9 % of calls failed");
}

#[test]
fn a_sweep_looks_at_one_interval() {
    let mut set = Set::of(10);
    for address in 0..10 {
        set.calls(address, Outcome::Success, 99);
    }
    set.calls(4, Outcome::Overloaded, 50);
    assert_eq!(set.advance_to(10), [""; 0]);
    for address in 0..10 {
        set.calls(address, Outcome::Success, 99);
    }
    assert_eq!(set.advance_to(20), [""; 0], "two intervals with few calls");
}

#[test]
fn who_is_ejected_counts_for_no_comparison() {
    let options = Options {
        max_ejection_percent: 50,
        ..Options::default()
    };
    let mut set = Set::with(options, 6);
    set.fail(0, 5);
    assert_eq!(set.advance(), ["+0"]);
    // Calls that were under way.
    set.fail(0, 200);
    for address in 1..6 {
        set.calls(address, Outcome::Success, 200);
    }
    set.calls(5, Outcome::Overloaded, 10);
    assert_eq!(set.advance_to(10), ["+5"]);
}

#[test]
fn all_can_be_turned_off() {
    let options = Options {
        consecutive_failures: None,
        success_rate: None,
        failure_percentage: None,
        ..Options::default()
    };
    let mut set = Set::with(options, 10);
    for address in 0..10 {
        set.calls(address, Outcome::Success, 1000);
    }
    set.fail(4, 100_000);
    assert_eq!(set.advance_to(100), [""; 0]);
}

#[test]
fn settings_without_sense_are_harmless() {
    let options = Options {
        success_rate: Some(SuccessRateEjection {
            minimum_hosts: 0,
            request_volume: 0,
            stdev_factor: -1.0,
        }),
        max_ejection_percent: 0,
        ..Options::default()
    };
    let mut set = Set::with(options, 3);
    set.fail(1, 5);
    assert_eq!(set.advance(), ["+1"]);
    assert_eq!(set.advance_to(30), ["-1"]);
}
