//! The table of endpoints: swapped in whole, read without a lock.

use super::{endpoint::Endpoint, no_endpoints::NoEndpoints};
use arc_swap::{ArcSwap, Guard};
use std::{fmt, ops::Deref, sync::Arc};
use tokio::sync::watch;

/// A snapshot of the endpoints to pick from. Dereferences to a slice, which never changes.
///
/// Read it and drop it soon. To hold it for longer, call [`keep`](Self::keep), so that swapping in
/// a newer table stays cheap.
///
/// ```
/// use sd_core::{Endpoint, EndpointSource, FixedEndpointer, Instance, Key};
///
/// let instance = Instance::new(Key::new("/services/hello/a")?, "10.0.0.1:8080");
/// let endpointer = FixedEndpointer::new([Endpoint::new(instance, 'a')]);
///
/// for endpoint in endpointer.endpoints().iter() {
///     println!("{} at {}", endpoint.key(), endpoint.address());
/// }
/// # Ok::<(), sd_core::Invalid>(())
/// ```
#[must_use = "reading it has no other effect"]
pub struct Endpoints<E>(Guard<Arc<Version<E>>>);

/// One version of a table.
struct Version<E> {
    number: u64,
    endpoints: Box<[Arc<Endpoint<E>>]>,
    /// `Some` exactly if there are no endpoints.
    none: Option<NoEndpoints>,
}

impl<E> Endpoints<E> {
    /// The version of this table; a later table of the same source has a greater one.
    pub fn version(&self) -> u64 {
        self.0.number
    }

    /// The endpoints, at least one. A balancer begins its pick with this.
    ///
    /// # Errors
    /// Why there are no endpoints.
    #[inline]
    pub fn non_empty(&self) -> Result<&[Arc<Endpoint<E>>], NoEndpoints> {
        if self.0.endpoints.is_empty() {
            return Err(self.none());
        }
        Ok(&self.0.endpoints)
    }

    #[cold]
    fn none(&self) -> NoEndpoints {
        self.0.none.clone().unwrap_or(NoEndpoints::Empty)
    }

    /// The same endpoints, in a form that may be held for long.
    pub fn keep(self) -> Self {
        Self(Guard::from_inner(Guard::into_inner(self.0)))
    }
}

impl<E> Deref for Endpoints<E> {
    type Target = [Arc<Endpoint<E>>];

    #[inline]
    fn deref(&self) -> &Self::Target {
        &self.0.endpoints
    }
}

impl<E> fmt::Debug for Endpoints<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoints")
            .field("version", &self.version())
            .field("endpoints", &&**self)
            .field("none", &self.0.none)
            .finish()
    }
}

/// Holds the current version. Readers load it and never wait for a writer.
pub(crate) struct EndpointTable<E> {
    current: ArcSwap<Version<E>>,
    versions: watch::Sender<u64>,
}

impl<E> EndpointTable<E> {
    /// A table without endpoints, since nothing is known yet.
    pub(crate) fn new() -> Self {
        Self {
            current: ArcSwap::from_pointee(Version {
                number: 0,
                endpoints: Box::default(),
                none: Some(NoEndpoints::Unknown),
            }),
            versions: watch::Sender::new(0),
        }
    }

    /// Replaces the current version; `none` says why, if there are no endpoints.
    pub(crate) fn set(
        &self,
        endpoints: Box<[Arc<Endpoint<E>>]>,
        none: impl FnOnce() -> NoEndpoints,
    ) {
        // Swapped under the channel's lock, so that table and version agree if there are several
        // writers.
        let mut replaced = None;
        self.versions.send_modify(|number| {
            *number += 1;
            let none = endpoints.is_empty().then(none);
            replaced = Some(self.current.swap(Arc::new(Version {
                number: *number,
                endpoints,
                none,
            })));
        });
        // Outside of the lock, since this may drop targets, which are foreign code.
        drop(replaced);
    }

    #[inline]
    pub(crate) fn load(&self) -> Endpoints<E> {
        Endpoints(self.current.load())
    }

    pub(crate) fn versions(&self) -> watch::Receiver<u64> {
        self.versions.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{instances::Instance, registry::Key};

    fn endpoint(key: &str) -> Arc<Endpoint<()>> {
        let instance = Instance::new(Key::new(key).unwrap(), "h:1");
        Arc::new(Endpoint::new(instance, ()))
    }

    #[test]
    fn a_reader_keeps_the_table_it_read() {
        let table = EndpointTable::new();
        let none = table.load().non_empty().err();
        assert!(matches!(none, Some(NoEndpoints::Unknown)));
        table.set([endpoint("a")].into(), || NoEndpoints::Empty);
        let old = table.load().keep();
        table.set(Box::default(), || NoEndpoints::Empty);
        assert_eq!((old.len(), old.version()), (1, 1));
        assert_eq!(old.non_empty().unwrap().len(), 1);
        assert_eq!((table.load().len(), table.load().version()), (0, 2));
        let none = table.load().non_empty().err();
        assert!(matches!(none, Some(NoEndpoints::Empty)));
    }

    #[test]
    fn a_replaced_table_is_dropped() {
        let table = EndpointTable::new();
        let endpoint = endpoint("a");
        table.set([endpoint.clone()].into(), || NoEndpoints::Empty);
        table.set(Box::default(), || NoEndpoints::Empty);
        assert_eq!(Arc::strong_count(&endpoint), 1);
    }
}
