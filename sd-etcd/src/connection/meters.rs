//! The metrics of connections.

/// Connections that did not work any more, or never did.
pub const CONNECTIONS_GIVEN_UP: &str = "sd_etcd_connections_given_up_total";
/// Answers to authentications.
pub const AUTHENTICATIONS: &str = "sd_etcd_authentications_total";
/// Clients that were told to send a password over the network without TLS.
pub const PLAIN_TEXT_PASSWORDS: &str = "sd_etcd_plain_text_passwords_total";
/// Clients that need a token and have none.
pub const UNAUTHENTICATED: &str = "sd_etcd_unauthenticated";
