//! What a measure is.

use crate::output::Output;
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
    /// Less of everything, for a first look.
    pub quick: bool,
    /// What is compared with what was recorded, rather than printed.
    pub check: bool,
    /// What is recorded, for later comparisons.
    pub record: bool,
}

impl Options {
    /// The rounds of the measures of time, unless they are given.
    pub const ROUNDS: usize = 25;
    /// The same if it is to be quick.
    pub const QUICK_ROUNDS: usize = 5;
}

impl Default for Options {
    fn default() -> Self {
        Self {
            rounds: Self::ROUNDS,
            seed: 1,
            quick: false,
            check: false,
            record: false,
        }
    }
}
