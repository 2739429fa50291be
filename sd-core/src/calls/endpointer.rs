//! The endpointer: turns the instances of a source into endpoints to pick from.

mod endpoint_set;
mod factory_runs;
mod failure_log;
mod fixed;
mod status;
mod task;
#[cfg(test)]
mod tests;

pub use fixed::FixedEndpointer;
pub use status::{EndpointerStatus, FactoryFailure};

use super::{
    endpoint_source::EndpointSource,
    endpoint_table::{EndpointTable, Endpoints},
    factory::Factory,
    no_endpoints::NoEndpoints,
    replacements::Replacements,
};
use crate::{
    instances::{Health, Source, Trouble},
    support::{BackgroundTask, Backoff, StatusReceiver},
};
use endpoint_set::{EndpointSet, FactoryRules};
use factory_runs::FactoryRuns;
use std::{
    fmt,
    sync::{Arc, Weak},
    time::Duration,
};
use task::EndpointerTask;
use tokio::{sync::watch, time::timeout};

/// Keeps one endpoint per address, made by a [`Factory`], and the table of them that balancers pick
/// from.
///
/// - **Endpoints.** An address is one place to call. Instances that have the same address share one
///   target, what is known of its load, and one share of the calls. The endpoint is made when the
///   first of them comes, and dropped when the last has gone; calls in flight keep theirs alive. A
///   change of weight, status, zone or metadata does not run the factory. If the address under a key
///   changes, the old endpoint stays until the new address has one.
/// - **Who speaks for an address.** Key, weight, status, zone and metadata of an endpoint are those
///   of one of its instances: serving with a weight before serving with weight 0 before draining,
///   then the one with the least key. If it goes, the next speaks, and the endpoint goes on.
///   A factory can [ask](Factory::is_per_registration) to make another target when somebody
///   registers at the address again.
/// - **Factories** run on the endpointer's own task, many at once. A factory that waits or fails
///   delays neither readers nor other addresses. After a failure it is retried with growing,
///   jittered pauses, and [`status`](Self::status) shows the failure. A caller whose target is dead
///   [asks for another](crate::Endpoint::replace_target).
/// - **The table** holds the endpoints that are serving, in the order of their keys. If there are
///   none, it holds those of weight 0. If there are none of these either, it holds those that are
///   draining. Reading it takes no lock. A single change is applied at once; under continuous change,
///   rebuilding takes at most a tenth of the time.
/// - **Outages** of the registry do not empty the table, unless
///   [`invalidate_on_error`](EndpointerBuilder::invalidate_on_error) is set.
///
/// It owns its source (pass an `Arc` to share it) and drops it when it ends. When the source ends
/// by itself, the last endpoints stay.
///
/// The endpointer ends when it is [stopped](Self::stop) or dropped, when its tokio runtime shuts
/// down, or when its source panics. (A panic in a factory or a target affects that address only.)
/// The last endpoints stay. Its status then says that it has [ended](EndpointerStatus::ended) and
/// is stale, picks from an empty table fail with [`NoEndpoints::Ended`], and nothing is invalidated
/// any more.
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
    table: Arc<EndpointTable<E>>,
    status: StatusReceiver<EndpointerStatus>,
    /// Of the task.
    source: Weak<dyn Source>,
    task: BackgroundTask,
}

impl<E: Send + Sync + 'static> Endpointer<E> {
    /// Starts an endpointer with the default options: spawns its task, and returns at once.
    ///
    /// The table is empty ([`NoEndpoints::Unknown`]) until the source and the factory have
    /// answered.
    ///
    /// # Panics
    /// Outside of a tokio runtime, as `tokio::spawn` does.
    pub fn new(source: impl Source, factory: impl Factory<Target = E>) -> Self {
        Self::builder(source, factory).build()
    }

    /// An endpointer with other options.
    pub fn builder(source: impl Source, factory: impl Factory<Target = E>) -> EndpointerBuilder<E> {
        EndpointerBuilder {
            source: Arc::new(source),
            factory: Arc::new(factory),
            invalidate_after: None,
            factory_timeout: Duration::from_secs(5),
            factories_at_once: 32,
            backoff: (Duration::from_millis(100), Duration::from_secs(15)),
        }
    }

    /// Waits until the source's first event, and until the factory was tried once for each address
    /// in it. The table then holds what could be made; it is empty if there are no instances or
    /// every factory failed. After the source's first event, takes at most one
    /// [`factory_timeout`](EndpointerBuilder::factory_timeout), and the time that many factories
    /// need to [take turns](EndpointerBuilder::factories_at_once).
    ///
    /// Does not wait for an endpoint: [`wait_for_endpoints`](EndpointSource::wait_for_endpoints)
    /// does. Cancellation safe.
    ///
    /// # Errors
    /// [`NoEndpoints::SourceFailed`] if the source was not [ready](Source::ready) because of an
    /// error that cannot pass by itself, or has ended before its first event.
    /// [`NoEndpoints::Ended`] if the endpointer ended before it was ready.
    pub async fn ready(&self) -> Result<(), NoEndpoints> {
        let mut status = self.status.clone();
        let settled = status.wait_for(|status| status.ready || status.has_failed());
        if let Ok(status) = settled.await {
            if status.ready {
                return Ok(());
            }
            if let Some(why) = &status.source_error {
                return Err(NoEndpoints::SourceFailed { why: why.clone() });
            }
        }
        match self.endpoints().non_empty() {
            Err(none) => Err(none),
            // The task ended before it had tried all factories. Some succeeded.
            Ok(_) => Err(NoEndpoints::Ended {
                why: Arc::new(self.trouble()),
            }),
        }
    }

    /// Like [`ready`](Self::ready), but waits no longer than `limit`. When the time is up, endpoints
    /// that are there are enough. Cancellation safe.
    ///
    /// # Errors
    /// Those of [`ready`](Self::ready). When the time is up, why there are no endpoints; if the
    /// instances are not known yet, that is the [`NoEndpoints::SourceFailed`] of the source's last
    /// attempt, if one has failed.
    pub async fn ready_within(&self, limit: Duration) -> Result<(), NoEndpoints> {
        if let Ok(ready) = timeout(limit, self.ready()).await {
            return ready;
        }
        match self.endpoints().non_empty() {
            Ok(_) => Ok(()),
            Err(NoEndpoints::Unknown) => Err(self.why_unknown()),
            Err(none) => Err(none),
        }
    }

    fn why_unknown(&self) -> NoEndpoints {
        let source = self.source.upgrade();
        match source.and_then(|source| source.trouble()) {
            Some(Trouble::List(why)) => NoEndpoints::SourceFailed { why: Arc::new(why) },
            _ => NoEndpoints::Unknown,
        }
    }

    fn trouble(&self) -> Trouble {
        match &self.status.borrow().health {
            Some(Health::Stale { why, .. }) => why.clone(),
            Some(Health::Live) | None => Trouble::Stopped,
        }
    }

    /// Follows the endpointer's status. When the endpointer ends, it sends a last status, with
    /// [`ended`](EndpointerStatus::ended) set, and closes the channel.
    pub fn status(&self) -> StatusReceiver<EndpointerStatus> {
        self.status.clone()
    }

    /// Stops following the source and running factories, drops the source, and waits until that is
    /// done. The endpoints stay as they are.
    ///
    /// Goes on in the background if the future is dropped.
    pub async fn stop(&self) {
        self.task.stop().await;
    }
}

