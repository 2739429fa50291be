//! The faults: what the registry does to its clients, and what others do to the registry.

use crate::{
    Registry,
    shared::{Condition, State},
};
use sd_core::{Bytes, Change, Error, ErrorChain, Invalid, Key, LeaseId};
use std::time::Duration;

/// # What others do to the registry
impl Registry {
    /// Puts `value` under `key` without a lease, as an operator would, and returns the revision.
    ///
    /// A client that held the key learns that it was [taken](sd_core::Lost::Taken).
    ///
    /// # Errors
    /// [`Invalid::EmptyKey`].
    pub fn put(&self, key: impl AsRef<str>, value: impl Into<Bytes>) -> Result<u64, Invalid> {
        let key = Key::new(key)?;
        let value = value.into();
        Ok(self.0.with(|state, _| state.store.put(key, value, None)))
    }

    /// Puts `value` under `key` and leaves the entry on its lease, as an operator who edits it with
    /// `etcdctl put --ignore-lease`. Returns the revision; `None` if there is no such key.
    ///
    /// A client that holds the key hears that it was [overwritten](sd_core::Lost::Overwritten).
    ///
    /// ```
    /// use sd_memory::Registry;
    ///
    /// let registry = Registry::new();
    /// registry.put("/services/hello/a", "10.0.0.1:80")?;
    /// assert_eq!(registry.edit("/services/hello/a", "10.0.0.2:80"), Some(3));
    /// assert_eq!(registry.edit("/services/hello/b", "10.0.0.2:80"), None);
    /// # Ok::<(), sd_core::Invalid>(())
    /// ```
    pub fn edit(&self, key: impl AsRef<str>, value: impl Into<Bytes>) -> Option<u64> {
        let key = Key::new(key).ok()?;
        let value = value.into();
        self.0.with(|state, _| {
            let lease = state.store.get(key.as_str())?.lease.clone();
            Some(state.store.put(key, value, lease.as_ref()))
        })
    }

    /// Deletes `key`, as an operator would; `false` if it was not there.
    ///
    /// A client that held the key learns that it was [deleted](sd_core::Lost::KeyDeleted). Its
    /// lease is kept.
    pub fn delete(&self, key: impl AsRef<str>) -> bool {
        Key::new(key).is_ok_and(|key| self.0.with(|state, _| state.store.delete(&key).is_some()))
    }

    /// Makes several changes at one revision, and returns the newest revision. Of several changes
    /// of one key the last counts. An entry is put on its lease, if there is such a lease.
    ///
    /// ```
    /// use sd_core::{Change, Entry, Key};
    /// use sd_memory::Registry;
    ///
    /// let registry = Registry::new();
    /// let before = registry.put("/services/hello/a", "10.0.0.1:80")?;
    /// let after = registry.transact([
    ///     Change::Delete(Key::new("/services/hello/a")?),
    ///     Change::Put(Entry::new(Key::new("/services/hello/b")?, "10.0.0.2:80")),
    /// ]);
    /// assert_eq!(after, before + 1);
    /// # Ok::<(), sd_core::Invalid>(())
    /// ```
    pub fn transact(&self, changes: impl IntoIterator<Item = Change>) -> u64 {
        let changes = changes.into_iter().collect();
        self.0.with(|state, _| {
            state.store.transact(changes);
            state.store.history().revision()
        })
    }

    /// Ends the lease as if it had expired or an operator had revoked it. Its keys are removed at
    /// one revision. Returns `false` if there is no such lease.
    pub fn expire_lease(&self, id: &LeaseId) -> bool {
        self.0.with(|state, _| state.store.revoke(id))
    }

    /// Drops the history up to the current revision. A new watch from an earlier revision gets a
    /// [gap](sd_core::Gap::Compacted). Open watches continue, unless they are more than 1,024
    /// revisions behind.
    pub fn compact(&self) {
        self.0.with(|state, _| state.store.compact());
    }

    /// Loses everything, like an etcd that comes back with an empty data directory: entries, leases
    /// and history are gone, and the revision counter starts at 1 again. Watches are interrupted,
    /// and get a [gap](sd_core::Gap::Rebuilt) when they are resumed, even if the new counter has
    /// passed their revision by then (write entries to advance it). Clients learn that their leases
    /// are lost.
    pub fn rebuild_empty(&self) {
        self.0.change_condition(|state, _| {
            state.store = state.store.rebuilt();
            state.disconnect(Error::unavailable("the registry was rebuilt"));
        });
        tracing::warn!("the registry lost everything");
    }
}

