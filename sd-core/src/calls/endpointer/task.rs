//! The endpointer's task: follows the source, runs factories, and publishes tables and statuses.

use super::{
    endpoint_set::EndpointSet,
    factory_runs::{FactoryRuns, Made},
    status::EndpointerStatus,
};
use crate::{
    calls::{
        endpoint_table::{EndpointTable, TableContents},
        meters::EndpointerMeters,
        no_endpoints::NoEndpoints,
        rebuild_pace::RebuildPace,
        replacements::Replacements,
        run_queue::RunId,
        table_writer::TableWriter,
    },
    instances::{Event, Events, Health, Source, Trouble},
    registry::{Error, ErrorChain, Result},
    support::{Panicked, Work},
};
use futures::{FutureExt, StreamExt, future::BoxFuture};
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

/// After so many results of factories, the table is built and other tasks get a turn.
const BATCH: usize = 256;

/// Owns all that the endpointer does; its `Drop` publishes that it has ended.
pub(super) struct EndpointerTask<E: Send + Sync + 'static> {
    events: Events,
    /// Kept until the end, as dropping it may stop it.
    _source: Arc<dyn Source>,
    /// The wait for its first event, until then or until it has failed.
    source_ready: Option<BoxFuture<'static, Result<()>>>,
    /// What keeps the source from its first event.
    source_error: Option<Arc<Error>>,
    set: EndpointSet<E>,
    replacements: Arc<Replacements>,
    runs: FactoryRuns<E>,
    table: TableWriter<E>,
    status: watch::Sender<Arc<EndpointerStatus>>,
    health: Option<Health>,
    /// How many entries the source cannot read.
    unreadable: usize,
    /// The table is empty, for another reason than it says.
    reason_changed: bool,
    source_ended: bool,
    invalidate_after: Option<Duration>,
    invalidated: bool,
    /// How many endpoints are in the table.
    endpoints: usize,
    ready: bool,
    pace: RebuildPace,
    /// Why the task has ended. `None` if it was stopped.
    failure: Option<Trouble>,
    meters: EndpointerMeters,
}

