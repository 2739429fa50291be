//! Metrics of the etcd backend, for dashboards and alerts. [`sd_core::telemetry`] has those of the
//! layers above.
//!
//! With the feature `metrics` they go to the recorder of the [`metrics`](https://docs.rs/metrics)
//! facade. Install the recorder before you make the first client. Without the feature, nothing is
//! counted.
//!
//! | name | kind | labels | what it says |
//! |---|---|---|---|
//! | [`sd_etcd_connections_given_up_total`](CONNECTIONS_GIVEN_UP) | counter | `purpose`: `watches`, `leases` | connections that stopped working, or never worked |
//! | [`sd_etcd_authentications_total`](AUTHENTICATIONS) | counter | `outcome`: `granted`, `refused`, `failed`, `disabled` | authentications by outcome; `failed` if there was no answer, `disabled` if etcd has no users |
//! | [`sd_etcd_unauthenticated`](UNAUTHENTICATED) | gauge | | clients that wait for a token, or whose credentials are refused |
//! | [`sd_etcd_plain_text_passwords_total`](PLAIN_TEXT_PASSWORDS) | counter | | times that a client began to send a password over the network without TLS |
//! | [`sd_etcd_silences_total`](SILENCES) | counter | | times that etcd did not answer in time |
//! | [`sd_etcd_watches`](WATCHES) | gauge | | watches that etcd holds for this process |
//! | [`sd_etcd_watch_interruptions_total`](WATCH_INTERRUPTIONS) | counter | | watches that ended with their connection |
//! | [`sd_etcd_rollbacks_total`](ROLLBACKS) | counter | | watches that did not resume because etcd was wiped or rolled back |
//! | [`sd_etcd_list_bytes`](LIST_BYTES) | gauge | | what the lists that are being read hold: how near they are to the limits of a list |
//! | [`sd_etcd_unread_bytes`](UNREAD_BYTES) | gauge | | what watches hold that their readers have not read yet: how near they are to the limit of a watch |
//! | [`sd_etcd_lists_over_limit_total`](LISTS_OVER_LIMIT) | counter | | lists that were given up at the limits of a list |
//! | [`sd_etcd_watches_over_limit_total`](WATCHES_OVER_LIMIT) | counter | | watches that ended because more had changed at once than is held |
//! | [`sd_etcd_leases`](LEASES) | gauge | | leases that this process keeps alive |
//! | [`sd_etcd_leases_lost_total`](LEASES_LOST) | counter | | leases that etcd reported as gone |
//! | [`sd_etcd_keepalive_failures_total`](KEEPALIVE_FAILURES) | counter | | keep-alive streams that broke or could not be opened |
//! | [`sd_etcd_keepalives_refused_total`](KEEPALIVES_REFUSED) | counter | | attempts at one that etcd refused: credentials that do not fit any more |
//! | [`sd_etcd_verifications_denied_total`](VERIFICATIONS_DENIED) | counter | | looks at the keys on a lease that etcd did not allow |
//! | [`sd_etcd_stray_keys_total`](STRAY_KEYS) | counter | | keys on a lease of ours that nobody held, and that were removed |
//! | [`sd_etcd_stray_keys_left_total`](STRAY_KEYS_LEFT) | counter | | such keys that came again and again or cannot be removed, and are left |
//! | [`sd_etcd_lease_keys_too_large_total`](LEASE_KEYS_TOO_LARGE) | counter | | looks at the keys on a lease of ours that were too large to be read; our own keys are looked at one by one |
//! | [`sd_etcd_rolled_back_keys_total`](ROLLED_BACK_KEYS) | counter | | keys with an older entry than the one that was put: the history of etcd went back |
//!
//! Gauges are sums over the clients of the process.
//!
//! The constants are the names, for alerts that are defined in code:
//!
//! ```
//! use sd_etcd::telemetry;
//!
//! let alert = format!("increase({}[5m]) > 0", telemetry::LEASES_LOST);
//! assert_eq!(alert, "increase(sd_etcd_leases_lost_total[5m]) > 0");
//! ```

pub use crate::connection::meters::{
    AUTHENTICATIONS, CONNECTIONS_GIVEN_UP, PLAIN_TEXT_PASSWORDS, UNAUTHENTICATED,
};
pub use crate::registering::meters::{
    KEEPALIVE_FAILURES, KEEPALIVES_REFUSED, LEASE_KEYS_TOO_LARGE, LEASES, LEASES_LOST,
    ROLLED_BACK_KEYS, STRAY_KEYS, STRAY_KEYS_LEFT, VERIFICATIONS_DENIED,
};
pub use crate::watching::meters::{
    LIST_BYTES, LISTS_OVER_LIMIT, ROLLBACKS, SILENCES, UNREAD_BYTES, WATCH_INTERRUPTIONS, WATCHES,
    WATCHES_OVER_LIMIT,
};
