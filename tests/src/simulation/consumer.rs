//! A simulated consumer: a client, an instancer and an endpointer.

use super::{
    invariants::{Checker, CheckerState},
    offer::SERVICES,
    registry_log::RegistryLog,
    view::View,
};
use futures::StreamExt;
use sd_core::{
    BoxError, EndpointSource, Endpointer, Event, Instance, Instancer, Prefix, Status,
    async_factory_fn,
};
use sd_memory::{MemoryClient, Registry};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::time::{Instant, sleep};

/// How long after the last fault every consumer follows again: two pauses and three delayed calls.
pub(super) const FOLLOWING: Duration = Duration::from_secs(10);
/// How long after the last fault the endpoints match the instances, even if factories fail at
/// first.
const MADE: Duration = Duration::from_secs(20);

pub(super) struct Consumer {
    id: u32,
    client: MemoryClient,
    instancer: Arc<Instancer>,
    endpointer: Endpointer<String>,
    checker: Checker,
}

impl Consumer {
    /// A consumer of one of the services.
    pub(super) fn start(
        (seed, slot, id): (u64, usize, u32),
        registry: &Registry,
        checker: &Checker,
    ) -> Self {
        let slot_seed = seed ^ (slot as u64 + 1).wrapping_mul(0xd1b5_4a32_d192_ed03);
        let mut drawn = fastrand::Rng::with_seed(slot_seed ^ u64::from(id));
        let service = SERVICES[drawn.usize(..SERVICES.len())];
        let prefix = match drawn.u32(..5) {
            0 => Prefix::raw(service),
            _ => Prefix::new(service),
        };
        let prefix = prefix.expect("not empty");
        let grace = Duration::from_secs([0, 5, 15, 15, 15, 15, 30, 30][drawn.usize(..8)]);
        let client = registry.client();
        let instancer = Instancer::builder(client.clone(), prefix.clone())
            .grace(grace)
            .build();
        let instancer = Arc::new(instancer);
        let endpointer = Endpointer::new(Arc::clone(&instancer), factory(drawn.u32(..4)));

        let now = Instant::now();
        checker.state().follow(id, prefix, grace, now);
        let (mut events, shown) = (instancer.subscribe(), checker.clone());
        tokio::spawn(async move {
            while let Some(event) = events.next().await {
                shown.state().show(id, event, Instant::now());
            }
            shown.state().views.remove(&id);
        });
        Self {
            id,
            client,
            instancer,
            endpointer,
            checker: checker.clone(),
        }
    }

    /// Ends everything, and waits for that.
    pub(super) async fn stop(self) {
        self.endpointer.stop().await;
        self.instancer.stop().await;
        self.client.close().await;
        self.checker.note(format!("    c{} has stopped", self.id));
    }

    /// Checks what must hold after `calm` time without a fault. Returns what does not hold.
    pub(super) fn check(&self, calm: Duration, state: &CheckerState) -> Option<String> {
        let view = state.views.get(&self.id)?;
        let calm = calm.min(view.started.elapsed());
        if calm < FOLLOWING {
            return None;
        }
        let wrong = match view.latest() {
            None => Some("knows nothing yet".to_owned()),
            Some(event) => check_view(view, event, calm, &state.registry_log).or_else(|| {
                (calm >= MADE)
                    .then(|| self.check_endpoints(event))
                    .flatten()
            }),
        };
        wrong.map(|wrong| format!("c{} after {calm:?} of calm: {wrong}", self.id))
    }

    fn check_endpoints(&self, event: &Event) -> Option<String> {
        let endpoints = self.endpointer.endpoints();
        let made: Vec<(&Instance, &str)> = endpoints
            .iter()
            .map(|endpoint| (&**endpoint.instance(), endpoint.as_str()))
            .collect();
        let serving = |instance: &&Instance| instance.status() == Status::Serving;
        let all = || event.instances().iter().map(|instance| &**instance);
        let any_serves = all().any(|instance| serving(&instance));
        let expected: Vec<(&Instance, &str)> = all()
            .filter(|instance| !any_serves || serving(instance))
            .map(|instance| (instance, instance.address()))
            .collect();
        (made != expected).then(|| format!("has the endpoints {made:?} instead of {expected:?}"))
    }
}

/// The shown instances must be those in the registry, and held ones until the grace period is over.
fn check_view(
    view: &View,
    event: &Event,
    calm: Duration,
    registry_log: &RegistryLog,
) -> Option<String> {
    if !event.health().is_live() {
        return Some(format!("is not live: {:?}", event.health()));
    }
    let held: BTreeMap<_, _> = event.held().collect();
    if !held.is_empty() && calm > FOLLOWING + view.grace {
        return Some(format!("still holds {:?}", held.keys()));
    }
    let instances = event.instances().iter().map(|instance| &**instance);
    let shown: Vec<_> = instances
        .filter(|instance| !held.contains_key(instance.key()))
        .collect();
    let there: Vec<_> = registry_log.instances(&view.prefix).collect();
    if shown != there {
        return Some(format!("shows {shown:?} where there is {there:?}"));
    }
    None
}

/// Makes an endpoint for each address after a moment. Fails `failures` times before.
fn factory(failures: u32) -> impl sd_core::Factory<Target = String> {
    let tried = Arc::new(Mutex::new(BTreeMap::<String, u32>::new()));
    async_factory_fn(move |instance: Instance| {
        let tried = Arc::clone(&tried);
        async move {
            sleep(Duration::from_millis(20)).await;
            let address = instance.address().to_owned();
            let mut tried = tried.lock().unwrap_or_else(PoisonError::into_inner);
            let before = tried.entry(address.clone()).or_default();
            *before += 1;
            match *before > failures {
                true => Ok(address),
                false => Err(BoxError::from("not yet")),
            }
        }
    })
}
