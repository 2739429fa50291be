//! Which endpoints a client in a zone uses.

use crate::calls::{adapters::rendezvous::Rendezvous, endpoint::Endpoint};
use std::{collections::BTreeMap, sync::Arc};

#[derive(Debug)]
pub(super) struct ZoneSelection {
    /// The caller's own.
    pub(super) zone: Box<str>,
    /// `None` for an even share.
    pub(super) needed_share: Option<f64>,
    pub(super) client: Rendezvous,
}

/// The endpoints of one zone, in the order of their keys.
struct Zone<E> {
    endpoints: Vec<Arc<Endpoint<E>>>,
    /// The sum of their weights.
    capacity: f64,
}

/// What a client needs of other zones.
struct Spill<E> {
    /// The capacity of the own zone.
    own: f64,
    /// The capacity that is missing in it.
    missing: f64,
    /// The zones that have more capacity than their callers need, and how much more.
    zones: Vec<(Zone<E>, f64)>,
}

impl ZoneSelection {
    /// The endpoints to use, in the order of their keys. `None` if the own zone is not known or has
    /// no endpoint.
    pub(super) fn select<E>(
        &self,
        endpoints: &[Arc<Endpoint<E>>],
    ) -> Option<Vec<Arc<Endpoint<E>>>> {
        let mut zones = by_zone(endpoints);
        let own = zones.remove(&Some(&*self.zone))?;
        let others = zones.keys().flatten().count();
        let own_share = self.needed_share.unwrap_or(1.0 / (1 + others) as f64);
        let other_share = (1.0 - own_share) / others as f64;
        let total = own.capacity + zones.values().map(|zone| zone.capacity).sum::<f64>();
        let missing = own_share * total - own.capacity;
        let mut selected = own.endpoints;
        if missing > 0.0 {
            let spare = zones.into_iter().map(|(name, zone)| {
                let needed = name.map_or(0.0, |_| other_share * total);
                let spare = zone.capacity - needed;
                (zone, spare)
            });
            let spill = Spill {
                own: own.capacity,
                missing,
                zones: spare.filter(|(_, spare)| *spare > 0.0).collect(),
            };
            selected.extend(spill.select(self.client));
            selected.sort_unstable_by(|one, other| one.place().cmp(&other.place()));
        }
        Some(selected)
    }
}

/// The endpoints by their zones; `None` is the zone of those that have none.
fn by_zone<E>(endpoints: &[Arc<Endpoint<E>>]) -> BTreeMap<Option<&str>, Zone<E>> {
    let mut zones = BTreeMap::new();
    for endpoint in endpoints {
        let zone = endpoint.zone().filter(|zone| !zone.is_empty());
        let zone = zones.entry(zone).or_insert(Zone {
            endpoints: Vec::new(),
            capacity: 0.0,
        });
        zone.endpoints.push(endpoint.clone());
        zone.capacity += endpoint.effective_weight() as f64;
    }
    zones
}

impl<E> Spill<E> {
    /// The endpoints of other zones that this client uses. Over all clients, an endpoint is chosen
    /// with a probability in proportion to the spare part of its zone's capacity.
    fn select(self, client: Rendezvous) -> Vec<Arc<Endpoint<E>>> {
        let all_spare: f64 = self.zones.iter().map(|(_, spare)| spare).sum();
        // How many endpoints of each zone a client uses on average.
        let mean = |(zone, spare): &(Zone<E>, f64)| {
            let probability = self.missing / all_spare * spare / zone.capacity;
            zone.endpoints.len() as f64 * probability
        };
        let means: Vec<f64> = self.zones.iter().map(mean).collect();
        let mean: f64 = means.iter().sum();
        let number = self.number(mean, client);
        // Systematic sampling: the numbers of the zones are rounded up or down so that their sum
        // is `number`, and that each is right on average.
        let (offset, mut sum) = (client.fraction("zones"), 0.0);
        let mut selected = Vec::new();
        for ((mut zone, _), mean_of_zone) in self.zones.into_iter().zip(means) {
            let before = (sum + offset).floor();
            sum += mean_of_zone * number / mean;
            let number = (sum + offset).floor() - before;
            client.retain_first(&mut zone.endpoints, number as usize);
            selected.extend(zone.endpoints);
        }
        selected
    }

    /// How many endpoints of other zones this client uses, if it is `mean` on average: that number
    /// rounded up or down.
    ///
    /// With `n` of them, an endpoint gets a part of the calls in proportion to `1 / (own + n *
    /// weight)`. The clients that round up are so many that the mean of this is what it would be
    /// without rounding.
    fn number(&self, mean: f64, client: Rendezvous) -> f64 {
        let weight = self.missing / mean;
        let down = mean.floor();
        let up = (mean - down) * (self.own + (down + 1.0) * weight) / (self.own + self.missing);
        if client.fraction("number") < up {
            down + 1.0
        } else {
            down
        }
    }
}
