//! The address under which consumers reach a listener.

use super::advertise_error::AdvertiseError;
use ipnet::IpNet;
use sd_core::Escaped;
use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};
use tokio::net::{UdpSocket, lookup_host};

/// Where to take the address that a provider registers from.
///
/// A server that listens on `0.0.0.0` or `[::]` listens on every address of its host, and consumers must
/// be given one of them. Which one they reach, only the operator knows: a container has one, a host with
/// two networks has several, and behind a translation of addresses none is right.
///
/// | where | take |
/// |---|---|
/// | it listens on one address | [`listener`](Self::listener) |
/// | Kubernetes | [`env("POD_IP")`](Self::env), set by the downward API (`status.podIP`) |
/// | hosts with a network for services | [`network("10.0.0.0/8")`](Self::network) or [`interface("eth1")`](Self::interface) |
/// | the registry is in that network too | [`route_to("etcd.internal:2379")`](Self::route_to) |
/// | behind a translation of addresses | [`ip`](Self::ip) |
///
/// Loopback and link-local addresses, which other hosts cannot reach, are not chosen, unless that is what
/// was named: such a network, the loopback interface, the address itself. The port is the listener's.
///
/// ```
/// use sd_core::Service;
/// use sd_tower::Advertise;
///
/// # async fn provider() -> Result<(), Box<dyn std::error::Error>> {
/// let listener = tokio::net::TcpListener::bind("[::]:0").await?;
/// let address = Advertise::network("10.0.0.0/8")?
///     .address_of(listener.local_addr()?)
///     .await?; // IPv6 is written in brackets
/// let service = Service::new(format!("/services/hello/{address}"), address.to_string())?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Advertise(Choice);

#[derive(Debug, Clone)]
enum Choice {
    Listener,
    Ip(IpAddr),
    Interface(String),
    Network(IpNet),
    Env(String),
    RouteTo(String),
}

impl Advertise {
    /// The address that the server listens on, as it is.
    pub fn listener() -> Self {
        Self(Choice::Listener)
    }

    /// This address, on whatever host it is: that of a load balancer or of a translation of addresses.
    pub fn ip(ip: IpAddr) -> Self {
        Self(Choice::Ip(ip))
    }

    /// The first address of this interface, such as `eth0`; IPv4 before IPv6.
    pub fn interface(name: impl Into<String>) -> Self {
        Self(Choice::Interface(name.into()))
    }

    /// The first address of this host in this network, such as `10.0.0.0/8` or `fd00::/8`.
    ///
    /// # Errors
    /// [`AdvertiseError::Network`] if `network` is not an address, `/` and the length of its prefix.
    pub fn network(network: &str) -> Result<Self, AdvertiseError> {
        let network = network.parse().map_err(|_| AdvertiseError::Network {
            network: Escaped(network).to_string(),
        })?;
        Ok(Self(Choice::Network(network)))
    }

    /// The address in this environment variable, with or without brackets.
    pub fn env(variable: impl Into<String>) -> Self {
        Self(Choice::Env(variable.into()))
    }

    /// The address from which this host reaches `address`, a host and a port, such as that of the
    /// registry. Nothing is sent: the system's routes are asked, and for a name its resolver.
    pub fn route_to(address: impl Into<String>) -> Self {
        Self(Choice::RouteTo(address.into()))
    }

    /// The address to register for a listener that listens on `listening`. Cancellation safe.
    ///
    /// # Errors
    /// [`AdvertiseError`]: none was found, or none that could be reached.
    pub async fn address_of(&self, listening: SocketAddr) -> Result<SocketAddr, AdvertiseError> {
        let host = listening.ip().to_canonical();
        let fits = |ip: &IpAddr| fits(*ip, host);
        let chosen = match &self.0 {
            Choice::Listener if host.is_unspecified() => return Err(AdvertiseError::Unspecified),
            Choice::Listener => host,
            Choice::Ip(ip) => return Ok(SocketAddr::new(*ip, listening.port())),
            Choice::Interface(name) => interface(name, interfaces()?, fits)?,
            Choice::Network(network) => in_network(network, interfaces()?, fits)?,
            Choice::Env(variable) => of_variable(variable, std::env::var(variable).ok())?,
            Choice::RouteTo(address) => route_to(address, fits).await?,
        };
        if !host.is_unspecified() && chosen != host {
            return Err(AdvertiseError::NotListening { chosen, listening });
        }
        Ok(SocketAddr::new(chosen, listening.port()))
    }
}

