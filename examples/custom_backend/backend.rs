//! The backend: a [`Client`] of the registry in a [`Directory`], in less than 150 lines.
//!
//! - **Registrations** are in a [`Ledger`]: which registration has which key, what supersedes it,
//!   and what has to be removed. The rest of this file is about files.
//! - **Calls** take turns and wait for the lock of the directory. Once they have it, they do not
//!   await anything else, so a dropped call has taken effect completely or not at all.
//! - **Losses** are found at the beginning of every call. The keeper, the only task of a client,
//!   does just that ten times a second.
//! - **Files** are read and written with blocking calls, since they are local and small.
//! - **Lists and watches** come from a [`Poller`], which needs only a [`Lister`].
//!
//! Limits: the name of a key must fit into a file name of 255 bytes. Keys that are not UTF-8 are
//! not counted, and neither are watches. A change that is undone between two polls is not seen. An
//! empty directory looks like a lost registry. All processes must be on one machine, since they
//! share its clock and its locks. Each client reads all its entries ten times a second, so it can
//! have a hundred of them, but not thousands.

#[cfg(test)]
mod conformance;

use crate::directory::{Directory, Placed};
use sd_core::{
    Bytes, Call, Client, Deregistered, Entry, Error, LeaseId, Ledger, Lister, Lost, Poller, Prefix,
    Reclaim, Reclaimed, Registration, Removal, Result, Revision, Service, Snapshot, Watch,
    WatchError, async_trait,
};
use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

/// How often the keeper and the watches read the directory.
const LOOK: Duration = Duration::from_millis(100);
/// How long a call waits for its turn and the lock.
const PATIENCE: Duration = Duration::from_secs(2);

