//! The metrics of connections.

/// Connections that did not work any more, or never did.
pub const CONNECTIONS_GIVEN_UP: &str = "sd_etcd_connections_given_up_total";
