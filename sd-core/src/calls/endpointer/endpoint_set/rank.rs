//! Ranks: which endpoints are called, as long as there are any of them.

use crate::instances::{Instance, Status};

/// A table holds the endpoints of the lowest rank that exists.
pub(super) type Rank = u8;

/// How many ranks there are, from 0.
const RANKS: usize = 4;

pub(super) fn rank(instance: &Instance) -> Rank {
    match (instance.status(), instance.weight()) {
        (Status::Serving, 1..) => 0,
        (Status::Serving, 0) => 1,
        (Status::Unknown, _) => 2,
        (Status::Draining, _) => 3,
    }
}

/// How many endpoints there are of each rank.
#[derive(Default)]
pub(super) struct RankCounts([usize; RANKS]);

impl RankCounts {
    pub(super) fn add(&mut self, rank: Rank) {
        self.0[usize::from(rank)] += 1;
    }

    pub(super) fn remove(&mut self, rank: Rank) {
        self.0[usize::from(rank)] -= 1;
    }

    /// How many there are of a rank.
    pub(super) fn of(&self, rank: Rank) -> usize {
        self.0[usize::from(rank)]
    }

    /// The lowest rank that exists.
    pub(super) fn best(&self) -> Option<Rank> {
        (0..)
            .zip(self.0)
            .find_map(|(rank, count)| (count > 0).then_some(rank))
    }

    /// How many there are of all ranks.
    pub(super) fn len(&self) -> usize {
        self.0.iter().sum()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
