//! The table of endpoints: swapped in whole, read without a lock.

use super::{
    endpoint::Endpoint,
    indexes::{Indexes, Registered},
    no_endpoints::NoEndpoints,
    thread_copies::ThreadCopies,
};
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
    contents: TableContents<E>,
    indexes: Indexes,
    registered: Arc<Registered<E>>,
}

/// What is in a version of a table.
pub(crate) struct TableContents<E> {
    endpoints: Vec<Arc<Endpoint<E>>>,
    /// `Some` exactly if there are no endpoints.
    none: Option<NoEndpoints>,
    in_panic: bool,
}

impl<E> TableContents<E> {
    /// These endpoints, in the order of their keys; `none` says why, if there are none.
    pub(crate) fn new(
        endpoints: impl Into<Box<[Arc<Endpoint<E>>]>>,
        none: impl FnOnce() -> NoEndpoints,
    ) -> Self {
        Self::of_list(endpoints.into().into_vec(), none)
    }

    /// The same with this list, which keeps its capacity.
    pub(super) fn of_list(
        endpoints: Vec<Arc<Endpoint<E>>>,
        none: impl FnOnce() -> NoEndpoints,
    ) -> Self {
        Self {
            none: endpoints.is_empty().then(none),
            endpoints,
            in_panic: false,
        }
    }

    /// No endpoints.
    pub(crate) fn none(why: NoEndpoints) -> Self {
        Self::new([], || why)
    }

    /// A selection from `source`: in panic as it is, and if there are no endpoints, for its reason.
    pub(crate) fn selected(
        source: &Endpoints<E>,
        endpoints: impl Into<Box<[Arc<Endpoint<E>>]>>,
    ) -> Self {
        Self::new(endpoints, || source.none()).with_panic(source.in_panic())
    }

    /// The same endpoints, with [`Endpoints::in_panic`].
    pub(crate) fn with_panic(mut self, in_panic: bool) -> Self {
        self.in_panic = in_panic;
        self
    }

    /// Whether both have the very same endpoints, so that nobody need be told of the later one.
    fn is_same(&self, other: &Self) -> bool {
        let same = |(one, other): (&Arc<_>, &Arc<_>)| Arc::ptr_eq(one, other);
        !self.endpoints.is_empty()
            && self.in_panic == other.in_panic
            && self.endpoints.len() == other.endpoints.len()
            && self.endpoints.iter().zip(&other.endpoints).all(same)
    }
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
        let endpoints = &self.0.contents.endpoints;
        if endpoints.is_empty() {
            return Err(self.none());
        }
        Ok(endpoints)
    }

    #[cold]
    fn none(&self) -> NoEndpoints {
        let none = self.0.contents.none.clone();
        none.unwrap_or(NoEndpoints::Empty)
    }

    /// Why an adapter that leaves out the unhealthy ones of these has none left.
    pub(super) fn none_healthy(&self) -> NoEndpoints {
        match self.non_empty() {
            Err(none) => none,
            Ok(endpoints) => NoEndpoints::Unhealthy {
                endpoints: endpoints.len(),
            },
        }
    }

    /// Whether too few of all endpoints are healthy, so that the table has the others as well.
    /// Preferences such as the own zone do not apply then.
    pub fn in_panic(&self) -> bool {
        self.0.contents.in_panic
    }

    /// The same endpoints, in a form that may be held for long.
    pub fn keep(self) -> Self {
        Self(Guard::from_inner(Guard::into_inner(self.0)))
    }

    #[inline]
    pub(super) fn indexes(&self) -> &Indexes {
        &self.0.indexes
    }

    pub(super) fn registered_indexes(&self) -> &Registered<E> {
        &self.0.registered
    }
}

impl<E> Deref for Endpoints<E> {
    type Target = [Arc<Endpoint<E>>];

    #[inline]
    fn deref(&self) -> &Self::Target {
        &self.0.contents.endpoints
    }
}

impl<E> fmt::Debug for Endpoints<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoints")
            .field("version", &self.version())
            .field("endpoints", &&**self)
            .field("none", &self.0.contents.none)
            .field("in_panic", &self.in_panic())
            .finish()
    }
}

/// Holds the current version. Readers load it and never wait for a writer.
pub(crate) struct EndpointTable<E> {
    current: ArcSwap<Version<E>>,
    copies: ThreadCopies<Endpoints<E>>,
    versions: watch::Sender<u64>,
    registered: Arc<Registered<E>>,
}

impl<E> EndpointTable<E> {
    /// A table without endpoints, since nothing is known yet.
    pub(crate) fn new() -> Self {
        let registered = Arc::new(Registered::default());
        Self {
            current: ArcSwap::from_pointee(Version {
                number: 0,
                contents: TableContents::none(NoEndpoints::Unknown),
                indexes: Indexes::default(),
                registered: registered.clone(),
            }),
            copies: ThreadCopies::new(),
            versions: watch::Sender::new(0),
            registered,
        }
    }

