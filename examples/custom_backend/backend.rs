//! The backend: a [`Client`] of the registry in a [`Directory`], in less than 170 lines.
//!
//! - **Calls** take turns within the process, in the order in which they were made, and wait for the
//!   lock of the directory. Once they have it they wait for nothing more, so a call that is dropped
//!   has had all of its effect or none, and no `register` puts anything after a later `deregister`.
//! - **Losses** are found by every call, before it does anything else; the keeper, the one task of a
//!   client, is a call that is made ten times a second and does nothing else.
//! - **Files** are read and written in place: work that is local and short.
//! - **Lists and watches** are a [`Poller`]'s, which needs nothing but a [`Lister`].
//!
//! What it cannot do: hold keys whose name would be longer than the file system's 255 bytes, count
//! keys that are not text, tell who watches, see what comes and goes between two looks, tell an
//! empty directory from a registry that was lost, or serve more than one machine, whose clock and
//! lock it needs. As each client looks at all its entries ten times a second, it is good for a
//! hundred of them, not for thousands.

#[cfg(test)]
mod conformance;

use crate::directory::{Deed, Directory};
use futures::FutureExt;
use sd_core::{
    Bytes, Client, Deregistered, Entry, Error, LeaseId, Lister, LossSender, Lost, LostLeases,
    Poller, Prefix, Reclaim, Reclaimed, Registration, Result, Revision, Service, ServiceKey,
    Snapshot, Ttl, Watch, WatchError, async_trait,
};
use std::{collections::HashMap, mem, path::Path, path::PathBuf, sync::Arc, time::Duration};
use tokio::sync::{Mutex, OwnedMutexGuard, watch};
use tokio::time::{sleep, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

/// How often the keeper looks, and a watch.
const LOOK: Duration = Duration::from_millis(100);
/// How long a call waits for its turn and the lock.
const PATIENCE: Duration = Duration::from_secs(2);

/// A client as one process has it. Dropping it removes its entries in the background.
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

    /// Removes the client's entries, if the lock is to be had in time, and ends all it started.
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
        let turn = self.0.open("watch_prefix", PATIENCE).await;
        drop(turn.map_err(WatchError::Interrupted)?);
        self.1.watch_prefix(prefix, after).await
    }

    async fn register(&self, service: &Service) -> Result<Registration> {
        self.0.open("register", PATIENCE).await?.put(service)
    }

    async fn deregister(&self, service: &Service) -> Result<Deregistered> {
        // A task, so that it goes on when nobody waits for it any more.
        let removal = self.0.clone().remove(service.key.clone());
        let removed = timeout(PATIENCE, self.0.tasks.spawn(removal)).await;
        let unconfirmed = Ok(Ok(Deregistered::Unconfirmed));
        removed.unwrap_or(unconfirmed).unwrap_or(Err(Error::Closed))
    }

    fn lease_id(&self) -> Option<LeaseId> {
        self.0.lease.borrow().clone()
    }
}

/// What a client shares with its tasks, watches and registrations.
#[derive(Clone, Default)]
struct Process {
    root: PathBuf,
    held: Arc<Mutex<Holdings>>,
    /// Says once what a thousand registrars need not say.
    lost_leases: Arc<Mutex<LostLeases>>,
    lease: watch::Sender<Option<LeaseId>>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// What a process has put down, and whom to tell when it is lost.
type Holdings = HashMap<ServiceKey, (Deed, LossSender)>;

impl Process {
    /// The keeper: looks until it is stopped, and then leaves nothing behind if it can.
    async fn keep(self) {
        while let Some(()) = self.stop.run_until_cancelled(sleep(LOOK)).await {
            let _ = self.open("look", PATIENCE).await;
        }
        if let Ok(Ok(turn)) = timeout(PATIENCE, self.lock()).await {
            for (deed, _) in turn.held.values() {
                let _ = turn.directory.delete(deed);
            }
        }
        self.held.lock().await.clear();
    }

    async fn lock(&self) -> Result<Turn> {
        let mut turn = Turn {
            process: self.clone(),
            held: self.held.clone().lock_owned().await,
            lost_leases: self.lost_leases.clone().lock_owned().await,
            directory: Directory::lock(&self.root).await?,
        };
        turn.catch_up();
        Ok(turn)
    }

