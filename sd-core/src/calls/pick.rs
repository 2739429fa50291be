//! Picks: an endpoint for one call, and how the call ended.

use super::endpoint::Endpoint;
use crate::registry::Key;
use std::{fmt, ops::Deref, sync::Arc};

/// What a balancer may know about a call when it picks an endpoint.
///
/// ```
/// use sd_core::PickContext;
///
/// let context = PickContext::new().with_hash_key(b"user-17");
/// assert_eq!(context.hash_key, Some(&b"user-17"[..]));
/// ```
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct PickContext<'a> {
    /// Calls with the same hash key go to the same endpoint, if the balancer supports that.
    pub hash_key: Option<&'a [u8]>,
    /// The keys of endpoints on which the call was already tried. Others are preferred.
    pub tried: &'a [Key],
}

impl<'a> PickContext<'a> {
    /// A context without a hash key or tried endpoints.
    #[inline]
    pub fn new() -> Self {
        Self::default()
    }

    /// The same context with this hash key.
    #[must_use]
    pub fn with_hash_key(mut self, hash_key: &'a [u8]) -> Self {
        self.hash_key = Some(hash_key);
        self
    }

    /// The same context with these tried endpoints.
    #[must_use]
    pub fn with_tried(mut self, tried: &'a [Key]) -> Self {
        self.tried = tried;
        self
    }

    /// Whether the call was already tried on `endpoint`.
    #[inline]
    pub fn has_tried<E>(&self, endpoint: &Endpoint<E>) -> bool {
        !self.tried.is_empty() && self.tried.contains(endpoint.key())
    }
}

/// How a call ended, from the endpoint's point of view.
///
/// ```
/// use sd_core::Outcome;
///
/// assert_eq!(Outcome::TimedOut.to_string(), "timed out");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Outcome {
    /// The endpoint did what was asked.
    Success,
    /// The endpoint failed, or the connection to it.
    Failure,
    /// There was no answer in time.
    TimedOut,
    /// The caller did not wait for the end, or did not report it.
    Cancelled,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Success => "success",
            Self::Failure => "failure",
            Self::TimedOut => "timed out",
            Self::Cancelled => "cancelled",
        })
    }
}

/// Receives the outcome of picked calls, so that a balancer can react to load or errors.
///
/// ```
/// use sd_core::{Endpoint, Instance, Key, Observer, Outcome, Pick};
/// use std::sync::{Arc, atomic::{AtomicU64, Ordering}};
///
/// #[derive(Default)]
/// struct Failures(AtomicU64);
///
/// impl Observer for Failures {
///     fn ended(&self, _token: u64, outcome: Outcome) {
///         if outcome == Outcome::Failure {
///             self.0.fetch_add(1, Ordering::Relaxed);
///         }
///     }
/// }
///
/// let failures = Arc::new(Failures::default());
/// let instance = Instance::new(Key::new("a")?, "10.0.0.1:80");
/// let pick = Pick::observed(Arc::new(Endpoint::new(instance, ())), failures.clone(), 0);
/// pick.report(Outcome::Failure);
/// assert_eq!(failures.0.load(Ordering::Relaxed), 1);
/// # Ok::<(), sd_core::Invalid>(())
/// ```
pub trait Observer: Send + Sync {
    /// A call ended. `token` is the value that the balancer passed to [`Pick::observed`], for
    /// example the time at which the call began. With it, the balancer need not allocate anything
    /// per call.
    fn ended(&self, token: u64, outcome: Outcome);
}

/// A picked endpoint for one call: dereferences to the [`Endpoint`].
///
/// Hold it until the call has ended, so that the balancer can count calls in flight, and then
/// [`report`](Self::report) the outcome. Dropping it reports [`Outcome::Cancelled`].
///
/// ```
/// use sd_core::{Balancer, NoEndpoints, Outcome};
///
/// async fn connect(hosts: &impl Balancer<Target = String>) -> Result<(), NoEndpoints> {
///     let host = hosts.endpoint()?;
///     let connected = tokio::net::TcpStream::connect(host.target()).await;
///     host.report(if connected.is_ok() { Outcome::Success } else { Outcome::Failure });
///     Ok(())
/// }
/// ```
#[must_use = "dropping it reports the call as cancelled"]
pub struct Pick<E> {
    endpoint: Arc<Endpoint<E>>,
    observer: Option<(Arc<dyn Observer>, u64)>,
}

impl<E> Pick<E> {
    /// A pick without an observer.
    #[inline]
    pub fn new(endpoint: Arc<Endpoint<E>>) -> Self {
        Self {
            endpoint,
            observer: None,
        }
    }

    /// A pick that reports its outcome, together with `token`, exactly once to `observer`.
    #[inline]
    pub fn observed(endpoint: Arc<Endpoint<E>>, observer: Arc<dyn Observer>, token: u64) -> Self {
        Self {
            endpoint,
            observer: Some((observer, token)),
        }
    }

    /// The endpoint, as an `Arc` to share with the call.
    pub fn endpoint(&self) -> &Arc<Endpoint<E>> {
        &self.endpoint
    }

    /// Tells the observer, if there is one, how the call ended.
    pub fn report(mut self, outcome: Outcome) {
        self.end(outcome);
    }

    #[inline]
    fn end(&mut self, outcome: Outcome) {
        if let Some((observer, token)) = self.observer.take() {
            observer.ended(token, outcome);
        }
    }
}

impl<E> Drop for Pick<E> {
    #[inline]
    fn drop(&mut self) {
        self.end(Outcome::Cancelled);
    }
}

impl<E> Deref for Pick<E> {
    type Target = Endpoint<E>;

    #[inline]
    fn deref(&self) -> &Endpoint<E> {
        &self.endpoint
    }
}

impl<E> fmt::Debug for Pick<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pick").field(&self.endpoint).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::instances::Instance;
    use std::sync::Mutex;

    #[derive(Default)]
    struct Outcomes(Mutex<Vec<(u64, Outcome)>>);

    impl Observer for Outcomes {
        fn ended(&self, token: u64, outcome: Outcome) {
            self.0.lock().unwrap().push((token, outcome));
        }
    }

    #[test]
    fn an_outcome_is_heard_exactly_once() {
        let outcomes = Arc::new(Outcomes::default());
        let instance = Instance::new(Key::new("a").unwrap(), "h:1");
        let endpoint = Arc::new(Endpoint::new(instance, ()));
        Pick::observed(endpoint.clone(), outcomes.clone(), 1).report(Outcome::Success);
        drop(Pick::observed(endpoint.clone(), outcomes.clone(), 2));
        Pick::new(endpoint).report(Outcome::Failure);
        let outcomes = outcomes.0.lock().unwrap();
        assert_eq!(*outcomes, [(1, Outcome::Success), (2, Outcome::Cancelled)]);
    }
}
