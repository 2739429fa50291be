//! The endpointer: turns what a source says of instances into endpoints to pick from.

mod fixed;
mod roster;
mod status;
mod task;
#[cfg(test)]
mod tests;

pub use fixed::FixedEndpointer;
pub use status::{EndpointerStatus, FactoryFailure};

use super::{
    endpoint::NoEndpoints,
    endpoints::{EndpointSource, Endpoints, TableCell},
    factory::Factory,
};
use crate::{instances::Source, support::Backoff};
use roster::Roster;
use std::{fmt, sync::Arc, time::Duration};
use task::Task;
use tokio::sync::watch;
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

/// Keeps one endpoint per instance, made by a [`Factory`], and the table of them that balancers
/// pick from.
///
/// - An endpoint is kept for as long as its instance's address is what it is, and dropped when the
///   instance goes; calls in flight keep theirs alive. Weight, status, zone and metadata change
///   without another endpoint. If the address of a key changes, the endpoint of the old one stays
///   until the factory has succeeded for the new one.
/// - Factories run on the endpointer's own task, many at once. One that waits or fails holds up
///   neither readers nor the other instances; it is tried again after a growing, jittered pause and
///   shows in [`status`](Self::status) meanwhile.
/// - The table holds the endpoints of instances that are serving. If there are none, it holds those
///   of weight 0, and if there are none of these either, those that are draining: better than
///   nothing. Reading it takes no lock. It is built anew after changes, at once when they are few,
///   and in intervals of ten times of what building it takes when they keep coming.
/// - Trouble with the registry does not empty the table, unless
///   [`invalidate_on_error`](EndpointerBuilder::invalidate_on_error) says so.
///
/// It owns its source (pass an `Arc` to share it) and drops it when it is dropped or stopped. When
/// the source ends by itself, the last state stays.
///
/// ```
/// use sd_core::{Balancer, Endpointer, NoEndpoints, RoundRobin, Source, factory_fn};
///
/// async fn url(hello: impl Source) -> Result<String, NoEndpoints> {
///     let urls = factory_fn(|instance| Ok(format!("http://{}/", instance.address())));
///     let endpointer = Endpointer::new(hello, urls);
///     endpointer.ready().await?;
///     let balancer = RoundRobin::new(endpointer);
///     Ok(balancer.endpoint()?.to_string())
/// }
/// ```
pub struct Endpointer<E> {
    cell: Arc<TableCell<E>>,
    status: watch::Receiver<EndpointerStatus>,
    tasks: TaskTracker,
    stop: CancellationToken,
    _stop_when_dropped: DropGuard,
}

impl<E: Send + Sync + 'static> Endpointer<E> {
    /// The endpoints that `factory` makes of the instances of `source`.
    ///
    /// Returns at once; the table is empty ([`NoEndpoints::Unknown`]) until the source and the
    /// factory have answered. Must be called within a tokio runtime.
    pub fn new(source: impl Source, factory: impl Factory<E>) -> Self {
        Self::builder(source, factory).start()
    }

    /// The same with options.
    pub fn builder(source: impl Source, factory: impl Factory<E>) -> EndpointerBuilder<E> {
        EndpointerBuilder {
            source: Box::new(source),
            factory: Arc::new(factory),
            invalidate_after: None,
            factory_timeout: Duration::from_secs(5),
            factories_at_once: 32,
            backoff: (Duration::from_millis(100), Duration::from_secs(15)),
        }
    }

    /// Waits until the source has said which instances there are and every one of those was tried
    /// to be made an endpoint of: what could be made is in the table by then, which is empty if
    /// there is no instance or every factory failed. Takes at most one
    /// [`factory_timeout`](EndpointerBuilder::factory_timeout) after the source's first event, give
    /// or take how many may run at once.
    ///
    /// Cancellation safe.
    ///
    /// # Errors
    /// [`NoEndpoints::Unknown`] if the source ended or the endpointer was stopped before that.
    pub async fn ready(&self) -> Result<(), NoEndpoints> {
        let mut status = self.status.clone();
        let settled =
            |status: &EndpointerStatus| status.ready || status.ended && status.instances.is_none();
        match status.wait_for(settled).await {
            Ok(status) if status.ready => Ok(()),
            _ => Err(NoEndpoints::Unknown),
        }
    }

    /// How it is doing. The channel closes when the endpointer is stopped or dropped.
    pub fn status(&self) -> watch::Receiver<EndpointerStatus> {
        self.status.clone()
    }

    /// Stops following the source and running factories, drops the source, and waits until that is
    /// done. The endpoints stay as they are.
    ///
    /// Goes on in the background if the future is dropped.
    pub async fn stop(&self) {
        self.stop.cancel();
        self.tasks.wait().await;
    }
}

