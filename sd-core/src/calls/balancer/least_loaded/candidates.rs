//! The endpoints of a table as a least-loaded balancer sees them.

use super::{
    super::{DRAWS, alias_table::AliasTable, untried_from},
    Clock, LoadMeasure,
    latency_observer::LatencyObserver,
};
use crate::calls::{
    endpoint::Endpoint,
    host::Host,
    load::{Decay, Millis, PENALTY},
    observer::Observer,
    pick::PickContext,
};
use std::sync::Arc;

/// What the balancer derives from a table.
pub(super) struct Candidates<E> {
    weights: AliasTable,
    /// Those of the table, observed for their load.
    endpoints: Box<[Arc<Endpoint<E>>]>,
    /// Those of the endpoints, one step closer than through them.
    hosts: Box<[Candidate<E>]>,
}

struct Candidate<E> {
    host: Arc<Host<E>>,
    /// What one call adds to the load, in parts of `UNIT`: the mean weight divided by that of the
    /// endpoint.
    call_load: u64,
}

const UNIT: u64 = 1 << 32;

/// An endpoint that seems slower, and was not picked for a second, is picked one time in so many.
const LOOK_AGAIN: u64 = 16;

/// Two endpoints, of which the first one is picked if their loads are the same.
struct Pair {
    numbers: [usize; 2],
    /// How many calls the second one has to be ahead to be picked.
    ahead: u64,
}

/// The calls that count as in flight.
#[derive(Clone, Copy)]
struct Calls {
    count: u64,
    have_failed: bool,
}

