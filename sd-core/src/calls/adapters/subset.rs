//! Subsets: a client uses some of the endpoints.

use super::rendezvous::Rendezvous;
use crate::calls::{
    derived::{Derive, DerivedSource, Nudge},
    endpoint_source::EndpointSource,
    endpoint_table::{Endpoints, TableContents, TableRef},
};
use std::fmt;
use tokio::{sync::watch, time::Instant};

/// A subset of another source's endpoints, of a fixed size and different for each client.
///
/// Where 1,000 clients have connections to 1,000 instances each, the connections, their keep-alives
/// and health checks cost more than the calls. With a subset of 20, each instance has about 20
/// clients. Use it from about 100 instances on. The endpointer still makes an endpoint for each
/// instance, so that a factory should not connect before the first call.
///
/// # How it chooses
/// By rendezvous hashing of the instances' keys with the client's id, as gRPC's [random
/// subsetting](https://github.com/grpc/proposal/blob/master/A68-random-subsetting.md) (A68):
/// - Every endpoint is in as many clients' subsets as any other, up to chance. With `n` clients per
///   endpoint, their number varies by about the square root of `n`: two thirds of the endpoints
///   have between 16 and 24 clients where they should have 20. Use a larger subset if there are few
///   clients.
/// - If an instance comes or goes, at most one endpoint of each subset changes.
/// - Weights play no part in the choice. Balancers apply them within the subset, so that over all
///   clients an instance of twice the weight gets about twice the calls: 1.93 times as many with
///   subsets of 20, and closer to 2 with larger ones.
///
/// ```
/// use sd_core::{Endpoint, EndpointSource, FixedEndpointer, Instance, Key, RoundRobin, Subset};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), sd_core::Invalid> {
/// let endpoint = |n| {
///     let key = Key::new(format!("/services/hello/{n:03}"))?;
///     Ok::<_, sd_core::Invalid>(Endpoint::new(Instance::new(key, format!("10.0.0.{n}:80")), n))
/// };
/// let all = FixedEndpointer::new((0..200).map(endpoint).collect::<Result<Vec<_>, _>>()?);
/// let subset = Subset::new(all, 20);
/// assert_eq!(subset.endpoints().len(), 20);
/// let balancer = RoundRobin::new(subset);
/// # Ok(())
/// # }
/// ```
///
/// It follows its source until it is [stopped](Self::stop) or dropped; the last subset stays.
pub struct Subset<S: EndpointSource>(DerivedSource<S>);

impl<S: EndpointSource> Subset<S> {
    /// At most `size` endpoints of `source`, chosen by a random id: another subset in each process,
    /// and for each `Subset`. A size of 0 counts as 1. gRPC's default is 20.
    ///
    /// # Panics
    /// Outside of a tokio runtime, as `tokio::spawn` does.
    pub fn new(source: S, size: usize) -> Self {
        Self::builder(source, size).build()
    }

    /// A subset with other options.
    pub fn builder(source: S, size: usize) -> SubsetBuilder<S> {
        SubsetBuilder {
            source,
            choose: ChooseSubset {
                size: size.max(1),
                client: Rendezvous::random(),
            },
        }
    }

    /// The source of the endpoints.
    pub fn source(&self) -> &S {
        self.0.source()
    }

    /// Stops following the source, and waits until that is done. The endpoints stay as they are.
    ///
    /// Goes on in the background if the future is dropped.
    pub async fn stop(&self) {
        self.0.stop().await;
    }
}

impl<S: EndpointSource> EndpointSource for Subset<S> {
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

impl<S: EndpointSource> fmt::Debug for Subset<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Subset").field(&self.endpoints()).finish()
    }
}

/// The options of a [`Subset`].
///
/// ```
/// use sd_core::{EndpointSource, Subset};
///
/// fn subset<S: EndpointSource>(endpoints: S, pod: &str) -> Subset<S> {
///     Subset::builder(endpoints, 20).client_id(pod).build()
/// }
/// ```
#[derive(Debug)]
#[must_use = "nothing happens before `build`"]
pub struct SubsetBuilder<S> {
    source: S,
    choose: ChooseSubset,
}

impl<S: EndpointSource> SubsetBuilder<S> {
    /// The id to choose by, such as the name of a host or pod. It gives the same subset in each
    /// process and version: for several balancers that should use one subset, or to keep it when
    /// the client starts again. Default: random.
    ///
    /// It must differ between clients. Clients with one id all choose the same endpoints, and the
    /// others get no calls.
    pub fn client_id(mut self, id: impl AsRef<[u8]>) -> Self {
        self.choose.client = Rendezvous::of(id.as_ref());
        self
    }

    /// Chooses the first subset, and spawns the task that follows the source.
    ///
    /// # Panics
    /// Outside of a tokio runtime, as `tokio::spawn` does.
    pub fn build(self) -> Subset<S> {
        Subset(DerivedSource::spawn(
            self.source,
            self.choose,
            Nudge::default(),
        ))
    }
}