impl<E: Send + Sync + 'static> EndpointerTask<E> {
    pub(super) fn new(
        source: Arc<dyn Source>,
        set: EndpointSet<E>,
        replacements: Arc<Replacements>,
        runs: FactoryRuns<E>,
        table: Arc<EndpointTable<E>>,
        status: watch::Sender<Arc<EndpointerStatus>>,
        invalidate_after: Option<Duration>,
    ) -> Self {
        let events = source.subscribe();
        let waiting = source.clone();
        Self {
            events,
            _source: source,
            source_ready: Some(async move { waiting.ready().await }.boxed()),
            source_error: None,
            set,
            replacements,
            runs,
            table: TableWriter::new(table),
            status,
            health: None,
            unreadable: 0,
            reason_changed: false,
            source_ended: false,
            invalidate_after,
            invalidated: false,
            endpoints: 0,
            ready: false,
            pace: RebuildPace::new(Instant::now()),
            failure: None,
            meters: EndpointerMeters::new(),
        }
    }

    fn on_event(&mut self, event: Option<Event>) {
        let now = Instant::now();
        let Some(event) = event else {
            self.source_ended = true;
            self.reason_changed |= self.endpoints == 0;
            if self.set.instances().is_none() && self.source_error.is_none() {
                let ready = self.source_ready.take();
                let ready = ready.and_then(|ready| ready.now_or_never());
                self.on_source_ready(ready.unwrap_or(Err(Error::Closed)));
            }
            // The source may have been dropped without a last, stale state.
            if let Some(health @ Health::Live) = &mut self.health {
                *health = Health::Stale {
                    since: now,
                    why: Trouble::Stopped,
                };
            }
            return;
        };
        (self.source_ready, self.source_error) = (None, None);
        for abandoned in self.set.apply(event.instances(), now) {
            self.runs.abort(abandoned);
        }
        self.health = Some(event.health().clone());
        let unreadable = std::mem::replace(&mut self.unreadable, event.unreadable());
        self.reason_changed |= self.endpoints == 0 && self.unreadable != unreadable;
    }

    /// The source can say whether it will have a first event. If it will, that comes.
    fn on_source_ready(&mut self, ready: Result<()>) {
        self.source_ready = None;
        if let Err(why) = ready {
            self.source_error = Some(Arc::new(why));
            self.reason_changed = true;
        }
    }

    /// Starts the factories that are due and takes their results, until all others have to be
    /// waited for, or a batch is full. Returns whether there may be more.
    fn run_factories(&mut self) -> bool {
        let now = Instant::now();
        for _ in 0..BATCH {
            while let Some((id, instance)) = self.set.start_run(now) {
                self.runs.start(id, instance);
            }
            match self.runs.next().now_or_never() {
                Some(Some(made)) => self.on_made(made),
                Some(None) | None => return false,
            }
        }
        true
    }

    fn on_made(&mut self, (id, made): (RunId, Made<E>)) {
        self.set.finish_run(id, made, Instant::now());
    }

    /// When to continue if nothing happens before.
    fn wake_at(&self) -> Option<Instant> {
        let rebuild = self.is_outdated().then(|| self.pace.next());
        let invalidate = self.invalidate_at().filter(|_| !self.invalidated);
        [self.set.wake_at(), rebuild, invalidate]
            .into_iter()
            .flatten()
            .min()
    }

    /// When the endpoints are invalidated, unless the source recovers.
    fn invalidate_at(&self) -> Option<Instant> {
        match &self.health {
            // What is shown is followed. Whoever fills a prefix must not take it away.
            Some(Health::Stale {
                why: Trouble::OverLimits { .. },
                ..
            }) => None,
            Some(Health::Stale { since, .. }) => since.checked_add(self.invalidate_after?),
            Some(Health::Live) | None => None,
        }
    }

    /// Whether the table is to be built again.
    fn is_outdated(&self) -> bool {
        self.set.changed() || self.reason_changed
    }

    /// Publishes the table if it has changed and was not built too recently, and the status.
    fn publish(&mut self) {
        let now = Instant::now();
        let invalid = self.invalidate_at().is_some_and(|at| at <= now);
        let turned = invalid != self.invalidated;
        let becomes_ready = !self.ready && self.set.is_ready();
        let due = self.is_outdated() && self.pace.next() <= now;
        if due || turned || becomes_ready {
            self.invalidated = invalid;
            self.rebuild();
            self.pace.built(now, Instant::now());
        }
        if turned {
            self.log_invalidation(now);
        }
        self.ready |= becomes_ready;
        self.publish_status();
    }

    fn log_invalidation(&self, now: Instant) {
        let endpoints = self.endpoints;
        if !self.set.lines().allows(now) {
            tracing::debug!(
                endpoints,
                invalidated = self.invalidated,
                "endpoints invalidated or valid again"
            );
            return;
        }
        match &self.health {
            Some(Health::Stale { why, .. }) if self.invalidated => {
                tracing::warn!(
                    error = %ErrorChain(why),
                    "endpoints invalidated: the source is stale"
                );
            }
            _ => tracing::info!(endpoints, "endpoints valid again"),
        }
    }

    fn rebuild(&mut self) {
        let none = self.no_endpoints();
        if self.invalidated {
            self.set.forget_table();
            self.table.set(TableContents::none(none));
        } else {
            self.table.update(self.set.table_update(), || none);
        }
        self.endpoints = self.table.len();
        self.reason_changed = false;
    }

    /// The reason for an empty table.
    fn no_endpoints(&self) -> NoEndpoints {
        match (&self.health, self.invalidate_after) {
            (Some(Health::Stale { why, .. }), Some(after)) if self.invalidated => {
                return NoEndpoints::Invalidated {
                    after,
                    why: Arc::new(why.clone()),
                };
            }
            _ => {}
        }
        match self.set.instances() {
            None => match &self.source_error {
                Some(why) => NoEndpoints::SourceFailed { why: why.clone() },
                None => NoEndpoints::Unknown,
            },
            Some(0) if self.unreadable > 0 => NoEndpoints::Unreadable {
                entries: self.unreadable,
            },
            Some(0) if self.source_ended => NoEndpoints::Ended {
                why: Arc::new(self.trouble()),
            },
            Some(0) => NoEndpoints::Empty,
            Some(instances) => {
                let first = self.set.failures().values().next();
                let why = first.map(|failure| failure.error.clone());
                NoEndpoints::FactoryPending { instances, why }
            }
        }
    }

    /// Why the source has ended.
    fn trouble(&self) -> Trouble {
        match &self.health {
            Some(Health::Stale { why, .. }) => why.clone(),
            Some(Health::Live) | None => Trouble::Stopped,
        }
    }

    fn publish_status(&mut self) {
        let failing = self.set.failures().len();
        self.meters.set(self.endpoints, failing, self.invalidated);
        let status = EndpointerStatus {
            instances: self.set.instances(),
            source_error: self.source_error.clone(),
            endpoints: self.endpoints,
            making: self.set.making(),
            health: self.health.clone(),
            invalidated: self.invalidated,
            ready: self.ready,
            ended: self.source_ended,
            failures: self.set.failures().clone(),
        };
        if status.differs_from(&self.status.borrow()) {
            self.status.send_replace(Arc::new(status));
        }
    }
}

impl<E: Send + Sync + 'static> Work for EndpointerTask<E> {
    const NAME: &'static str = "endpointer";

    async fn run(&mut self) {
        loop {
            let more = self.run_factories();
            self.publish();
            if more {
                // Factories that never wait must not starve the other tasks of this thread.
                tokio::task::yield_now().await;
            }
            let wake_at = self.wake_at();
            tokio::select! {
                biased;
                event = self.events.next(), if !self.source_ended => self.on_event(event),
                ready = wait(&mut self.source_ready) => self.on_source_ready(ready),
                Some(made) = self.runs.next() => self.on_made(made),
                () = self.replacements.added() => self.set.replace_targets(Instant::now()),
                () = sleep_until(wake_at.unwrap_or_else(Instant::now)), if wake_at.is_some() => {}
            }
        }
    }

    fn panicked(&mut self, why: Panicked) {
        self.failure = Some(Trouble::Panicked { message: why.0 });
    }
}

/// Waits for ever if there is nothing to wait for.
async fn wait(future: &mut Option<BoxFuture<'static, Result<()>>>) -> Result<()> {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

/// However the task ends, the endpoints stay and the status says that they are stale.
impl<E: Send + Sync + 'static> Drop for EndpointerTask<E> {
    fn drop(&mut self) {
        let why = self.failure.take().unwrap_or(Trouble::Stopped);
        let since = match self.health {
            Some(Health::Stale { since, .. }) => since,
            Some(Health::Live) | None => Instant::now(),
        };
        if self.table.len() == 0 {
            let why = Arc::new(why.clone());
            self.table
                .set(TableContents::none(NoEndpoints::Ended { why }));
        }
        let mut status = EndpointerStatus::clone(&self.status.borrow());
        status.health = Some(Health::Stale { since, why });
        status.making = 0;
        status.ended = true;
        self.status.send_replace(Arc::new(status));
    }
}
