//! The measures by name.

use crate::{
    builds, calls, changes, etcd, formats, instructions, measure::Measure, mirror, picks,
    simulation,
};

/// All measures, in the order in which they run.
pub const MEASURES: &[Measure] = &[
    Measure {
        name: "put",
        about: "time from a put to a subscriber, beside a raw watch of the same puts",
        run: etcd::put,
    },
    Measure {
        name: "burst",
        about: "1,000 changes at 10,000 instances until quiet, beside a raw watch",
        run: etcd::burst,
    },
    Measure {
        name: "register",
        about: "1,000 services registered and kept, beside puts that are sent at once",
        run: etcd::register,
    },
    Measure {
        name: "first-change",
        about: "a change right after an instancer is ready, and after a reconnect",
        run: etcd::first_change,
    },
    Measure {
        name: "reconnect",
        about: "500 watches of a client until all are back, 50 ms from etcd",
        run: etcd::reconnect,
    },
    Measure {
        name: "memory",
        about: "memory of 100,000 instances, beside that of their entries",
        run: mirror::memory,
    },
    Measure {
        name: "list",
        about: "the first list of 100,000 instances, beside the raw read",
        run: mirror::first_list,
    },
    Measure {
        name: "idle",
        about: "memory and processor time of 1,000 instancers while nothing happens",
        run: mirror::idle,
    },
    Measure {
        name: "changes",
        about: "processor time of a change, from the watch to the tables of balancers, by the number of instances",
        run: changes::run,
    },
    Measure {
        name: "picks",
        about: "time and allocations of a pick, beside its floor",
        run: picks::run,
    },
    Measure {
        name: "builds",
        about: "time to build a table of endpoints and what a balancer derives from it",
        run: builds::run,
    },
    Measure {
        name: "formats",
        about: "time to read the entries of each format, beside those of the toolkit's own",
        run: formats::run,
    },
    Measure {
        name: "instructions",
        about: "instructions of picks and micro benchmarks, counted by valgrind; --check, --record",
        run: instructions::run,
    },
    Measure {
        name: "calls",
        about: "latency and throughput of gRPC calls, beside a plain channel of tonic's",
        run: calls::run,
    },
    Measure {
        name: "gateway",
        about: "latency and throughput through the gateway, beside the least proxy there can be",
        run: calls::run_gateway,
    },
    Measure {
        name: "simulation",
        about: "latencies and failures with one slow, failing or new instance, in virtual time",
        run: simulation::run,
    },
    Measure {
        name: "sdctl",
        about: "a list of 10,000 instances beside etcdctl, and a watch of 5,000 changes a second",
        run: etcd::sdctl,
    },
    Measure {
        name: "growth",
        about: "cost against the number of instances, subscribers, instancers, registrations, clients",
        run: etcd::growth,
    },
];

/// The measure of this name.
pub fn measure(name: &str) -> Option<&'static Measure> {
    MEASURES.iter().find(|measure| measure.name == name)
}
