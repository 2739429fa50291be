//! The task of an instancer.

use super::progress::Progress;
use crate::{
    consumer::mirror::{Mirror, Next},
    instances::{EventPublisher, Trouble},
    registry::{Batch, Client, Prefix, Watch, WatchError},
    support::{Panicked, Work},
};
#[cfg(feature = "snapshot")]
use crate::{consumer::snapshot_file::SnapshotFile, registry::Escaped};
use futures::{FutureExt, StreamExt};
use std::future;
#[cfg(feature = "snapshot")]
use std::time::Duration;
use tokio::{sync::watch, task, time, time::Instant};

/// At most so many batches become one state, so that subscribers hear of a registry that never
/// pauses. Fewer do where they change much.
const BATCHES_AT_ONCE: usize = 256;

/// A registry that answers within this time needs no snapshot.
#[cfg(feature = "snapshot")]
const BEFORE_SNAPSHOT: Duration = Duration::from_secs(1);

/// What the watch yields; `None` if it has ended.
type Item = Option<Result<Batch, WatchError>>;

/// Does what the mirror asks for, and publishes its states.
///
/// Fields are dropped in this order: the open watch first, the publisher, with the last state,
/// after the client.
pub(super) struct InstancerTask {
    pub(super) mirror: Mirror<Watch>,
    pub(super) client: Box<dyn Client>,
    pub(super) prefix: Prefix,
    pub(super) publisher: EventPublisher,
    pub(super) progress: watch::Sender<Progress>,
    /// What to begin with if the registry does not answer, and the format that it has to be in.
    #[cfg(feature = "snapshot")]
    pub(super) snapshot: Option<(SnapshotFile, String)>,
}

impl Work for InstancerTask {
    const NAME: &'static str = "instancer";

    async fn run(&mut self) {
        #[cfg(feature = "snapshot")]
        if let Some((file, format)) = self.snapshot.take() {
            self.list_or_restore(file, format).await;
            self.publish();
        }
        loop {
            self.step().await;
            self.publish();
        }
    }

    fn panicked(&mut self, why: Panicked) {
        let why = Trouble::Panicked { message: why.0 };
        self.publisher.ends_because(why.clone());
        self.progress.send_modify(|it| it.trouble = Some(why));
    }
}

#[cfg(feature = "snapshot")]
impl InstancerTask {
    /// Lists once, and begins with the snapshot if that fails or takes long.
    async fn list_or_restore(&mut self, file: SnapshotFile, format: String) {
        let list = self.client.get_entries(&self.prefix);
        match time::timeout(BEFORE_SNAPSHOT, list).await {
            Ok(Ok(snapshot)) => return self.mirror.listed(snapshot, Instant::now()),
            Ok(Err(error)) => self.mirror.list_failed(error, Instant::now()),
            Err(_) => {}
        }
        let (prefix, path) = (self.prefix.clone(), file.shown_path());
        let read = task::spawn_blocking(move || file.read(&prefix, &format));
        let read = read.await.unwrap_or_else(|error| Err(error.to_string()));
        let known = match read {
            Ok(Some(known)) => known,
            Ok(None) => return,
            Err(why) => {
                tracing::warn!(prefix = %Escaped(&self.prefix), path, why = %Escaped(&why), "the snapshot is not used");
                return;
            }
        };
        let (now, age) = (Instant::now(), known.age);
        // The clock may not have run for so long.
        let since = now.checked_sub(age).unwrap_or(now);
        let why = Trouble::Snapshot { age };
        self.mirror.restore(known.instances, why, since, now);
    }
}

impl InstancerTask {
    async fn step(&mut self) {
        let deadline = self.mirror.deadline();
        let (pause, next) = self.mirror.next();
        if !pause.is_zero() {
            time::sleep(pause).await;
        }
        match next {
            Next::List => match self.client.get_entries(&self.prefix).await {
                Ok(snapshot) => self.mirror.listed(snapshot, Instant::now()),
                Err(error) => self.mirror.list_failed(error, Instant::now()),
            },
            Next::Watch { after } => match self.client.watch_prefix(&self.prefix, &after).await {
                Ok(watch) => self.mirror.opened(watch),
                Err(error) => self.mirror.watch_failed(error, Instant::now()),
            },
            Next::Read(watch) => {
                let item = tokio::select! {
                    biased;
                    item = watch.next() => Some(item),
                    () = sleep_until(deadline) => None,
                };
                self.apply_all(item).await;
            }
        }
    }

    /// Applies `item` and those that the watch has ready, then the removals that are due.
    async fn apply_all(&mut self, mut item: Option<Item>) {
        let mut applied = 0;
        while let Some(next) = item.take() {
            let now = Instant::now();
            match next {
                Some(Ok(batch)) => self.mirror.batch(batch, now),
                Some(Err(error)) => self.mirror.watch_failed(error, now),
                None => self.mirror.watch_ended(now),
            }
            applied += 1;
            if applied < BATCHES_AT_ONCE
                && !self.mirror.has_much_news()
                && let Some(watch) = self.mirror.watch()
            {
                item = watch.next().now_or_never();
            }
        }
        self.mirror.tick(Instant::now());
        if applied == BATCHES_AT_ONCE || self.mirror.has_much_news() {
            task::yield_now().await;
        }
    }

    fn publish(&mut self) {
        let event = self.mirror.take_event();
        let mirror = &self.mirror;
        let mut was_clear = false;
        // The count of skipped entries comes before the state without them, so that a subscriber
        // who has seen the state reads a count that includes them.
        self.progress.send_if_modified(|progress| {
            was_clear = progress.outcome().is_some();
            progress.skipped = mirror.skipped();
            false
        });
        // The state comes before the readiness, so that `state` is `Some` once `ready` returns.
        if let Some(event) = event {
            self.publisher.publish(event);
        }
        self.progress.send_if_modified(|progress| {
            progress.is_ready = mirror.is_ready();
            progress.trouble = mirror.trouble().cloned();
            !was_clear && progress.outcome().is_some()
        });
    }
}

/// Never, if there is no deadline.
async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => time::sleep_until(deadline).await,
        None => future::pending().await,
    }
}
