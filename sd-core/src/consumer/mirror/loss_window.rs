//! How many instances went within the grace period.

use crate::instances::InstanceKey;
use std::{
    collections::{HashMap, VecDeque},
    hash::{BuildHasher, RandomState},
    time::Duration,
};
use tokio::time::Instant;

/// The loss of fewer instances is never many at once.
const LEAST: usize = 3;

/// No more announced removals are remembered. One that returns after it was forgotten makes up for
/// another.
const MOST_DEPARTURES: usize = 65_536;

/// Tells whether many instances go at once.
///
/// The loss is the difference between the most instances that there were within the window and those
/// that are left. So an instance that returns, or another one in its place, makes up for one that
/// went: a rolling restart loses one or two at a time, however many restart within the window. An
/// announced removal is no loss: the instance is not among those that there were. If it returns within
/// the window, it counts as if it had been there all along, and makes up for no other.
pub(super) struct LossWindow {
    length: Duration,
    /// A loss of more than this is many.
    percent: u8,
    /// Levels of the window before the current one, each with the time until which it was so.
    /// Falling: a level is forgotten once a later one is as high.
    levels: VecDeque<(Instant, usize)>,
    level: usize,
    /// Announced removals so far, without those that have returned. A level counts them as if the
    /// instances were still there.
    announced: usize,
    /// Those of them within the window, and when they went. By a hash of their keys, which may be long.
    gone: HashMap<u64, Instant>,
    /// The same, the earliest first, with some that have returned.
    departures: VecDeque<(Instant, u64)>,
    hasher: RandomState,
}

/// So many of so many instances are gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Loss {
    pub(super) removed: usize,
    pub(super) of: usize,
}

impl LossWindow {
    pub(super) fn new(length: Duration, percent: u8) -> Self {
        Self {
            length,
            percent,
            levels: VecDeque::new(),
            level: 0,
            announced: 0,
            gone: HashMap::new(),
            departures: VecDeque::new(),
            hasher: RandomState::new(),
        }
    }

    /// The instance under `key`, which had announced it, is gone.
    pub(super) fn announced(&mut self, key: &InstanceKey, now: Instant) {
        self.announced = self.announced.saturating_add(1);
        let key = self.hasher.hash_one(key);
        self.gone.insert(key, now);
        self.departures.push_back((now, key));
        if self.departures.len() > MOST_DEPARTURES {
            self.forget_a_departure();
        }
    }

    /// Whether no instance has gone lately.
    pub(super) fn is_empty(&self) -> bool {
        self.gone.is_empty()
    }

    /// There is an instance under `key`.
    pub(super) fn present(&mut self, key: &InstanceKey, now: Instant) {
        self.forget_what_is_over(now);
        if !self.gone.is_empty() && self.gone.remove(&self.hasher.hash_one(key)).is_some() {
            self.announced = self.announced.saturating_sub(1);
        }
    }

    /// The loss if only `left` instances are left, if that is many at once.
    pub(super) fn many(&mut self, left: usize, now: Instant) -> Option<Loss> {
        self.forget_what_is_over(now);
        let most = self.levels.front().map_or(0, |(_, level)| *level);
        let of = most.max(self.level).saturating_sub(self.announced);
        let removed = of.saturating_sub(left);
        let is_many = of >= LEAST && removed.saturating_mul(100) > of * usize::from(self.percent);
        is_many.then_some(Loss { removed, of })
    }

    fn forget_what_is_over(&mut self, now: Instant) {
        let length = self.length;
        let is_over = |then: &Instant| then.checked_add(length).is_some_and(|end| end <= now);
        while self.levels.front().is_some_and(|(until, _)| is_over(until)) {
            self.levels.pop_front();
        }
        while self
            .departures
            .front()
            .is_some_and(|(went, _)| is_over(went))
        {
            self.forget_a_departure();
        }
    }

    fn forget_a_departure(&mut self) {
        if let Some((went, key)) = self.departures.pop_front()
            && self.gone.get(&key) == Some(&went)
        {
            self.gone.remove(&key);
        }
    }

