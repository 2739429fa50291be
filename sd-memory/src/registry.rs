//! The registry: clients, and what it holds, for assertions.

use crate::{
    ClientOptions, MemoryClient,
    calls::Calls,
    shared::{Shared, State},
    store::{Lease, Stored},
};
use sd_core::{Change, Entry, LeaseId};
use std::{fmt, sync::Arc};

/// How many revisions a registry keeps if nobody compacts.
const HISTORY: usize = 100_000;

/// A registry in the process. Cheap to clone; clones are the same registry.
///
/// Give each simulated process a [client](Self::client) of its own. The faults are methods of the
/// registry: [`freeze`](Self::freeze), [`refuse`](Self::refuse), [`kill`](Self::kill),
/// [`fail_next`](Self::fail_next), [`delay`](Self::delay), [`delay_watches`](Self::delay_watches),
/// [`put`](Self::put), [`delete`](Self::delete), [`transact`](Self::transact),
/// [`expire_lease`](Self::expire_lease), [`compact`](Self::compact),
/// [`disconnect_watchers`](Self::disconnect_watchers), [`rebuild_empty`](Self::rebuild_empty) and
/// [`restore`](Self::restore);
/// those of one client, [`cut_off`](MemoryClient::cut_off) and
/// [`fail_next`](MemoryClient::fail_next), are methods of the client.
///
/// Faults and assertions act at once, even while the registry is frozen or down. Clients learn of
/// the changes when the registry answers them.
///
/// Leases expire on tokio's clock. A task ends them; it runs while there are leases, and ends with
/// the registry.
#[derive(Clone)]
pub struct Registry(pub(crate) Arc<Shared>);

impl Registry {
    /// An empty registry that keeps the last 100,000 revisions.
    pub fn new() -> Self {
        Self::with_history(HISTORY)
    }

    /// An empty registry that keeps the last `revisions` revisions and forgets older ones as if
    /// they were [compacted](Self::compact).
    pub fn with_history(revisions: usize) -> Self {
        Self(Arc::new(Shared::new(revisions)))
    }

    /// A new client of this registry.
    pub fn client(&self) -> MemoryClient {
        self.client_with(ClientOptions::default())
    }

    /// A new client of this registry with its own timeouts and limits.
    pub fn client_with(&self, options: ClientOptions) -> MemoryClient {
        MemoryClient::new(&self.0, options)
    }

    /// All entries, in the order of their keys.
    pub fn entries(&self) -> Vec<Entry> {
        self.look(|state| state.store.entries().collect())
    }

    /// The entry under `key`.
    pub fn get(&self, key: &str) -> Option<Stored> {
        self.look(|state| state.store.get(key).cloned())
    }

    /// The leases that have not ended, the oldest first.
    pub fn leases(&self) -> Vec<LeaseId> {
        let mut leases: Vec<_> = self.look(|state| state.store.leases().cloned().collect());
        leases.sort();
        leases
    }

    /// The lease `id`. `None` if it has ended.
    pub fn lease(&self, id: &LeaseId) -> Option<Lease> {
        self.look(|state| state.store.lease(id).cloned())
    }

    /// How many watches are open.
    pub fn watchers(&self) -> usize {
        self.look(|state| state.watchers.len())
    }

    /// The newest revision.
    pub fn revision(&self) -> u64 {
        self.look(|state| state.store.history().revision())
    }

    /// The changes after `revision`, one list for each revision, the oldest first. `None` if they
    /// are no longer kept, or `revision` is in the future.
    ///
    /// ```
    /// use sd_memory::Registry;
    ///
    /// let registry = Registry::new();
    /// let before = registry.revision();
    /// registry.put("/services/hello/a", "10.0.0.1:80")?;
    /// registry.delete("/services/hello/a");
    /// assert_eq!(registry.changes_after(before).map(|changes| changes.len()), Some(2));
    /// # Ok::<(), sd_core::Invalid>(())
    /// ```
    pub fn changes_after(&self, revision: u64) -> Option<Vec<Vec<Change>>> {
        self.look(|state| {
            let history = state.store.history();
            let changes = history.after(revision)?.cloned().collect();
            (revision <= history.revision()).then_some(changes)
        })
    }

    /// How many calls of each kind the clients have made.
    pub fn calls(&self) -> Calls {
        self.look(|state| state.calls)
    }

    pub(crate) fn look<T>(&self, f: impl FnOnce(&State) -> T) -> T {
        self.0.with(|state, _| f(state))
    }
}

impl Default for Registry {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry")
            .field("revision", &self.revision())
            .finish_non_exhaustive()
    }
}
