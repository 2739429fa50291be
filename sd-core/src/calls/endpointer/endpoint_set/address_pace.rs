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
/// The pause after these, in ticks. Each further address doubles it.
const FIRST: u8 = 10;
/// The longest pause. After such a time without another address, all begins anew.
const LONGEST: u8 = 150;
/// No more keys are remembered, of those that had another address within that time.
const MOST: usize = 65_536;

/// The pauses of the keys for whose address a factory has run of late, since the first event.
pub(super) struct AddressPace {
    /// By a hash of the key.
    keys: HashMap<u64, Pace>,
    hasher: RandomState,
    /// When those that are over are forgotten, if there are many.
    sweep_at: Ticks,
    /// When the first factory ran.
    begin: Option<Instant>,
}

/// The time since the beginning, rounded down. The last stands for all later ones, when no key waits: after 13 years.
type Ticks = u32;
const TICK: Duration = Duration::from_millis(100);

/// Of a key. Small, since many keys may come at once.
struct Pace {
    /// When the factory may run for another address.
    from: Ticks,
    free: u8,
    pause: u8,
}

impl Pace {
    fn is_over(&self, now: Ticks) -> bool {
        now.saturating_sub(self.from) >= LONGEST.into()
    }

    fn ran(&mut self, now: Ticks) {
        self.from = now;
        if self.free > 0 {
            self.free -= 1;
        } else {
            self.from = now.saturating_add(self.pause.into());
            self.pause = self.pause.saturating_mul(2).min(LONGEST);
        }
    }
}

impl AddressPace {
    pub(super) fn new() -> Self {
        Self {
            keys: HashMap::new(),
            hasher: RandomState::new(),
            sweep_at: 0,
            begin: None,
        }
    }

    /// The factory runs for another address under `key`.
    pub(super) fn ran(&mut self, key: &str, now: Instant) {
        let begin = *self.begin.get_or_insert(now);
        let ticks = now.saturating_duration_since(begin).as_millis() / TICK.as_millis();
        let now = Ticks::try_from(ticks).unwrap_or(Ticks::MAX);
        if self.keys.len() >= MOST && self.sweep_at <= now {
            self.keys.retain(|_, pace| !pace.is_over(now));
            self.sweep_at = now.saturating_add(LONGEST.into());
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
        let Some(begin) = self.begin else {
            return now;
        };
        let pace = self.keys.get(&self.hasher.hash_one(key));
        pace.map_or(now, |pace| now.max(begin + TICK * pace.from))
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }
}
