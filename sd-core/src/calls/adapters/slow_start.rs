//! Slow start: gives new endpoints their share of the calls little by little.

#[cfg(test)]
mod tests;
mod warm_up;

use super::FOREVER;
use crate::{
    calls::{
        derived::{Derive, DerivedSource, Nudge},
        endpoint::Endpoint,
        endpoint_source::EndpointSource,
        endpoint_table::{Endpoints, TableContents, TableRef},
    },
    instances::InstanceKey,
};
use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};
use tokio::{sync::watch, time::Instant};
use warm_up::WarmUp;

/// An endpoint source that gives new endpoints a smaller weight at first, and more by and by: for
/// instances that are slow until their caches, pools or compilers are warm.
///
/// An endpoint is new for a [window](SlowStartBuilder::window) of 30 s after it came into the table
/// of the source. Meanwhile its weight is multiplied by
///
/// ```text
/// max(10 %, (age / window) ^ (1 / aggression))
/// ```
///
/// which is a straight line with the default [`aggression`](SlowStartBuilder::aggression) of 1. The
/// age counts in steps of a twentieth of the window, so that balancers do not have to build their
/// tables more often than that.
///
/// What counts is the table of the source: an endpoint that comes back into it is new again. So over
/// an [`Ejection`](crate::Ejection) or an [`ActiveHealth`](crate::ActiveHealth), this also eases in
/// what they have let back. Put it on top of them. Age belongs to the address: a change of weight
/// does not begin it anew.
///
/// If more than half of all endpoints are new, none of them is eased in, now or later. The few
/// others could not carry the calls for them. That is so at the start of the process, and where a
/// fleet is replaced at once.
///
/// # When to choose it
/// Where a new instance is overwhelmed by its full share, or answers its first calls late, and the
/// balancer goes by weight: [`Weighted`](crate::Weighted), [`WeightedRandom`](crate::WeightedRandom),
/// [`LeastLoaded`](crate::LeastLoaded), [`ConsistentHash`](crate::ConsistentHash).
///
/// # Limits
/// Balancers that do not look at weights ([`RoundRobin`](crate::RoundRobin),
/// [`Random`](crate::Random)) ignore it. With weights, an endpoint of a tenth still gets some calls
/// at once.
///
/// It follows its source until it is [stopped](Self::stop) or dropped, or its tokio runtime shuts
/// down. The last table stays, with the weights of that time.
///
/// # Source
/// Envoy's [slow start mode].
///
/// [slow start mode]: https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/load_balancing/slow_start
///
/// ```
/// use sd_core::{Endpoint, EndpointSource, FixedEndpointer, Instance, Key, SlowStart};
/// use std::{sync::Arc, time::Duration};
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), sd_core::Invalid> {
/// let endpoint = |name: &str| {
///     let key = Key::new(format!("/hello/{name}"))?;
///     let instance = Instance::new(key, format!("{name}:80"));
///     Ok::<_, sd_core::Invalid>(Arc::new(Endpoint::new(instance, ())))
/// };
/// let (a, b, c) = (endpoint("a")?, endpoint("b")?, endpoint("c")?);
/// let endpoints = Arc::new(FixedEndpointer::unknown());
/// endpoints.set_shared([a.clone(), b.clone()]);
/// let slow_start = SlowStart::builder(endpoints.clone()).window(Duration::from_secs(60)).build();
/// let weights = || -> Vec<u64> {
///     slow_start.endpoints().iter().map(|endpoint| endpoint.effective_weight()).collect()
/// };
/// assert_eq!(weights(), [1000, 1000]); // thousandths
///
/// tokio::time::sleep(Duration::from_secs(300)).await;
/// endpoints.set_shared([a, b, c]);
/// tokio::time::sleep(Duration::from_secs(1)).await;
/// assert_eq!(weights(), [1000, 1000, 100]);
/// tokio::time::sleep(Duration::from_secs(30)).await;
/// assert_eq!(weights(), [1000, 1000, 500]);
/// # Ok(())
/// # }
/// ```
pub struct SlowStart<S: EndpointSource>(DerivedSource<S>);

impl<S: EndpointSource> SlowStart<S> {
    /// Eases in the new endpoints of `source`, with the default options.
    ///
    /// # Panics
    /// Outside of a tokio runtime, as `tokio::spawn` does.
    pub fn new(source: S) -> Self {
        Self::builder(source).build()
    }

    /// A slow start with other options.
    pub fn builder(source: S) -> SlowStartBuilder<S> {
        SlowStartBuilder {
            source,
            options: Options {
                window: Duration::from_secs(30),
                aggression: 1.0,
                least: 0.1,
            },
        }
    }

    /// The source of the endpoints.
    pub fn source(&self) -> &S {
        self.0.source()
    }

    /// Stops following the source, and waits until that is done. The table stays as it is.
    ///
    /// Goes on in the background if the future is dropped.
    pub async fn stop(&self) {
        self.0.stop().await;
    }
}

impl<S: EndpointSource> EndpointSource for SlowStart<S> {
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

impl<S: EndpointSource> fmt::Debug for SlowStart<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SlowStart").finish_non_exhaustive()
    }
}

