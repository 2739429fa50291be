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
}

impl Default for Options {
    fn default() -> Self {
        Self {
            rounds: 25,
            seed: 1,
        }
    }
}
