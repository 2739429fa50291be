//! Connector: the connections of a pool to one endpoint.

use super::{
    connect_error::ConnectError, dialer::Dialer, encryption::Encryption,
    http_versions::HttpVersions, options::ConnectOptions, outage::Outage, stream::Stream,
};
use futures::future::BoxFuture;
use http::{Uri, uri::Scheme};
use hyper_util::rt::TokioIo;
#[cfg(feature = "reqwest")]
use sd_core::BoxError;
use sd_core::{Connectable, Connectivity};
use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};
use tokio_util::task::AbortOnDropHandle;
use tower::Service;

/// Opens the connections of a client that calls one endpoint: hyper-util's `legacy::Client`.
///
/// It connects to its address, whatever the URI says. So requests need no change: `Host`,
/// `:authority` and the path are the caller's, for HTTP/1 and HTTP/2 alike. With `https` it connects
/// with TLS, to [its server name](crate::Tls::with_server_name) or the host of the URI.
///
/// It opens as many connections at once as it is asked for. When one fails, the endpoint is failing,
/// and for growing [pauses](ConnectOptions::backoff) all others fail at once with the same
/// [`ConnectError`]. Meanwhile a task connects after each pause, closes what it has opened, and ends
/// the failure when that succeeds. No call is spent on trying. What it knows is its
/// [`Connectivity`]: idle until the first connect.
///
/// Clones share all that. The task ends with the last. Connections live as long as the client keeps
/// them.
///
/// # Limits
/// A call over HTTP/2 that hyper-util's client queues on a connection while the server closes it may get
/// no answer at all (seen with hyper-util 0.1.21 and tokio 1.54, rarely, under load). Give calls a
/// deadline.
///
/// ```
/// use http_body_util::Empty;
/// use hyper_util::{client::legacy::Client, rt::TokioExecutor};
/// use sd_tower::{ConnectOptions, Connector};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let connector = Connector::new("10.0.0.1:8080", ConnectOptions::new())?;
/// let client: Client<_, Empty<bytes::Bytes>> =
///     Client::builder(TokioExecutor::new()).build(connector);
/// # let _ = client;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Connector {
    dials: Arc<Dials>,
    _probe: Arc<AbortOnDropHandle<()>>,
}

/// What the connects have shown.
struct Dials {
    dialer: Dialer,
    versions: HttpVersions,
    state: Mutex<State>,
    connectivity: watch::Sender<Connectivity>,
}

struct State {
    outage: Outage,
    /// How the newest connect was encrypted, so that the task tries the same.
    encryption: Option<Encryption>,
    /// While it fails: why, and when to try again.
    failing: Option<(ConnectError, Instant)>,
}

impl Connector {
    /// Will connect to `address`, which is `host:port`, when it is called.
    ///
    /// # Errors
    /// If the address is none.
    ///
    /// # Panics
    /// Outside of a tokio runtime, as `tokio::spawn` does.
    pub fn new(address: &str, options: ConnectOptions) -> Result<Self, ConnectError> {
        Self::with_versions(address, options, HttpVersions::Negotiated)
    }

    /// Like [`new`](Self::new), to offer other versions with TLS (ALPN) than both. A client that
    /// speaks only one of them needs to be told so too.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    ///
    /// # Panics
    /// As [`new`](Self::new).
    pub fn with_versions(
        address: &str,
        options: ConnectOptions,
        versions: HttpVersions,
    ) -> Result<Self, ConnectError> {
        let dialer = Dialer::new(address, options)?;
        let dials = Arc::new(Dials {
            versions,
            state: Mutex::new(State {
                outage: Outage::none(dialer.backoff()),
                encryption: None,
                failing: None,
            }),
            connectivity: watch::Sender::new(Connectivity::Idle),
            dialer,
        });
        let probe = tokio::spawn(probe(dials.clone()));
        Ok(Self {
            dials,
            _probe: Arc::new(AbortOnDropHandle::new(probe)),
        })
    }

    /// The address, as it was given.
    pub fn address(&self) -> &str {
        self.dials.dialer.address().as_str()
    }
}

