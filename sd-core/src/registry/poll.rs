//! Polling: discovery from what can only be listed.
//!
//! DNS and plain HTTP APIs answer what there is, not what changes. A [`Poller`] lists them again
//! and again and makes a [`Client`] of them, so that instancers and all that hangs on them need
//! not know.

mod lists;
mod polling;
#[cfg(test)]
mod tests;

use super::{
    client::{Client, Deregistered},
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
use futures::stream;
use lists::Lists;
use polling::{Polled, Polling};
use std::{fmt, sync::Arc, time::Duration};

/// Polls are this far apart at least,
const SHORTEST: Duration = Duration::from_millis(10);
/// and at most.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// What a backend that can only be listed has to offer.
#[async_trait]
pub trait Lister: Send + Sync + 'static {
    /// All that there is under `prefix`. What lies elsewhere is ignored; of several entries with
    /// one key the last counts.
    ///
    /// Must be cancellation safe: what takes too long is dropped.
    ///
    /// # Errors
    /// Whatever kept it from being listed. What [cannot pass](Error::is_transient) ends the watches
    /// of the poller. "There is nothing" is not an error but an empty list, and the other way
    /// round.
    async fn list(&self, prefix: &Prefix) -> Result<Vec<Entry>>;
}

/// A [`Client`] that polls a [`Lister`]: for discovery only, it cannot register.
///
/// The state that was listed travels in the [`Revision`] as a [`Listing`], and a watch compares with
/// it what it lists next. So nothing is missed between a list and a watch, and the poller itself
/// remembers nothing but what it has logged. It runs no task either: a watch polls while it is polled, and
/// dropping it is all there is to stop.
///
/// What comes and goes between two polls is not seen. A list that fails or takes too long is
/// reported as [`Disrupted`](WatchError::Disrupted), once for several in a row, and the watch goes
/// on.
///
/// ```
/// use sd_core::{Entry, Error, Key, Lister, Poller, Prefix, Result, async_trait};
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
///                 let key = Key::new(format!("{prefix}{address}"))?;
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
    lists: Arc<Lists<L>>,
    interval: Duration,
    timeout: Duration,
}

impl<L: Lister> Poller<L> {
    /// A client that lists every `interval`, up to a tenth sooner or later so that a fleet does not
    /// poll in step. Between 10 ms and a day.
    pub fn new(lister: L, interval: Duration) -> Self {
        Self {
            lists: Arc::new(Lists::of(lister)),
            interval: interval.clamp(SHORTEST, LONGEST),
            timeout: Duration::from_secs(5),
        }
    }

    /// The same client with another limit to how long a list may take; 5 s by default.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }
}

#[async_trait]
impl<L: Lister> Client for Poller<L> {
    async fn get_entries(&self, prefix: &Prefix) -> Result<Snapshot> {
        let listing = self.lists.list(prefix, self.timeout).await?;
        Ok(listing.snapshot())
    }

    async fn watch_prefix(&self, prefix: &Prefix, after: &Revision) -> Result<Watch, WatchError> {
        let known = Listing::resume(after, prefix)?;
        let polling = Polling {
            lists: self.lists.clone(),
            prefix: prefix.clone(),
            interval: self.interval,
            timeout: self.timeout,
            known,
            disrupted: false,
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
