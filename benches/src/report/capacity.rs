//! What a cluster of three carries, computed from what a client and a change cost one etcd.

use super::{
    Results, number,
    page::{grouped, table},
};
use serde_json::{Value, json};
use std::fmt::Write;

const MEMBERS: f64 = 3.0;
/// What a member may use: half of four processors, and memory.
const CORES: f64 = 2.0;
const GIGABYTES: f64 = 8.0;
/// A deployment replaces every process within so many seconds; each goes, and another one comes.
const DEPLOYMENT: f64 = 15.0 * 60.0;
/// Of the requests of an idle process, those that go to the leader: keep-alives and verifications, of 1.6 a
/// second with a TTL of 10 s.
const TO_LEADER: f64 = 0.6 / 1.6;
/// How many processes share a proxy, where there is one for each rack.
const RACK: f64 = 40.0;
const SIZES: [f64; 3] = [1e3, 1e4, 1e5];

/// What one etcd needs, as measured: see `clients` in the growth.
#[derive(Debug, Clone, Copy)]
struct Costs {
    /// Processor time of a put, in seconds.
    put: f64,
    /// Of an event that goes to one client.
    event: f64,
    /// Of an idle client, a second.
    idle: f64,
    /// Memory of a client, in bytes.
    memory: f64,
    /// Connections of a client.
    connections: f64,
}

/// A fleet, and what stands between it and etcd.
#[derive(Debug, Clone, Copy)]
struct Fleet {
    processes: f64,
    /// The share of all instances that each process follows.
    followed: f64,
    /// How many processes share a watch at etcd.
    shared_by: f64,
    /// How many clusters the services are spread over.
    clusters: f64,
}

/// What the busiest member of a cluster, the leader, has to do.
#[derive(Debug, Clone, Copy)]
struct Load {
    changes: f64,
    events: f64,
    cores: f64,
    gigabytes: f64,
    connections: f64,
}

impl Costs {
    fn of(results: &Results) -> Option<Self> {
        let rows = results.growth("clients", None);
        let (first, last) = (rows.first()?, rows.last()?);
        let clients = number(last, "size")? - number(first, "size")?;
        // Not below nothing, where the clock of the system is too coarse.
        let each =
            |key: &str| Some(((number(last, key)? - number(first, key)?) / clients).max(0.0));
        let event = each("change_etcd_cpu_us")? / 1e6;
        Some(Self {
            put: (number(first, "change_etcd_cpu_us")? / 1e6 - event).max(0.0),
            event,
            idle: each("idle_etcd_cpu_ms")? / 1e3,
            memory: each("etcd_mb")? * 1e6,
            connections: each("connections")?,
        })
    }

    fn load(&self, fleet: Fleet) -> Load {
        let clients = fleet.processes / MEMBERS;
        let changes = 2.0 * fleet.processes / DEPLOYMENT / fleet.clusters;
        // Whoever follows a share of everything hears that share of the changes, wherever they are.
        let events = changes * fleet.followed * clients / fleet.shared_by;
        let idle = clients * (1.0 - TO_LEADER) + fleet.processes * TO_LEADER / fleet.clusters;
        Load {
            changes,
            events,
            cores: changes * self.put + events * self.event + idle * self.idle,
            gigabytes: clients / fleet.shared_by * self.memory / 1e9,
            connections: clients * self.connections / fleet.shared_by,
        }
    }

    /// The most processes that a cluster carries, to two digits.
    fn most(&self, fleet: Fleet) -> f64 {
        let fits = |processes| {
            let load = self.load(Fleet { processes, ..fleet });
            load.cores <= CORES && load.gigabytes <= GIGABYTES
        };
        let (mut fitting, mut too_many) = (1.0_f64, 1e8);
        while too_many / fitting > 1.001 {
            let middle = (fitting * too_many).sqrt();
            *(if fits(middle) {
                &mut fitting
            } else {
                &mut too_many
            }) = middle;
        }
        let unit = 10_f64.powf(fitting.log10().floor() - 1.0);
        (fitting / unit).floor() * unit
    }
}

