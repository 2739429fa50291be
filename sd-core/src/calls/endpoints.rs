//! Tables of endpoints: swapped in whole, read without a lock.

use super::endpoint::{Endpoint, NoEndpoints};
use arc_swap::{ArcSwap, Guard};
use std::{fmt, ops::Deref, sync::Arc};
use tokio::sync::watch;

/// Where a balancer takes its endpoints from: an [`Endpointer`](crate::Endpointer), a
/// [`FixedEndpointer`](crate::FixedEndpointer), or your own subset of one.
///
/// To write one, keep a [`FixedEndpointer`](crate::FixedEndpointer) inside,
/// [set](crate::FixedEndpointer::set_shared) it when the endpoints change, and hand out its answers.
pub trait EndpointSource<E>: Send + Sync + 'static {
    /// The endpoints to pick from at the moment, in the order of their keys. Takes no lock, reads
    /// no clock, allocates nothing.
    fn endpoints(&self) -> Endpoints<E>;

    /// Says when there are other endpoints to pick from, for what is derived from them: a channel
    /// of the [version](Endpoints::version) of the newest table.
    fn versions(&self) -> watch::Receiver<u64>;
}

impl<E, S: EndpointSource<E> + ?Sized> EndpointSource<E> for Arc<S> {
    #[inline]
    fn endpoints(&self) -> Endpoints<E> {
        (**self).endpoints()
    }

    fn versions(&self) -> watch::Receiver<u64> {
        (**self).versions()
    }
}

/// The endpoints to pick from, as they were when asked for: dereferences to a slice that never
/// changes.
///
/// Meant to be read and dropped. To hold on to it, [`keep`](Self::keep) it, so that the swap to a
/// newer table stays cheap for everybody else.
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
pub struct Endpoints<E>(Guard<Arc<Table<E>>>);

struct Table<E> {
    version: u64,
    endpoints: Box<[Arc<Endpoint<E>>]>,
    /// Set exactly if there is none.
    none: Option<NoEndpoints>,
}

impl<E> Endpoints<E> {
    /// Counts the tables of this source; a later one has a greater version.
    pub fn version(&self) -> u64 {
        self.0.version
    }

    /// Why there is none; [`NoEndpoints::Empty`] is also the answer if there are some.
    #[cold]
    pub fn why_none(&self) -> NoEndpoints {
        self.0.none.clone().unwrap_or(NoEndpoints::Empty)
    }

    /// The same endpoints, to be held for long.
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

/// Holds the current table. One writer swaps, any number of readers load.
pub(crate) struct TableCell<E> {
    table: ArcSwap<Table<E>>,
    versions: watch::Sender<u64>,
}

impl<E> TableCell<E> {
    /// No endpoints, as nothing is known yet.
    pub(crate) fn new() -> Self {
        Self {
            table: ArcSwap::from_pointee(Table {
                version: 0,
                endpoints: Box::default(),
                none: Some(NoEndpoints::Unknown),
            }),
            versions: watch::Sender::new(0),
        }
    }

    /// Puts a table in the place of the current one; `none` says why, if there are no endpoints.
    pub(crate) fn set(
        &self,
        endpoints: Box<[Arc<Endpoint<E>>]>,
        none: impl FnOnce() -> NoEndpoints,
    ) {
        // The channel's lock makes versions and tables agree, should there be several writers.
        let mut replaced = None;
        self.versions.send_modify(|version| {
            *version += 1;
            let none = endpoints.is_empty().then(none);
            replaced = Some(self.table.swap(Arc::new(Table {
                version: *version,
                endpoints,
                none,
            })));
        });
        // Dropped outside of the lock: what endpoints do when they are dropped is not ours to know.
        drop(replaced);
    }

    #[inline]
    pub(crate) fn load(&self) -> Endpoints<E> {
        Endpoints(self.table.load())
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
        let cell = TableCell::new();
        assert!(matches!(cell.load().why_none(), NoEndpoints::Unknown));
        cell.set([endpoint("a")].into(), || NoEndpoints::Empty);
        let old = cell.load().keep();
        cell.set(Box::default(), || NoEndpoints::Empty);
        assert_eq!((old.len(), old.version()), (1, 1));
        assert_eq!((cell.load().len(), cell.load().version()), (0, 2));
        assert!(matches!(cell.load().why_none(), NoEndpoints::Empty));
    }

    #[test]
    fn a_replaced_table_is_dropped() {
        let cell = TableCell::new();
        let endpoint = endpoint("a");
        cell.set([endpoint.clone()].into(), || NoEndpoints::Empty);
        cell.set(Box::default(), || NoEndpoints::Empty);
        assert_eq!(Arc::strong_count(&endpoint), 1);
    }
}
