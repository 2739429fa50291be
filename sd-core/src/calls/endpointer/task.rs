//! The endpointer's task: runs the factories that the roster wants run, and swaps the tables.

use super::{
    EndpointerStatus,
    roster::{Job, Roster, Ticket},
};
use crate::{
    calls::{
        endpoint::NoEndpoints,
        endpoints::TableCell,
        factory::{Factory, FactoryError},
        meters::EndpointerMeters,
    },
    instances::{Event, Events, Health, Trouble},
    registry::chain,
};
use futures::{
    FutureExt, StreamExt,
    future::{AbortHandle, Abortable, BoxFuture},
    stream::FuturesUnordered,
};
use std::{any::Any, collections::HashMap, panic::AssertUnwindSafe, sync::Arc, time::Duration};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until, timeout},
};

/// What a factory made, or why not; `None` if the run was abandoned.
type Made<E> = (Ticket, Option<Result<E, FactoryError>>);

/// How many finished factories are taken note of before the table is built and others get a turn.
const BATCH: usize = 256;
/// Building the table takes at most one part in so many of the time.
const REBUILD_SHARE: u32 = 10;
/// Shorter pauses between builds are not worth a timer, which would make them this long.
const REBUILD_PAUSE_LEAST: Duration = Duration::from_millis(1);
/// Changes are in the table after this and the time of a build at the latest.
const REBUILD_PAUSE_MOST: Duration = Duration::from_secs(1);

pub(super) struct Task<E> {
    roster: Roster<E>,
    cell: Arc<TableCell<E>>,
    status: watch::Sender<EndpointerStatus>,
    factory: Arc<dyn Factory<E>>,
    factory_timeout: Duration,
    making: FuturesUnordered<BoxFuture<'static, Made<E>>>,
    aborts: HashMap<Ticket, AbortHandle>,
    health: Option<Health>,
    ended: bool,
    invalidate_after: Option<Duration>,
    invalidated: bool,
    /// How many are in the table.
    endpoints: usize,
    ready: bool,
    /// When the table may be built next.
    rebuild_at: Instant,
    meters: EndpointerMeters,
}

