//! A simulated consumer: a client, an instancer and an endpointer.

use super::{
    foreign::{PanickyClient, PanickyCodec, Target},
    invariants::{Checker, CheckerState},
    offer::SERVICES,
    plan::Kind,
    registry_log::RegistryLog,
    view::View,
};
use futures::StreamExt;
use sd_core::{
    BoxError, EndpointSource, Endpointer, Event, Instance, InstanceKey, Instancer, Prefix, Status,
    async_factory_fn,
};
use sd_memory::{ClientOptions, Registry};
use std::{
    collections::BTreeMap,
    panic::resume_unwind,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::time::{Instant, sleep};

/// How long after the last fault every consumer follows again: two pauses and three delayed calls.
pub(super) const FOLLOWING: Duration = Duration::from_secs(10);
/// How long after the last fault, and the last change, the endpoints match the instances: factories take a while, and
/// fail at first.
const MADE: Duration = Duration::from_secs(20);

pub(super) struct Consumer {
    id: u32,
    client: PanickyClient,
    instancer: Arc<Instancer>,
    endpointer: Endpointer<Target>,
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
        let failures = drawn.u32(..4);
        let mut options = ClientOptions::default();
        if drawn.bool() {
            // Then it hears of stalls.
            options = options.with_silence(Duration::from_secs(1), Duration::from_secs(6));
        }
        let client = PanickyClient::new(registry.client_with(options));
        let mut instancer = Instancer::builder(client.clone(), prefix.clone()).grace(grace);
        if drawn.bool() {
            instancer = instancer.codec(PanickyCodec);
        }
        let instancer = Arc::new(instancer.build());
        let factory = factory(failures, drawn.u32(..3) == 0, drawn.u32(..3) == 0);
        let endpointer = Endpointer::new(Arc::clone(&instancer), factory);

        let now = Instant::now();
        checker.state().follow(id, prefix, grace, now);
        let (mut events, shown) = (instancer.subscribe(), checker.clone());
        tokio::spawn(async move {
            while let Some(event) = events.next().await {
                shown.state().show(id, event, Instant::now());
            }
            shown.state().end(id);
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
        self.client.inner.close().await;
        self.checker.note(format!("    c{} has stopped", self.id));
    }

    /// The next call of its client panics.
    pub(super) fn panic_next(&self) {
        self.client.panic_next();
    }

    /// Whether it has ended by itself.
    pub(super) fn has_ended(&self, state: &CheckerState) -> bool {
        !state.views.contains_key(&self.id)
    }

    /// Whether there is a reason to end by itself.
    pub(super) fn has_panicked(&self) -> bool {
        self.client.has_panicked()
    }

    /// What must be true when nothing has happened for so long; what is not, if anything.
    pub(super) fn check(&self, calm: Duration, state: &CheckerState) -> Option<String> {
        let view = state.views.get(&self.id)?;
        if state.checks(Kind::Stalls)
            && let Some(untroubled) = state.outages.untroubled()
            && let Some(key) = view.undead(&state.registry_log, untroubled)
        {
            return Some(format!("c{} still shows {key}, which is gone", self.id));
        }
        let calm = calm.min(view.started.elapsed());
        if calm < FOLLOWING {
            return None;
        }
        let wrong = match view.latest() {
            None => Some("knows nothing yet".to_owned()),
            Some(event) => check_view(view, event, calm, &state.registry_log).or_else(|| {
                (calm.min(view.changed.elapsed()) >= MADE)
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
            .map(|endpoint| (&**endpoint.instance(), endpoint.address.as_str()))
            .collect();
        // Each address has one endpoint, that of a serving instance rather than of another.
        let drains = |instance: &Instance| instance.status() != Status::Serving;
        let mut speakers = BTreeMap::<&str, &Instance>::new();
        for instance in event.instances() {
            let speaker = speakers.entry(instance.address()).or_insert(instance);
            if drains(speaker) && !drains(instance) {
                *speaker = instance;
            }
        }
        let any_serves = speakers.values().any(|instance| !drains(instance));
        let speakers = speakers.into_values();
        let mut expected: Vec<(&Instance, &str)> = speakers
            .filter(|instance| !(any_serves && drains(instance)))
            .map(|instance| (instance, instance.address()))
            .collect();
        expected.sort_by_key(|(instance, _)| instance.key());
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
    // Many that go at once, as their leases end, are held although all is calm.
    let longest = FOLLOWING + view.grace;
    let is_old = |held: &&&InstanceKey| {
        let removal = registry_log.versions(held.key()).last();
        removal.is_none_or(|version| version.since.elapsed() > longest)
    };
    if calm > longest
        && let Some(key) = held.keys().find(is_old)
    {
        return Some(format!("still holds {key}"));
    }
    let instances = event.instances().iter().map(|instance| &**instance);
    let shown: Vec<_> = instances
        .filter(|instance| !held.contains_key(&instance.identity()))
        .collect();
    let there: Vec<_> = registry_log.instances(&view.prefix).collect();
    if shown != there {
        return Some(format!("shows {shown:?} where there is {there:?}"));
    }
    None
}

/// Makes an endpoint of each address after a moment; fails, or panics, so many times before. The
/// targets panic when they are dropped, if they are to.
fn factory(
    failures: u32,
    panics: bool,
    are_panicky: bool,
) -> impl sd_core::Factory<Target = Target> {
    let tried = Arc::new(Mutex::new(BTreeMap::<String, u32>::new()));
    async_factory_fn(move |instance: Instance| {
        let tried = Arc::clone(&tried);
        async move {
            sleep(Duration::from_millis(20)).await;
            let address = instance.address().to_owned();
            let before = {
                let mut tried = tried.lock().unwrap_or_else(PoisonError::into_inner);
                let before = tried.entry(address.clone()).or_default();
                *before += 1;
                *before
            };
            if before > failures {
                let is_panicky = are_panicky;
                return Ok(Target {
                    address,
                    is_panicky,
                });
            }
            if panics {
                resume_unwind(Box::new("a bug in the factory"));
            }
            Err(BoxError::from("not yet"))
        }
    })
}
