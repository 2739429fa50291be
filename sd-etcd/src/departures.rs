//! Departures: keys that have to go, until etcd says that they are gone.

use crate::{
    door::Reply,
    txn::{self, Found, Guard},
};
use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use sd_core::{Deregistered, Error};
use std::{collections::HashMap, time::Duration};
use tokio::time::Instant;

/// Pauses between attempts to remove or to revoke, and to open a keep-alive stream: short beside
/// the bound of a deregistration, and never a hot loop.
pub(crate) fn backoff() -> ExponentialBackoff {
    ExponentialBuilder::new()
        .with_jitter()
        .with_min_delay(Duration::from_millis(50))
        .with_max_delay(Duration::from_millis(500))
        .without_max_times()
        .build()
}

/// A key that is ours as long as it hangs on `lease`, and has to go.
struct Departure {
    lease: i64,
    /// What stands, as far as we know. Whoever is wrong about that learns better.
    guard: Guard,
    replies: Vec<Reply>,
    /// Failed in company; goes by itself.
    alone: bool,
    /// Where this stands, a put that was given up may yet be carried out.
    doubt: Option<Guard>,
}

/// By the key in full.
#[derive(Default)]
pub(crate) struct Departures(HashMap<Vec<u8>, Departure>);

impl Departures {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn contains(&self, key: &[u8]) -> bool {
        self.0.contains_key(key)
    }

    /// The lease that `key` has to go from.
    pub(crate) fn lease_of(&self, key: &[u8]) -> Option<i64> {
        self.0.get(key).map(|departure| departure.lease)
    }

    /// `key`, of which we know this, has to go from `lease`.
    pub(crate) fn add(&mut self, key: Vec<u8>, lease: i64, guard: Guard, reply: Option<Reply>) {
        let departure = self.0.entry(key).or_insert_with(|| Departure {
            lease,
            guard,
            replies: Vec::new(),
            alone: false,
            doubt: None,
        });
        departure.lease = lease;
        departure.guard = guard;
        departure.replies.extend(reply);
    }

    /// Has `reply` wait as well, if `key` is going; gives it back otherwise.
    pub(crate) fn join(&mut self, key: &[u8], reply: Reply) -> Result<(), Reply> {
        match self.0.get_mut(key) {
            Some(departure) => {
                departure.replies.push(reply);
                Ok(())
            }
            None => Err(reply),
        }
    }

    /// Up to `most` keys that fit into one request of `bytes`, with what we know of them.
    pub(crate) fn batch(&self, most: usize, bytes: usize) -> Vec<(Vec<u8>, Guard)> {
        let of = |(key, it): (&Vec<u8>, &Departure)| (key.clone(), it.guard);
        let in_company = self.0.iter().filter(|(_, it)| !it.alone);
        let mut sum = 0;
        let fitting = in_company.take(most).take_while(|(key, _)| {
            sum += txn::size(key, &[]);
            sum <= bytes
        });
        let batch: Vec<_> = fitting.map(of).collect();
        if batch.is_empty() {
            return self.0.iter().take(1).map(of).collect();
        }
        batch
    }

    /// A put of `key` was given up that is to be carried out where `guard` holds.
    pub(crate) fn doubt(&mut self, key: &[u8], guard: Guard) {
        if let Some(departure) = self.0.get_mut(key) {
            departure.doubt = Some(guard);
        }
    }

    /// Whether a put of ours may yet replace what stands under `key`, which is this.
    pub(crate) fn is_doubtful(&self, key: &[u8], stands: Guard) -> bool {
        let departure = self.0.get(key);
        departure.is_some_and(|departure| departure.doubt == Some(stands))
    }

    /// Instead of what we knew of `key`, this stands. Whether it has to go.
    pub(crate) fn learn(&mut self, key: &[u8], found: &Found) -> bool {
        match self.0.get_mut(key) {
            Some(departure) if departure.lease == found.lease => {
                departure.guard = found.guard();
                true
            }
            _ => false,
        }
    }

    /// `key` is gone, or somebody else's; gives back who waits for that.
    pub(crate) fn remove(&mut self, key: &[u8]) -> Vec<Reply> {
        let departure = self.0.remove(key);
        departure.map_or_else(Vec::new, |departure| departure.replies)
    }

    /// Has each of `keys` go by itself from now on.
    pub(crate) fn part(&mut self, keys: impl IntoIterator<Item = Vec<u8>>) {
        for key in keys {
            if let Some(departure) = self.0.get_mut(&key) {
                departure.alone = true;
            }
        }
    }

    /// Whether somebody waits.
    pub(crate) fn is_awaited(&self) -> bool {
        self.0.values().any(|it| !it.replies.is_empty())
    }

    /// The earliest moment by which somebody has to be answered.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let replies = self.0.values().flat_map(|it| &it.replies);
        replies.map(|reply| reply.deadline).min()
    }

    /// Answers those whose time is over. The keys still have to go.
    pub(crate) fn answer_overdue(&mut self, now: Instant) {
        for (key, departure) in &mut self.0 {
            for reply in departure.replies.extract_if(.., |it| it.deadline <= now) {
                // Whoever deregistered says so.
                tracing::debug!(
                    key = %String::from_utf8_lossy(key),
                    lease = departure.lease,
                    "deregistration not confirmed; still trying"
                );
                reply.send(Ok(Deregistered::Unconfirmed));
            }
        }
    }

    /// Gives up on `key`, and says why.
    pub(crate) fn fail(&mut self, key: &[u8], error: &Error) {
        for reply in self.remove(key) {
            reply.send(Err(error.clone()));
        }
    }

    /// Everybody who waits; nothing has to go any more.
    pub(crate) fn drain(&mut self) -> Vec<Reply> {
        let departures = self.0.drain();
        departures.flat_map(|(_, it)| it.replies).collect()
    }
}
