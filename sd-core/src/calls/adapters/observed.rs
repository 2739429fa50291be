//! Observed: adds an observer of its own to each endpoint.

#[cfg(test)]
mod tests;

use crate::{
    calls::{
        derived::{Derive, DerivedEndpoints, DerivedSource, Nudge},
        endpoint::Endpoint,
        endpoint_source::EndpointSource,
        endpoint_table::{Endpoints, TableContents, TableRef},
        observer::Observer,
    },
    registry::{ErrorChain, Escaped},
    support::catch,
};
use std::{fmt, sync::Arc};
use tokio::{sync::watch, time::Instant};

/// An endpoint source with all endpoints of another one, each with one more [`Observer`] of its
/// calls: for metrics and status pages that tell endpoints apart.
///
/// The observer comes from a function, which is called once for each endpoint that is new, and
/// again when an attribute of its instance (weight, zone, status, metadata) has changed. To count on
/// across such changes, it returns the observer that it gave before, for example by the address:
///
/// ```
/// use sd_core::{Balancer, EndedCall, Endpoint, FixedEndpointer, Instance, Key, Observed, Observer};
/// use sd_core::{Outcome, RoundRobin};
/// use std::{
///     collections::HashMap,
///     sync::{Arc, atomic::{AtomicU64, Ordering}},
/// };
///
/// #[derive(Default)]
/// struct Calls(AtomicU64);
///
/// impl Observer for Calls {
///     fn needs_times(&self) -> bool {
///         false
///     }
///
///     fn ended(&self, _: &EndedCall) {
///         self.0.fetch_add(1, Ordering::Relaxed);
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let counted = Arc::new(Calls::default());
/// # let first = counted.clone();
/// let endpoint = Endpoint::new(Instance::new(Key::new("a")?, "10.0.0.1:80"), ());
/// let mut by_address = HashMap::<String, Arc<Calls>>::new();
/// # by_address.insert("10.0.0.1:80".into(), first);
/// let observed = Observed::new(FixedEndpointer::new([endpoint]), move |endpoint| {
///     let calls = by_address.entry(endpoint.address().to_owned());
///     calls.or_default().clone()
/// });
/// let balancer = RoundRobin::new(observed);
/// balancer.endpoint()?.report(Outcome::Success);
/// # assert_eq!(counted.0.load(Ordering::Relaxed), 1);
/// # Ok(())
/// # }
/// ```
///
/// Calls that are picked from this source, or from adapters over it, are observed. Its place among
/// the adapters does not matter otherwise.
///
/// # Limits
/// If the function panics, the endpoint is used without its observer, and an error is logged.
///
/// It follows its source until it is [stopped](Self::stop) or dropped, or its tokio runtime shuts
/// down. The last table stays.
pub struct Observed<S: EndpointSource>(DerivedSource<S>);

impl<S: EndpointSource> Observed<S> {
    /// Adds to each endpoint of `source` the observer that `observer` gives for it.
    ///
    /// # Panics
    /// Outside of a tokio runtime, as `tokio::spawn` does.
    pub fn new<O: Observer>(
        source: S,
        observer: impl FnMut(&Endpoint<S::Target>) -> Arc<O> + Send + 'static,
    ) -> Self {
        let derive = DeriveObserved {
            observer,
            observed: DerivedEndpoints::new(),
        };
        Self(DerivedSource::spawn(source, derive, Nudge::default()))
    }

    /// The source of the endpoints.
    pub fn source(&self) -> &S {
        self.0.source()
    }

    /// Stops following the source, and waits until that is done. The table stays as it is.
    ///
    /// Goes on in the background if the future is dropped.
    pub async fn stop(&self) {
        self.0.stop().await;
    }
}

impl<S: EndpointSource> EndpointSource for Observed<S> {
    type Target = S::Target;

    #[inline]
    fn endpoints(&self) -> Endpoints<S::Target> {
        self.0.endpoints()
    }

    #[inline]
    fn table_ref(&self) -> Option<TableRef<'_, S::Target>> {
        self.0.table_ref()
    }

    fn versions(&self) -> watch::Receiver<u64> {
        self.0.versions()
    }
}

impl<S: EndpointSource> fmt::Debug for Observed<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Observed")
            .field("endpoints", &self.endpoints())
            .finish_non_exhaustive()
    }
}

/// Derives the table of the same endpoints with observers.
struct DeriveObserved<F, E> {
    observer: F,
    observed: DerivedEndpoints<E>,
}

impl<F, O, E> Derive<E> for DeriveObserved<F, E>
where
    F: FnMut(&Endpoint<E>) -> Arc<O> + Send + 'static,
    O: Observer,
    E: Send + Sync + 'static,
{
    const NAME: &'static str = "observed";

    fn derive(
        &mut self,
        endpoints: &Endpoints<E>,
        _: Instant,
    ) -> (TableContents<E>, Option<Instant>) {
        let observed = self.observed.derive(endpoints, |origin| {
            match catch(|| (self.observer)(origin)) {
                Ok(observer) => Arc::new(origin.observed_by(observer)),
                Err(why) => {
                    tracing::error!(
                        key = %Escaped(origin.key()),
                        address = %Escaped(origin.address()),
                        why = %ErrorChain(&why),
                        "an endpoint has no observer"
                    );
                    origin.clone()
                }
            }
        });
        let observed: Vec<_> = observed.cloned().collect();
        (TableContents::selected(endpoints, observed), None)
    }
}