    /// Replaces the current version. Does nothing if the endpoints are the very same.
    pub(crate) fn set(&self, contents: TableContents<E>) {
        if !contents.is_same(&self.current.load().contents) {
            self.replace(contents);
        }
    }

    /// Replaces the current version. Builds the indexes of all balancers for it before. Returns the number of the
    /// new version, and the endpoints of the old one, unless somebody still reads it.
    pub(super) fn replace(
        &self,
        contents: TableContents<E>,
    ) -> (u64, Option<Vec<Arc<Endpoint<E>>>>) {
        let indexes = self.registered.build(&contents.endpoints);
        // Swapped under the channel's lock, so that table and version agree if there are several
        // writers. And the threads' copies are gone before anybody hears of the version: who waits for one
        // must not miss it.
        let mut replaced = None;
        let mut version = 0;
        self.versions.send_modify(|number| {
            *number += 1;
            version = *number;
            replaced = Some(self.current.swap(Arc::new(Version {
                number: *number,
                contents,
                indexes,
                registered: self.registered.clone(),
            })));
            // Drops no target: `replaced` has them too.
            self.copies.clear();
        });
        // Outside of the lock, since this may drop targets, which are foreign code.
        let replaced = replaced.and_then(Arc::into_inner);
        (
            version,
            replaced.map(|replaced| replaced.contents.endpoints),
        )
    }

    #[inline]
    pub(crate) fn load(&self) -> Endpoints<E> {
        Endpoints(self.current.load())
    }

    #[inline]
    pub(crate) fn table_ref(&self) -> TableRef<'_, E> {
        TableRef(self)
    }

    pub(crate) fn versions(&self) -> watch::Receiver<u64> {
        self.versions.subscribe()
    }
}

/// The table of a source, for the toolkit's balancers: see [`EndpointSource::table_ref`](crate::EndpointSource::table_ref).
pub struct TableRef<'a, E>(&'a EndpointTable<E>);

impl<E> TableRef<'_, E> {
    /// What `read` reads in the current version. It is short and calls nothing foreign: see
    /// [`ThreadCopies::read`].
    #[inline]
    pub(super) fn read<R>(self, read: impl FnOnce(&Endpoints<E>) -> R) -> R {
        self.0.copies.read(|| self.0.load().keep(), read)
    }
}

impl<E> fmt::Debug for TableRef<'_, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TableRef").field(&self.0.load()).finish()
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

    fn of<const N: usize>(endpoints: [Arc<Endpoint<()>>; N]) -> TableContents<()> {
        TableContents::new(endpoints, || NoEndpoints::Empty)
    }

    #[test]
    fn the_same_endpoints_are_no_news() {
        let table = EndpointTable::new();
        let endpoint = endpoint("a");
        for (contents, version) in [
            (of([]), 1),
            (of([endpoint.clone()]), 2),
            (of([endpoint.clone()]), 2),
            (of([endpoint.clone()]).with_panic(true), 3),
            (of([Arc::new((*endpoint).clone())]), 4),
        ] {
            table.set(contents);
            assert_eq!(table.load().version(), version);
        }
        assert!(!table.load().in_panic());
    }

    #[test]
    fn a_reader_keeps_the_table_it_read() {
        let table = EndpointTable::new();
        let none = table.load().non_empty().err();
        assert!(matches!(none, Some(NoEndpoints::Unknown)));
        table.set(of([endpoint("a")]));
        let old = table.load().keep();
        table.set(of([]));
        assert_eq!((old.len(), old.version()), (1, 1));
        assert_eq!(old.non_empty().unwrap().len(), 1);
        assert_eq!((table.load().len(), table.load().version()), (0, 2));
        let none = table.load().non_empty().err();
        assert!(matches!(none, Some(NoEndpoints::Empty)));
    }

    #[test]
    fn who_hears_of_a_version_reads_that_or_a_later_one() {
        const LAST: u64 = 20_000;
        let table = EndpointTable::<()>::new();
        let read = || table.table_ref().read(Endpoints::version);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    let mut versions = table.versions();
                    while *versions.borrow() < LAST {
                        let heard = *versions.borrow_and_update();
                        let read = read();
                        assert!(read >= heard, "{read} after {heard}");
                        std::thread::yield_now();
                    }
                });
            }
            for _ in 0..LAST {
                table.replace(of([]));
            }
        });
        assert_eq!(read(), LAST);
    }

    #[test]
    fn a_replaced_table_is_dropped() {
        let table = EndpointTable::new();
        let endpoint = endpoint("a");
        table.set(of([endpoint.clone()]));
        table.set(of([]));
        assert_eq!(Arc::strong_count(&endpoint), 1);
    }
}