    /// From now on `left` instances are left.
    pub(super) fn record(&mut self, left: usize, now: Instant) {
        let level = left.saturating_add(self.announced);
        let before = std::mem::replace(&mut self.level, level);
        let highest = before.max(level);
        while self.levels.back().is_some_and(|(_, it)| *it <= highest) {
            self.levels.pop_back();
        }
        if before > level {
            self.levels.push_back((now, before));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LENGTH: Duration = Duration::from_secs(15);

    fn key(text: &str) -> InstanceKey {
        InstanceKey::from(crate::registry::Key::new(text).unwrap())
    }

    fn window(left: usize, now: Instant) -> LossWindow {
        let mut window = LossWindow::new(LENGTH, 50);
        window.record(left, now);
        window
    }

    #[test]
    fn more_than_half_of_three_or_more_is_many() {
        let now = Instant::now();
        for (of, left, is_many) in [
            (2, 0, false),
            (3, 2, false),
            (3, 1, true),
            (4, 2, false),
            (4, 1, true),
            (10, 5, false),
            (10, 4, true),
        ] {
            let many = window(of, now).many(left, now);
            let loss = Loss {
                removed: of - left,
                of,
            };
            assert_eq!(many, is_many.then_some(loss), "{left} left of {of}");
        }
    }

    #[test]
    fn losses_add_up_within_the_window_and_not_beyond() {
        let mut now = Instant::now();
        let mut window = window(5, now);
        for left in [4, 3] {
            now += Duration::from_secs(5);
            assert_eq!(window.many(left, now), None);
            window.record(left, now);
        }
        now += Duration::from_secs(4);
        assert_eq!(window.many(2, now), Some(Loss { removed: 3, of: 5 }));
        // The first is forgotten once the window begins after it went.
        now += Duration::from_secs(6);
        assert_eq!(window.many(2, now), None);
    }

    #[test]
    fn what_returns_makes_up_for_what_went() {
        let now = Instant::now();
        let mut window = window(3, now);
        for _ in 0..100 {
            for left in [2, 3] {
                assert_eq!(window.many(left, now), None);
                window.record(left, now);
            }
        }
        assert!(window.levels.len() <= 1, "{:?}", window.levels);
    }

    #[test]
    fn what_was_announced_is_no_loss() {
        let now = Instant::now();
        let mut window = window(6, now);
        for left in (2..6).rev() {
            window.announced(&key(&left.to_string()), now);
            assert_eq!(window.many(left, now), None);
            window.record(left, now);
        }
        assert_eq!(window.many(0, now), None, "two instances are not many");
    }

    #[test]
    fn what_announced_it_and_returned_makes_up_for_no_other() {
        let now = Instant::now();
        // Four instances. The first goes unannounced, before or after the second announces it.
        for is_first in [true, false] {
            let mut window = window(4, now);
            let lose = |window: &mut LossWindow, left| {
                assert_eq!(window.many(left, now), None);
                window.record(left, now);
            };
            if is_first {
                lose(&mut window, 3);
            }
            window.announced(&key("b"), now);
            lose(&mut window, if is_first { 2 } else { 3 });
            if !is_first {
                lose(&mut window, 2);
            }
            window.present(&key("b"), now);
            lose(&mut window, 3);
            window.announced(&key("c"), now);
            lose(&mut window, 2);
            let loss = Loss { removed: 2, of: 3 };
            assert_eq!(window.many(1, now), Some(loss), "{is_first}");
        }
    }

    #[test]
    fn what_went_before_the_window_is_another_when_it_returns() {
        let mut now = Instant::now();
        let mut window = window(3, now);
        for _ in 0..100 {
            window.announced(&key("a"), now);
            window.record(2, now);
            now += LENGTH;
            window.present(&key("a"), now);
            assert!(window.gone.is_empty() && window.departures.is_empty());
            window.record(3, now);
        }
        assert_eq!(window.many(1, now), Some(Loss { removed: 2, of: 3 }));
    }

    #[test]
    fn the_share_can_be_set() {
        let now = Instant::now();
        let many = |percent, left| {
            let mut window = LossWindow::new(LENGTH, percent);
            window.record(10, now);
            window.many(left, now).is_some()
        };
        assert!(many(0, 9) && many(89, 1) && many(99, 0));
        assert!(!many(90, 1) && !many(100, 0));
    }

    /// Hostile row 5: keys that announce their end in a loop are not all remembered.
    #[test]
    fn announced_removals_are_remembered_up_to_a_bound() {
        let now = Instant::now();
        let mut window = window(5, now);
        for n in 0..100_000 {
            window.announced(&key(&n.to_string()), now);
        }
        assert_eq!(window.gone.len(), MOST_DEPARTURES);
        assert_eq!(window.departures.len(), MOST_DEPARTURES);
    }
}
