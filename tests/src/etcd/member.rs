//! The name and the addresses of an etcd.

use crate::network::free_ports;
use std::net::{Ipv4Addr, SocketAddr};

/// The name of a member, and where it listens.
#[derive(Debug, Clone)]
pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) clients: SocketAddr,
    pub(crate) peers: SocketAddr,
    /// The address for health and metrics, if clients use TLS.
    pub(crate) counters: SocketAddr,
}

impl Member {
    pub(super) fn on_free_ports<const N: usize>() -> [Self; N] {
        let on = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        std::array::from_fn(|index| {
            let [clients, peers, counters] = free_ports();
            Self {
                name: format!("member-{index}"),
                clients: on(clients),
                peers: on(peers),
                counters: on(counters),
            }
        })
    }
}
