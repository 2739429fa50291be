//! Who has answered how many calls.

use std::{collections::BTreeMap, fmt};

/// The calls that were made in a while, by who has answered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Shares {
    answered: BTreeMap<String, u64>,
    failed: u64,
}

impl Shares {
    pub(crate) fn add<E>(&mut self, answered: Result<String, E>) {
        match answered {
            Ok(from) => *self.answered.entry(from).or_default() += 1,
            Err(_) => self.failed += 1,
        }
    }

    /// How many calls `from` has answered.
    pub(crate) fn of(&self, from: &str) -> u64 {
        self.answered.get(from).copied().unwrap_or_default()
    }

    pub(crate) fn answered(&self) -> u64 {
        self.answered.values().sum()
    }

    pub(crate) fn made(&self) -> u64 {
        self.answered() + self.failed
    }

    /// The share of `from` of all calls, in percent.
    pub(crate) fn percent(&self, from: &str) -> f64 {
        100.0 * self.of(from) as f64 / self.made().max(1) as f64
    }

    /// Whether somebody's share is another than in `before`, by more than can be chance: where a
    /// while begins and ends in the turns of the balancer.
    pub(crate) fn differs(&self, before: &Self) -> bool {
        let names = self.answered.keys().chain(before.answered.keys());
        let moved = |name: &String| (self.percent(name) - before.percent(name)).abs();
        self.failed != before.failed || names.map(moved).any(|moved| moved > 4.0)
    }
}

/// `10.0.0.1:80 25 %   10.0.0.2:80 75 %`
impl fmt::Display for Shares {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, name) in self.answered.keys().enumerate() {
            let gap = if index == 0 { "" } else { "   " };
            write!(f, "{gap}{name} {:.0} %", self.percent(name))?;
        }
        if self.failed > 0 {
            write!(f, "   {} failed", self.failed)?;
        }
        Ok(())
    }
}
