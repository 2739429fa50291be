//! The options of a consistent hash.

use super::{
    ConsistentHash, Index,
    bounded_load::LoadBound,
    maglev::{Candidate, Maglev},
};
use crate::{
    calls::{endpoint::Endpoint, endpoint_source::EndpointSource, table_index::TableIndex},
    instances::Instance,
};
use std::{fmt, sync::Arc};
use xxhash_rust::xxh3::xxh3_64;

/// The options of a [`ConsistentHash`].
///
/// Clients agree on the endpoint of a key if they have the same table size and the same identities.
#[must_use = "nothing happens before `build`"]
pub struct ConsistentHashBuilder<S> {
    source: S,
    table_size: u32,
    load_bound: Option<f64>,
    identity: Identity,
}

type Identity = Box<dyn for<'a> Fn(&'a Instance) -> &'a str + Send + Sync>;

/// Both primes.
const SMALLEST_TABLE: u32 = 251;
const LARGEST_TABLE: u32 = 5_000_011;

/// With less, a pick would have to look at many endpoints to find one below its bound.
const LEAST_LOAD_BOUND: f64 = 1.05;

impl<S: EndpointSource> ConsistentHashBuilder<S> {
    pub(super) fn new(source: S) -> Self {
        Self {
            source,
            table_size: 65_537,
            load_bound: None,
            identity: Box::new(Instance::address),
        }
    }

    /// The number of slots of the table, rounded up to a prime. Default: 65,537. Less than 251 and
    /// more than 5,000,011 count as these.
    ///
    /// An endpoint gets its share of the keys to about one slot, so with a hundred slots for each
    /// endpoint shares are right to about one percent, and an endpoint whose share is less than half
    /// a slot gets no keys. A slot takes 4 bytes and a little time whenever the table is filled: the
    /// default size takes about a millisecond. The size does not follow the number of endpoints by itself, since almost every key
    /// moves when it changes.
    pub fn table_size(mut self, slots: u32) -> Self {
        self.table_size = next_prime(slots.clamp(SMALLEST_TABLE, LARGEST_TABLE));
        self
    }

    /// Bounds the calls in flight to an endpoint: to `factor` times its share of all calls in
    /// flight, rounded up to a whole call. A call whose endpoint is at its bound goes to the next
    /// one along the table that is not. Default: no bound. 1.25 is a good one: a lower factor
    /// spreads load more evenly and keeps fewer calls at the endpoint of their key. Less than 1.05,
    /// and NaN, count as 1.05.
    ///
    /// The calls of this balancer count, from the pick to the end, by the address of the endpoint.
    /// Threads that pick at the same time may exceed the bound by one call each. While fewer calls
    /// are in flight than there are endpoints, the bound is one call or two, so calls with the same
    /// key at the same time go to different endpoints.
    ///
    /// Mirrokni, Thorup, Zadimoghaddam 2016, "Consistent Hashing with Bounded Loads".
    pub fn bounded_load(mut self, factor: f64) -> Self {
        self.load_bound = Some(factor.max(LEAST_LOAD_BOUND));
        self
    }

    /// What an endpoint is known by. Its hash decides which keys the endpoint gets; endpoints with
    /// the same identity share them. Default: the [address](Instance::address).
    ///
    /// Choose another one where the keys belong to something that outlives the address, such as a
    /// volume:
    ///
    /// ```
    /// use sd_core::{Balancer, ConsistentHash, Endpoint, FixedEndpointer, Instance, Key};
    ///
    /// let instance = Instance::new(Key::new("/shards/3")?, "10.0.0.1:80").with_metadata("shard", "3");
    /// let balancer = ConsistentHash::builder(FixedEndpointer::new([Endpoint::new(instance, ())]))
    ///     .identity(|instance| instance.metadata("shard").unwrap_or(instance.address()))
    ///     .build();
    /// # balancer.endpoint()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn identity(
        mut self,
        identity: impl for<'a> Fn(&'a Instance) -> &'a str + Send + Sync + 'static,
    ) -> Self {
        self.identity = Box::new(identity);
        self
    }

    /// The balancer with these options. Builds its first table.
    pub fn build(self) -> ConsistentHash<S> {
        let Self {
            source,
            table_size,
            load_bound,
            identity,
        } = self;
        let load_bound = load_bound.map(LoadBound::new);
        let index = TableIndex::new(move |endpoints: &[Arc<Endpoint<S::Target>>]| {
            let candidate = |endpoint: &Arc<Endpoint<S::Target>>| Candidate {
                hash: xxh3_64(identity(endpoint.instance()).as_bytes()),
                weight: endpoint.effective_weight(),
            };
            let candidates: Vec<_> = endpoints.iter().map(candidate).collect();
            Index {
                maglev: Maglev::new(table_size, &candidates),
                bounded: load_bound.as_ref().map(|bound| bound.bound(endpoints)),
            }
        });
        index.of(&source.endpoints());
        ConsistentHash { source, index }
    }
}

impl<S: fmt::Debug> fmt::Debug for ConsistentHashBuilder<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConsistentHashBuilder")
            .field("source", &self.source)
            .field("table_size", &self.table_size)
            .field("load_bound", &self.load_bound)
            .finish_non_exhaustive()
    }
}

/// The smallest prime from `number` on.
fn next_prime(number: u32) -> u32 {
    let is_prime = |number: &u32| (2..=number.isqrt()).all(|factor| !number.is_multiple_of(factor));
    (number..).find(is_prime).unwrap_or(LARGEST_TABLE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calls::endpointer::FixedEndpointer;

    #[test]
    fn the_table_size_is_a_prime_within_limits() {
        let sizes = [0, 1000, 65_536, 65_537, u32::MAX].map(|slots| {
            let builder = ConsistentHash::builder(FixedEndpointer::<()>::unknown());
            builder.table_size(slots).table_size
        });
        assert_eq!(sizes, [251, 1009, 65_537, 65_537, 5_000_011]);
    }

    #[test]
    fn a_bound_below_the_share_does_not_stop_calls() {
        let bounds = [0.0, f64::NAN, 1.25, f64::INFINITY].map(|factor| {
            let builder = ConsistentHash::builder(FixedEndpointer::<()>::unknown());
            builder.bounded_load(factor).load_bound.unwrap()
        });
        assert_eq!(bounds, [1.05, 1.05, 1.25, f64::INFINITY]);
    }
}
