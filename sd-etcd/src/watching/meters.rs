//! The metrics of watches.

/// Times that etcd said nothing for too long.
pub const SILENCES: &str = "sd_etcd_silences_total";
/// Watches that etcd holds for this process.
pub const WATCHES: &str = "sd_etcd_watches";
/// Watches that ended with their connection.
pub const WATCH_INTERRUPTIONS: &str = "sd_etcd_watch_interruptions_total";
/// Watches that did not resume because etcd was wiped or rolled back.
pub const ROLLBACKS: &str = "sd_etcd_rollbacks_total";
