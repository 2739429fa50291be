//! A registry whose changes are fed by hand, so that nothing is measured but what follows it.

use super::Kind;
use futures::{StreamExt, stream};
use sd_core::{
    Batch, Change, Client, Deregistered, Entry, Error, Key, LeaseId, Prefix, Registration,
    Revision, Service, Snapshot, Watch, WatchError, async_trait,
};
use std::sync::{Mutex, PoisonError};
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;

/// A registry with one watch.
pub(super) struct FedRegistry {
    entries: Vec<Entry>,
    changes: Mutex<Option<mpsc::UnboundedReceiver<Batch>>>,
}

/// What feeds it.
pub(super) struct Feed {
    kind: Kind,
    size: usize,
    count: usize,
    changes: mpsc::UnboundedSender<Batch>,
}

/// The instances change in an order in which neighbours are far apart.
const STEP: usize = 7919;

impl FedRegistry {
    pub(super) fn new(kind: Kind, size: usize) -> (Feed, Self) {
        let (sender, changes) = mpsc::unbounded_channel();
        let feed = Feed {
            kind,
            size,
            count: 0,
            changes: sender,
        };
        let registry = Self {
            entries: (0..size).map(|n| entry(n, 1)).collect(),
            changes: Mutex::new(Some(changes)),
        };
        (feed, registry)
    }
}

impl Feed {
    /// The next change. Nothing happens if nobody watches any longer.
    pub(super) fn change(&mut self) {
        let count = self.count;
        self.count += 1;
        let change = match self.kind {
            Kind::Weights => {
                let weight = 1 + (count / self.size + 1) % 5;
                Change::Put(entry(count * STEP % self.size, weight))
            }
            Kind::Restarts => {
                let n = count / 2 * STEP % self.size;
                if count.is_multiple_of(2) {
                    Change::Delete(key(n))
                } else {
                    Change::Put(entry(n, 1))
                }
            }
        };
        let _ = self
            .changes
            .send(Batch::new(vec![change], revision(count + 1)));
    }
}

fn key(n: usize) -> Key {
    Key::new(format!("/services/hello/{n:06}")).expect("a key")
}

fn entry(n: usize, weight: usize) -> Entry {
    let address = format!("10.{}.{}.{}:8080", n >> 16, n >> 8 & 255, n & 255);
    let value = format!(
        r#"{{"address":"{address}","weight":{weight},"zone":"eu-{}","metadata":{{"version":"v{}"}}}}"#,
        n % 3,
        n % 4
    );
    Entry::new(key(n), value)
}

fn revision(n: usize) -> Revision {
    Revision::new(n)
}

#[async_trait]
impl Client for FedRegistry {
    async fn get_entries(&self, _: &Prefix) -> Result<Snapshot, Error> {
        Ok(Snapshot::new(self.entries.clone(), revision(0)))
    }

    async fn watch_prefix(&self, _: &Prefix, _: &Revision) -> Result<Watch, WatchError> {
        let changes = self
            .changes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let changes = changes.ok_or(Error::Closed)?;
        // The registry has answered.
        let answer = stream::iter([Batch::new(Vec::new(), revision(0))]);
        Ok(Watch::new(
            answer.chain(UnboundedReceiverStream::new(changes)).map(Ok),
        ))
    }

    async fn register(&self, _: &Service) -> Result<Registration, Error> {
        Err(Error::Closed)
    }

    async fn deregister(&self, _: &Service) -> Result<Deregistered, Error> {
        Err(Error::Closed)
    }

    fn lease_id(&self) -> Option<LeaseId> {
        None
    }
}