/// The ways to have fewer events at a member.
fn fleets() -> [(&'static str, Fleet); 6] {
    let all = Fleet {
        processes: 0.0,
        followed: 1.0,
        shared_by: 1.0,
        clusters: 1.0,
    };
    let tenth = Fleet {
        followed: 0.1,
        ..all
    };
    let hundredth = Fleet {
        followed: 0.01,
        ..all
    };
    let rack = |fleet| Fleet {
        shared_by: RACK,
        ..fleet
    };
    let several = |fleet| Fleet {
        clusters: 4.0,
        ..fleet
    };
    [
        ("all instances", all),
        ("a tenth of them", tenth),
        ("a hundredth of them", hundredth),
        ("all, a proxy for each rack", rack(all)),
        ("a tenth, a proxy for each rack", rack(tenth)),
        ("a tenth, services on four clusters", several(tenth)),
    ]
}

/// The section of the page.
pub(super) fn section(results: &Results) -> String {
    let Some(costs) = Costs::of(results) else {
        return String::new();
    };
    let mut text = format!(
        "Measured on one etcd, from the first to the last row of its clients: a put costs {} µs of its CPU, an \
         event for one client {} µs, an idle client that follows and registers {} µs a second, {} KB and {} \
         connections.\n\n",
        grouped(costs.put * 1e6),
        grouped(costs.event * 1e6),
        grouped(costs.idle * 1e6),
        grouped(costs.memory / 1e3),
        grouped(costs.connections.round()),
    );
    let columns = [
        ("processes", "processes"),
        ("each follows", "follows"),
        ("changes a second", "changes"),
        ("events a second, each member", "events"),
        ("CPU of the leader, cores", "cores"),
        ("memory, GB", "gigabytes"),
        ("connections of a member", "connections"),
        ("fits", "fits"),
    ];
    let rows: Vec<Value> = SIZES
        .into_iter()
        .flat_map(|processes| fleets().map(|(name, fleet)| (name, Fleet { processes, ..fleet })))
        .map(|(name, fleet)| row(name, fleet, costs.load(fleet)))
        .collect();
    text += &table(&columns, rows.iter());
    text += "\nThe most processes that a cluster of three carries so:\n\n";
    for (name, fleet) in fleets() {
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "- each follows {name}: {}",
            grouped(costs.most(fleet))
        );
    }
    text
}

fn row(name: &str, fleet: Fleet, load: Load) -> Value {
    let fits = load.cores <= CORES && load.gigabytes <= GIGABYTES;
    json!({
        "processes": fleet.processes,
        "follows": name,
        "changes": load.changes,
        "events": load.events.round(),
        "cores": load.cores,
        "gigabytes": load.gigabytes,
        "connections": load.connections.round(),
        "fits": if fits { "yes" } else { "no" },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const COSTS: Costs = Costs {
        put: 100e-6,
        event: 10e-6,
        idle: 100e-6,
        memory: 100e3,
        connections: 2.0,
    };

    #[test]
    fn costs_are_the_slope_between_the_ends() {
        let row = |size: f64| {
            json!({
                "measure": "growth", "table": "growth", "axis": "clients", "size": size,
                "change_etcd_cpu_us": 100.0 + 10.0 * size, "idle_etcd_cpu_ms": 5.0 + 0.1 * size,
                "etcd_mb": 3.0 + 0.1 * size, "connections": 2.0 * size,
            })
        };
        let results = Results(vec![row(1.0), row(10.0), row(1000.0)]);
        let costs = Costs::of(&results).unwrap();
        let near = |one: f64, other: f64| (one / other - 1.0).abs() < 1e-9;
        assert!(near(costs.put, COSTS.put), "{costs:?}");
        assert!(near(costs.event, COSTS.event), "{costs:?}");
        assert!(near(costs.idle, COSTS.idle), "{costs:?}");
        assert!(near(costs.memory, COSTS.memory), "{costs:?}");
        assert!(near(costs.connections, COSTS.connections), "{costs:?}");
    }

    #[test]
    fn events_grow_with_the_square_and_what_is_shared_divides_them() {
        let [(_, all), (_, tenth), _, (_, rack), ..] = fleets();
        let load = |processes, fleet| COSTS.load(Fleet { processes, ..fleet });
        let small = load(1000.0, all).events;
        assert!((load(10_000.0, all).events / small - 100.0).abs() < 1e-9);
        assert!((load(1000.0, tenth).events / small - 0.1).abs() < 1e-9);
        assert!((load(1000.0, rack).events / small - 1.0 / RACK).abs() < 1e-9);
        for (_, fleet) in fleets() {
            let most = COSTS.most(fleet);
            assert!(
                COSTS
                    .load(Fleet {
                        processes: most,
                        ..fleet
                    })
                    .cores
                    <= CORES
            );
        }
        assert!(COSTS.most(all) < COSTS.most(tenth));
    }
}