/// The options of a [`SlowStart`], see there for an example.
#[must_use = "nothing happens before `build`"]
pub struct SlowStartBuilder<S> {
    source: S,
    options: Options,
}

#[derive(Debug, Clone)]
struct Options {
    window: Duration,
    aggression: f64,
    least: f64,
}

impl<S: EndpointSource> SlowStartBuilder<S> {
    /// How long an endpoint is new. Default: 30 s. Zero turns the slow start off.
    pub fn window(mut self, window: Duration) -> Self {
        self.options.window = window.min(FOREVER);
        self
    }

    /// How fast the weight grows. Default: 1, which is evenly; more is fast at first, less is slow
    /// at first. What is not above 0 counts as 1.
    pub fn aggression(mut self, aggression: f64) -> Self {
        self.options.aggression = if aggression > 0.0 { aggression } else { 1.0 };
        self
    }

    /// The percentage of its weight that a new endpoint begins with. Default: 10; more than 100
    /// counts as 100.
    pub fn min_weight_percent(mut self, percent: u8) -> Self {
        self.options.least = f64::from(percent.min(100)) / 100.0;
        self
    }

    /// Starts the slow start: derives the first table, and spawns its task.
    ///
    /// # Panics
    /// Outside of a tokio runtime, as `tokio::spawn` does.
    pub fn build(self) -> SlowStart<S> {
        let derive = DeriveSlowStart::new(self.options, Instant::now());
        let derived = DerivedSource::spawn(self.source, derive, Nudge::default());
        SlowStart(derived)
    }
}

impl<S> fmt::Debug for SlowStartBuilder<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SlowStartBuilder")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

/// Derives the table in which new endpoints have a part of their weight.
struct DeriveSlowStart<E> {
    warm_up: WarmUp,
    /// The endpoints that had a part of their weight in the last table.
    eased: BTreeMap<InstanceKey, Eased<E>>,
}

struct Eased<E> {
    origin: Arc<Endpoint<E>>,
    factor: f64,
    derived: Arc<Endpoint<E>>,
}

impl<E> DeriveSlowStart<E> {
    fn new(options: Options, now: Instant) -> Self {
        Self {
            warm_up: WarmUp::new(options, now),
            eased: BTreeMap::new(),
        }
    }
}

impl<E: Send + Sync + 'static> Derive<E> for DeriveSlowStart<E> {
    const NAME: &'static str = "slow start";

    fn derive(
        &mut self,
        endpoints: &Endpoints<E>,
        now: Instant,
    ) -> (TableContents<E>, Option<Instant>) {
        let addresses = endpoints.iter().map(|endpoint| endpoint.address());
        let again = self.warm_up.advance(addresses, now);
        let mut before = std::mem::take(&mut self.eased);
        let derived = endpoints.iter().map(|origin| {
            let factor = self.warm_up.factor(origin.address());
            if factor >= 1.0 {
                return origin.clone();
            }
            let same = before
                .remove(&origin.identity())
                .filter(|eased| Arc::ptr_eq(&eased.origin, origin) && eased.factor == factor);
            let eased = same.unwrap_or_else(|| Eased {
                origin: origin.clone(),
                factor,
                derived: Arc::new(origin.with_weight_factor(factor)),
            });
            let derived = eased.derived.clone();
            self.eased.insert(origin.identity(), eased);
            derived
        });
        let derived: Vec<_> = derived.collect();
        (TableContents::selected(endpoints, derived), again)
    }
}
