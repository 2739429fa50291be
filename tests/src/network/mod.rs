//! The network between a client and a server.
//!
//! [`Proxy`] stands between one client and an etcd and misbehaves on demand; [`Traffic`] is what it
//! has counted on the wire. `relay` carries a test's own connections, so that they can be told from
//! those under test; `connections` counts connections in the system's table; `ports` hands out free
//! ports. Nothing here knows what etcd is.

mod connections;
mod ports;
mod proxy;
mod relay;
mod traffic;

pub(crate) use connections::{connections_to, ports_to};
pub(crate) use ports::free_ports;
pub use proxy::Proxy;
pub(crate) use relay::Relay;
pub use traffic::Traffic;
