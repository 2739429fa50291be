//! An endpoint source whose endpoints the program sets.

use crate::calls::{
    endpoint::Endpoint,
    endpoint_source::EndpointSource,
    endpoint_table::{EndpointTable, Endpoints, TableContents, TableRef},
    no_endpoints::NoEndpoints,
};
use std::{fmt, sync::Arc};
use tokio::sync::watch;

/// Endpoints that the program sets: for tests, for addresses that never change, and as a part of
/// your own [`EndpointSource`].
///
/// ```
/// use sd_core::{Balancer, Endpoint, FixedEndpointer, Instance, Key, NoEndpoints, RoundRobin};
/// use std::sync::Arc;
///
/// let instance = Instance::new(Key::new("/services/hello/a")?, "10.0.0.1:8080");
/// let endpoints = Arc::new(FixedEndpointer::new([Endpoint::new(instance, "a client")]));
/// let balancer = RoundRobin::new(endpoints.clone());
/// assert_eq!(*balancer.endpoint()?.target(), "a client");
///
/// endpoints.set([]);
/// assert!(matches!(balancer.endpoint(), Err(NoEndpoints::Empty)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct FixedEndpointer<E>(EndpointTable<E>);

impl<E> FixedEndpointer<E> {
    /// A source of these endpoints.
    pub fn new(endpoints: impl IntoIterator<Item = Endpoint<E>>) -> Self {
        let fixed = Self::unknown();
        fixed.set(endpoints);
        fixed
    }

    /// A source that knows nothing yet. Picks fail with [`NoEndpoints::Unknown`].
    pub fn unknown() -> Self {
        Self(EndpointTable::new())
    }

    /// Replaces the endpoints.
    pub fn set(&self, endpoints: impl IntoIterator<Item = Endpoint<E>>) {
        self.set_shared(endpoints.into_iter().map(Arc::new));
    }

    /// Replaces the endpoints by shared ones, for example by a selection from another source.
    pub fn set_shared(&self, endpoints: impl IntoIterator<Item = Arc<Endpoint<E>>>) {
        let endpoints: Box<[_]> = endpoints.into_iter().collect();
        self.0
            .set(TableContents::new(endpoints, || NoEndpoints::Empty));
    }

    /// Removes all endpoints; picks fail with `why`.
    pub fn set_none(&self, why: NoEndpoints) {
        self.0.set(TableContents::none(why));
    }
}

impl<E: Send + Sync + 'static> EndpointSource for FixedEndpointer<E> {
    type Target = E;

    #[inline]
    fn endpoints(&self) -> Endpoints<E> {
        self.0.load()
    }

    #[inline]
    fn table_ref(&self) -> Option<TableRef<'_, E>> {
        Some(self.0.table_ref())
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