impl<E: Send + Sync + 'static> EndpointSource<E> for Endpointer<E> {
    #[inline]
    fn endpoints(&self) -> Endpoints<E> {
        self.cell.load()
    }

    fn versions(&self) -> watch::Receiver<u64> {
        self.cell.versions()
    }
}

impl<E> fmt::Debug for Endpointer<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpointer")
            .field("status", &*self.status.borrow())
            .finish_non_exhaustive()
    }
}

/// An [`Endpointer`] to be started, with other options than the default ones.
#[must_use = "nothing happens before `start`"]
pub struct EndpointerBuilder<E> {
    source: Box<dyn Source>,
    factory: Arc<dyn Factory<E>>,
    invalidate_after: Option<Duration>,
    factory_timeout: Duration,
    factories_at_once: usize,
    backoff: (Duration, Duration),
}

impl<E: Send + Sync + 'static> EndpointerBuilder<E> {
    /// Lets callers have the error instead of old endpoints when the source has been stale for this
    /// long, until it is live again: picks fail with [`NoEndpoints::Invalidated`]. Endpoints are
    /// kept and updated meanwhile. Default: never, as old endpoints mostly still work.
    pub fn invalidate_on_error(mut self, after: Duration) -> Self {
        self.invalidate_after = Some(after);
        self
    }

    /// How long a factory may take for one instance before it counts as failed. Default: 5 s.
    pub fn factory_timeout(mut self, timeout: Duration) -> Self {
        self.factory_timeout = timeout;
        self
    }

    /// How many factories may run at once. Those that have run for a second do not count any more,
    /// so that hosts that do not answer cannot hold up the others. Default: 32; 0 counts as 1.
    pub fn factories_at_once(mut self, most: usize) -> Self {
        self.factories_at_once = most;
        self
    }

    /// The pause before a factory that failed is tried again for the same instance: it doubles from
    /// `first` up to `longest`, and each is drawn from its upper half. Default: 100 ms to 15 s.
    pub fn factory_backoff(mut self, first: Duration, longest: Duration) -> Self {
        self.backoff = (first, longest);
        self
    }

    /// Starts it. Must be called within a tokio runtime.
    pub fn start(self) -> Endpointer<E> {
        let cell = Arc::new(TableCell::new());
        let (sender, status) = watch::channel(EndpointerStatus::default());
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        let events = self.source.subscribe();
        // Without any pause, a factory that fails at once would be run in a hot loop.
        let (first, longest) = self.backoff;
        let first = first.max(Duration::from_millis(1));
        let task = Task::new(
            Roster::new(self.factories_at_once, Backoff::new(first, longest)),
            cell.clone(),
            sender,
            self.factory,
            self.factory_timeout,
            self.invalidate_after,
        );
        let (source, stopped) = (self.source, stop.clone());
        tasks.spawn(async move {
            stopped.run_until_cancelled(task.run(events)).await;
            drop(source);
        });
        tasks.close();
        Endpointer {
            cell,
            status,
            tasks,
            stop: stop.clone(),
            _stop_when_dropped: stop.drop_guard(),
        }
    }
}

impl<E> fmt::Debug for EndpointerBuilder<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EndpointerBuilder")
            .field("invalidate_after", &self.invalidate_after)
            .field("factory_timeout", &self.factory_timeout)
            .field("factories_at_once", &self.factories_at_once)
            .field("backoff", &self.backoff)
            .finish_non_exhaustive()
    }
}