    async fn open(&self, operation: &'static str, after: Duration) -> Result<Turn> {
        let turn = timeout(after, self.lock());
        let turn = self.stop.run_until_cancelled(turn).await;
        let turn = turn.ok_or(Error::Closed)?;
        turn.unwrap_or(Err(Error::Timeout { operation, after }))
    }

    /// Removes the service's entry, however long the directory is not to be had.
    async fn remove(self, service: ServiceKey) -> Result<Deregistered> {
        let mut turn = self.open("deregister", Duration::MAX).await?;
        turn.lost_leases.forget(&service);
        let Some((deed, loss)) = turn.held.remove(&service) else {
            return Ok(Deregistered::NotOurs);
        };
        loss.send(Lost::Deregistered);
        turn.directory.delete(&deed)?;
        Ok(Deregistered::Removed)
    }
}

#[async_trait]
impl Lister for Process {
    async fn list(&self, prefix: &Prefix) -> Result<Vec<Entry>> {
        self.open("list", PATIENCE).await?.directory.list(prefix)
    }
}

/// A call's turn: the directory, locked, and what the process holds in it.
struct Turn {
    process: Process,
    held: OwnedMutexGuard<Holdings>,
    lost_leases: OwnedMutexGuard<LostLeases>,
    directory: Directory,
}

impl Turn {
    /// Moves the leases on, and lets go of what is lost or was dropped.
    fn catch_up(&mut self) {
        let mut expired = HashMap::<_, Vec<_>>::new();
        for (service, (deed, loss)) in mem::take(&mut *self.held) {
            let dropped = loss.dropped().now_or_never().is_some();
            match self.directory.keep(&deed) {
                Ok(Some(lost)) => {
                    if lost == Lost::LeaseExpired {
                        expired.entry(deed.lease).or_default().push(service);
                    }
                    loss.send(lost);
                }
                // What cannot be removed runs out, as does what cannot be moved on.
                Ok(None) if dropped => drop(self.directory.delete(&deed)),
                Ok(None) | Err(_) => drop(self.held.insert(service, (deed, loss))),
            }
        }
        for (lease, services) in expired {
            self.lost_leases.lost(&lease, services);
        }
    }

    /// The lease for services of this TTL, or one that is new.
    fn lease(&self, ttl: Ttl) -> LeaseId {
        let mut deeds = self.held.values().map(|(deed, _)| deed);
        let known = deeds.find(|deed| deed.ttl == ttl);
        known.map_or_else(|| self.directory.new_lease(), |deed| deed.lease.clone())
    }

    fn put(&mut self, service: &Service) -> Result<Registration> {
        let deed = self.directory.put(service, self.lease(service.ttl))?;
        self.lost_leases.stands(&service.key, &deed.lease);
        let claim = Claim(self.process.clone(), service.clone(), deed.clone());
        let (loss, registration) =
            Registration::channel(deed.key.clone(), deed.lease.clone(), claim);
        if let Some((before, loss)) = self.held.insert(service.key.clone(), (deed, loss)) {
            // Under another key, if its lease was another.
            let _ = self.directory.delete(&before);
            loss.send(Lost::Superseded);
        }
        Ok(registration)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let leases = self.held.values().map(|(deed, _)| &deed.lease);
        self.process.lease.send_replace(leases.max().cloned());
    }
}

/// With what a lost registration is put back.
struct Claim(Process, Service, Deed);

#[async_trait]
impl Reclaim for Claim {
    async fn reclaim(&self, value: Bytes) -> Result<Reclaimed> {
        let Self(process, service, deed) = self;
        let mut turn = process.open("reclaim", PATIENCE).await?;
        let key = service.key.under(&turn.lease(service.ttl));
        match turn.directory.read(&key)? {
            Some((owner, value)) if owner != deed.owner => {
                turn.lost_leases.forget(&service.key);
                Ok(Reclaimed::taken(value))
            }
            _ => Ok(Reclaimed::Held(
                turn.put(&service.clone().with_value(value))?,
            )),
        }
    }
}