/// # A registry in trouble
///
/// [`freeze`](Registry::freeze), [`refuse`](Registry::refuse) and [`kill`](Registry::kill) replace
/// each other: only the latest is in effect, until its own counterpart ends it. Each is logged
/// once, for all clients.
impl Registry {
    /// Stops answering, like a process after SIGSTOP. Calls wait for their timeout. Watches report
    /// a disruption and then an interruption.
    ///
    /// The server does nothing either: leases that expire during the freeze end at the
    /// [thaw](Self::thaw), before any keep-alive that waits for it.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use sd_core::{Client, Error, Prefix};
    /// use sd_memory::Registry;
    ///
    /// tokio::time::pause();
    /// let registry = Registry::new();
    /// let client = registry.client();
    /// let hello = Prefix::new("/services/hello")?;
    /// registry.freeze();
    /// let outcome = client.get_entries(&hello).await;
    /// assert!(matches!(outcome, Err(Error::Timeout { .. })));
    /// registry.thaw();
    /// client.get_entries(&hello).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn freeze(&self) {
        self.0.change_condition(|state, now| {
            if !matches!(state.condition, Condition::Frozen { .. }) {
                tracing::warn!("the registry is frozen");
                state.condition = Condition::Frozen { since: now };
            }
        });
    }

    /// Ends a [freeze](Self::freeze): leases that have expired end, and then waiting calls go
    /// through.
    pub fn thaw(&self) {
        self.0.change_condition(|state, _| {
            if matches!(state.condition, Condition::Frozen { .. }) {
                tracing::info!("the registry answers again");
                state.condition = Condition::Open;
            }
        });
    }

    /// Answers every call with `error` and interrupts all watches with it, like a registry that
    /// cannot be reached, has no leader, or no longer accepts the credentials. Leases expire
    /// meanwhile, since keep-alives fail.
    pub fn refuse(&self, error: Error) {
        self.0.change_condition(|state, _| {
            tracing::warn!(error = %ErrorChain(&error), "the registry refuses all calls");
            state.disconnect(error.clone());
            state.condition = Condition::Refusing(error);
        });
    }

    /// Ends a [refusal](Self::refuse).
    pub fn accept(&self) {
        self.0.change_condition(|state, _| {
            if matches!(state.condition, Condition::Refusing(_)) {
                tracing::info!("the registry answers again");
                state.condition = Condition::Open;
            }
        });
    }

    /// Takes the registry down and keeps its data: calls fail as unavailable, watches are
    /// interrupted, and no lease expires until the [restart](Self::restart).
    pub fn kill(&self) {
        self.0.change_condition(|state, _| {
            tracing::warn!("the registry is down");
            state.disconnect(Error::unavailable("the registry is down"));
            state.condition = Condition::Killed;
        });
    }

    /// Restarts a [killed](Self::kill) registry with its data. As in etcd, each lease gets its full
    /// TTL again.
    pub fn restart(&self) {
        self.0.change_condition(|state, now| {
            if matches!(state.condition, Condition::Killed) {
                tracing::info!("the registry answers again");
                state.store.renew_all(now);
                state.condition = Condition::Open;
            }
        });
    }

    /// Answers the next `calls` calls of any client with `error`. A failed call has no effect.
    /// Lists, opened watches, registrations, reclaims and removals count as calls. Keep-alives do
    /// not count and do not fail. If called several times, the earliest failures come first.
    ///
    /// A removal that fails with a [transient](Error::is_transient) error is tried again a second
    /// later, and counts again.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use sd_core::{Client, Error, Prefix};
    /// use sd_memory::Registry;
    ///
    /// let registry = Registry::new();
    /// let client = registry.client();
    /// let hello = Prefix::new("/services/hello")?;
    /// registry.fail_next(2, Error::exhausted("no space"));
    /// for _ in 0..2 {
    ///     let outcome = client.get_entries(&hello).await;
    ///     assert!(matches!(outcome, Err(Error::Exhausted { .. })));
    /// }
    /// client.get_entries(&hello).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn fail_next(&self, calls: usize, error: Error) {
        self.0
            .change_condition(|state, _| state.failures.add(None, calls, error));
    }

    /// Makes every call take this long from now on, keep-alives included; zero ends it. Does not
    /// delay the items of open watches; [`delay_watches`](Self::delay_watches) does.
    pub fn delay(&self, by: Duration) {
        self.0.change_condition(|state, _| state.delay = by);
    }

    /// Makes watches report every change this long after it was made, from now on. With zero,
    /// watches report at once all changes that were held back. Does not delay calls or the end of a
    /// watch.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use futures::StreamExt;
    /// use sd_core::{Client, Prefix};
    /// use sd_memory::Registry;
    /// use std::time::Duration;
    /// use tokio::time::Instant;
    ///
    /// tokio::time::pause();
    /// let registry = Registry::new();
    /// let client = registry.client();
    /// let hello = Prefix::new("/services/hello")?;
    /// let listed = client.get_entries(&hello).await?;
    /// let mut watch = client.watch_prefix(&hello, &listed.revision).await?;
    /// watch.next().await.ok_or("ended")??; // it stands
    ///
    /// registry.delay_watches(Duration::from_secs(5));
    /// let began = Instant::now();
    /// registry.put("/services/hello/a", "10.0.0.1:80")?;
    /// assert_eq!(client.get_entries(&hello).await?.entries.len(), 1);
    /// let batch = watch.next().await.ok_or("ended")??;
    /// assert_eq!(batch.changes.len(), 1);
    /// assert!(began.elapsed() >= Duration::from_secs(5));
    /// # Ok(())
    /// # }
    /// ```
    pub fn delay_watches(&self, by: Duration) {
        self.0
            .change_condition(|state, _| state.watch_delay.set(by));
    }

    /// Interrupts every open watch.
    pub fn disconnect_watchers(&self) {
        tracing::warn!("all watches are interrupted");
        self.0.change_condition(|state: &mut State, _| {
            state.disconnect(Error::unavailable("disconnected"))
        });
    }
}
