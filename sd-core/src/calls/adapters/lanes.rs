//! Lanes: the endpoints by a piece of their metadata.

mod balancer;
mod tables;
#[cfg(test)]
mod tests;

pub use balancer::LaneBalancer;

use crate::calls::{
    balancer::Balancer,
    derived::{DerivedSource, Nudge},
    endpoint_source::EndpointSource,
    endpoint_table::{EndpointTable, Endpoints, TableRef},
};
use std::{fmt, sync::Arc};
use tables::{LaneTables, SortLanes};
use tokio::sync::watch;

/// The endpoints by a piece of their metadata, such as their version or tenant: a lane for each
/// value.
///
/// Callers choose a lane for each call ([`PickContext::lane`](crate::PickContext::lane)) and pick
/// from a [balancer over the lanes](Self::balancer). For calls that all use one lane, take that
/// [lane](Self::lane) as the source of a balancer. Envoy calls lanes
/// [subsets](https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/load_balancing/subsets).
///
/// ```
/// use sd_core::{
///     Balancer, Endpoint, FixedEndpointer, Instance, Key, LaneFallback, Lanes, PickContext,
///     RoundRobin,
/// };
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let endpoint = |name: &str, version: &str| {
///     let instance = Instance::new(Key::new(name)?, format!("{name}:80"));
///     Ok::<_, sd_core::Invalid>(Endpoint::new(instance.with_metadata("version", version), ()))
/// };
/// let endpoints = [endpoint("a", "stable")?, endpoint("b", "stable")?, endpoint("c", "canary")?];
/// let lanes = Lanes::builder(FixedEndpointer::new(endpoints), "version", LaneFallback::Error)
///     .default_lane("stable")
///     .build();
/// let balancer = lanes.balancer(|lane| RoundRobin::new(lane));
///
/// let canary = PickContext::new().with_lane("canary");
/// assert_eq!(balancer.pick(&canary)?.address(), "c:80");
/// assert_ne!(balancer.endpoint()?.address(), "c:80"); // stable
/// assert!(balancer.pick(&PickContext::new().with_lane("nightly")).is_err());
/// # Ok(())
/// # }
/// ```
///
/// # The lanes that there are
/// A lane comes with its first endpoint and goes with its last. For calls that ask for a lane
/// without endpoints, the [fallback](LaneFallback) decides. An endpoint without the metadata is in
/// no lane, but in [all](Self::all).
///
/// Providers write the metadata, so the number of lanes is
/// [limited](LanesBuilder::most_lanes). The tables of all lanes are made when the endpoints change,
/// not by a pick.
///
/// Lanes follow their source until they are [stopped](Self::stop), or until all clones of `Lanes`,
/// its lanes and its balancers are dropped. The last endpoints stay.
pub struct Lanes<S: EndpointSource>(Arc<Shared<S>>);

struct Shared<S: EndpointSource> {
    /// Its table has the endpoints of all lanes and of none.
    all: DerivedSource<S>,
    tables: Arc<LaneTables<S::Target>>,
    /// To the task of `all`, which fills the tables too.
    nudge: Nudge,
    default_lane: Option<Arc<str>>,
}

/// What callers get who ask for a lane that has no endpoints.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum LaneFallback {
    /// The endpoints of all lanes, and those without a lane. For lanes that are a preference.
    All,
    /// The endpoints of this lane, for example of the stable version. An error if it has none
    /// either.
    Lane(Arc<str>),
    /// [`NoEndpoints::NoLane`](crate::NoEndpoints::NoLane). For lanes that separate, such as
    /// tenants.
    Error,
}

impl<S: EndpointSource> Lanes<S> {
    /// The endpoints of `source` by the value of this piece of metadata.
    ///
    /// # Panics
    /// Outside of a tokio runtime, as `tokio::spawn` does.
    pub fn new(source: S, metadata: impl Into<Box<str>>, fallback: LaneFallback) -> Self {
        Self::builder(source, metadata, fallback).build()
    }

    /// Lanes with other options.
    pub fn builder(
        source: S,
        metadata: impl Into<Box<str>>,
        fallback: LaneFallback,
    ) -> LanesBuilder<S> {
        LanesBuilder {
            source,
            metadata: metadata.into(),
            fallback,
            default_lane: None,
            most_lanes: 256,
        }
    }

    /// The endpoints of one lane, or of its fallback while it has none. It stays valid while the
    /// lane comes and goes.
    ///
    /// Each lane that was asked for is kept for as long as somebody holds it, whatever the limit.
    /// So do not ask for lanes that come with calls: use a [balancer](Self::balancer).
    pub fn lane(&self, name: impl Into<Arc<str>>) -> Lane<S> {
        let name = name.into();
        let (table, is_new) = self.0.tables.table(&name, &self.0.all);
        if is_new {
            // The endpoints may have changed meanwhile.
            self.0.nudge.derive_again();
        }
        Lane {
            lanes: self.clone(),
            name: Some(name),
            table,
        }
    }

    /// The endpoints of all lanes, and those without a lane.
    pub fn all(&self) -> Lane<S> {
        Lane {
            lanes: self.clone(),
            name: None,
            table: self.0.all.table().clone(),
        }
    }