impl<E: Send + Sync + 'static> Task<E> {
    pub(super) fn new(
        roster: Roster<E>,
        cell: Arc<TableCell<E>>,
        status: watch::Sender<EndpointerStatus>,
        factory: Arc<dyn Factory<E>>,
        factory_timeout: Duration,
        invalidate_after: Option<Duration>,
    ) -> Self {
        Self {
            roster,
            cell,
            status,
            factory,
            factory_timeout,
            making: FuturesUnordered::new(),
            aborts: HashMap::new(),
            health: None,
            ended: false,
            invalidate_after,
            invalidated: false,
            endpoints: 0,
            ready: false,
            rebuild_at: Instant::now(),
            meters: EndpointerMeters::new(),
        }
    }

    pub(super) async fn run(mut self, mut events: Events) {
        loop {
            let more = self.run_factories();
            self.publish();
            if more {
                // Factories that never wait must not keep this thread from others.
                tokio::task::yield_now().await;
            }
            let wake_at = self.wake_at();
            tokio::select! {
                biased;
                event = events.next(), if !self.ended => self.take_note(event),
                Some(made) = self.making.next() => self.finish(made),
                () = sleep_until(wake_at.unwrap_or_else(Instant::now)), if wake_at.is_some() => {}
                else => std::future::pending().await,
            }
        }
    }

    fn take_note(&mut self, event: Option<Event>) {
        let now = Instant::now();
        let Some(event) = event else {
            self.ended = true;
            // A source that was dropped may not have said so.
            if let Some(health @ Health::Live) = &mut self.health {
                *health = Health::Stale {
                    since: now,
                    why: Trouble::Stopped,
                };
            }
            return;
        };
        for abandoned in self.roster.apply(event.instances(), now) {
            if let Some(abort) = self.aborts.remove(&abandoned) {
                abort.abort();
            }
        }
        self.health = Some(event.health);
    }

    /// Starts what is due and takes note of what is done, until the rest has to be waited for or it
    /// is a batch; says whether there may be more.
    fn run_factories(&mut self) -> bool {
        let now = Instant::now();
        for _ in 0..BATCH {
            while let Some(job) = self.roster.next_job(now) {
                self.make(job);
            }
            match self.making.next().now_or_never() {
                Some(Some(made)) => self.finish(made),
                Some(None) | None => return false,
            }
        }
        true
    }

    fn make(&mut self, Job { ticket, instance }: Job) {
        let (factory, limit) = (self.factory.clone(), self.factory_timeout);
        let (abort, registration) = AbortHandle::new_pair();
        self.aborts.insert(ticket, abort);
        let make = async move {
            let made = async { factory.make(&instance).await };
            let made = AssertUnwindSafe(timeout(limit, made));
            match made.catch_unwind().await {
                Ok(Ok(Ok(target))) => Ok(target),
                Ok(Ok(Err(error))) => Err(FactoryError::Failed(error.into())),
                Ok(Err(_)) => Err(FactoryError::TimedOut(limit)),
                Err(panic) => Err(FactoryError::Panicked(message_of(&*panic).into())),
            }
        };
        let make = Abortable::new(make, registration).map(move |made| (ticket, made.ok()));
        self.making.push(make.boxed());
    }

    fn finish(&mut self, (ticket, made): Made<E>) {
        self.aborts.remove(&ticket);
        if let Some(made) = made {
            self.roster.finished(ticket, made, Instant::now());
        }
    }

    /// When to go on although nothing happened.
    fn wake_at(&self) -> Option<Instant> {
        let rebuild = self.roster.changed().then_some(self.rebuild_at);
        let invalidate = self.invalidate_at().filter(|_| !self.invalidated);
        [self.roster.wake_at(), rebuild, invalidate]
            .into_iter()
            .flatten()
            .min()
    }

    /// When callers cease to get endpoints unless the source recovers.
    fn invalidate_at(&self) -> Option<Instant> {
        match &self.health {
            Some(Health::Stale { since, .. }) => since.checked_add(self.invalidate_after?),
            Some(Health::Live) | None => None,
        }
    }

    /// Builds the table if it would be another and is not built too often, and says how things are.
    fn publish(&mut self) {
        let now = Instant::now();
        let invalid = self.invalidate_at().is_some_and(|at| at <= now);
        let turned = invalid != self.invalidated;
        let becomes_ready = !self.ready && self.roster.is_ready();
        let due = self.roster.changed() && self.rebuild_at <= now;
        if due || turned || becomes_ready {
            self.invalidated = invalid;
            self.rebuild();
            let built = Instant::now();
            let pause = (built - now) * (REBUILD_SHARE - 1);
            self.rebuild_at = if pause < REBUILD_PAUSE_LEAST {
                built
            } else {
                built + pause.min(REBUILD_PAUSE_MOST)
            };
        }
        if turned {
            self.log_turn();
        }
        self.ready |= becomes_ready;
        self.say();
    }

    fn log_turn(&self) {
        match &self.health {
            Some(Health::Stale { why, .. }) if self.invalidated => {
                tracing::warn!(
                    error = chain(why),
                    "endpoints invalidated: the source is stale"
                );
            }
            _ => tracing::info!(endpoints = self.endpoints, "endpoints valid again"),
        }
    }

    fn rebuild(&mut self) {
        let endpoints = self.roster.table();
        let endpoints = if self.invalidated {
            Box::default()
        } else {
            endpoints
        };
        self.endpoints = endpoints.len();
        self.cell.set(endpoints, || self.why_none());
    }

    fn why_none(&self) -> NoEndpoints {
        match (&self.health, self.invalidate_after) {
            (Some(Health::Stale { why, .. }), Some(after)) if self.invalidated => {
                NoEndpoints::Invalidated {
                    after,
                    why: Arc::new(why.clone()),
                }
            }
            _ if !self.roster.is_known() => NoEndpoints::Unknown,
            _ if self.roster.instances() == 0 => NoEndpoints::Empty,
            _ => NoEndpoints::Unmade {
                instances: self.roster.instances(),
                why: self
                    .roster
                    .failures()
                    .values()
                    .next()
                    .map(|failure| failure.error.clone()),
            },
        }
    }

    fn say(&mut self) {
        let failing = self.roster.failures().len();
        self.meters.has(self.endpoints, failing, self.invalidated);
        let known = self.roster.is_known();
        let status = EndpointerStatus {
            instances: known.then(|| self.roster.instances()),
            endpoints: self.endpoints,
            making: self.roster.making(),
            health: self.health.clone(),
            invalidated: self.invalidated,
            ready: self.ready,
            ended: self.ended,
            failures: self.roster.failures().clone(),
        };
        self.status.send_if_modified(|said| {
            let changed = !said.says_the_same_as(&status);
            *said = status;
            changed
        });
    }
}

fn message_of(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}
