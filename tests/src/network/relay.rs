//! A relay to an etcd whose connections can be identified.
//!
//! A second client address would identify them too, but then etcd 3.6.5 counts the calls of only
//! one of the two.

use std::{
    collections::HashSet,
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpSocket, TcpStream},
    task::JoinSet,
};
use tokio_util::task::AbortOnDropHandle;

/// Forwards to one server and knows its own end of each connection. Dropping it closes them.
#[derive(Debug)]
pub(crate) struct Relay {
    address: SocketAddr,
    ports: Ports,
    _acceptor: AbortOnDropHandle<()>,
}

impl Relay {
    pub(crate) fn to(server: SocketAddr) -> Self {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .and_then(|listener| {
                listener.set_nonblocking(true)?;
                TcpListener::from_std(listener)
            })
            .expect("a relay can listen on 127.0.0.1");
        let address = listener.local_addr().expect("a listener has an address");
        let ports = Ports::default();
        let acceptor = tokio::spawn(accept(listener, server, ports.clone()));
        Self {
            address,
            ports,
            _acceptor: AbortOnDropHandle::new(acceptor),
        }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The ports from which it is connected to the server at the moment.
    pub(crate) fn ports(&self) -> HashSet<u16> {
        self.ports.lock().clone()
    }
}

async fn accept(listener: TcpListener, server: SocketAddr, ports: Ports) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => if let Ok((client, _)) = accepted {
                let ports = ports.clone();
                // An error just ends this connection.
                connections.spawn(async move { forward(client, server, ports).await.is_ok() });
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn forward(mut client: TcpStream, server: SocketAddr, ports: Ports) -> io::Result<()> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((Ipv4Addr::LOCALHOST, 0).into())?;
    // Recorded before it connects, and removed after the socket is closed, so that no established
    // connection is unknown.
    let _known = ports.know(socket.local_addr()?.port());
    let mut upstream = socket.connect(server).await?;
    client.set_nodelay(true)?;
    upstream.set_nodelay(true)?;
    copy_bidirectional(&mut client, &mut upstream).await?;
    Ok(())
}

#[derive(Debug, Clone, Default)]
struct Ports(Arc<Mutex<HashSet<u16>>>);

/// A port of this relay, until this is dropped.
struct Known<'a>(&'a Ports, u16);

impl Ports {
    fn know(&self, port: u16) -> Known<'_> {
        self.lock().insert(port);
        Known(self, port)
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<u16>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Known<'_> {
    fn drop(&mut self) {
        self.0.lock().remove(&self.1);
    }
}
