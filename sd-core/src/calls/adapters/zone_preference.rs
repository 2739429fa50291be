//! Zone preference: calls stay in the caller's zone as far as it has the capacity.

mod selection;
#[cfg(test)]
mod tests;

use super::rendezvous::Rendezvous;
use crate::calls::{
    derived::{Derive, DerivedSource, Nudge},
    endpoint_source::EndpointSource,
    endpoint_table::{Endpoints, TableContents, TableRef},
};
use selection::ZoneSelection;
use std::fmt;
use tokio::{sync::watch, time::Instant};

/// With fewer endpoints, zones are not looked at: Envoy's `min_cluster_size`.
const FEWEST_ENDPOINTS: usize = 6;

/// The endpoints of the caller's own zone, and as many of other zones as it lacks.
///
/// A call within a zone is faster, and costs nothing where traffic between zones is paid for. But if
/// every caller stayed in its zone, the instances of a zone with many callers would be overloaded
/// while others idle. So calls stay in the zone only as far as every instance gets its share of all
/// calls.
///
/// # How it chooses
/// As Envoy's [zone aware
/// routing](https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/load_balancing/zone_aware)
/// divides calls:
/// - The capacity of a zone is the sum of the weights of its endpoints. The callers in a zone need a
///   share of all capacity: of three zones, each needs a third. This assumes that callers are
///   spread evenly over the zones that have instances; if not, set the
///   [share](ZonePreferenceBuilder::needed_share).
/// - If the own zone has that much, only its endpoints are used. (This is what Kubernetes does with
///   [`PreferSameZone`](https://github.com/kubernetes/enhancements/tree/master/keps/sig-network/3015-prefer-same-node),
///   KEP-3015, at any capacity.)
/// - If it has less, the missing capacity is made up of endpoints of the zones that have more than
///   their own callers need, each in proportion to what it has to spare. Endpoints without a zone
///   have no callers of their own, and spare everything.
///
/// Envoy decides for each call whether it leaves the zone. Here each client is given endpoints of
/// other zones, chosen by rendezvous hashing with its [id](ZonePreferenceBuilder::client_id), so
/// that the right part of the calls stays local under any balancer. Different clients choose
/// different endpoints, so that over all clients each endpoint gets its fair share.
///
/// It prefers nothing, and has all endpoints, while
/// - there are fewer than 6 endpoints,
/// - too few endpoints are healthy ([`Endpoints::in_panic`]),
/// - the own zone is not known (an empty string) or has no endpoint.
///
/// # Limits
/// - The shares are exact on average over the clients if all weights are equal. If weights differ,
///   take a balancer that follows them; a few calls more than needed stay in the zone then.
/// - A caller whose zone has one endpoint, and enough capacity with it, has only that one. A failed
///   call is then retried on the same. Put it over an ejection or a health check, not below: when
///   an endpoint is taken out, its capacity is missing, and endpoints of other zones replace it.
///
/// ```
/// use sd_core::{
///     Endpoint, EndpointSource, FixedEndpointer, Instance, Key, RoundRobin, ZonePreference,
/// };
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), sd_core::Invalid> {
/// let endpoint = |zone, n| {
///     let key = Key::new(format!("/services/hello/{zone}/{n}"))?;
///     let instance = Instance::new(key, format!("10.0.{n}.1:80")).with_zone(zone);
///     Ok::<_, sd_core::Invalid>(Endpoint::new(instance, ()))
/// };
/// let mut endpoints = Vec::new();
/// for n in 0..4 {
///     endpoints.push(endpoint("north", n)?);
///     endpoints.push(endpoint("south", n)?);
/// }
/// let north = ZonePreference::new(FixedEndpointer::new(endpoints), "north");
/// assert_eq!(north.endpoints().len(), 4);
/// let balancer = RoundRobin::new(north);
/// # Ok(())
/// # }
/// ```
///
/// It follows its source until it is [stopped](Self::stop) or dropped; the last choice stays.
pub struct ZonePreference<S: EndpointSource>(DerivedSource<S>);

impl<S: EndpointSource> ZonePreference<S> {
    /// Prefers the endpoints of `source` that are in `zone`, the caller's own. An empty zone is not
    /// known.
    ///
    /// # Panics
    /// Outside of a tokio runtime, as `tokio::spawn` does.
    pub fn new(source: S, zone: impl Into<Box<str>>) -> Self {
        Self::builder(source, zone).build()
    }

    /// A preference with other options.
    pub fn builder(source: S, zone: impl Into<Box<str>>) -> ZonePreferenceBuilder<S> {
        ZonePreferenceBuilder {
            source,
            selection: ZoneSelection {
                zone: zone.into(),
                needed_share: None,
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

impl<S: EndpointSource> EndpointSource for ZonePreference<S> {
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

impl<S: EndpointSource> fmt::Debug for ZonePreference<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ZonePreference")
            .field(&self.endpoints())
            .finish()
    }
}

/// The options of a [`ZonePreference`].
///
/// ```
/// use sd_core::{EndpointSource, ZonePreference};
///
/// /// For a caller in a zone from which half of all calls come.
/// fn nearby<S: EndpointSource>(endpoints: S, zone: &str) -> ZonePreference<S> {
///     ZonePreference::builder(endpoints, zone).needed_share(0.5).build()
/// }
/// ```
#[derive(Debug)]
#[must_use = "nothing happens before `build`"]
pub struct ZonePreferenceBuilder<S> {
    source: S,
    selection: ZoneSelection,
}

impl<S: EndpointSource> ZonePreferenceBuilder<S> {
    /// The share of all calls that come from the own zone, between 0 and 1: so much of all capacity
    /// it needs. The rest is taken to come evenly from the other zones. With 0, all calls stay in
    /// the zone as long as it has an endpoint. Default: 1 divided by the number of zones that have
    /// endpoints. A number below 0 or NaN counts as 0, and one above 1 as 1.
    pub fn needed_share(mut self, share: f64) -> Self {
        let share = if share.is_nan() { 0.0 } else { share };
        self.selection.needed_share = Some(share.clamp(0.0, 1.0));
        self
    }

    /// The id to choose endpoints of other zones by, such as the name of a host or pod. It gives the
    /// same choice in each process and version. Default: random.
    ///
    /// It must differ between clients. Clients with one id all choose the same endpoints of other
    /// zones, and overload them.
    pub fn client_id(mut self, id: impl AsRef<[u8]>) -> Self {
        self.selection.client = Rendezvous::of(id.as_ref());
        self
    }

    /// Chooses the first endpoints, and spawns the task that follows the source.
    ///
    /// # Panics
    /// Outside of a tokio runtime, as `tokio::spawn` does.
    pub fn build(self) -> ZonePreference<S> {
        let Self { source, selection } = self;
        ZonePreference(DerivedSource::spawn(source, selection, Nudge::default()))
    }
}

impl<E: 'static> Derive<E> for ZoneSelection {
    const NAME: &'static str = "zone preference";

    fn derive(
        &mut self,
        endpoints: &Endpoints<E>,
        _now: Instant,
    ) -> (TableContents<E>, Option<Instant>) {
        let is_off = endpoints.len() < FEWEST_ENDPOINTS || endpoints.in_panic();
        let selected = if is_off { None } else { self.select(endpoints) };
        let selected = selected.unwrap_or_else(|| endpoints.to_vec());
        (TableContents::selected(endpoints, selected), None)
    }
}
