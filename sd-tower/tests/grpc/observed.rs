//! Calls as observers hear of them.

use sd_core::{EndedCall, Observed, Observer, Outcome, RoundRobin};
use sd_tower::ChannelBuilder;
use std::sync::{Arc, Mutex};

/// The outcomes of calls, each beside the address that was called.
#[derive(Clone, Default)]
pub(crate) struct Outcomes(Arc<Mutex<Vec<(String, Outcome)>>>);

impl Outcomes {
    /// Observes the calls of a channel that calls its endpoints in turn.
    pub(crate) fn observe(&self, channel: ChannelBuilder) -> ChannelBuilder {
        let outcomes = self.clone();
        channel.balancer(move |endpoints| {
            RoundRobin::new(Observed::new(endpoints, move |endpoint| {
                Arc::new(OfOne {
                    address: endpoint.address().to_owned(),
                    outcomes: outcomes.clone(),
                })
            }))
        })
    }

    /// Those of the calls that have ended so far.
    pub(crate) fn so_far(&self) -> Vec<Outcome> {
        let outcomes = self.0.lock().unwrap();
        outcomes.iter().map(|(_, outcome)| *outcome).collect()
    }

    pub(crate) fn of(&self, address: &str) -> Vec<Outcome> {
        let outcomes = self.0.lock().unwrap();
        let own = outcomes.iter().filter(|(called, _)| called == address);
        own.map(|(_, outcome)| *outcome).collect()
    }

    /// Forgets the calls so far, such as picks that look whether there is an endpoint.
    pub(crate) fn forget(&self) {
        self.0.lock().unwrap().clear();
    }
}

struct OfOne {
    address: String,
    outcomes: Outcomes,
}

impl Observer for OfOne {
    fn ended(&self, call: &EndedCall) {
        let mut outcomes = self.outcomes.0.lock().unwrap();
        outcomes.push((self.address.clone(), call.outcome));
    }
}
