//! Polling: discovery from registries that can only list.
//!
//! DNS and plain HTTP APIs return the current state, not changes. A [`Poller`] lists repeatedly,
//! and is a [`Client`] like any other.

mod bounded_lister;
mod polling_watch;
#[cfg(test)]
mod tests;

use super::{
    client::Client,
    deregistered::Deregistered,
    entry::{Entry, Snapshot},
    error::{Error, Result},
    lease::LeaseId,
    listing::Listing,
    prefix::Prefix,
    registration::Registration,
    revision::Revision,
    service::Service,
    watch::{Watch, WatchError},
};
use async_trait::async_trait;
use bounded_lister::BoundedLister;
use futures::stream;
use polling_watch::{LastPoll, Polled, PollingWatch};
use std::{fmt, sync::Arc, time::Duration};

/// The shortest time between polls.
const SHORTEST: Duration = Duration::from_millis(10);
/// The longest time between polls.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// A registry that can only list.
#[async_trait]
pub trait Lister: Send + Sync + 'static {
    /// Reads every entry under `prefix`. The poller ignores entries elsewhere; of several entries
    /// with one key the last counts.
    ///
    /// Must be cancellation safe: a list that takes too long is dropped.
    ///
    /// # Errors
    /// Why the registry could not be listed. An error that is not [transient](Error::is_transient)
    /// ends the poller's watches. Do not return an empty list for a failure: it means that there
    /// are no entries.
    async fn list(&self, prefix: &Prefix) -> Result<Vec<Entry>>;
}

/// A [`Client`] that polls a [`Lister`]. For discovery only: it cannot register.
///
/// The [`Revision`] carries the listed state, as a [`Listing`]. A watch compares it with its next
/// list, so nothing is missed between a list and a watch. The poller runs no task: a watch lists
/// while its stream is polled, and stops when it is dropped.
///
/// An entry that comes and goes between two polls is not seen. A list that fails or takes too long
/// is reported as [`Disrupted`](WatchError::Disrupted), once for several in a row, and the watch
/// continues. A watch lists as soon as it is read, and then at each interval.
///
/// A lister that answers with nothing, or far too little, is doubted by the instancer for its
/// [grace period](crate::InstancerBuilder::grace): choose one longer than two intervals.
///
/// ```
/// use sd_core::{Entry, Error, Lister, Poller, Prefix, Result, async_trait};
/// use std::{net::ToSocketAddrs, time::Duration};
///
/// /// All addresses of a host, each with the same port.
/// struct Dns {
///     port: u16,
/// }
///
/// #[async_trait]
/// impl Lister for Dns {
///     async fn list(&self, prefix: &Prefix) -> Result<Vec<Entry>> {
///         let host = prefix.as_str().trim_end_matches('/').to_owned();
///         let port = self.port;
///         let addresses = tokio::task::spawn_blocking(move || (host, port).to_socket_addrs())
///             .await
///             .map_err(|_| Error::Closed)?
///             .map_err(|error| Error::unavailable(error.to_string()))?;
///         addresses
///             .map(|address| {
///                 let key = prefix.key(address.to_string())?;
///                 Ok(Entry::new(key, address.to_string()))
///             })
///             .collect()
///     }
/// }
///
/// let client = Poller::new(Dns { port: 8080 }, Duration::from_secs(10));
/// let hello = Prefix::new("hello.internal")?;
/// // Instancer::new(client, hello) as with any other client.
/// # let _ = (client, hello);
/// # Ok::<(), sd_core::Invalid>(())
/// ```
pub struct Poller<L> {
    lister: Arc<BoundedLister<L>>,
    interval: Duration,
    timeout: Duration,
}

impl<L: Lister> Poller<L> {
    /// A client that lists every `interval`, with a jitter of a tenth so that a fleet does not poll
    /// in step. Clamped to between 10 ms and a day.
    pub fn new(lister: L, interval: Duration) -> Self {
        Self {
            lister: Arc::new(BoundedLister::new(lister)),
            interval: interval.clamp(SHORTEST, LONGEST),
            timeout: Duration::from_secs(5),
        }
    }

    /// The same client with another time limit for one list. Default: 5 s.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }
}

#[async_trait]
impl<L: Lister> Client for Poller<L> {
    async fn get_entries(&self, prefix: &Prefix) -> Result<Snapshot> {
        let listing = self.lister.list(prefix, self.timeout).await?;
        Ok(listing.snapshot())
    }

    async fn watch_prefix(&self, prefix: &Prefix, after: &Revision) -> Result<Watch, WatchError> {
        let known = Listing::resume(after, prefix)?;
        let polling = PollingWatch {
            lister: self.lister.clone(),
            prefix: prefix.clone(),
            interval: self.interval,
            timeout: self.timeout,
            known,
            last: LastPoll::None,
        };
        Ok(Watch::new(stream::unfold(
            Some(polling),
            async |polling| match polling?.next().await {
                Polled::Batch(batch, polling) => Some((Ok(batch), Some(polling))),
                Polled::Disrupted(error, polling) => {
                    Some((Err(WatchError::Disrupted(error)), Some(polling)))
                }
                Polled::Interrupted(error) => Some((Err(WatchError::Interrupted(error)), None)),
            },
        )))
    }

    async fn register(&self, _: &Service) -> Result<Registration> {
        Err(Error::unsupported("register"))
    }

    async fn deregister(&self, _: &Service) -> Result<Deregistered> {
        Err(Error::unsupported("deregister"))
    }

    fn lease_id(&self) -> Option<LeaseId> {
        None
    }
}

impl<L> fmt::Debug for Poller<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Poller")
            .field("interval", &self.interval)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}
