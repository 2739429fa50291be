//! Balancers: which of the endpoints the next call goes to.

mod random;
mod round_robin;

pub use random::Random;
pub use round_robin::RoundRobin;

use super::endpoint::{Endpoint, NoEndpoints};
use crate::registry::Key;
use std::{fmt, ops::Deref, sync::Arc};

/// Picks an endpoint for each call.
///
/// ```
/// use sd_core::{Balancer, NoEndpoints, Outcome};
/// # struct Client;
/// # impl Client { async fn hello(&self) -> std::io::Result<String> { Ok("hello".into()) } }
///
/// async fn hello(clients: &dyn Balancer<Client>) -> Result<String, Box<dyn std::error::Error>> {
///     let client = clients.endpoint()?;
///     let answer = client.hello().await;
///     client.report(match answer {
///         Ok(_) => Outcome::Success,
///         Err(_) => Outcome::Failure,
///     });
///     Ok(answer?)
/// }
/// ```
///
/// [`Retry`](crate::Retry) does the reporting, and calls another endpoint when one fails.
pub trait Balancer<E>: Send + Sync {
    /// The endpoint for a call of which `context` says what is known. Neither blocks nor waits.
    ///
    /// # Errors
    /// [`NoEndpoints`] if there is none to pick from. That all were tried is no error: one of them
    /// is picked again.
    fn pick(&self, context: &PickContext<'_>) -> Result<Pick<E>, NoEndpoints>;

    /// The endpoint for a call of which nothing is known.
    ///
    /// # Errors
    /// As [`pick`](Self::pick).
    #[inline]
    fn endpoint(&self) -> Result<Pick<E>, NoEndpoints> {
        self.pick(&PickContext::new())
    }
}

impl<E, B: Balancer<E> + ?Sized> Balancer<E> for Arc<B> {
    #[inline]
    fn pick(&self, context: &PickContext<'_>) -> Result<Pick<E>, NoEndpoints> {
        (**self).pick(context)
    }
}

impl<E, B: Balancer<E> + ?Sized> Balancer<E> for Box<B> {
    #[inline]
    fn pick(&self, context: &PickContext<'_>) -> Result<Pick<E>, NoEndpoints> {
        (**self).pick(context)
    }
}

/// What is known of a call before its endpoint is picked.
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
    /// Calls of the same hash key want the same endpoint, where the balancer can do that.
    pub hash_key: Option<&'a [u8]>,
    /// The endpoints that the call has already been tried on; others are preferred.
    pub tried: &'a [Key],
}

impl<'a> PickContext<'a> {
    /// Nothing is known.
    #[inline]
    pub fn new() -> Self {
        Self::default()
    }

    /// The same with this hash key.
    #[must_use]
    pub fn with_hash_key(mut self, hash_key: &'a [u8]) -> Self {
        self.hash_key = Some(hash_key);
        self
    }

    /// The same with these endpoints tried.
    #[must_use]
    pub fn with_tried(mut self, tried: &'a [Key]) -> Self {
        self.tried = tried;
        self
    }

    /// Whether the call has been tried on `endpoint`.
    #[inline]
    pub fn has_tried<E>(&self, endpoint: &Endpoint<E>) -> bool {
        !self.tried.is_empty() && self.tried.contains(endpoint.key())
    }
}

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Outcome {
    /// The endpoint did what was asked.
    Success,
    /// The endpoint, or the way to it, failed.
    Failure,
    /// There was no answer in time.
    TimedOut,
    /// The caller did not wait for the end, or did not say how it was.
    Cancelled,
}

/// Hears how a picked call ended; how a balancer that goes by load learns of it.
pub trait Observer: Send + Sync {
    /// The call ended. `token` is what the balancer gave to [`Pick::observed`]: when the call
    /// began, say, so that nothing needs to be allocated for it.
    fn ended(&self, token: u64, outcome: Outcome);
}

/// A picked endpoint for one call: dereferences to the [`Endpoint`]. Hold it for as long as the
/// call takes, so that a balancer that goes by load knows of it, and [`report`](Self::report) its
/// outcome; dropping it reports [`Outcome::Cancelled`].
#[must_use = "dropping it reports the call as cancelled"]
pub struct Pick<E> {
    endpoint: Arc<Endpoint<E>>,
    observer: Option<(Arc<dyn Observer>, u64)>,
}

impl<E> Pick<E> {
    /// A pick whose outcome nobody asks for.
    #[inline]
    pub fn new(endpoint: Arc<Endpoint<E>>) -> Self {
        Self {
            endpoint,
            observer: None,
        }
    }

    /// A pick whose outcome `observer` hears exactly once, together with `token`.
    #[inline]
    pub fn observed(endpoint: Arc<Endpoint<E>>, observer: Arc<dyn Observer>, token: u64) -> Self {
        Self {
            endpoint,
            observer: Some((observer, token)),
        }
    }

    /// The endpoint, to be shared with the call.
    pub fn endpoint(&self) -> &Arc<Endpoint<E>> {
        &self.endpoint
    }

    /// Says how the call ended.
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

/// The first endpoint from `start` on, going round, that was not tried; the one at `start` if all
/// were. `start` must be in the slice.
#[inline]
fn untried_from<'a, E>(
    endpoints: &'a [Arc<Endpoint<E>>],
    start: usize,
    context: &PickContext<'_>,
) -> &'a Arc<Endpoint<E>> {
    let (before, after) = endpoints.split_at(start);
    after
        .iter()
        .chain(before)
        .find(|endpoint| !context.has_tried(endpoint))
        .unwrap_or(&after[0])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{calls::endpointer::FixedEndpointer, instances::Instance};
    use std::sync::Mutex;

    pub(super) fn endpoints(names: &[&str]) -> FixedEndpointer<()> {
        FixedEndpointer::new(
            names
                .iter()
                .map(|name| Endpoint::new(Instance::new(Key::new(name).unwrap(), "h:1"), ())),
        )
    }

    #[derive(Default)]
    struct Heard(Mutex<Vec<(u64, Outcome)>>);

    impl Observer for Heard {
        fn ended(&self, token: u64, outcome: Outcome) {
            self.0.lock().unwrap().push((token, outcome));
        }
    }

    #[test]
    fn an_outcome_is_heard_exactly_once() {
        let heard = Arc::new(Heard::default());
        let endpoint = Arc::new(Endpoint::new(
            Instance::new(Key::new("a").unwrap(), "h:1"),
            (),
        ));
        Pick::observed(endpoint.clone(), heard.clone(), 1).report(Outcome::Success);
        drop(Pick::observed(endpoint.clone(), heard.clone(), 2));
        Pick::new(endpoint).report(Outcome::Failure);
        let heard = heard.0.lock().unwrap();
        assert_eq!(*heard, [(1, Outcome::Success), (2, Outcome::Cancelled)]);
    }

    #[test]
    fn balancers_are_objects() {
        let balancers: [Box<dyn Balancer<()>>; 2] = [
            Box::new(RoundRobin::new(endpoints(&["a"]))),
            Box::new(Random::new(endpoints(&["a"]))),
        ];
        for balancer in balancers {
            assert_eq!(balancer.endpoint().unwrap().key().as_str(), "a");
        }
    }
}
