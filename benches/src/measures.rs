//! The measures by name.

use crate::{builds, calls, formats, instructions, measure::Measure, picks, simulation};

/// All measures, in the order in which they run.
pub const MEASURES: [Measure; 7] = [
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
        about: "instructions and locked memory accesses of a pick, counted by valgrind",
        run: instructions::run,
    },
    Measure {
        name: "changes",
        about: "processor time of a change, from the watch to the tables of balancers, by the number of instances",
        run: changes::run,
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
        name: "simulation",
        about: "latencies and failures with one slow, failing or new instance, in virtual time",
        run: simulation::run,
    },
];

/// The measure of this name.
pub fn measure(name: &str) -> Option<&'static Measure> {
    MEASURES.iter().find(|measure| measure.name == name)
}