    /// A balancer that picks from the lane of each call. It has a balancer of its own for each lane,
    /// made by `make`, which may put adapters over the lane:
    ///
    /// ```
    /// use sd_core::{Balancer, EndpointSource, Lanes, RoundRobin, Subset};
    ///
    /// fn balancer<S: EndpointSource>(lanes: &Lanes<S>) -> impl Balancer<Target = S::Target> {
    ///     lanes.balancer(|lane| RoundRobin::new(Subset::new(lane, 20)))
    /// }
    /// ```
    ///
    /// `make` is called for [all](Self::all) if calls can get there, and for each lane when it
    /// comes: at first here, and later by a task. If it panics for a lane, that is logged, and calls
    /// for the lane get the fallback until the lanes change.
    ///
    /// # Panics
    /// If `make` panics for all. Outside of a tokio runtime, as `tokio::spawn` does.
    pub fn balancer<B>(&self, make: impl FnMut(Lane<S>) -> B + Send + 'static) -> LaneBalancer<S, B>
    where
        B: Balancer<Target = S::Target> + 'static,
    {
        LaneBalancer::spawn(self.clone(), Box::new(make))
    }

    /// The source of the endpoints.
    pub fn source(&self) -> &S {
        self.0.all.source()
    }

    /// Stops following the source, for all clones, and waits until that is done. The endpoints stay
    /// as they are.
    ///
    /// Goes on in the background if the future is dropped.
    pub async fn stop(&self) {
        self.0.all.stop().await;
    }
}

/// The same lanes, not others that are alike.
impl<S: EndpointSource> Clone for Lanes<S> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<S: EndpointSource> fmt::Debug for Lanes<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lanes")
            .field("present", &*self.0.tables.present().borrow())
            .finish_non_exhaustive()
    }
}

/// The endpoints of one of the [`Lanes`], or of all.
pub struct Lane<S: EndpointSource> {
    /// Keeps the task that fills the table.
    lanes: Lanes<S>,
    name: Option<Arc<str>>,
    table: Arc<EndpointTable<S::Target>>,
}

impl<S: EndpointSource> Lane<S> {
    /// The lane's name: the value of the metadata. `None` for [all](Lanes::all).
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// The lanes that it is one of.
    pub fn lanes(&self) -> &Lanes<S> {
        &self.lanes
    }
}

impl<S: EndpointSource> EndpointSource for Lane<S> {
    type Target = S::Target;

    #[inline]
    fn endpoints(&self) -> Endpoints<S::Target> {
        self.table.load()
    }

    #[inline]
    fn table_ref(&self) -> Option<TableRef<'_, S::Target>> {
        Some(self.table.table_ref())
    }

    fn versions(&self) -> watch::Receiver<u64> {
        self.table.versions()
    }
}

impl<S: EndpointSource> Clone for Lane<S> {
    fn clone(&self) -> Self {
        Self {
            lanes: self.lanes.clone(),
            name: self.name.clone(),
            table: self.table.clone(),
        }
    }
}

impl<S: EndpointSource> fmt::Debug for Lane<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lane")
            .field("name", &self.name)
            .field("endpoints", &self.endpoints())
            .finish_non_exhaustive()
    }
}

/// The options of [`Lanes`].
///
/// ```
/// use sd_core::{EndpointSource, LaneFallback, Lanes};
///
/// /// Calls without a tenant get the endpoints of none in particular.
/// fn tenants<S: EndpointSource>(endpoints: S) -> Lanes<S> {
///     Lanes::builder(endpoints, "tenant", LaneFallback::Lane("shared".into()))
///         .default_lane("shared")
///         .most_lanes(1000)
///         .build()
/// }
/// ```
#[derive(Debug)]
#[must_use = "nothing happens before `build`"]
pub struct LanesBuilder<S> {
    source: S,
    metadata: Box<str>,
    fallback: LaneFallback,
    default_lane: Option<Arc<str>>,
    most_lanes: usize,
}

impl<S: EndpointSource> LanesBuilder<S> {
    /// The lane of calls without a lane. If it has no endpoints, the fallback applies. Default:
    /// such calls get the endpoints of all lanes, and those without one.
    pub fn default_lane(mut self, name: impl Into<Arc<str>>) -> Self {
        self.default_lane = Some(name.into());
        self
    }

    /// How many lanes there may be at once. The endpoints of further ones count as without a lane,
    /// and one log line says so. Lanes that are there already, and those that the program has named,
    /// keep their place. Default: 256.
    pub fn most_lanes(mut self, most: usize) -> Self {
        self.most_lanes = most;
        self
    }

    /// Makes the first tables, and spawns the task that follows the source.
    ///
    /// # Panics
    /// Outside of a tokio runtime, as `tokio::spawn` does.
    pub fn build(self) -> Lanes<S> {
        let named = [self.default_lane.clone(), self.fallback.lane().cloned()];
        let named = named.into_iter().flatten();
        let tables = Arc::new(LaneTables::new(self.metadata, self.fallback, named));
        let sort = SortLanes::new(tables.clone(), self.most_lanes);
        let nudge = Nudge::default();
        Lanes(Arc::new(Shared {
            all: DerivedSource::spawn(self.source, sort, nudge.clone()),
            tables,
            nudge,
            default_lane: self.default_lane,
        }))
    }
}

impl LaneFallback {
    fn lane(&self) -> Option<&Arc<str>> {
        match self {
            Self::Lane(name) => Some(name),
            Self::All | Self::Error => None,
        }
    }
}
