//! The endpointer: turns the instances of a source into endpoints to pick from.

mod address;
mod builder;
mod endpoint_set;
mod factory_runs;
mod failure_log;
mod fixed;
mod status;
mod task;
#[cfg(test)]
mod tests;

pub use builder::EndpointerBuilder;
pub use fixed::FixedEndpointer;
pub use status::{EndpointerStatus, FactoryFailure};

use super::{
    endpoint_source::EndpointSource,
    endpoint_table::{EndpointTable, Endpoints, TableRef},
    factory::Factory,
    no_endpoints::NoEndpoints,
};
use crate::{
    instances::{Health, Source, Trouble},
    support::{BackgroundTask, StatusReceiver},
};
use std::{
    fmt,
    sync::{Arc, Weak},
    time::Duration,
};
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
/// - **Factories** run on the endpointer's own task, many at once. A factory that waits or fails
///   delays neither readers nor other addresses. After a failure it is retried with growing,
///   jittered pauses, and [`status`](Self::status) shows the failure. A key whose address changes again
///   and again has to wait, up to 15 s. A caller whose target is dead
///   [asks for another](crate::Endpoint::replace_target). Where targets belong to one registration,
///   another is made when somebody registers at the address
///   [again](Factory::is_per_registration).
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
        EndpointerBuilder::new(source, factory)
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

    #[inline]
    fn table_ref(&self) -> Option<TableRef<'_, E>> {
        Some(self.table.table_ref())
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