#[derive(Debug)]
struct ChooseSubset {
    size: usize,
    client: Rendezvous,
}

impl<E: 'static> Derive<E> for ChooseSubset {
    const NAME: &'static str = "subset";

    fn derive(
        &mut self,
        endpoints: &Endpoints<E>,
        _now: Instant,
    ) -> (TableContents<E>, Option<Instant>) {
        let mut chosen = endpoints.to_vec();
        self.client.retain_first(&mut chosen, self.size);
        (TableContents::selected(endpoints, chosen), None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        calls::{endpoint::Endpoint, endpointer::FixedEndpointer, no_endpoints::NoEndpoints},
        instances::{Instance, testing::quiet},
        registry::Key,
    };
    use std::sync::Arc;

    fn endpoint(n: usize, weight: u32) -> Endpoint<usize> {
        let key = Key::new(format!("/services/hello/{n:03}")).unwrap();
        let instance = Instance::new(key, format!("10.0.0.1:{n}")).with_weight(weight);
        Endpoint::new(instance, n)
    }

    fn subset<S: EndpointSource>(source: S, size: usize, client: &str) -> Subset<S> {
        Subset::builder(source, size).client_id(client).build()
    }

    fn chosen(source: &impl EndpointSource<Target = usize>) -> Vec<usize> {
        source.endpoints().iter().map(|one| *one.target()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_subset_follows_its_source_and_keeps_what_it_has() {
        let endpoints: Vec<_> = (0..30).map(|n| endpoint(n, 1)).collect();
        let source = Arc::new(FixedEndpointer::new(endpoints[..20].to_vec()));
        let subset = subset(source.clone(), 5, "client");
        let before = chosen(&subset);
        assert_eq!(before.len(), 5);
        let kept = |after: &[usize]| before.iter().filter(|one| after.contains(one)).count();

        let without = endpoints.iter().filter(|one| *one.target() != before[2]);
        source.set(without.take(19).cloned());
        quiet().await;
        let after = chosen(&subset);
        assert_eq!((after.len(), kept(&after)), (5, 4));

        source.set(endpoints[..21].to_vec());
        quiet().await;
        assert!(kept(&chosen(&subset)) >= 4);

        source.set(endpoints[..3].to_vec());
        quiet().await;
        assert_eq!(chosen(&subset), [0, 1, 2]);

        source.set_none(NoEndpoints::Unreadable { entries: 7 });
        quiet().await;
        let none = subset.endpoints().non_empty().err();
        assert!(matches!(none, Some(NoEndpoints::Unreadable { entries: 7 })));
    }

    #[tokio::test]
    async fn clients_without_an_id_choose_differently_and_those_with_one_alike() {
        let source = Arc::new(FixedEndpointer::new((0..30).map(|n| endpoint(n, 1))));
        let random = [(); 20].map(|()| chosen(&Subset::new(source.clone(), 5)));
        assert!(random.iter().any(|other| *other != random[0]));
        let same = [(); 2].map(|()| chosen(&subset(source.clone(), 5, "client")));
        assert_eq!(same[0], same[1]);
        assert_eq!(chosen(&Subset::new(source, 0)).len(), 1);
    }

    /// The calls of many clients, each of which makes as many as the others and spreads them over
    /// its subset by weight.
    #[tokio::test]
    async fn over_all_clients_an_endpoint_gets_calls_by_its_weight() {
        const CLIENTS: usize = 2000;
        let weight = |n: usize| 1 + (n % 2) as u32;
        let source = Arc::new(FixedEndpointer::new(
            (0..40).map(|n| endpoint(n, weight(n))),
        ));
        let mut calls = [0.0; 40];
        for client in 0..CLIENTS {
            let subset = subset(source.clone(), 20, &format!("client-{client}"));
            let subset = subset.endpoints();
            let all: u32 = subset.iter().map(|one| one.weight()).sum();
            for one in subset.iter() {
                calls[*one.target()] += f64::from(one.weight()) / f64::from(all);
            }
        }
        // An endpoint is in half of the subsets. The other 19 endpoints of these are drawn from 39.
        // The tolerance is 6 standard deviations of the binomial distribution, and 1 % since the
        // weights of subsets deviate from their mean by 5 %.
        let tolerance = 6.0 / (CLIENTS as f64).sqrt() + 0.01;
        for (n, calls) in calls.iter().enumerate() {
            let weight = f64::from(weight(n));
            let others = (60.0 - weight) * 19.0 / 39.0;
            let expected = 0.5 * CLIENTS as f64 * weight / (weight + others);
            let off = (calls / expected - 1.0).abs();
            assert!(off <= tolerance, "{n}: {calls}, not {expected}");
        }
    }
}
