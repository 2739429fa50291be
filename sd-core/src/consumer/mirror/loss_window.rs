//! How many instances went within the grace period.

use std::{collections::VecDeque, time::Duration};
use tokio::time::Instant;

/// The loss of fewer instances is never many at once.
const LEAST: usize = 3;

/// Tells whether many instances go at once.
///
/// The loss is the difference between the most instances that there were within the window and those
/// that are left. So an instance that returns, or another one in its place, makes up for one that
/// went: a rolling restart loses one or two at a time, however many restart within the window. An
/// announced removal is no loss.
pub(super) struct LossWindow {
    length: Duration,
    /// A loss of more than this is many.
    percent: u8,
    /// Levels of the window before the current one, each with the time until which it was so.
    /// Falling: a level is forgotten once a later one is as high.
    levels: VecDeque<(Instant, usize)>,
    level: usize,
    /// Announced removals so far. A level counts them as if the instances were still there.
    announced: usize,
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
        }
    }

    /// An instance that has announced it is gone.
    pub(super) fn announced(&mut self) {
        self.announced = self.announced.saturating_add(1);
    }

    /// The loss if only `left` instances are left, if that is many at once.
    pub(super) fn many(&mut self, left: usize, now: Instant) -> Option<Loss> {
        let length = self.length;
        let is_over = |until: &Instant| until.checked_add(length).is_some_and(|end| end <= now);
        while self.levels.front().is_some_and(|(until, _)| is_over(until)) {
            self.levels.pop_front();
        }
        let most = self.levels.front().map_or(0, |(_, level)| *level);
        let of = most.max(self.level).saturating_sub(self.announced);
        let removed = of.saturating_sub(left);
        let is_many = of >= LEAST && removed.saturating_mul(100) > of * usize::from(self.percent);
        is_many.then_some(Loss { removed, of })
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
            window.announced();
            assert_eq!(window.many(left, now), None);
            window.record(left, now);
        }
        assert_eq!(window.many(0, now), None, "two instances are not many");
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
}
