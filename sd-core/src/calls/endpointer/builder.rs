//! The options of an endpointer.

use super::{
    Endpointer,
    endpoint_set::{EndpointSet, FactoryRules},
    factory_runs::FactoryRuns,
    status::EndpointerStatus,
    task::EndpointerTask,
};
use crate::{
    calls::{endpoint_table::EndpointTable, factory::Factory, replacements::Replacements},
    instances::Source,
    support::{BackgroundTask, Backoff, StatusReceiver},
};
use std::{fmt, sync::Arc, time::Duration};

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
    pub(super) fn new(source: impl Source, factory: impl Factory<Target = E>) -> Self {
        Self {
            source: Arc::new(source),
            factory: Arc::new(factory),
            invalidate_after: None,
            factory_timeout: Duration::from_secs(5),
            factories_at_once: 32,
            backoff: (Duration::from_millis(100), Duration::from_secs(15)),
        }
    }

    /// Returns an error to callers instead of old endpoints once the source has been stale for
    /// `after`: picks fail with [`NoEndpoints::Invalidated`](crate::NoEndpoints::Invalidated) until it is live again. Meanwhile the
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
    /// `longest` ago. It doubles from `first` up to `longest`, with jitter: each pause is drawn from
    /// the upper half of its range. Default: 100 ms to 15 s.
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
