//! Why there is no address to advertise.

use std::{
    io,
    net::{IpAddr, SocketAddr},
};

/// Why there is no address to advertise.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AdvertiseError {
    /// The listener listens on every address, and none was chosen.
    #[error(
        "the server listens on every address of its host; choose the one that consumers reach with \
         Advertise::interface, network, env or route_to"
    )]
    Unspecified,

    /// The address was chosen, and the server does not listen on it.
    #[error(
        "{chosen} was chosen, and the server listens on {listening} alone; listen on 0.0.0.0 or [::], or \
         advertise the listener's address"
    )]
    NotListening {
        /// The address that was chosen.
        chosen: IpAddr,
        /// The listener's.
        listening: SocketAddr,
    },

    /// The interface does not exist, or has no address that other hosts reach.
    #[error("no interface {name:?} has an address to advertise; there are {has}")]
    Interface {
        /// The name of the interface.
        name: String,
        /// The interfaces that there are.
        has: String,
    },

    /// It is no network.
    #[error("{network:?} is no network; write one as 10.0.0.0/8 or fd00::/8")]
    Network {
        /// What was given.
        network: String,
    },

    /// The host has no address in the network.
    #[error("this host has no address in {network} to advertise; there are {has}")]
    NotInNetwork {
        /// The network.
        network: String,
        /// The interfaces that there are.
        has: String,
    },

    /// The environment variable is not set.
    #[error(
        "the environment variable {variable} is not set; in Kubernetes set it from the field \
         status.podIP"
    )]
    NoVariable {
        /// The variable.
        variable: String,
    },

    /// The environment variable has no address that other hosts reach.
    #[error(
        "the environment variable {variable} is \"{value}\", not an IP address that other hosts reach"
    )]
    Variable {
        /// The variable.
        variable: String,
        /// Its value.
        value: String,
    },

    /// There is no route to the address, or it cannot be resolved.
    #[error("no route to {address}")]
    NoRoute {
        /// The address.
        address: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },

    /// The address is on this host or link, so that it does not tell how others reach this host.
    #[error(
        "the way to {address} goes from {ip}, which other hosts cannot reach; use Advertise::interface, network or env"
    )]
    LocalRoute {
        /// The address.
        address: String,
        /// The local end of the route.
        ip: IpAddr,
    },

    /// The system does not tell the addresses of its interfaces.
    #[error("the addresses of this host cannot be read")]
    System(#[source] io::Error),
}