/// For a client that connects by itself.
#[cfg(feature = "reqwest")]
impl Connector {
    /// The failure that all share now.
    pub(crate) fn failure(&self) -> Option<ConnectError> {
        self.dials.failing().map(|(error, _)| error)
    }

    /// The client is connected.
    pub(crate) fn connected(&self) {
        // A failure is ended by the task.
        if matches!(*self.dials.connectivity.borrow(), Connectivity::Idle) {
            self.dials.succeeded();
        }
    }

    /// The client could not connect. From now on the task tries, without TLS.
    pub(crate) fn failed(&self, error: BoxError) -> ConnectError {
        let error = ConnectError::of_client(self.address(), error);
        self.dials.failed(&error, false);
        error
    }
}

impl Dials {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failing(&self) -> Option<(ConnectError, Instant)> {
        self.lock().failing.clone()
    }

    async fn connect(&self, uri: &Uri) -> Result<Stream, ConnectError> {
        // What the URI asks for in vain says nothing about the endpoint.
        let encryption = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTPS => {
                Some(self.dialer.https(host(uri), self.versions)?)
            }
            _ => None,
        };
        {
            let mut state = self.lock();
            if let Some((error, _)) = &state.failing {
                return Err(error.clone());
            }
            state.encryption.clone_from(&encryption);
        }
        let result = self.dial(encryption.as_ref()).await;
        match &result {
            Ok(_) => self.succeeded(),
            Err(error) => self.failed(error, false),
        }
        result
    }

    async fn dial(&self, encryption: Option<&Encryption>) -> Result<Stream, ConnectError> {
        self.dialer.dial(encryption, self.dialer.deadline()).await
    }

    fn succeeded(&self) {
        let mut state = self.lock();
        state.failing = None;
        state.outage.forget();
        // Under the lock, so that what is published is what was decided last.
        self.connectivity.send_if_modified(|published| {
            let differs = !matches!(published, Connectivity::Ready);
            *published = Connectivity::Ready;
            differs
        });
    }

    /// Of several connects that fail at once, the first counts. Later ones are the task's.
    fn failed(&self, error: &ConnectError, is_probe: bool) {
        let mut state = self.lock();
        if is_probe == state.failing.is_none() {
            return;
        }
        let (at, connectivity) = state.outage.failed(error.clone(), Instant::now());
        state.failing = Some((error.clone(), at));
        self.connectivity.send_replace(connectivity);
    }
}

/// The host of a URI, IPv6 without brackets.
fn host(uri: &Uri) -> &str {
    let host = uri.host().unwrap_or_default();
    let bare = host.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
    bare.unwrap_or(host)
}

/// Connects again while the endpoint is failing.
async fn probe(dials: Arc<Dials>) {
    let mut connectivity = dials.connectivity.subscribe();
    loop {
        // The sender is in `dials`.
        let _ = connectivity.wait_for(Connectivity::is_failing).await;
        while let Some((_, at)) = dials.failing() {
            tokio::select! {
                // A connect that began before the failure may have succeeded.
                _ = connectivity.wait_for(|state| !state.is_failing()) => break,
                () = sleep_until(at) => {}
            }
            let encryption = dials.lock().encryption.clone();
            match dials.dial(encryption.as_ref()).await {
                Ok(_) => dials.succeeded(),
                Err(error) => dials.failed(&error, true),
            }
        }
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Stream>;
    type Error = ConnectError;
    type Future = BoxFuture<'static, Result<Self::Response, ConnectError>>;

    /// Always ready: whether it fails is known when it is called.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        // A clone of the whole: the task goes on while somebody connects.
        let connector = self.clone();
        Box::pin(async move { connector.dials.connect(&uri).await.map(TokioIo::new) })
    }
}

impl Connectable for Connector {
    fn connectivity(&self) -> watch::Receiver<Connectivity> {
        self.dials.connectivity.subscribe()
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector")
            .field("address", &self.address())
            .field("connectivity", &*self.dials.connectivity.borrow())
            .finish_non_exhaustive()
    }
}
