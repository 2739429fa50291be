//! How often a key may have another address.
//!
//! Each new address costs a run of the factory, and with it a connection perhaps. Whoever may write one key
//! could make every consumer connect to 600 addresses a second, of his choice.

use std::{
    collections::{HashMap, hash_map::Entry},
    hash::{BuildHasher, RandomState},
    time::Duration,
};
use tokio::time::Instant;

/// So many addresses of one key are made at once.
const FREE: u8 = 8;
/// The pause after these. Each further address doubles it.
const FIRST: Duration = Duration::from_secs(1);
/// The longest pause. After such a time without another address, all begins anew.
const LONGEST: Duration = Duration::from_secs(15);
/// No more keys are remembered, of those that had another address within that time.
const MOST: usize = 65_536;

/// The pauses of the keys for whose address a factory has run of late.
pub(super) struct AddressPace {
    /// By a hash of the key.
    keys: HashMap<u64, Pace>,
    hasher: RandomState,
    /// When those that are over are forgotten, if there are many.
    sweep_at: Option<Instant>,
}

struct Pace {
    free: u8,
    /// When the factory may run for another address.
    from: Instant,
    pause: Duration,
}

impl Pace {
    fn is_over(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.from) >= LONGEST
    }

    fn ran(&mut self, now: Instant) {
        self.from = now;
        if self.free > 0 {
            self.free -= 1;
        } else {
            self.from += self.pause;
            self.pause = (self.pause * 2).min(LONGEST);
        }
    }
}

impl AddressPace {
    pub(super) fn new() -> Self {
        Self {
            keys: HashMap::new(),
            hasher: RandomState::new(),
            sweep_at: None,
        }
    }

    /// The factory runs for another address under `key`.
    pub(super) fn ran(&mut self, key: &str, now: Instant) {
        if self.keys.len() >= MOST && self.sweep_at.is_none_or(|at| at <= now) {
            self.keys.retain(|_, pace| !pace.is_over(now));
            self.sweep_at = Some(now + LONGEST);
        }
        let is_full = self.keys.len() >= MOST;
        let new = || Pace {
            free: FREE,
            from: now,
            pause: FIRST,
        };
        match self.keys.entry(self.hasher.hash_one(key)) {
            Entry::Occupied(mut pace) => {
                if pace.get().is_over(now) {
                    pace.insert(new());
                }
                pace.get_mut().ran(now);
            }
            Entry::Vacant(_) if is_full => {}
            Entry::Vacant(pace) => pace.insert(new()).ran(now),
        }
    }

    /// When the factory may run for the address under `key`.
    pub(super) fn from(&self, key: &str, now: Instant) -> Instant {
        if self.keys.is_empty() {
            return now;
        }
        let pace = self.keys.get(&self.hasher.hash_one(key));
        pace.map_or(now, |pace| pace.from.max(now))
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }
}
