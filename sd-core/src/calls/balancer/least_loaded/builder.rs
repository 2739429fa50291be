//! The options of a least-loaded balancer.

use super::{LeastLoaded, LoadMeasure};
use crate::calls::{endpoint_source::EndpointSource, load::Decay};
use std::time::Duration;

/// The options of a [`LeastLoaded`].
///
/// ```
/// use sd_core::{EndpointSource, LeastLoaded};
/// use std::time::Duration;
///
/// fn fastest<S: EndpointSource>(endpoints: S) -> LeastLoaded<S> {
///     LeastLoaded::builder(endpoints)
///         .peak_ewma(Duration::from_secs(10))
///         .build()
/// }
/// ```
#[derive(Debug)]
#[must_use = "nothing happens before `build`"]
pub struct LeastLoadedBuilder<S> {
    source: S,
    measure: LoadMeasure,
}

impl<S: EndpointSource> LeastLoadedBuilder<S> {
    pub(super) fn new(source: S) -> Self {
        Self {
            source,
            measure: LoadMeasure {
                latency: None,
                failure_penalty: 1,
            },
        }
    }

    /// Measures the load by the latency as well: the load is the peak EWMA of the latency, times
    /// the number of calls in flight and one. Finagle's `PeakEwma` is the source, and its decay is
    /// 10 s. Default: not measured.
    ///
    /// - The latency is the time until the endpoint has [answered](crate::Pick::answered), or until
    ///   the end of a call that did not tell. A higher one counts at once. A lower one counts as
    ///   soon as the higher one has decayed to it: `decay` is the time after which 1/e is left of
    ///   it. It is at least a millisecond.
    /// - A call that failed, timed out or was cancelled before an answer can raise the latency, but
    ///   not lower it.
    /// - An endpoint of unknown latency is preferred to all others as long as no call is in flight
    ///   to it, and avoided while the first one is. A latency of which less than a hundredth is
    ///   left is unknown.
    /// - An endpoint that was not picked for a second, and has no calls in flight, is picked
    ///   although the other one of the two is faster, one time in 16. Its next answer replaces the
    ///   latency. So one that has become fast again is found soon, and one that has not gets one
    ///   call a second at most. (go-zero's `p2c` does this each time, which makes clients with few
    ///   calls call slow endpoints as often as fast ones.)
    ///
    /// Balancers with different decays on one endpointer share what they measure; an answer counts
    /// by the decay of the balancer whose call it is.
    pub fn peak_ewma(mut self, decay: Duration) -> Self {
        self.measure.latency = Some(Decay::new(decay));
        self
    }

    /// How many calls in flight a failed call counts as, for a further second or two after its end.
    /// Default: 1. With 0, failures do not count, and an endpoint that fails at once attracts calls.
    pub fn failure_penalty(mut self, calls: u32) -> Self {
        self.measure.failure_penalty = calls;
        self
    }

    /// The balancer with these options. Spawns nothing.
    pub fn build(self) -> LeastLoaded<S> {
        LeastLoaded::with_measure(self.source, self.measure)
    }
}