impl<E: Send + Sync + 'static> Candidates<E> {
    pub(super) fn new(endpoints: &[Arc<Endpoint<E>>], measure: LoadMeasure) -> Self {
        let total: f64 = endpoints
            .iter()
            .map(|one| one.effective_weight() as f64)
            .sum();
        let mean = total / endpoints.len() as f64;
        let observed = endpoints.iter().map(|one| {
            let host = one.host().clone();
            let observer: Arc<dyn Observer> = match measure.latency {
                Some(decay) => Arc::new(LatencyObserver::new(host, decay)),
                None => host,
            };
            Arc::new(one.observed_by(observer))
        });
        let hosts = endpoints.iter().map(|one| {
            let call_load = mean / one.effective_weight() as f64;
            Candidate {
                host: one.host().clone(),
                call_load: (call_load * UNIT as f64).round() as u64,
            }
        });
        Self {
            weights: AliasTable::of(endpoints),
            endpoints: observed.collect(),
            hosts: hosts.collect(),
        }
    }

    /// The less loaded of two. There must be at least one.
    #[inline]
    pub(super) fn choose(
        &self,
        measure: &LoadMeasure,
        clock: &mut Clock,
        context: &PickContext<'_>,
    ) -> &Arc<Endpoint<E>> {
        if !context.tried.is_empty() {
            return self.choose_untried(measure, clock, context);
        }
        let words = random_words();
        let numbers = words.map(|word| self.weights.draw(word));
        let mut pair = Pair { numbers, ahead: 0 };
        if numbers[0] == numbers[1] {
            match self.draw_another(numbers[0], measure, clock) {
                Some(drawn) => pair = drawn,
                None => return &self.endpoints[numbers[0]],
            }
        }
        self.less_loaded(&pair, words, measure, clock)
    }

    /// A second one, if both draws are the same endpoint. Its weight says that this should have the
    /// call, so another one gets it only if that has the smaller load even with this call, or if the
    /// first one has just failed: otherwise a slow endpoint would get the square of its share in any
    /// case. `None` if all draws are the same.
    #[cold]
    fn draw_another(&self, drawn: usize, measure: &LoadMeasure, clock: &mut Clock) -> Option<Pair> {
        let another = (0..DRAWS)
            .map(|_| self.weights.draw(fastrand::u64(..)))
            .find(|another| *another != drawn)?;
        let has_failed = self.hosts[drawn].calls(measure, clock).have_failed;
        Some(Pair {
            numbers: [drawn, another],
            ahead: u64::from(!has_failed),
        })
    }

    /// The less loaded of two that were not tried; if only one is found, that one.
    #[cold]
    fn choose_untried(
        &self,
        measure: &LoadMeasure,
        clock: &mut Clock,
        context: &PickContext<'_>,
    ) -> &Arc<Endpoint<E>> {
        let mut untried = None;
        let mut drawn = 0;
        for _ in 0..2 * DRAWS {
            drawn = self.weights.draw(fastrand::u64(..));
            if context.has_tried(&self.endpoints[drawn]) {
                continue;
            }
            match untried {
                None => untried = Some(drawn),
                Some(first) if first != drawn => {
                    let pair = Pair {
                        numbers: [first, drawn],
                        ahead: 0,
                    };
                    return self.less_loaded(&pair, random_words(), measure, clock);
                }
                Some(_) => {}
            }
        }
        match untried {
            Some(only) => &self.endpoints[only],
            None => untried_from(&self.endpoints, drawn, context),
        }
    }

    /// The one with the smaller load; now and then the other one, if it is to be looked at again.
    // A part of each pick that would not be inlined by itself, since it is called at two places.
    #[inline(always)]
    fn less_loaded(
        &self,
        pair: &Pair,
        words: [u64; 2],
        measure: &LoadMeasure,
        clock: &mut Clock,
    ) -> &Arc<Endpoint<E>> {
        let candidates = pair.numbers.map(|number| &self.hosts[number]);
        let mut calls = candidates.map(|one| one.calls(measure, clock));
        let is_idle = calls.map(|calls| calls.count == 0);
        calls[1].count += pair.ahead;
        // The lowest bits: the draws depend on the highest ones.
        let rounding = words[0] % UNIT;
        let loads = [0, 1].map(|n| candidates[n].weighted(calls[n], rounding));
        let is_other_less = match measure.latency {
            None => loads[1] < loads[0],
            Some(decay) => {
                let now = clock.millis();
                let loads =
                    [0, 1].map(|n| candidates[n].times_latency(loads[n], calls[n], decay, now));
                loads[1] < loads[0]
            }
        };
        let (less, more) = if is_other_less { (1, 0) } else { (0, 1) };
        let passed = candidates[more].host.load();
        let is_looked_at = measure.latency.is_some()
            && words[1].is_multiple_of(LOOK_AGAIN)
            && is_idle[more]
            && passed.is_unpicked(clock.millis());
        if is_looked_at {
            passed.doubt_latency();
        }
        &self.endpoints[pair.numbers[if is_looked_at { more } else { less }]]
    }
}

impl<E> Candidate<E> {
    #[inline]
    fn calls(&self, measure: &LoadMeasure, clock: &mut Clock) -> Calls {
        let load = self.host.load();
        let mut calls = Calls {
            count: load.pending() as u64,
            have_failed: false,
        };
        if load.may_have_failed() && measure.failure_penalty > 0 {
            let failures = load.failures(clock.millis());
            calls.count += u64::from(failures) * u64::from(measure.failure_penalty);
            calls.have_failed = failures > 0;
        }
        calls
    }

    /// The calls by weight, rounded.
    #[inline]
    fn weighted(&self, calls: Calls, rounding: u64) -> u32 {
        let load = calls.count.saturating_mul(self.call_load);
        (load.saturating_add(rounding) / UNIT) as u32
    }

    /// The load with the latency.
    #[inline]
    fn times_latency(&self, weighted: u32, calls: Calls, decay: Decay, now: Millis) -> f64 {
        let latency = match self.host.load().latency(now, decay) {
            Some(latency) if calls.have_failed => latency.max(PENALTY),
            Some(latency) => latency,
            None if calls.count == 0 => 0.0,
            None => PENALTY,
        };
        f64::from(latency) * (1.0 + f64::from(weighted))
    }
}

fn random_words() -> [u64; 2] {
    let words = fastrand::u128(..);
    [words as u64, (words >> 64) as u64]
}
