//! Whose endpoints have changed.

use crate::instances::{Instance, InstanceKey};
use std::collections::BTreeSet;

/// Whose endpoints have changed since the table was last built.
#[derive(Default)]
pub(super) struct Edits {
    rows: BTreeSet<InstanceKey>,
    /// Too many, or it is not known whose: the table is built anew.
    are_many: bool,
}

/// So many rows of a table of `endpoints` are changed one by one. Built anew, a table takes a look-up for each
/// endpoint, and a row takes a search of its place.
pub(super) fn most_rows(endpoints: usize) -> usize {
    32 + endpoints / 16
}

impl Edits {
    /// The endpoint that `instance` speaks for has changed, or it speaks for none any longer.
    pub(super) fn add(&mut self, instance: &Instance, most: usize) {
        if !self.are_many {
            self.rows.insert(instance.identity());
        }
        if self.rows.len() > most {
            self.become_many();
        }
    }

    pub(super) fn become_many(&mut self) {
        self.are_many = true;
        self.rows.clear();
    }

    pub(super) fn are_many(&self) -> bool {
        self.are_many
    }

    /// Those that have changed, in their order.
    pub(super) fn take(&mut self) -> BTreeSet<InstanceKey> {
        std::mem::take(self).rows
    }
}
