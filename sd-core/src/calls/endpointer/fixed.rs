//! The endpointer's stand-in.

use crate::calls::{
    endpoint::{Endpoint, NoEndpoints},
    endpoints::{EndpointSource, Endpoints, TableCell},
};
use std::{fmt, sync::Arc};
use tokio::sync::watch;

/// Endpoints that you set: for tests, for addresses that never change, and as the inner part of an
/// [`EndpointSource`] of your own.
///
/// ```
/// use sd_core::{Balancer, Endpoint, FixedEndpointer, Instance, Key, NoEndpoints, RoundRobin};
/// use std::sync::Arc;
///
/// let instance = Instance::new(Key::new("/services/hello/a")?, "10.0.0.1:8080");
/// let endpoints = Arc::new(FixedEndpointer::new([Endpoint::new(instance, "a client")]));
/// let balancer = RoundRobin::new(endpoints.clone());
/// assert_eq!(**balancer.endpoint()?.target(), "a client");
///
/// endpoints.set([]);
/// assert!(matches!(balancer.endpoint(), Err(NoEndpoints::Empty)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct FixedEndpointer<E>(TableCell<E>);

impl<E> FixedEndpointer<E> {
    /// These endpoints.
    pub fn new(endpoints: impl IntoIterator<Item = Endpoint<E>>) -> Self {
        let fixed = Self::unknown();
        fixed.set(endpoints);
        fixed
    }

    /// None, as nothing is known yet.
    pub fn unknown() -> Self {
        Self(TableCell::new())
    }

    /// These endpoints from now on.
    pub fn set(&self, endpoints: impl IntoIterator<Item = Endpoint<E>>) {
        self.set_shared(endpoints.into_iter().map(Arc::new));
    }

    /// These endpoints, some of those of another source perhaps, from now on.
    pub fn set_shared(&self, endpoints: impl IntoIterator<Item = Arc<Endpoint<E>>>) {
        let endpoints = endpoints.into_iter().collect();
        self.0.set(endpoints, || NoEndpoints::Empty);
    }

    /// None from now on, and why.
    pub fn set_none(&self, why: NoEndpoints) {
        self.0.set(Box::default(), || why);
    }
}

impl<E: Send + Sync + 'static> EndpointSource<E> for FixedEndpointer<E> {
    #[inline]
    fn endpoints(&self) -> Endpoints<E> {
        self.0.load()
    }

    fn versions(&self) -> watch::Receiver<u64> {
        self.0.versions()
    }
}

impl<E> fmt::Debug for FixedEndpointer<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("FixedEndpointer")
            .field(&self.0.load())
            .finish()
    }
}
