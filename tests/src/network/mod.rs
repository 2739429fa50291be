//! The network between a client and a server.
//!
//! [`Proxy`] is between one client and an etcd and causes faults; [`Traffic`] is what it has
//! counted. `relay` forwards a test's own connections, so that they can be distinguished from those
//! under test. `connections` counts connections in the system's table. `ports` finds free ports.
//! Nothing here knows about etcd.

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