/// The client of one process. Dropping it removes its entries in the background.
pub(crate) struct DirectoryClient(Process, Poller<Process>, #[expect(dead_code)] DropGuard);

impl DirectoryClient {
    /// A client of the registry in `root`. Needs a runtime.
    pub(crate) fn new(root: &Path) -> Self {
        let process = Process {
            root: root.into(),
            ..Process::default()
        };
        process.tasks.spawn(process.clone().keep());
        let poller = Poller::new(process.clone(), LOOK);
        let stop_on_drop = process.stop.clone().drop_guard();
        Self(process, poller, stop_on_drop)
    }

    /// Removes the client's entries, if it gets the lock in time, and ends everything it started.
    pub(crate) async fn close(&self) {
        self.0.stop.cancel();
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }
}

#[async_trait]
impl Client for DirectoryClient {
    async fn get_entries(&self, prefix: &Prefix) -> Result<Snapshot> {
        self.1.get_entries(prefix).await
    }

    async fn watch_prefix(&self, prefix: &Prefix, after: &Revision) -> Result<Watch, WatchError> {
        drop(self.0.open("watch_prefix", PATIENCE).await?);
        self.1.watch_prefix(prefix, after).await
    }

    async fn register(&self, service: &Service) -> Result<Registration> {
        let call = self.0.ledger(|ledger| ledger.register(service))?;
        let directory = self.0.open("register", PATIENCE).await?;
        self.0.ledger(|ledger| {
            ledger.admit(&call)?;
            self.0.put(call, &directory, ledger)
        })
    }

    async fn deregister(&self, service: &Service) -> Result<Deregistered> {
        let Some(removal) = self.0.ledger(|ledger| ledger.deregister(service))? else {
            return Ok(Deregistered::NotOurs);
        };
        // In a task, so that it goes on if the caller stops waiting.
        let removing = self.0.tasks.spawn(self.0.clone().remove(removal));
        let removed = timeout(PATIENCE, removing).await;
        let unconfirmed = Ok(Ok(Deregistered::Unconfirmed));
        removed.unwrap_or(unconfirmed).unwrap_or(Err(Error::Closed))
    }

    fn lease_id(&self) -> Option<LeaseId> {
        self.0.ledger(|ledger| ledger.lease_id())
    }
}

/// What a client shares with its tasks, watches and registrations.
#[derive(Clone, Default)]
struct Process {
    root: PathBuf,
    /// Allows one call at a time, in order.
    turns: Arc<tokio::sync::Mutex<()>>,
    ledger: Arc<Mutex<Ledger<Placed>>>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Process {
    fn ledger<T>(&self, f: impl FnOnce(&mut Ledger<Placed>) -> T) -> T {
        f(&mut self.ledger.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The keeper: renews the leases and finds losses until it is stopped, and then removes all
    /// entries if it can.
    async fn keep(self) {
        while let Some(()) = self.stop.run_until_cancelled(sleep(LOOK)).await {
            let _ = self.open("look", PATIENCE).await;
        }
        let directory = timeout(PATIENCE, Directory::lock(&self.root, &self.turns)).await;
        let removals = self.ledger(Ledger::close);
        if let Ok(Ok(directory)) = directory {
            carry_out(removals, &directory);
        }
    }

    /// Locks the directory, and finds out what has happened in it.
    async fn open(&self, operation: &'static str, limit: Duration) -> Result<Directory> {
        let locked = timeout(limit, Directory::lock(&self.root, &self.turns));
        let locked = self.stop.run_until_cancelled(locked).await;
        let locked = locked.ok_or(Error::Closed)?;
        let directory = locked.map_err(|_| Error::timeout(operation, limit))??;
        self.ledger(|ledger| catch_up(ledger, &directory));
        Ok(directory)
    }

    fn put(
        &self,
        call: Call,
        directory: &Directory,
        ledger: &mut Ledger<Placed>,
    ) -> Result<Registration> {
        let service = call.service().clone();
        let lease = ledger.lease_for(service.ttl);
        let placed = directory.put(&service, lease.unwrap_or_else(|| directory.new_lease()))?;
        let reclaim = DirectoryReclaim(self.clone(), service, placed.clone());
        let lease = placed.lease.clone();
        let (registration, removals) = ledger.hold(call, &lease, placed, reclaim);
        carry_out(removals, directory);
        Ok(registration)
    }

    /// Removes an entry. Tries again while the directory cannot be locked.
    async fn remove(self, removal: Removal<Placed>) -> Result<Deregistered> {
        let directory = self.open("deregister", Duration::MAX).await?;
        match directory.delete(&removal.mark)? {
            true => Ok(Deregistered::Removed),
            false => Ok(Deregistered::NotOurs),
        }
    }
}

#[async_trait]
impl Lister for Process {
    async fn list(&self, prefix: &Prefix) -> Result<Vec<Entry>> {
        self.open("list", PATIENCE).await?.list(prefix)
    }
}

/// Renews the leases, reports lost registrations, and removes dropped ones.
fn catch_up(ledger: &mut Ledger<Placed>, directory: &Directory) {
    carry_out(ledger.release_dropped(), directory);
    let held: Vec<_> = ledger.held().map(|(id, it)| (id, it.clone())).collect();
    for (id, placed) in held {
        match directory.keep(&placed) {
            Ok(Some(Lost::LeaseExpired)) => ledger.lease_lost(&placed.lease),
            Ok(Some(why)) => drop(ledger.lost(id, why)),
            Ok(None) => ledger.confirmed(&placed.lease, placed.ttl.duration(), Instant::now()),
            // What cannot be moved on runs out.
            Err(error) => ledger.not_confirmed(&placed.lease, error),
        }
    }
}

/// Carries out the removals. An entry that cannot be removed expires.
fn carry_out(removals: Vec<Removal<Placed>>, directory: &Directory) {
    for removal in removals {
        let _ = directory.delete(&removal.mark);
    }
}

/// Puts a lost registration back.
struct DirectoryReclaim(Process, Service, Placed);

#[async_trait]
impl Reclaim for DirectoryReclaim {
    async fn reclaim(&self, value: Bytes) -> Result<Reclaimed> {
        let Self(process, service, before) = self;
        let service = service.clone().with_value(value);
        let call = process.ledger(|ledger| ledger.reclaim(&service))?;
        let directory = process.open("reclaim", PATIENCE).await?;
        process.ledger(|ledger| {
            ledger.admit(&call)?;
            let key = ledger.key_for(&service);
            let stands = key.map_or(Ok(None), |key| directory.read(&key))?;
            match stands {
                Some((owner, value)) if owner != before.owner => {
                    ledger.taken(&call);
                    Ok(Reclaimed::taken(value))
                }
                _ => process.put(call, &directory, ledger).map(Reclaimed::Held),
            }
        })
    }
}
