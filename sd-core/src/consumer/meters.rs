//! The metrics of instancers.

use crate::{
    instances::Trouble,
    registry::WatchError,
    support::{Share, count},
};

/// Instances shown, those held included.
pub const INSTANCES: &str = "sd_instances";
/// What the instances shown take in memory.
pub const INSTANCE_BYTES: &str = "sd_instance_bytes";
/// Instances whose removal is held back.
pub const INSTANCES_HELD: &str = "sd_instances_held";
/// Removals of many instances at once that were held back.
pub const MASS_REMOVALS: &str = "sd_mass_removals_total";
/// Instancers that do not follow the registry at the moment.
pub const SOURCES_STALE: &str = "sd_sources_stale";
/// Failures to follow the registry.
pub const SOURCE_DISRUPTIONS: &str = "sd_source_disruptions_total";
/// Successful lists.
pub const LISTS: &str = "sd_lists_total";
/// Entries that could not be read.
pub const ENTRIES_SKIPPED: &str = "sd_entries_skipped_total";

/// Entries left out because of a limit.
pub const ENTRIES_OVER_LIMIT: &str = "sd_entries_over_limit_total";

/// The metrics of the instances that an instancer shows.
pub(crate) struct InstanceMeters {
    prefix: String,
    instances: Share,
    bytes: Share,
    held: Share,
}

impl InstanceMeters {
    pub(crate) fn new(prefix: &str) -> Self {
        let labels = [("prefix", prefix)];
        Self {
            prefix: prefix.to_owned(),
            instances: Share::new(INSTANCES, &labels),
            bytes: Share::new(INSTANCE_BYTES, &labels),
            held: Share::new(INSTANCES_HELD, &labels),
        }
    }

    pub(crate) fn shows(&mut self, instances: usize, bytes: usize, held: usize) {
        self.instances.set(instances);
        self.bytes.set(bytes);
        self.held.set(held);
    }

    /// An entry was left out because of the limit for one `entry` or for the `prefix`.
    pub(crate) fn over_limit(&self, limit: &'static str) {
        count(
            ENTRIES_OVER_LIMIT,
            &[("prefix", &self.prefix), ("limit", limit)],
            1,
        );
    }

    pub(crate) fn listed(&self) {
        count(LISTS, &[("prefix", &self.prefix)], 1);
    }

    pub(crate) fn lost_many(&self) {
        count(MASS_REMOVALS, &[("prefix", &self.prefix)], 1);
    }

    pub(crate) fn skipped(&self, entries: u64) {
        if entries > 0 {
            count(ENTRIES_SKIPPED, &[("prefix", &self.prefix)], entries);
        }
    }
}

/// The metrics of an instancer's health.
pub(crate) struct HealthMeters {
    prefix: String,
    stale: Share,
}

impl HealthMeters {
    pub(crate) fn new(prefix: &str) -> Self {
        Self {
            prefix: prefix.to_owned(),
            stale: Share::new(SOURCES_STALE, &[("prefix", prefix)]),
        }
    }

    pub(crate) fn unanswered(&mut self) {
        self.stale.set(1);
    }

    pub(crate) fn disrupted(&mut self, why: &Trouble) {
        self.stale.set(1);
        let cause = match why {
            Trouble::List(_) => "list",
            Trouble::Watch(WatchError::Disrupted(_)) => "disrupted",
            Trouble::Watch(WatchError::Interrupted(_)) => "interrupted",
            Trouble::Watch(WatchError::Gap(_)) => "gap",
            Trouble::Unanswered
            | Trouble::Snapshot { .. }
            | Trouble::Unreadable
            | Trouble::ManyRemoved { .. }
            | Trouble::OverLimits { .. }
            | Trouble::Stopped
            | Trouble::Panicked { .. } => return,
        };
        let labels = [("prefix", self.prefix.as_str()), ("cause", cause)];
        count(SOURCE_DISRUPTIONS, &labels, 1);
    }

    pub(crate) fn recovered(&mut self) {
        self.stale.set(0);
    }
}
