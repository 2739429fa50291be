//! Consistent hashing: calls with the same key go to the same endpoint.

mod bounded_load;
mod builder;
mod free_slots;
mod maglev;
#[cfg(test)]
mod tests;

pub use builder::ConsistentHashBuilder;

use super::{Balancer, choose_by, untried_from};
use crate::calls::{
    endpoint::Endpoint,
    endpoint_source::EndpointSource,
    no_endpoints::NoEndpoints,
    pick::{Pick, PickContext},
    table_index::TableIndex,
};
use bounded_load::BoundedEndpoints;
use maglev::Maglev;
use std::{fmt, sync::Arc};
use tokio::sync::watch;
use xxhash_rust::xxh3::xxh3_64;

/// Picks the same endpoint for the same [hash key](PickContext::hash_key), and moves few keys to
/// other endpoints when the endpoints change.
///
/// ```
/// use sd_core::{
///     Balancer, ConsistentHash, Endpoint, FixedEndpointer, Instance, Key, PickContext,
/// };
///
/// let endpoint = |name| Ok::<_, sd_core::Invalid>(Endpoint::new(Instance::new(Key::new(name)?, name), ()));
/// let endpoints = FixedEndpointer::new([endpoint("a")?, endpoint("b")?, endpoint("c")?]);
/// let balancer = ConsistentHash::builder(endpoints).bounded_load(1.25).build();
///
/// let user = PickContext::new().with_hash_key(b"user 17");
/// let address = balancer.pick(&user)?.address().to_owned();
/// for _ in 0..10 {
///     assert_eq!(balancer.pick(&user)?.address(), address);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # When to choose it
/// Where an endpoint does better with keys that it has seen before, for example because it caches
/// what belongs to them. Set a [bound](ConsistentHashBuilder::bounded_load) if a few keys have many
/// of the calls.
///
/// Do not rely on it for correctness. While endpoints come and go, two clients may send the same key
/// to different endpoints.
///
/// # What it promises
/// - An endpoint gets keys in proportion to its weight
///   ([`effective_weight`](Endpoint::effective_weight)), to about one slot of the table, or `k`
///   slots if it is `k` times as heavy as the mean.
/// - Adding or removing one of n equal endpoints moves at most 1/n + 2 % of the keys: the 1/n that
///   have to move, and up to 1 % more. A change of a weight moves the difference of the shares, and
///   at most 2 % more. (Measured for 2 to 1,000 endpoints.)
/// - Every process has the same endpoint for a key, if it has the same identities and weights. An
///   adapter that changes weights by what its process has seen, such as
///   [`SlowStart`](crate::SlowStart), moves a few keys in that process.
/// - If the endpoint was [tried](PickContext::tried), the next one along the table is picked: the
///   same one for the same key and the same tried endpoints.
///
/// A call without a hash key goes to a random endpoint, by weight.
///
/// An endpoint is known by its address, not by its key: an address is one place to call, under
/// however many keys it is registered. [`ConsistentHashBuilder::identity`] chooses something else.
///
/// # How
/// With a Maglev table (Eisenbud et al. 2016, "Maglev: A Fast and Reliable Software Network Load
/// Balancer"), where a heavier endpoint has more turns, as in Envoy. A pick hashes the key (XXH3, 64 bits) and looks at one slot.
/// The table is filled when the endpoints change. It takes 256 KiB, unless another
/// [size](ConsistentHashBuilder::table_size) is chosen.
pub struct ConsistentHash<S: EndpointSource> {
    source: S,
    index: TableIndex<S::Target, Index<S::Target>>,
}

/// What is known of one version of the endpoints.
struct Index<E> {
    maglev: Maglev,
    bounded: Option<BoundedEndpoints<E>>,
}

/// How many slots to look at for an endpoint that was not tried and is below its bound, before
/// looking at the endpoints in order.
const SLOTS: usize = 64;

impl<S: EndpointSource> ConsistentHash<S> {
    /// Picks among the endpoints of `source`, with the default options.
    pub fn new(source: S) -> Self {
        Self::builder(source).build()
    }

    /// A balancer with other options.
    pub fn builder(source: S) -> ConsistentHashBuilder<S> {
        ConsistentHashBuilder::new(source)
    }

    /// The source of the endpoints.
    pub fn source(&self) -> &S {
        &self.source
    }
}

impl<S: EndpointSource> Balancer for ConsistentHash<S> {
    type Target = S::Target;

    #[inline]
    fn pick(&self, context: &PickContext<'_>) -> Result<Pick<S::Target>, NoEndpoints> {
        let hash = match context.hash_key {
            Some(key) => xxh3_64(key),
            None => fastrand::u64(..),
        };
        let picked = choose_by(&self.source, &self.index, |index, endpoints| {
            index.endpoint(hash, endpoints, context)
        });
        picked.map(Pick::new)
    }

    fn versions(&self) -> watch::Receiver<u64> {
        self.source.versions()
    }
}

impl<E> Index<E> {
    /// The endpoint for a hash, out of `endpoints`, which are those of this version.
    #[inline]
    fn endpoint<'a>(
        &'a self,
        hash: u64,
        endpoints: &'a [Arc<Endpoint<E>>],
        context: &PickContext<'_>,
    ) -> &'a Arc<Endpoint<E>> {
        match &self.bounded {
            None => self.first_with_room(hash, endpoints, context, |_| true),
            Some(bounded) => {
                let calls = bounded.calls_with_one_more();
                let has_room = |endpoint| bounded.has_room(endpoint, calls);
                self.first_with_room(hash, bounded.endpoints(), context, has_room)
            }
        }
    }

    #[inline]
    fn first_with_room<'a>(
        &self,
        hash: u64,
        endpoints: &'a [Arc<Endpoint<E>>],
        context: &PickContext<'_>,
        has_room: impl Fn(usize) -> bool,
    ) -> &'a Arc<Endpoint<E>> {
        let suits = |one: &usize| has_room(*one) && !context.has_tried(&endpoints[*one]);
        let slot = self.maglev.slot(hash);
        if let Some(first) = self.maglev.owners_from(slot).take(SLOTS).find(suits) {
            return &endpoints[first];
        }
        let start = self.maglev.owner(slot);
        let first = (start..endpoints.len()).chain(0..start).find(suits);
        first.map_or_else(
            || untried_from(endpoints, start, context),
            |first| &endpoints[first],
        )
    }
}

impl<S: EndpointSource + fmt::Debug> fmt::Debug for ConsistentHash<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConsistentHash")
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}
