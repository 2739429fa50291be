//! Indexes of a table: what a balancer derives from the endpoints so that a pick is quick.

use super::{
    endpoint::Endpoint,
    endpoint_table::Endpoints,
    indexes::{BuildIndex, Builder, IndexId},
};
use std::{fmt, marker::PhantomData, sync::Arc};

/// What a balancer derives from each version of a table, such as an alias table or a hash ring.
///
/// Building it takes time in proportion to the number of endpoints, so it must not happen during a
/// pick. The source builds it together with each version of its table, before the version is
/// swapped in. A pick reads the table and its index, which always belong together. Only the first
/// read of an index that the table does not have yet builds it at once: read it once when the
/// balancer is made.
///
/// ```
/// use sd_core::{
///     Balancer, Endpoint, EndpointSource, NoEndpoints, Pick, PickContext, TableIndex,
/// };
/// use std::sync::Arc;
/// use tokio::sync::watch;
///
/// /// Always picks the heaviest endpoint.
/// struct Heaviest<S: EndpointSource> {
///     source: S,
///     heaviest: TableIndex<S::Target, usize>,
/// }
///
/// impl<S: EndpointSource> Heaviest<S> {
///     fn new(source: S) -> Self {
///         let heaviest = TableIndex::new(|endpoints: &[Arc<Endpoint<S::Target>>]| {
///             let heaviest = (0..endpoints.len()).max_by_key(|n| endpoints[*n].weight());
///             heaviest.unwrap_or(0)
///         });
///         heaviest.of(&source.endpoints());
///         Self { source, heaviest }
///     }
/// }
///
/// impl<S: EndpointSource> Balancer for Heaviest<S> {
///     type Target = S::Target;
///
///     fn pick(&self, _: &PickContext<'_>) -> Result<Pick<S::Target>, NoEndpoints> {
///         let table = self.source.endpoints();
///         let endpoints = table.non_empty()?;
///         Ok(Pick::new(endpoints[*self.heaviest.of(&table)].clone()))
///     }
///
///     fn versions(&self) -> watch::Receiver<u64> {
///         self.source.versions()
///     }
/// }
/// # use sd_core::{FixedEndpointer, Instance, Key};
/// # let endpoint = |name, weight| {
/// #     let instance = Instance::new(Key::new(name).unwrap(), name).with_weight(weight);
/// #     Endpoint::new(instance, ())
/// # };
/// # let source = FixedEndpointer::new([endpoint("a", 1), endpoint("b", 2)]);
/// # let balancer = Heaviest::new(std::sync::Arc::new(source));
/// # assert_eq!(balancer.endpoint()?.weight(), 2);
/// # balancer.source.set([endpoint("a", 3), endpoint("b", 2)]);
/// # assert_eq!(balancer.endpoint()?.weight(), 3);
/// # Ok::<(), NoEndpoints>(())
/// ```
pub struct TableIndex<E, I> {
    builder: Arc<dyn BuildIndex<E>>,
    /// That of the builder.
    id: IndexId,
    index: PhantomData<fn() -> I>,
}

impl<E: 'static, I: Send + Sync + 'static> TableIndex<E, I> {
    /// An index that `build` makes from the endpoints of a table, of which there may be none. It
    /// must not panic: the panic is logged, and repeated by each pick.
    pub fn new(build: impl Fn(&[Arc<Endpoint<E>>]) -> I + Send + Sync + 'static) -> Self {
        let builder = Arc::new(Builder::new(build));
        Self {
            id: builder.id(),
            builder,
            index: PhantomData,
        }
    }

    /// The index of `table`. Takes no lock and allocates nothing, except for the first time for
    /// each source.
    #[inline]
    pub fn of<'t>(&self, table: &'t Endpoints<E>) -> &'t I {
        match self.get(table) {
            Some(index) => index,
            None => self.build(table),
        }
    }

    /// The index of `table`, if the table has it already.
    #[inline]
    pub(super) fn get<'t>(&self, table: &'t Endpoints<E>) -> Option<&'t I> {
        table.indexes().get(self.id)
    }

    /// Builds the index of a table that does not have it, and asks for it for all later ones.
    #[cold]
    fn build<'t>(&self, table: &'t Endpoints<E>) -> &'t I {
        table.registered_indexes().add(&self.builder);
        let index = self.builder.build(table);
        table.indexes().add(self.id, index);
        match table.indexes().get(self.id) {
            Some(index) => index,
            None => unreachable!("it was added"),
        }
    }
}

impl<E, I> fmt::Debug for TableIndex<E, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TableIndex").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        calls::{endpoint_source::EndpointSource, endpointer::FixedEndpointer},
        instances::Instance,
        registry::Key,
        support::Log,
    };
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn endpoint(name: &str) -> Endpoint<()> {
        Endpoint::new(Instance::new(Key::new(name).unwrap(), name), ())
    }

    /// An index that is the number of endpoints, and how often it was built.
    fn counted() -> (TableIndex<(), usize>, Arc<AtomicUsize>) {
        let built = Arc::new(AtomicUsize::new(0));
        let count = built.clone();
        let index = TableIndex::new(move |endpoints: &[Arc<Endpoint<()>>]| {
            count.fetch_add(1, Ordering::Relaxed);
            endpoints.len()
        });
        (index, built)
    }

    #[test]
    fn an_index_is_built_once_for_each_version_and_not_by_a_read() {
        let source = FixedEndpointer::new([endpoint("a")]);
        let (index, built) = counted();
        let (other, _) = counted();
        for _ in 0..3 {
            assert_eq!(
                (
                    *index.of(&source.endpoints()),
                    *other.of(&source.endpoints())
                ),
                (1, 1)
            );
        }
        assert_eq!(built.load(Ordering::Relaxed), 1);
        let old = source.endpoints().keep();
        source.set(["a", "b"].map(endpoint));
        assert_eq!(built.load(Ordering::Relaxed), 2);
        assert_eq!(*index.of(&source.endpoints()), 2);
        assert_eq!(*index.of(&old), 1);
        assert_eq!(built.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn the_index_of_a_balancer_that_is_gone_is_not_built() {
        let source = FixedEndpointer::new([endpoint("a")]);
        let (index, built) = counted();
        index.of(&source.endpoints());
        drop(index);
        source.set([endpoint("b")]);
        assert_eq!(built.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn a_source_of_several_tables_has_an_index_for_each() {
        let tables = [&["a"][..], &["a", "b"]].map(|names| {
            let endpoints = names.iter().map(|name| endpoint(name));
            FixedEndpointer::new(endpoints)
        });
        let (index, _) = counted();
        let sizes = tables.each_ref().map(|table| *index.of(&table.endpoints()));
        assert_eq!(sizes, [1, 2]);
    }

    #[test]
    fn an_index_that_panics_does_not_end_the_source() {
        let log = Log::capture();
        let source = FixedEndpointer::new([endpoint("a")]);
        let index = TableIndex::new(|endpoints: &[Arc<Endpoint<()>>]| {
            assert!(endpoints.len() < 2, "a bug");
        });
        index.of(&source.endpoints());
        source.set(["a", "b"].map(endpoint));
        assert_eq!(source.endpoints().len(), 2);
        let line = "ERROR the index of a balancer failed to be built why=panicked: a bug";
        assert_eq!(log.text(), [line]);
        source.set([endpoint("a")]);
        index.of(&source.endpoints());
    }
}
