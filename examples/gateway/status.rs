//! The status of the gateway, as JSON.

use crate::{calls::CallsShown, directory::Directory, service::Service, upstream::EndpointHealth};
use sd_core::{ErrorChain, Event, Health, Instance};
use serde::Serialize;
use std::collections::BTreeMap;
use tokio::time::Instant;

/// What `/services` shows. Times are in seconds.
#[derive(Serialize)]
pub(crate) struct Status {
    registry: RegistryShown,
    services: Vec<ServiceShown>,
}

#[derive(Serialize)]
struct RegistryShown {
    state: RegistryState,
    /// Where the services are registered.
    prefix: Option<String>,
    /// Why it is not live.
    reason: Option<String>,
    /// For how long it has been stale.
    stale_for: Option<f64>,
}

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum RegistryState {
    /// There is none: the services are a list.
    Fixed,
    /// It has not answered yet.
    Unknown,
    Live,
    Stale,
}

#[derive(Serialize)]
struct ServiceShown {
    name: String,
    /// Why nobody can be called.
    unavailable: Option<String>,
    /// Entries that are not instances, since they cannot be read.
    unreadable: usize,
    instances: Vec<InstanceShown>,
}

#[derive(Serialize)]
struct InstanceShown {
    key: String,
    address: String,
    zone: Option<String>,
    weight: u32,
    status: String,
    metadata: BTreeMap<String, String>,
    /// Why it is still shown, although the registry has removed it.
    held: Option<String>,
    health: HealthShown,
    calls: CallsShown,
}

#[derive(Serialize)]
struct HealthShown {
    state: HealthState,
    reason: Option<String>,
    /// For how long it has been so.
    since: Option<f64>,
    /// When it gets calls again, at the latest.
    returns_in: Option<f64>,
}

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum HealthState {
    /// Nothing is known against it.
    Ok,
    Ejected,
    Unreachable,
}

impl Status {
    pub(crate) fn of(directory: &Directory) -> Self {
        let now = Instant::now();
        let services = directory.services();
        Self {
            registry: RegistryShown::of(directory, now),
            services: services
                .values()
                .map(|it| ServiceShown::of(it, now))
                .collect(),
        }
    }
}

impl RegistryShown {
    fn of(directory: &Directory, now: Instant) -> Self {
        let (state, stale_since) = match directory.registry() {
            None => (RegistryState::Fixed, None),
            Some((_, None)) => (RegistryState::Unknown, None),
            Some((_, Some(Health::Live))) => (RegistryState::Live, None),
            Some((_, Some(Health::Stale { since, .. }))) => (RegistryState::Stale, Some(since)),
        };
        Self {
            state,
            prefix: directory.registry().map(|(prefix, _)| prefix.to_string()),
            reason: directory.trouble(),
            stale_for: stale_since.map(|since| seconds(since, now)),
        }
    }
}

impl ServiceShown {
    fn of(service: &Service, now: Instant) -> Self {
        let event = service.source().state();
        let health: Vec<_> = service.health().collect();
        let instance = |event: &Event, instance: &Instance| {
            let mut held = event
                .held()
                .filter(|(held, _)| **held == instance.identity());
            InstanceShown {
                key: instance.key().to_string(),
                address: instance.address().to_owned(),
                zone: instance.zone().map(Into::into),
                weight: instance.weight(),
                status: instance.status_word().to_owned(),
                metadata: (instance.all_metadata())
                    .map(|(name, value)| (name.to_owned(), value.to_owned()))
                    .collect(),
                held: held
                    .next()
                    .map(|(_, held)| ErrorChain(&held.why).to_string()),
                health: HealthShown::of(instance.address(), &health, now),
                calls: service.calls().at(instance.address()),
            }
        };
        let instances = event.iter().flat_map(|event| {
            let instances = event.instances().iter();
            instances.map(|it| instance(event, it))
        });
        Self {
            name: service.name().to_owned(),
            unavailable: service.none().map(|none| ErrorChain(&none).to_string()),
            unreadable: event.as_ref().map_or(0, Event::unreadable),
            instances: instances.collect(),
        }
    }
}

impl HealthShown {
    fn of(address: &str, health: &[EndpointHealth], now: Instant) -> Self {
        let mut unreachable = health.iter().flat_map(|it| &it.reachable.unreachable);
        if let Some(one) = unreachable.find(|one| &*one.address == address) {
            return Self {
                state: HealthState::Unreachable,
                reason: Some(ErrorChain(&one.cause).to_string()),
                since: Some(seconds(one.since, now)),
                returns_in: None,
            };
        }
        let ejections = health.iter().filter_map(|it| it.ejection.as_deref());
        let mut ejected = ejections.flat_map(|it| &it.ejected);
        match ejected.find(|one| &*one.address == address) {
            Some(one) => Self {
                state: HealthState::Ejected,
                reason: Some(one.reason.to_string()),
                since: Some(seconds(one.since, now)),
                returns_in: Some(seconds(now, one.until)),
            },
            None => Self {
                state: HealthState::Ok,
                reason: None,
                since: None,
                returns_in: None,
            },
        }
    }
}

/// From one moment to another, in seconds with one digit.
fn seconds(from: Instant, to: Instant) -> f64 {
    (to.saturating_duration_since(from).as_secs_f64() * 10.0).round() / 10.0
}
