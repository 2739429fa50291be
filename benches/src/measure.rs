//! The measures by name.

use crate::{builds, instructions, output::Output, picks, simulation};
use std::error::Error;

/// Something that can be measured: it prints one or several tables.
#[derive(Debug, Clone, Copy)]
pub struct Measure {
    /// What it is called on the command line and in JSON.
    pub name: &'static str,
    /// What it measures, in one line.
    pub about: &'static str,
    /// Measures.
    pub run: fn(&Options, &Output) -> Measured,
}

/// Why nothing could be measured, if it could not.
pub type Measured = Result<(), Box<dyn Error>>;

/// What is asked of a measure.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// How many rounds of the measures of time.
    pub rounds: usize,
    /// What the simulation draws its random numbers from.
    pub seed: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            rounds: 25,
            seed: 1,
        }
    }
}

/// All measures, in the order in which they run.
pub const MEASURES: [Measure; 4] = [
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
        about: "instructions and locked memory accesses of a pick, counted by valgrind",
        run: instructions::run,
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
