//! A balancer whose calls are observed.

use sd_core::{Balancer, EndedCall, NoEndpoints, Observer, Outcome, Pick, PickContext, RoundRobin};
use sd_tower::{Channel, ChannelBuilder, GrpcEndpoints, GrpcTarget};
use std::sync::{Arc, Mutex};
use tokio::sync::watch;

/// The outcomes of calls, each beside the address that was called.
#[derive(Clone, Default)]
pub(crate) struct Outcomes(Arc<Mutex<Vec<(String, Outcome)>>>);

impl Outcomes {
    /// Observes the calls of a channel that calls its endpoints in turn.
    pub(crate) fn observe(&self, channel: ChannelBuilder) -> ChannelBuilder {
        let outcomes = self.clone();
        channel.balancer(move |endpoints| Observed {
            balancer: RoundRobin::new(endpoints),
            outcomes,
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
}

struct Observed {
    balancer: RoundRobin<GrpcEndpoints>,
    outcomes: Outcomes,
}

impl Balancer for Observed {
    type Target = GrpcTarget;

    fn pick(&self, context: &PickContext<'_>) -> Result<Pick<GrpcTarget>, NoEndpoints> {
        let pick = self.balancer.pick(context)?;
        let observer = OfOne {
            address: pick.address().to_owned(),
            outcomes: self.outcomes.clone(),
        };
        let observed = pick.endpoint().observed_by(Arc::new(observer));
        Ok(Pick::new(Arc::new(observed)))
    }

    fn versions(&self) -> watch::Receiver<u64> {
        self.balancer.versions()
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

/// Picks once, as an unobserved look at the endpoints would, and forgets it.
pub(crate) fn forget_picks(channel: &Channel, outcomes: &Outcomes) {
    let _ = channel.endpoint();
    outcomes.0.lock().unwrap().clear();
}
