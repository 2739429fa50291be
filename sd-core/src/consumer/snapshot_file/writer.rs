//! Writing what an instancer knows into its snapshot file.

use super::{SnapshotFile, contents::Contents};
use crate::{
    instances::{Event, Events, Instances},
    registry::{ErrorChain, Escaped, Prefix},
    support::{LogThrottle, Panicked, Work},
};
use futures::StreamExt;
use std::{
    io,
    time::{Duration, SystemTime},
};
use tokio::{
    task,
    time::{self, Instant},
};

/// How often the file is written where nothing changes, so that its age is that of the knowledge.
const UNCHANGED: Duration = Duration::from_secs(60);

/// Writes each state that is live, at most once an interval.
pub(in crate::consumer) struct SnapshotWriter {
    file: SnapshotFile,
    prefix: Prefix,
    format: String,
    events: Events,
    log: LogThrottle,
}

impl SnapshotWriter {
    pub(in crate::consumer) fn new(
        file: SnapshotFile,
        prefix: Prefix,
        format: String,
        events: Events,
    ) -> Self {
        Self {
            file,
            prefix,
            format,
            events,
            log: LogThrottle::new(1).with_first_pause(UNCHANGED),
        }
    }

    async fn write(&mut self, instances: Instances) {
        let (file, prefix, format) = (self.file.clone(), self.prefix.clone(), self.format.clone());
        let written = task::spawn_blocking(move || {
            let now = SystemTime::now();
            let bytes = Contents::write(&instances, &prefix, &format, now)?;
            file.write(&bytes)
        });
        let error = match written.await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error,
            Err(error) => io::Error::other(error),
        };
        if self.log.allows(Instant::now()) {
            tracing::warn!(
                prefix = %Escaped(&self.prefix),
                path = self.file.shown_path(),
                error = %ErrorChain(&error),
                "the snapshot was not written"
            );
        }
    }
}

impl Work for SnapshotWriter {
    const NAME: &'static str = "snapshot writer";

    async fn run(&mut self) {
        let is_live = |event: &Event| event.health().is_live();
        let Some(mut event) = self.events.next().await else {
            return;
        };
        loop {
            if is_live(&event) {
                self.write(event.instances().clone()).await;
            }
            time::sleep(self.file.interval).await;
            event = match time::timeout(UNCHANGED, self.events.next()).await {
                Ok(Some(next)) => next,
                Ok(None) => return,
                Err(_) => event,
            };
        }
    }

    fn panicked(&mut self, _: Panicked) {}
}
