//! What the versions of a table hold for [`TableIndex`](super::table_index::TableIndex): the
//! builders of the indexes, and what they built.

use super::endpoint::Endpoint;
use crate::{registry::ErrorChain, support::catch};
use std::{
    any::Any,
    sync::{
        Arc, Mutex, OnceLock, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
};

/// Identifies a builder and what it built; never used twice.
pub(super) type IndexId = u64;

/// An index of any type.
pub(super) type AnyIndex = Box<dyn Any + Send + Sync>;

pub(super) trait BuildIndex<E>: Send + Sync {
    fn id(&self) -> IndexId;

    fn build(&self, endpoints: &[Arc<Endpoint<E>>]) -> AnyIndex;
}

pub(super) struct Builder<F> {
    id: IndexId,
    build: F,
}

impl<F> Builder<F> {
    pub(super) fn new(build: F) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        Self { id, build }
    }
}

impl<E, I, F> BuildIndex<E> for Builder<F>
where
    I: Send + Sync + 'static,
    F: Fn(&[Arc<Endpoint<E>>]) -> I + Send + Sync,
{
    fn id(&self) -> IndexId {
        self.id
    }

    fn build(&self, endpoints: &[Arc<Endpoint<E>>]) -> AnyIndex {
        Box::new((self.build)(endpoints))
    }
}

/// The indexes of one version of a table: a list that only grows, read without a lock.
#[derive(Default)]
pub(super) struct Indexes(OnceLock<Box<IndexNode>>);

struct IndexNode {
    id: IndexId,
    index: AnyIndex,
    next: Indexes,
}

impl Indexes {
    #[inline]
    pub(super) fn get<I: 'static>(&self, id: IndexId) -> Option<&I> {
        let mut node = self.0.get()?;
        // Mostly it is the first: few tables have several balancers.
        while node.id != id {
            node = node.next.0.get()?;
        }
        node.index.downcast_ref()
    }

    pub(super) fn add(&self, id: IndexId, index: AnyIndex) {
        let mut node = Box::new(IndexNode {
            id,
            index,
            next: Self::default(),
        });
        let mut end = self;
        while let Err(unused) = end.0.set(node) {
            node = unused;
            match end.0.get() {
                Some(used) => end = &used.next,
                None => return,
            }
        }
    }
}

/// The builders of the balancers that read the tables of one source.
pub(super) struct Registered<E>(Mutex<Vec<Weak<dyn BuildIndex<E>>>>);

impl<E> Registered<E> {
    pub(super) fn add(&self, builder: &Arc<dyn BuildIndex<E>>) {
        let mut builders = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let added = Arc::downgrade(builder);
        if !builders.iter().any(|one| Weak::ptr_eq(one, &added)) {
            builders.push(added);
        }
    }

    /// Builds the indexes of all balancers that still exist.
    pub(super) fn build(&self, endpoints: &[Arc<Endpoint<E>>]) -> Indexes {
        let indexes = Indexes::default();
        // Built outside of the lock, since it is foreign code.
        for builder in self.living() {
            match catch(|| builder.build(endpoints)) {
                Ok(index) => indexes.add(builder.id(), index),
                Err(why) => {
                    tracing::error!(why = %ErrorChain(&why), "the index of a balancer failed to be built");
                }
            }
        }
        indexes
    }

    fn living(&self) -> Vec<Arc<dyn BuildIndex<E>>> {
        let mut builders = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        builders.retain(|builder| builder.strong_count() > 0);
        builders.iter().filter_map(Weak::upgrade).collect()
    }
}

impl<E> Default for Registered<E> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}
