//! The measures by name.

use crate::{builds, calls, etcd, instructions, measure::Measure, picks, simulation};

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
        name: "growth",
        about: "cost against the number of instances, subscribers, instancers, registrations, clients",
        run: etcd::growth,
    },
];

/// The measure of this name.
pub fn measure(name: &str) -> Option<&'static Measure> {
    MEASURES.iter().find(|measure| measure.name == name)
}
