//! A client that answers what a test sends.

use crate::{
    consumer::testing::entry,
    registry::{
        Batch, Change, Client, Deregistered, Error, LeaseId, Prefix, Registration, Result,
        Revision, Service, Snapshot, Watch, WatchError,
    },
};
use async_trait::async_trait;
use futures::{StreamExt, stream};
use std::sync::{Arc, Mutex};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

pub(super) type Item = Result<Batch, WatchError>;
pub(super) type Opened = Result<UnboundedReceiver<Item>, WatchError>;

/// A client that answers what the test sends, and waits while there is nothing.
pub(super) struct Scripted {
    calls: Arc<Mutex<Vec<Call>>>,
    lists: tokio::sync::Mutex<UnboundedReceiver<Result<Snapshot>>>,
    watches: tokio::sync::Mutex<UnboundedReceiver<Opened>>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Call {
    List,
    Watch(Revision),
}

/// The test's side of it.
pub(super) struct Script {
    calls: Arc<Mutex<Vec<Call>>>,
    pub(super) lists: UnboundedSender<Result<Snapshot>>,
    watches: UnboundedSender<Opened>,
}

pub(super) fn script() -> (Scripted, Script) {
    let (lists, list_answers) = unbounded_channel();
    let (watches, watch_answers) = unbounded_channel();
    let calls = Arc::default();
    let client = Scripted {
        calls: Arc::clone(&calls),
        lists: list_answers.into(),
        watches: watch_answers.into(),
    };
    (
        client,
        Script {
            calls,
            lists,
            watches,
        },
    )
}

#[async_trait]
impl Client for Scripted {
    async fn get_entries(&self, _: &Prefix) -> Result<Snapshot> {
        self.calls.lock().unwrap().push(Call::List);
        let answer = self.lists.lock().await.recv().await;
        answer.unwrap_or(Err(Error::Closed))
    }

    async fn watch_prefix(&self, _: &Prefix, after: &Revision) -> Result<Watch, WatchError> {
        self.calls.lock().unwrap().push(Call::Watch(after.clone()));
        let answer = self.watches.lock().await.recv().await;
        let items = answer.unwrap_or(Err(WatchError::Interrupted(Error::Closed)))?;
        let items = stream::unfold(items, async |mut items| Some((items.recv().await?, items)));
        let stands = Ok(Batch::new(vec![], after.clone()));
        Ok(Watch::new(stream::iter([stands]).chain(items)))
    }

    async fn register(&self, _: &Service) -> Result<Registration> {
        Err(Error::Closed)
    }

    async fn deregister(&self, _: &Service) -> Result<Deregistered> {
        Err(Error::Closed)
    }

    fn lease_id(&self) -> Option<LeaseId> {
        None
    }
}

impl Script {
    pub(super) fn list(&self, revision: u64, names: &[&str]) {
        let snapshot = Snapshot::new(
            names.iter().map(|name| entry(name, "h:1")).collect(),
            Revision::new(revision),
        );
        self.lists.send(Ok(snapshot)).unwrap();
    }

    pub(super) fn refuse_list(&self, error: Error) {
        self.lists.send(Err(error)).unwrap();
    }

    /// Lets one watch be opened, and gives the end that feeds it.
    pub(super) fn open(&self) -> UnboundedSender<Item> {
        let (sender, items) = unbounded_channel();
        self.watches.send(Ok(items)).unwrap();
        sender
    }

    pub(super) fn refuse_watch(&self, error: WatchError) {
        self.watches.send(Err(error)).unwrap();
    }

    pub(super) fn calls(&self) -> Vec<Call> {
        self.calls.lock().unwrap().clone()
    }

    pub(super) fn watched_after(&self, revision: u64) -> Call {
        Call::Watch(Revision::new(revision))
    }
}

/// A batch of one change.
pub(super) fn batch(revision: u64, change: Change) -> Item {
    Ok(Batch::new(vec![change], Revision::new(revision)))
}

pub(super) fn interrupted() -> WatchError {
    WatchError::Interrupted(Error::unavailable("broken pipe"))
}
