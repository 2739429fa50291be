//! A TCP proxy that simulates network faults.

use super::{
    ports::free_ports,
    traffic::{Counter, Frames, Traffic},
};
use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{mpsc, watch},
    task::JoinSet,
    time::{Instant, sleep_until},
};
use tokio_util::task::AbortOnDropHandle;

/// A TCP proxy in front of an etcd, for one client: its faults affect only that client. Dropping it
/// closes all its connections.
///
/// ```no_run
/// # use sd_tests::{Etcd, Proxy};
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let etcd = Etcd::start().await;
/// let proxy = Proxy::to(etcd.address()).await;
/// // ... a client connects to `proxy.endpoint()` ...
/// proxy.stall(); // and hears nothing any more
/// proxy.resume(); // and hears it all, late
/// # }
/// ```
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    conditions: watch::Sender<Conditions>,
    counter: Arc<Counter>,
    _acceptor: AbortOnDropHandle<()>,
}

/// The state of the network.
#[derive(Debug, Clone, Default)]
struct Conditions {
    stalled: bool,
    refusing: bool,
    delay: Duration,
    /// Counts the times that all connections were dropped.
    drops: u64,
}

impl Proxy {
    /// A proxy that forwards to `server`, for now without a fault.
    pub async fn to(server: SocketAddr) -> Self {
        let [port] = free_ports();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let listener = listen(address).await;
        let (conditions, receiver) = watch::channel(Conditions::default());
        let counter = Arc::new(Counter::default());
        let acceptor = accept(listener, address, server, receiver, counter.clone());
        let acceptor = tokio::spawn(acceptor);
        Self {
            address,
            conditions,
            counter,
            _acceptor: AbortOnDropHandle::new(acceptor),
        }
    }

    /// The URL for clients under test: `http://127.0.0.1:port`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What clients have sent so far, whether or not it has arrived. For clients without TLS.
    pub fn traffic(&self) -> Traffic {
        self.counter.traffic()
    }

    /// Stops forwarding in both directions, like an unplugged cable. Connections stay open; new
    /// ones are accepted and get no answer.
    pub fn stall(&self) {
        self.conditions
            .send_modify(|conditions| conditions.stalled = true);
    }

    /// Refuses new connections at once. Existing ones are served.
    pub async fn refuse(&self) {
        self.conditions
            .send_modify(|conditions| conditions.refusing = true);
        while TcpStream::connect(self.address).await.is_ok() {}
    }

    /// Delays everything by `delay`, in both directions and in order.
    pub fn delay(&self, delay: Duration) {
        self.conditions
            .send_modify(|conditions| conditions.delay = delay);
    }

    /// Resets all connections that have carried data, on both sides. Data in flight is lost.
    pub fn drop_connections(&self) {
        self.conditions
            .send_modify(|conditions| conditions.drops += 1);
    }

    /// Ends [`stall`](Self::stall), [`refuse`](Self::refuse) and [`delay`](Self::delay), and
    /// forwards what was held back.
    pub fn resume(&self) {
        self.conditions.send_modify(|conditions| {
            *conditions = Conditions {
                drops: conditions.drops,
                ..Conditions::default()
            };
        });
    }
}

async fn listen(address: SocketAddr) -> TcpListener {
    TcpListener::bind(address)
        .await
        .unwrap_or_else(|error| panic!("a proxy cannot listen on {address}: {error}"))
}

/// Accepts until aborted; its connections end with it.
async fn accept(
    listener: TcpListener,
    address: SocketAddr,
    server: SocketAddr,
    mut conditions: watch::Receiver<Conditions>,
    counter: Arc<Counter>,
) {
    let mut connections = JoinSet::new();
    let mut listener = Some(listener);
    loop {
        if conditions.borrow_and_update().refusing {
            // Only a closed port refuses.
            listener = None;
        } else if listener.is_none() {
            listener = Some(listen(address).await);
        }
        let next = async {
            match &listener {
                Some(listener) => listener.accept().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            accepted = next => if let Ok((client, _)) = accepted {
                counter.connected();
                connections.spawn(serve(client, server, conditions.clone(), counter.clone()));
            },
            changed = conditions.changed() => if changed.is_err() {
                return;
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// One connection, until both sides are done. If it ends otherwise, both are reset.
async fn serve(
    mut client: TcpStream,
    server: SocketAddr,
    mut conditions: watch::Receiver<Conditions>,
    counter: Arc<Counter>,
) {
    let drops = conditions.borrow().drops;
    let Ok(mut upstream) = TcpStream::connect(server).await else {
        let _ = client.set_zero_linger();
        return;
    };
    // Small messages must not wait for each other, which would add a delay.
    let _ = client.set_nodelay(true);
    let _ = upstream.set_nodelay(true);
    let is_done = {
        let (from_client, to_client) = client.split();
        let (from_upstream, to_upstream) = upstream.split();
        let mut frames = Frames::new();
        let count = |bytes: &[u8]| counter.sent(frames.messages(bytes));
        let there = forward(from_client, to_upstream, conditions.clone(), count);
        let back = forward(from_upstream, to_client, conditions.clone(), |_| {});
        tokio::select! {
            ended = async { tokio::try_join!(there, back) } => ended.is_ok(),
            _ = conditions.wait_for(|conditions| conditions.drops != drops) => false,
        }
    };
    if !is_done {
        let _ = client.set_zero_linger();
        let _ = upstream.set_zero_linger();
    }
}

/// Forwards one direction. Data in flight is bounded, so that a stalled proxy exerts backpressure
/// like a network.
async fn forward(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut conditions: watch::Receiver<Conditions>,
    mut passes: impl FnMut(&[u8]),
) -> io::Result<()> {
    let (way, mut arrivals) = mpsc::channel::<(Instant, Vec<u8>)>(64);
    let delays = conditions.clone();
    let depart = async move {
        let mut buffer = vec![0; 16 * 1024];
        loop {
            let length = from.read(&mut buffer).await?;
            passes(&buffer[..length]);
            let due = Instant::now() + delays.borrow().delay;
            if length == 0 || way.send((due, buffer[..length].to_vec())).await.is_err() {
                return io::Result::Ok(());
            }
        }
    };
    let arrive = async move {
        while let Some((due, bytes)) = arrivals.recv().await {
            // A timer ends on a whole millisecond, which would delay what is not to be delayed.
            if Instant::now() < due {
                sleep_until(due).await;
            }
            let _ = conditions.wait_for(|conditions| !conditions.stalled).await;
            to.write_all(&bytes).await?;
        }
        let _ = conditions.wait_for(|conditions| !conditions.stalled).await;
        to.shutdown().await
    };
    tokio::try_join!(depart, arrive).map(|_| ())
}
