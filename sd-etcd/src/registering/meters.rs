//! The metrics of leases and registrations.

/// Leases that this process keeps alive.
pub const LEASES: &str = "sd_etcd_leases";
/// Leases that etcd said to be gone.
pub const LEASES_LOST: &str = "sd_etcd_leases_lost_total";
/// Keep-alive streams that broke or could not be opened.
pub const KEEPALIVE_FAILURES: &str = "sd_etcd_keepalive_failures_total";
/// Keep-alives that etcd refused this user.
pub const KEEPALIVES_REFUSED: &str = "sd_etcd_keepalives_refused_total";
/// Looks at the keys on a lease that etcd did not allow.
pub const VERIFICATIONS_DENIED: &str = "sd_etcd_verifications_denied_total";
/// Keys on a lease of ours that nobody held, and that were removed.
pub const STRAY_KEYS: &str = "sd_etcd_stray_keys_total";
/// Keys on a lease of ours that nobody holds, and that are left.
pub const STRAY_KEYS_LEFT: &str = "sd_etcd_stray_keys_left_total";
/// Looks at the keys on a lease that were too large to be read.
pub const LEASE_KEYS_TOO_LARGE: &str = "sd_etcd_lease_keys_too_large_total";
/// Entries that were older than those that were put: the registry's history went back.
pub const ROLLED_BACK_KEYS: &str = "sd_etcd_rolled_back_keys_total";
