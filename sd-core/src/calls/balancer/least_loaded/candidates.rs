//! The endpoints of a table as a least-loaded balancer sees them.

use super::{
    super::{DRAWS, alias_table::AliasTable, untried_from},
    Clock, LoadMeasure,
    latency_observer::LatencyObserver,
};
use crate::calls::{
    endpoint::Endpoint, host::Host, load::PENALTY, observer::Observer, pick::PickContext,
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
    /// What one call adds to the load: the mean weight divided by that of the endpoint.
    call_weight: f64,
}

/// The calls that count as in flight.
#[derive(Clone, Copy)]
struct Calls {
    count: f64,
    have_failed: bool,
}

/// An endpoint that seems slower, and was not picked for a second, is picked one time in so many.
const LOOK_AGAIN: u64 = 16;

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
        let hosts = endpoints.iter().map(|one| Candidate {
            host: one.host().clone(),
            call_weight: mean / one.effective_weight() as f64,
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
        let drawn = words.map(|word| self.weights.draw(word));
        if drawn[0] == drawn[1] {
            return self.choose_instead_of(drawn[0], measure, clock);
        }
        let chosen = self.less_loaded(drawn, words, 0.0, measure, clock);
        &self.endpoints[chosen]
    }

    /// If both draws are the same endpoint, its weight says that it should have the call. Another
    /// one gets it only if that has the smaller load even with this call, or if the first one has
    /// just failed: otherwise a slow endpoint would get the square of its share in any case.
    #[cold]
    fn choose_instead_of(
        &self,
        drawn: usize,
        measure: &LoadMeasure,
        clock: &mut Clock,
    ) -> &Arc<Endpoint<E>> {
        let words = random_words();
        let another = (0..DRAWS)
            .map(|_| self.weights.draw(fastrand::u64(..)))
            .find(|another| *another != drawn);
        let chosen = match another {
            Some(another) => {
                let has_failed = self.hosts[drawn].calls(measure, clock).have_failed;
                let ahead = if has_failed { 0.0 } else { 1.0 };
                self.less_loaded([drawn, another], words, ahead, measure, clock)
            }
            None => drawn,
        };
        &self.endpoints[chosen]
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
                Some(one) if one != drawn => {
                    let pair = [one, drawn];
                    let chosen = self.less_loaded(pair, random_words(), 0.0, measure, clock);
                    return &self.endpoints[chosen];
                }
                Some(_) => {}
            }
        }
        match untried {
            Some(one) => &self.endpoints[one],
            None => untried_from(&self.endpoints, drawn, context),
        }
    }

    /// The one of two that has the smaller load; the first one if both have the same. `ahead` is
    /// how many calls the second one has to be ahead.
    #[inline]
    fn less_loaded(
        &self,
        pair: [usize; 2],
        words: [u64; 2],
        ahead: f64,
        measure: &LoadMeasure,
        clock: &mut Clock,
    ) -> usize {
        let [one, other] = pair.map(|number| &self.hosts[number]);
        let calls = [one.calls(measure, clock), other.calls(measure, clock)];
        // The lowest bits: the draws depend on the highest ones.
        let rounding = (words[0] & 0xffff) as f64 / 65536.0;
        let load = one.load(calls[0], 0.0, rounding, measure, clock);
        let other_load = other.load(calls[1], ahead, rounding, measure, clock);
        let (chosen, passed) = if other_load < load { (1, 0) } else { (0, 1) };
        let passed_load = self.hosts[pair[passed]].host.load();
        let is_looked_at = measure.latency.is_some()
            && words[1].is_multiple_of(LOOK_AGAIN)
            && calls[passed].count == 0.0
            && passed_load.is_unpicked(clock.millis());
        if is_looked_at {
            passed_load.doubt_latency();
            return pair[passed];
        }
        pair[chosen]
    }
}

impl<E> Candidate<E> {
    #[inline]
    fn calls(&self, measure: &LoadMeasure, clock: &mut Clock) -> Calls {
        let load = self.host.load();
        let mut calls = Calls {
            count: f64::from(load.pending() as u32),
            have_failed: false,
        };
        if load.may_have_failed() && measure.failure_penalty > 0 {
            let failures = load.failures(clock.millis());
            calls.count += f64::from(failures) * f64::from(measure.failure_penalty);
            calls.have_failed = failures > 0;
        }
        calls
    }

    /// The load with these calls and `more`, to be compared with others of the same `rounding`.
    #[inline]
    fn load(
        &self,
        calls: Calls,
        more: f64,
        rounding: f64,
        measure: &LoadMeasure,
        clock: &mut Clock,
    ) -> f64 {
        let count = calls.count + more;
        // Rounds down; the cast is quicker than `floor`.
        let weighted = f64::from((count * self.call_weight + rounding) as u32);
        let Some(decay) = measure.latency else {
            return weighted;
        };
        let latency = match self.host.load().latency(clock.millis(), decay) {
            Some(latency) if calls.have_failed => latency.max(PENALTY),
            Some(latency) => latency,
            None if count == 0.0 => 0.0,
            None => PENALTY,
        };
        f64::from(latency) * (1.0 + weighted)
    }
}

fn random_words() -> [u64; 2] {
    let words = fastrand::u128(..);
    [words as u64, (words >> 64) as u64]
}
