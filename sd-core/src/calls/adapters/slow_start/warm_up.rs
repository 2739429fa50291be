//! Warm-up: which addresses are new, and which part of their weight they have. A state machine
//! without I/O.

use super::Options;
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::time::Instant;

/// The window has so many steps.
const STEPS: u32 = 20;
/// A step is not shorter.
const STEP_LEAST: Duration = Duration::from_millis(100);

pub(super) struct WarmUp {
    options: Options,
    /// The beginning of a step. All addresses have their steps at the same times, so that there is
    /// one new table for all of them.
    step_began: Instant,
    hosts: BTreeMap<Arc<str>, HostAge>,
}

/// What is known of one address.
struct HostAge {
    since: Instant,
    /// Has its whole weight, however old it is.
    is_warm: bool,
    is_present: bool,
}

impl WarmUp {
    pub(super) fn new(options: Options, now: Instant) -> Self {
        Self {
            options,
            step_began: now,
            hosts: BTreeMap::new(),
        }
    }

    /// Replaces the set of addresses. Returns when the next step begins, if somebody's factor
    /// depends on it.
    pub(super) fn advance<'a>(
        &mut self,
        addresses: impl Iterator<Item = &'a str>,
        now: Instant,
    ) -> Option<Instant> {
        let into_step =
            now.saturating_duration_since(self.step_began).as_nanos() % self.step().as_nanos();
        self.step_began = now - Duration::from_nanos(into_step as u64);
        self.set_addresses(addresses, now);

        let new = self.hosts.values().filter(|host| self.is_new(host)).count();
        if 2 * new > self.hosts.len() {
            for host in self.hosts.values_mut() {
                host.is_warm = true;
            }
        }
        let mut hosts = self.hosts.values();
        let is_eased = hosts.any(|host| self.is_new(host) && !host.is_warm);
        is_eased.then(|| self.step_began + self.step())
    }

    fn set_addresses<'a>(&mut self, addresses: impl Iterator<Item = &'a str>, now: Instant) {
        for host in self.hosts.values_mut() {
            host.is_present = false;
        }
        for address in addresses {
            if let Some(host) = self.hosts.get_mut(address) {
                host.is_present = true;
                continue;
            }
            let host = HostAge {
                since: now,
                is_warm: false,
                is_present: true,
            };
            self.hosts.insert(address.into(), host);
        }
        self.hosts.retain(|_, host| host.is_present);
    }

    /// The part of its weight that an address has, between 0 and 1.
    pub(super) fn factor(&self, address: &str) -> f64 {
        match self.hosts.get(address) {
            Some(host) if !host.is_warm && self.is_new(host) => {
                let part = self.age(host).div_duration_f64(self.options.window);
                let grown = part.powf(1.0 / self.options.aggression);
                grown.max(self.options.least)
            }
            Some(_) | None => 1.0,
        }
    }

    fn is_new(&self, host: &HostAge) -> bool {
        self.age(host) < self.options.window
    }

    /// At the beginning of the step.
    fn age(&self, host: &HostAge) -> Duration {
        self.step_began.saturating_duration_since(host.since)
    }

    fn step(&self) -> Duration {
        (self.options.window / STEPS).max(STEP_LEAST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A set of which the first have been there for an hour.
    struct Set(WarmUp, Instant, Vec<String>);

    impl Set {
        fn of(old: usize, window: u64, aggression: f64) -> Self {
            let now = Instant::now();
            let options = Options {
                window: Duration::from_secs(window),
                aggression,
                least: 0.1,
            };
            let addresses = (0..old).map(|n| n.to_string()).collect();
            let mut set = Self(WarmUp::new(options, now), now, addresses);
            assert_eq!(set.advance(0.0), None);
            set.advance(3600.0);
            set
        }

        fn advance(&mut self, seconds: f64) -> Option<f64> {
            self.1 += Duration::from_secs_f64(seconds);
            let addresses = self.2.iter().map(String::as_str);
            let again = self.0.advance(addresses, self.1)?;
            Some((again - self.1).as_secs_f64())
        }

        fn add(&mut self, addresses: &[&str]) {
            self.2.extend(addresses.iter().map(|&one| one.to_owned()));
        }

        fn factor(&self, address: &str) -> f64 {
            (self.0.factor(address) * 1000.0).round() / 1000.0
        }
    }

    #[test]
    fn the_weight_grows_in_steps_over_the_window() {
        let mut set = Set::of(3, 60, 1.0);
        set.add(&["x"]);
        assert_eq!(set.advance(0.0), Some(3.0));
        let mut factors = vec![set.factor("x")];
        while let Some(seconds) = set.advance(0.0) {
            set.advance(seconds);
            factors.push(set.factor("x"));
            assert_eq!(set.factor("0"), 1.0);
        }
        let expected = (0..=20).map(|step| (f64::from(step) / 20.0).max(0.1));
        assert_eq!(factors, expected.collect::<Vec<_>>());
    }

    #[test]
    fn aggression_bends_the_line() {
        for (aggression, half) in [(2.0, 0.707), (0.5, 0.25), (0.1, 0.1)] {
            let mut set = Set::of(3, 60, aggression);
            set.add(&["x"]);
            set.advance(0.0);
            set.advance(30.0);
            assert_eq!(set.factor("x"), half);
        }
    }

    #[test]
    fn all_have_their_steps_at_one_time() {
        let mut set = Set::of(3, 60, 1.0);
        set.add(&["x"]);
        assert_eq!(set.advance(1.0), Some(2.0));
        set.add(&["y"]);
        assert_eq!(set.advance(1.5), Some(0.5));
        set.advance(57.5);
        assert_eq!((set.factor("x"), set.factor("y")), (0.983, 0.958));
        assert_eq!(set.advance(3.0), None);
        assert_eq!((set.factor("x"), set.factor("y")), (1.0, 1.0));
    }

    #[test]
    fn a_factor_changes_only_with_a_step() {
        let mut set = Set::of(3, 60, 1.0);
        set.add(&["x"]);
        set.advance(0.0);
        set.advance(30.0);
        assert_eq!(set.advance(2.9).map(|seconds| seconds < 0.2), Some(true));
        assert_eq!(set.factor("x"), 0.5);
    }

    #[test]
    fn most_of_a_set_is_not_eased_in_now_or_later() {
        let mut set = Set::of(4, 60, 1.0);
        set.add(&["t", "u", "v", "w"]);
        assert!(set.advance(0.0).is_some());
        assert_eq!(set.factor("t"), 0.1, "half of them");
        set.add(&["x"]);
        assert_eq!(set.advance(1.0), None);
        assert_eq!((set.factor("t"), set.factor("x")), (1.0, 1.0));
        // What comes soon after the start is one of many new ones.
        set.add(&["y"]);
        assert_eq!(set.advance(30.0), None);
        assert_eq!(set.factor("y"), 1.0);
        set.add(&["z"]);
        assert!(set.advance(60.0).is_some());
        assert_eq!((set.factor("x"), set.factor("z")), (1.0, 0.1));
    }

    #[test]
    fn who_comes_back_is_new() {
        let mut set = Set::of(3, 60, 1.0);
        set.2 = vec!["0".into(), "1".into()];
        set.advance(1.0);
        set.add(&["2"]);
        set.advance(1.0);
        assert_eq!(set.factor("2"), 0.1);
    }

    #[test]
    fn steps_are_not_too_short_and_a_window_of_nothing_is_none() {
        let mut set = Set::of(3, 1, 1.0);
        set.add(&["x"]);
        assert_eq!(set.advance(0.0), Some(0.1));
        let mut set = Set::of(3, 0, 1.0);
        set.add(&["x"]);
        assert_eq!(set.advance(0.0), None);
        assert_eq!(set.factor("x"), 1.0);
    }
}
