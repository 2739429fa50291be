//! The metrics of watches.

/// Times that etcd said nothing for too long.
pub const SILENCES: &str = "sd_etcd_silences_total";
/// Watches that etcd holds for this process.
pub const WATCHES: &str = "sd_etcd_watches";
/// Watches that ended with their connection.
pub const WATCH_INTERRUPTIONS: &str = "sd_etcd_watch_interruptions_total";
/// Watches that did not resume because etcd was wiped or rolled back.
pub const ROLLBACKS: &str = "sd_etcd_rollbacks_total";
/// What the lists that are being read hold, in bytes.
pub const LIST_BYTES: &str = "sd_etcd_list_bytes";
/// What watches hold that was not read yet, in bytes.
pub const UNREAD_BYTES: &str = "sd_etcd_unread_bytes";
/// Lists that were given up because there is more under the prefix than the limits of a list.
pub const LISTS_OVER_LIMIT: &str = "sd_etcd_lists_over_limit_total";
/// Watches that ended because more had changed at once than is held.
pub const WATCHES_OVER_LIMIT: &str = "sd_etcd_watches_over_limit_total";
