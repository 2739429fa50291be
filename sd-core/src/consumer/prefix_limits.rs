//! How much of a prefix is kept.

use crate::instances::DEFAULT_ENTRY_BYTES;

/// What an [`Instancer`](crate::Instancer) keeps of its prefix at most.
///
/// Whoever may write under a prefix decides how much memory its consumers need. The defaults suit a fleet
/// of 100,000 small entries and bound the rest:
///
/// | limit | default | past it |
/// |---|---|---|
/// | [`entry_bytes`](Self::entry_bytes): key and value of one entry, and the instance that it becomes | 128 KiB | the entry is skipped, as one that cannot be read |
/// | [`instances`](Self::instances): instances shown | 200,000 | more are left out, the source is stale |
/// | [`bytes`](Self::bytes): all instances shown | 128 MiB | the same |
///
/// An instance counts as 256 bytes, plus its key and its texts (address, zone, names and values of metadata), plus the key
/// once more if the entry describes several. So 100,000 instances of 100 bytes count as 36 MB. That is a bound: they
/// take about three quarters of it. Entries that cannot be read are not kept, only hashes of 1,024 of their keys.
/// States share what has not changed. A subscriber that holds an older one keeps what has changed since: `bytes` at
/// most. An [`Endpointer`](crate::Endpointer) that has not
/// seen the newest state is such a subscriber, so that an instancer and an endpointer take at most twice
/// `bytes`, and for a moment what one batch of a watch changes. What a backend needs to list and to watch comes
/// on top, and so do endpoints.
///
/// What is shown stays shown: past a limit nothing is taken away, and removals still apply. The source is
/// stale because of [`Trouble::OverLimits`](crate::Trouble::OverLimits), which invalidates no endpoints.
/// When there is room again, the prefix is listed again within 30 s. The metrics
/// [`sd_instances`](crate::telemetry::INSTANCES) and
/// [`sd_instance_bytes`](crate::telemetry::INSTANCE_BYTES) say how near the limits are,
/// [`sd_entries_over_limit_total`](crate::telemetry::ENTRIES_OVER_LIMIT) how often they were met.
///
/// ```
/// use sd_core::PrefixLimits;
///
/// let limits = PrefixLimits::default().instances(1_000).bytes(1 << 20);
/// # let _ = limits;
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PrefixLimits {
    pub(super) entry_bytes: usize,
    pub(super) instances: usize,
    pub(super) bytes: usize,
}

impl Default for PrefixLimits {
    fn default() -> Self {
        Self {
            entry_bytes: DEFAULT_ENTRY_BYTES,
            instances: 200_000,
            bytes: 128 << 20,
        }
    }
}

impl PrefixLimits {
    /// How large an entry may be, in bytes: its key and value together, and the instance that it becomes.
    ///
    /// Providers need the same limit
    /// ([`RegistrarBuilder::entry_bytes`](crate::RegistrarBuilder::entry_bytes)): they refuse to register more.
    #[must_use]
    pub fn entry_bytes(mut self, bytes: usize) -> Self {
        self.entry_bytes = bytes;
        self
    }

    /// How many instances are shown.
    #[must_use]
    pub fn instances(mut self, instances: usize) -> Self {
        self.instances = instances;
        self
    }

    /// How large all instances together are, in bytes.
    #[must_use]
    pub fn bytes(mut self, bytes: usize) -> Self {
        self.bytes = bytes;
        self
    }
}
