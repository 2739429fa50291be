//! Keys that have to go, until etcd says that they are gone.

use super::{
    requests::{RemovalReply, Scope},
    write::{self, Found, Guard},
};
use bytes::Bytes;
use sd_core::{Deregistered, Error, Escaped, Owner};
use std::collections::HashMap;
use tokio::time::Instant;

/// A key that has to go as long as it is on `lease`.
struct Removal {
    lease: i64,
    /// What is believed to stand. If that is wrong, etcd's answer corrects it.
    guard: Guard,
    /// Whose entry it is. `None` if nobody knows.
    owner: Option<Owner>,
    replies: Vec<RemovalReply>,
    /// It failed together with others, and is sent by itself.
    is_alone: bool,
    /// The guard of a put that was given up, and may still be carried out where it holds.
    given_up_put: Option<Guard>,
}

/// The removals that etcd has not confirmed, by key with its namespace.
#[derive(Default)]
pub(super) struct PendingRemovals(HashMap<Bytes, Removal>);

impl PendingRemovals {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn contains(&self, key: &[u8]) -> bool {
        self.0.contains_key(key)
    }

    pub(super) fn lease_of(&self, key: &[u8]) -> Option<i64> {
        self.0.get(key).map(|removal| removal.lease)
    }

    /// Adds the removal of `key` from `lease`. `guard` is what is believed to stand.
    pub(super) fn add(
        &mut self,
        key: Bytes,
        lease: i64,
        guard: Guard,
        owner: Option<Owner>,
        reply: Option<RemovalReply>,
    ) {
        let removal = self.0.entry(key).or_insert_with(|| Removal {
            lease,
            guard,
            owner,
            replies: Vec::new(),
            is_alone: false,
            given_up_put: None,
        });
        removal.lease = lease;
        removal.guard = guard;
        removal.owner = owner;
        removal.replies.extend(reply);
    }

    /// Has `reply` wait for the removal of `key`, if that is pending and what `scope` is about.
    pub(super) fn join(
        &mut self,
        key: &[u8],
        scope: Scope,
        reply: RemovalReply,
    ) -> Result<(), RemovalReply> {
        let is_meant = |owner| match (scope, owner) {
            (Scope::OwnedBy(only), Some(owner)) => only == owner,
            _ => true,
        };
        let removal = self.0.get_mut(key);
        match removal.filter(|removal| is_meant(removal.owner)) {
            Some(removal) => {
                removal.replies.push(reply);
                Ok(())
            }
            None => Err(reply),
        }
    }

    /// Returns up to `max_keys` keys that fit into one request of `max_bytes`.
    pub(super) fn batch(&self, max_keys: usize, max_bytes: usize) -> Vec<(Bytes, Guard)> {
        let copy = |(key, removal): (&Bytes, &Removal)| (key.clone(), removal.guard);
        let together = self.0.iter().filter(|(_, removal)| !removal.is_alone);
        let mut bytes = 0;
        let fitting = together.take(max_keys).take_while(|(key, _)| {
            bytes += write::max_size(key, &[]);
            bytes <= max_bytes
        });
        let batch: Vec<_> = fitting.map(copy).collect();
        if batch.is_empty() {
            return self.0.iter().take(1).map(copy).collect();
        }
        batch
    }

    /// Notes that a put of `key` was given up, and may still be carried out where `guard` holds.
    pub(super) fn put_given_up(&mut self, key: &[u8], guard: Guard) {
        if let Some(removal) = self.0.get_mut(key) {
            removal.given_up_put = Some(guard);
        }
    }

    /// Whether a put that was given up may still replace what stands under `key`, which is `stands`.
    pub(super) fn may_be_put(&self, key: &[u8], stands: Guard) -> bool {
        let removal = self.0.get(key);
        removal.is_some_and(|removal| removal.given_up_put == Some(stands))
    }

    /// Notes what stands under `key`. Returns whether that has to go. Of what has no lease, only the
    /// entry that was meant from the beginning has to.
    pub(super) fn learn(&mut self, key: &[u8], found: &Found) -> bool {
        match self.0.get_mut(key) {
            Some(removal) if removal.lease == found.lease && found.lease != 0 => {
                removal.guard = found.guard();
                true
            }
            _ => false,
        }
    }

    /// Removes `key`, which is gone or somebody else's. Returns the callers that wait for that.
    pub(super) fn remove(&mut self, key: &[u8]) -> Vec<RemovalReply> {
        let removal = self.0.remove(key);
        removal.map_or_else(Vec::new, |removal| removal.replies)
    }

    /// Sends each of `keys` by itself from now on.
    pub(super) fn separate(&mut self, keys: impl IntoIterator<Item = Bytes>) {
        for key in keys {
            if let Some(removal) = self.0.get_mut(&key) {
                removal.is_alone = true;
            }
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        let replies = self.0.values().flat_map(|removal| &removal.replies);
        replies.map(|reply| reply.deadline).min()
    }

    /// Answers the callers whose deadline has passed. The keys still have to go.
    pub(super) fn answer_overdue(&mut self, now: Instant) {
        for (key, removal) in &mut self.0 {
            for reply in removal.replies.extract_if(.., |it| it.deadline <= now) {
                // The caller logs it.
                tracing::debug!(
                    key = %Escaped(String::from_utf8_lossy(key)),
                    lease = removal.lease,
                    "deregistration not confirmed; still trying"
                );
                reply.send(Ok(Deregistered::Unconfirmed));
            }
        }
    }

    pub(super) fn fail(&mut self, key: &[u8], error: &Error) {
        for reply in self.remove(key) {
            reply.send(Err(error.clone()));
        }
    }

    pub(super) fn drain(&mut self) -> Vec<RemovalReply> {
        let removals = self.0.drain();
        removals.flat_map(|(_, removal)| removal.replies).collect()
    }
}
