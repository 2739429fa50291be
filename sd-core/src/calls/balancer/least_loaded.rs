//! The less loaded of two endpoints.

mod builder;
mod candidates;
mod latency_observer;
#[cfg(test)]
mod tests;

pub use builder::LeastLoadedBuilder;

use super::{Balancer, choose_by};
use crate::calls::{
    endpoint_source::EndpointSource,
    load::{Decay, Millis},
    no_endpoints::NoEndpoints,
    pick::{Pick, PickContext},
    table_index::TableIndex,
};
use candidates::Candidates;
use std::fmt;
use tokio::{sync::watch, time::Instant};

/// Draws two endpoints by weight, and picks the one with the smaller load.
///
/// Choose it where calls differ in cost, or instances in speed: an endpoint that is slow, for
/// whatever reason, has more calls in flight, and gets fewer. Looking at two is nearly as good as
/// looking at all, and many clients that look at the same time do not all call the same endpoint
/// (Mitzenmacher 2001, "The Power of Two Choices in Randomized Load Balancing"). A pick takes the
/// same time for any number of endpoints. Where all calls cost the same,
/// [`RoundRobin`](crate::RoundRobin) spreads them more evenly.
///
/// The load is what this process causes and sees: calls of other clients count as far as they slow
/// down this one's. A call counts from the pick until its [report](crate::Pick::report), so keep
/// the pick until the body of the response has ended. The load belongs to the address: it stays
/// when the weight of an instance changes, and all balancers over one endpointer that look at it
/// share it.
///
/// # What the load is
/// By default it is the number of calls in flight. With
/// [`peak_ewma`](LeastLoadedBuilder::peak_ewma) it is the latency times that number and one.
///
/// | | calls in flight | peak EWMA |
/// |---|---|---|
/// | a slow endpoint is noticed | by the calls that pile up there | by its first slow answer |
/// | without load | all are the same | the faster ones are preferred |
/// | shares by weight | hold to about 2 % of all calls | only roughly |
/// | a pick reads the clock | only after failures | always |
///
/// Take the latency where few calls are in flight at a time, and where some instances are farther
/// away than others.
///
/// # Weights
/// An endpoint of twice the weight has twice the calls in flight before it counts as loaded as
/// another one. The weight counts both in the draw and in the comparison, and the comparison decides
/// whether the shares of the calls come out right. Calls in flight are divided by the weight, in
/// units of the mean weight, and the result is rounded at random, up or down, to one of the whole
/// numbers beside it, so that the mean is right. Of two with the same load, the one drawn first is
/// picked. It is as if an endpoint of weight 5 were five endpoints of weight 1.
///
/// Of two calls at a time, to endpoints of the weights 5, 1, 1, 1, 1 and 1, the first one gets 49 %
/// so, where 50 % is its share. It would get 43 % if nothing were rounded, 78 % if the call to come
/// were counted too, and 17 % if the weight did not count in the draw (tower's issue 696). With more
/// calls in flight the differences become smaller. An endpoint of far less than the mean weight,
/// such as a canary, gets up to twice its share while few calls are in flight.
///
/// # Failures
/// A failed call counts as in flight for a further second or two
/// ([`failure_penalty`](LeastLoadedBuilder::failure_penalty)), and as one that took a second.
/// Otherwise an endpoint that fails at once would never seem loaded, and attract all calls. Like
/// this, it gets about as many calls a second as others have in flight; an ejection keeps it from
/// getting any. Failures are [`Failure`](crate::Outcome::Failure),
/// [`Overloaded`](crate::Outcome::Overloaded) and [`TimedOut`](crate::Outcome::TimedOut). A
/// [cancelled](crate::Outcome::Cancelled) call says nothing about the endpoint, except that the
/// latency is at least as long as it lasted.
///
/// ```
/// use sd_core::{Balancer, Endpoint, FixedEndpointer, Instance, Key, LeastLoaded, Outcome};
///
/// let one = Instance::new(Key::new("/services/hello/a")?, "10.0.0.1:80");
/// let other = Instance::new(Key::new("/services/hello/b")?, "10.0.0.2:80");
/// let endpoints = FixedEndpointer::new([Endpoint::new(one, ()), Endpoint::new(other, ())]);
/// let balancer = LeastLoaded::new(endpoints);
///
/// let calls = (0..10).map(|_| balancer.endpoint()).collect::<Result<Vec<_>, _>>()?;
/// let to_one = calls.iter().filter(|call| call.address() == "10.0.0.1:80").count();
/// assert!((4..=6).contains(&to_one));
/// for call in calls {
///     call.report(Outcome::Success);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct LeastLoaded<S: EndpointSource> {
    source: S,
    candidates: TableIndex<S::Target, Candidates<S::Target>>,
    measure: LoadMeasure,
}

/// The time of a pick: read once, and only if needed.
#[derive(Default)]
struct Clock(Option<(Instant, Millis)>);

impl Clock {
    #[inline]
    fn read(&mut self) -> (Instant, Millis) {
        *self.0.get_or_insert_with(|| {
            let now = Instant::now();
            (now, Millis::of(now))
        })
    }

    #[inline]
    fn time(&mut self) -> Instant {
        self.read().0
    }

    #[inline]
    fn millis(&mut self) -> Millis {
        self.read().1
    }
}

/// How the load of an endpoint is measured.
#[derive(Debug, Clone, Copy)]
struct LoadMeasure {
    /// How fast the latency is forgotten; `None` if it does not count.
    latency: Option<Decay>,
    /// How many calls in flight a failed call counts as.
    failure_penalty: u32,
}

impl<S: EndpointSource> LeastLoaded<S> {
    /// Picks among the endpoints of `source` by the number of calls in flight.
    pub fn new(source: S) -> Self {
        Self::builder(source).build()
    }

    /// A balancer with other options.
    pub fn builder(source: S) -> LeastLoadedBuilder<S> {
        LeastLoadedBuilder::new(source)
    }

    fn with_measure(source: S, measure: LoadMeasure) -> Self {
        let candidates =
            TableIndex::new(move |endpoints: &[_]| Candidates::new(endpoints, measure));
        candidates.of(&source.endpoints());
        Self {
            source,
            candidates,
            measure,
        }
    }

    /// The source of the endpoints.
    pub fn source(&self) -> &S {
        &self.source
    }
}

impl<S: EndpointSource> Balancer for LeastLoaded<S> {
    type Target = S::Target;

    #[inline]
    fn pick(&self, context: &PickContext<'_>) -> Result<Pick<S::Target>, NoEndpoints> {
        let mut clock = Clock::default();
        let picked = choose_by(&self.source, &self.candidates, |candidates, _| {
            candidates.choose(&self.measure, &mut clock, context)
        })?;
        if self.measure.latency.is_some() {
            picked.host().load().note_picked(clock.millis());
        }
        Ok(Pick::at(picked, || clock.time()))
    }

    fn versions(&self) -> watch::Receiver<u64> {
        self.source.versions()
    }
}

impl<S: EndpointSource + fmt::Debug> fmt::Debug for LeastLoaded<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LeastLoaded")
            .field("source", &self.source)
            .field("measure", &self.measure)
            .finish_non_exhaustive()
    }
}
