//! Which services are kept. A state machine without I/O.

use std::{collections::HashMap, time::Duration};
use tokio::time::Instant;

/// A bounded number of services, by name. What it returns is for the caller to drop, without a lock.
#[derive(Debug)]
pub(super) struct ServiceTable<S> {
    most: usize,
    services: HashMap<Box<str>, Kept<S>>,
}

#[derive(Debug)]
struct Kept<S> {
    service: S,
    used_at: Instant,
}

impl<S: Clone> ServiceTable<S> {
    /// Keeps at most so many, at least one.
    pub(super) fn new(most: usize) -> Self {
        Self {
            most,
            services: HashMap::new(),
        }
    }

    pub(super) fn get(&mut self, name: &str, now: Instant) -> Option<S> {
        let kept = self.services.get_mut(name)?;
        kept.used_at = now;
        Some(kept.service.clone())
    }

    /// Adds a service, unless there is one of that name. Returns the one that is kept, and what is
    /// not: if there are too many, one that is empty, or else the one that was used the longest time
    /// ago.
    pub(super) fn insert(
        &mut self,
        name: &str,
        service: S,
        now: Instant,
        is_empty: impl Fn(&S) -> bool,
    ) -> (S, Option<S>) {
        if let Some(kept) = self.get(name, now) {
            return (kept, Some(service));
        }
        let dropped = (self.services.len() >= self.most).then(|| self.take_least_useful(is_empty));
        let kept = Kept {
            service: service.clone(),
            used_at: now,
        };
        self.services.insert(name.into(), kept);
        (service, dropped.flatten())
    }

    fn take_least_useful(&mut self, is_empty: impl Fn(&S) -> bool) -> Option<S> {
        let services = self.services.iter();
        let least = services.min_by_key(|(_, kept)| (!is_empty(&kept.service), kept.used_at));
        let name = least.map(|(name, _)| name.clone())?;
        self.services.remove(&name).map(|kept| kept.service)
    }

    /// Takes out what was not used for the time of `limit`. What is in use is used now.
    pub(super) fn take_idle(
        &mut self,
        now: Instant,
        limit: Duration,
        is_used: impl Fn(&S) -> bool,
    ) -> Vec<S> {
        let idle = self.services.extract_if(|_, kept| {
            if is_used(&kept.service) {
                kept.used_at = now;
            }
            now.saturating_duration_since(kept.used_at) >= limit
        });
        idle.map(|(_, kept)| kept.service).collect()
    }

    pub(super) fn names(&self) -> Vec<Box<str>> {
        self.services.keys().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[test]
    fn the_first_of_a_name_is_kept() {
        let now = Instant::now();
        let mut table = ServiceTable::new(2);
        assert_eq!(table.get("a", now), None);
        assert_eq!(table.insert("a", 1, now, |_| false), (1, None));
        assert_eq!(table.insert("a", 2, now, |_| false), (1, Some(2)));
        assert_eq!(table.get("a", now), Some(1));
    }

    #[test]
    fn over_the_limit_an_empty_one_goes_or_the_one_used_the_longest_time_ago() {
        let start = Instant::now();
        let mut table = ServiceTable::new(2);
        table.insert("a", 1, start, |_| false);
        table.insert("b", 2, after(start, 1), |_| false);
        table.get("a", after(start, 2));
        let inserted = table.insert("c", 3, after(start, 3), |_| false);
        assert_eq!(inserted, (3, Some(2)));
        let inserted = table.insert("d", 4, after(start, 4), |service| *service == 3);
        assert_eq!(inserted, (4, Some(3)));
        assert_eq!(table.get("a", start), Some(1));
    }

    #[test]
    fn what_is_not_used_goes_after_a_time() {
        let start = Instant::now();
        let limit = Duration::from_secs(10);
        let mut table = ServiceTable::new(9);
        table.insert("a", 1, start, |_| false);
        table.insert("b", 2, start, |_| false);
        table.insert("c", 3, start, |_| false);
        table.get("b", after(start, 5));
        assert!(
            table
                .take_idle(after(start, 9), limit, |_| false)
                .is_empty()
        );
        let idle = table.take_idle(after(start, 10), limit, |service| *service == 3);
        assert_eq!(idle, [1]);
        let idle = table.take_idle(after(start, 15), limit, |_| false);
        assert_eq!(idle, [2]);
        assert!(
            table
                .take_idle(after(start, 19), limit, |_| false)
                .is_empty()
        );
        assert_eq!(table.take_idle(after(start, 20), limit, |_| false), [3]);
    }
}
