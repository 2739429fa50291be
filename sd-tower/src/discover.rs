//! The endpoints of a source as tower's `Discover`.

mod services;
#[cfg(test)]
mod tests;

use futures::Stream;
use sd_core::EndpointSource;
use services::Services;
use std::{
    collections::VecDeque,
    convert::Infallible,
    fmt,
    future::{pending, ready},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};
use tokio::sync::watch;
use tokio_util::sync::ReusableBoxFuture;
use tower::discover::Change;

/// The endpoints of a source as a [`tower::discover::Discover`], for those who balance with tower
/// instead of a [`Balancer`](sd_core::Balancer).
///
/// It is a stream of [`Change`]s: an `Insert` with a clone of the target for each address, a
/// `Remove` when the last endpoint at an address has gone, and another `Insert` when the target of
/// an address was replaced. The key is the address, since endpoints at one address share their
/// target. Where they do not, the first endpoint in the order of the keys counts. A change of an
/// attribute, such as the weight, is no change here: tower's balancers know no weights.
///
/// tower's balancers want services that know their load. Where the targets do not, tower adds it:
///
/// ```
/// use sd_core::{Endpoint, FixedEndpointer, Instance, Key};
/// use sd_tower::DiscoverEndpoints;
/// use std::convert::Infallible;
/// use tower::{
///     Service, ServiceExt,
///     balance::p2c::Balance,
///     load::{CompleteOnResponse, PendingRequestsDiscover},
///     service_fn,
/// };
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), tower::BoxError> {
/// // The targets are services. Here each answers its own name.
/// let endpoint = |name: &'static str| {
///     let service = service_fn(move |()| async move { Ok::<_, Infallible>(name) });
///     let instance = Instance::new(Key::new(name)?, format!("{name}:80"));
///     Ok::<_, sd_core::Invalid>(Endpoint::new(instance, service))
/// };
/// let source = FixedEndpointer::new([endpoint("a")?, endpoint("b")?]);
///
/// let services = DiscoverEndpoints::new(source);
/// let services = PendingRequestsDiscover::new(services, CompleteOnResponse::default());
/// let mut balance = Balance::new(services);
/// let answer = balance.ready().await?.call(()).await?;
/// assert!(["a", "b"].contains(&answer));
/// # Ok(())
/// # }
/// ```
///
/// # Prefer a balancer of the toolkit
/// tower's balancers ask a service whether it is ready before they call it. Clients that connect on
/// demand say that they are, also after a connection has failed, and a failed call ends quickly, so
/// that the host looks idle. With one of two hosts dead, tower's p2c over tonic's channels failed
/// 481 of 1,000 calls, and tonic's own `balance_list` 330. To lose fewer, put this over a
/// [`Reachable`](sd_core::Reachable), whose targets know whether they are connected, as a
/// `Connection` does, or over an [`ActiveHealth`](sd_core::ActiveHealth). An
/// [`Ejection`](sd_core::Ejection) does nothing here: calls through tower are not reported to it.
///
/// tower drops a service whose `poll_ready` fails, and does not get it again before it is inserted
/// again. So the target's `poll_ready` should not fail.
///
/// # Never an error, never an end
/// While there are no endpoints, whatever the reason, the stream waits. When the source has ended, it
/// waits for ever, and the services of the last endpoints stay.
///
/// It holds the source, so that the endpoints are followed for as long as it lives, and spawns
/// nothing. It queues no more than the changes between two tables: a reader that is slow skips the
/// tables in between. A new table costs one comparison of pointers for each endpoint, and more only
/// for those that differ. Cancellation safe: a wait for the next change may be given up.
pub struct DiscoverEndpoints<S: EndpointSource> {
    source: S,
    /// After all of `changes`.
    services: Services<S::Target>,
    changes: VecDeque<Change<Arc<str>, S::Target>>,
    /// Yields the channel of versions when there is a new one, and `None` when there will be none.
    next_version: ReusableBoxFuture<'static, Option<watch::Receiver<u64>>>,
}

impl<S: EndpointSource> DiscoverEndpoints<S> {
    /// The endpoints of `source`, beginning with an `Insert` for each current one.
    pub fn new(source: S) -> Self {
        Self {
            services: Services::default(),
            changes: VecDeque::new(),
            next_version: ReusableBoxFuture::new(ready(Some(source.versions()))),
            source,
        }
    }

    /// The source of the endpoints.
    pub fn source(&self) -> &S {
        &self.source
    }
}

impl<S> Stream for DiscoverEndpoints<S>
where
    S: EndpointSource,
    S::Target: Clone,
{
    type Item = Result<Change<Arc<str>, S::Target>, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            if let Some(change) = this.changes.pop_front() {
                return Poll::Ready(Some(Ok(change)));
            }
            let Some(mut versions) = ready!(this.next_version.poll(context)) else {
                this.next_version.set(pending());
                continue;
            };
            // Before the table is read, so that no change after it is missed.
            versions.borrow_and_update();
            this.changes = this.services.replace(this.source.endpoints().keep());
            this.next_version.set(async move {
                let changed = versions.changed().await;
                changed.ok().map(|()| versions)
            });
        }
    }
}

/// Nothing in it is pinned.
impl<S: EndpointSource> Unpin for DiscoverEndpoints<S> {}

/// Omits the targets, which need not be `Debug`.
impl<S: EndpointSource> fmt::Debug for DiscoverEndpoints<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DiscoverEndpoints")
            .field("endpoints", &self.source.endpoints())
            .field("changes", &self.changes.len())
            .finish_non_exhaustive()
    }
}