impl<E: Send + Sync + 'static> EndpointSource for Endpointer<E> {
    type Target = E;

    #[inline]
    fn endpoints(&self) -> Endpoints<E> {
        self.table.load()
    }

    fn versions(&self) -> watch::Receiver<u64> {
        self.table.versions()
    }
}

impl<E> fmt::Debug for Endpointer<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpointer")
            .field("status", &self.status.borrow())
            .finish_non_exhaustive()
    }
}

/// The options of an [`Endpointer`].
///
/// ```
/// use sd_core::{Endpointer, Source, factory_fn};
/// use std::time::Duration;
///
/// fn urls(hello: impl Source) -> Endpointer<String> {
///     let urls = factory_fn(|instance| Ok(format!("http://{}/", instance.address())));
///     Endpointer::builder(hello, urls)
///         .invalidate_on_error(Duration::from_secs(60))
///         .factory_timeout(Duration::from_secs(1))
///         .build()
/// }
/// ```
#[must_use = "nothing happens before `build`"]
pub struct EndpointerBuilder<E> {
    source: Arc<dyn Source>,
    factory: Arc<dyn Factory<Target = E>>,
    invalidate_after: Option<Duration>,
    factory_timeout: Duration,
    factories_at_once: usize,
    backoff: (Duration, Duration),
}

impl<E: Send + Sync + 'static> EndpointerBuilder<E> {
    /// Returns an error to callers instead of old endpoints once the source has been stale for
    /// `after`: picks fail with [`NoEndpoints::Invalidated`] until it is live again. Meanwhile the
    /// endpoints are kept and updated. Default: never, since old endpoints mostly still work.
    pub fn invalidate_on_error(mut self, after: Duration) -> Self {
        self.invalidate_after = Some(after);
        self
    }

    /// How long a factory may take for one address before it counts as failed. Default: 5 s.
    pub fn factory_timeout(mut self, timeout: Duration) -> Self {
        self.factory_timeout = timeout;
        self
    }

    /// How many factories may run at once. Default: 32; 0 counts as 1.
    ///
    /// Hosts that do not answer cannot delay the others: a factory that has run for 100 ms no longer
    /// counts, and whenever as many as may run at once have become silent so, twice as many may run,
    /// until one answers (it succeeds or fails). With the default, an instance behind 5,000 that
    /// do not answer has its turn within a second, and then up to that many run at once.
    pub fn factories_at_once(mut self, most: usize) -> Self {
        self.factories_at_once = most;
        self
    }

    /// The pause before a factory is retried for the same address, and before a target is
    /// [replaced](crate::Endpoint::replace_target) that has itself replaced another less than
    /// `longest` ago. It doubles from `first` up to
    /// `longest`, with jitter: each pause is drawn from the upper half of its range. Default: 100
    /// ms to 15 s.
    pub fn factory_backoff(mut self, first: Duration, longest: Duration) -> Self {
        self.backoff = (first, longest);
        self
    }

    /// Starts the endpointer: spawns its task, and returns at once.
    ///
    /// # Panics
    /// Outside of a tokio runtime, as `tokio::spawn` does.
    pub fn build(self) -> Endpointer<E> {
        let table = Arc::new(EndpointTable::new());
        let (sender, status) = StatusReceiver::channel(EndpointerStatus::default());
        let source = Arc::downgrade(&self.source);
        // Without a pause, a factory that fails at once would run in a hot loop.
        let (first, longest) = self.backoff;
        let first = first.max(Duration::from_millis(1));
        let rules = FactoryRules {
            backoff: Backoff::new(first, longest),
            is_per_registration: self.factory.is_per_registration(),
        };
        let replacements = Arc::<Replacements>::default();
        let task = EndpointerTask::new(
            self.source,
            EndpointSet::new(self.factories_at_once, rules, replacements.clone()),
            replacements,
            FactoryRuns::new(self.factory, self.factory_timeout),
            table.clone(),
            sender,
            self.invalidate_after,
        );
        Endpointer {
            table,
            status,
            source,
            task: BackgroundTask::spawn(task),
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