/// Whether somebody who calls `ip` reaches a listener on `host`.
fn fits(ip: IpAddr, host: IpAddr) -> bool {
    match host {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => ip.is_ipv4(),
        // On most systems also IPv4.
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => true,
        host => ip == host,
    }
}

/// An address of this host.
struct Interface {
    name: String,
    ip: IpAddr,
}

fn interfaces() -> Result<Vec<Interface>, AdvertiseError> {
    let all = if_addrs::get_if_addrs().map_err(AdvertiseError::System)?;
    let all = all.into_iter().map(|interface| Interface {
        ip: interface.ip(),
        name: interface.name,
    });
    Ok(all.collect())
}

/// Whether other hosts can reach it.
fn is_reachable(ip: IpAddr) -> bool {
    !ip.is_loopback() && !ip.is_unspecified() && !is_link_local(ip)
}

fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}

fn interface(
    name: &str,
    all: Vec<Interface>,
    fits: impl Fn(&IpAddr) -> bool,
) -> Result<IpAddr, AdvertiseError> {
    let of_it = all.iter().filter(|interface| interface.name == name);
    let of_it: Vec<_> = of_it.map(|interface| interface.ip).filter(&fits).collect();
    let is_loopback = !of_it.is_empty() && of_it.iter().all(IpAddr::is_loopback);
    let usable = |ip: &&IpAddr| is_reachable(**ip) || is_loopback;
    let usable = of_it.iter().filter(usable);
    usable
        .min_by_key(|ip| ip.is_ipv6())
        .copied()
        .ok_or_else(|| AdvertiseError::Interface {
            name: Escaped(name).to_string(),
            has: shown(&all),
        })
}

fn in_network(
    network: &IpNet,
    all: Vec<Interface>,
    fits: impl Fn(&IpAddr) -> bool,
) -> Result<IpAddr, AdvertiseError> {
    let is_local = |ip: IpAddr| ip.is_loopback() || is_link_local(ip);
    let asks_for_local = is_local(network.network()) && is_local(network.broadcast());
    all.iter()
        .map(|interface| interface.ip)
        .find(|ip| network.contains(ip) && fits(ip) && (is_reachable(*ip) || asks_for_local))
        .ok_or_else(|| AdvertiseError::NotInNetwork {
            network: network.to_string(),
            has: shown(&all),
        })
}

fn of_variable(variable: &str, value: Option<String>) -> Result<IpAddr, AdvertiseError> {
    let variable = || Escaped(variable).to_string();
    let Some(value) = value else {
        return Err(AdvertiseError::NoVariable {
            variable: variable(),
        });
    };
    let bare = value.trim();
    let bare = bare
        .strip_prefix('[')
        .and_then(|bare| bare.strip_suffix(']'))
        .unwrap_or(bare);
    match bare.parse() {
        Ok(ip) if is_reachable(ip) => Ok(ip),
        _ => Err(AdvertiseError::Variable {
            variable: variable(),
            value: Escaped(&value).to_string(),
        }),
    }
}

/// Connecting a UDP socket sends nothing, and the system chooses the address by its routes.
async fn route_to(address: &str, fits: impl Fn(&IpAddr) -> bool) -> Result<IpAddr, AdvertiseError> {
    let shown = || Escaped(address).to_string();
    let no_route = |source| AdvertiseError::NoRoute {
        address: shown(),
        source,
    };
    let mut local = None;
    let mut failed = io::Error::other("it has no address of the listener's family");
    for peer in lookup_host(address).await.map_err(no_route)? {
        let from: IpAddr = match peer {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let routed = async {
            let socket = UdpSocket::bind((from, 0)).await?;
            socket.connect(peer).await?;
            Ok::<_, io::Error>(socket.local_addr()?.ip().to_canonical())
        };
        match routed.await {
            Ok(ip) if !is_reachable(ip) => local = Some(ip),
            Ok(ip) if fits(&ip) => return Ok(ip),
            Ok(_) => {}
            Err(error) => failed = error,
        }
    }
    Err(match local {
        Some(ip) => AdvertiseError::LocalRoute {
            address: shown(),
            ip,
        },
        None => no_route(failed),
    })
}

/// The addresses that a message names.
fn shown(all: &[Interface]) -> String {
    let shown = all.iter().take(16);
    let shown = shown.map(|Interface { name, ip }| format!("{}: {ip}", Escaped(name)));
    shown.collect::<Vec<_>>().join(", ")
}
