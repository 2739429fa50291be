//! A server that registers itself, and its options.

use super::{
    connection::OpenConnections,
    incoming::Incoming,
    phases::{self, Check, Phases},
    status::{ServeError, Served, ServerStatus},
    stop::Stop,
};
use sd_core::{BoxError, Registrar};
use std::{fmt, future::IntoFuture, sync::Arc, time::Duration};
use tokio::{net::TcpListener, sync::watch};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// The longest time that an option accepts.
const A_DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Runs a server that registers itself when it can be called, and ends without a failed call.
///
/// | phase | what happens | until |
/// |---|---|---|
/// | checking | the server accepts connections, and is not registered | its [check](Self::check) passes; an error after [`check_limit`](Self::check_limit), 1 min |
/// | registering | the registrars register, again and again while the registry is away | they are registered |
/// | serving | | it is told to end: its [token](Self::cancellation_token), a [signal](Self::on_signals) |
/// | draining | [`on_drain`](Self::on_drain); consumers are told; the entries are removed | the registrars have ended: [`drain`](sd_core::RegistrarBuilder::drain) and at most [`deregister_timeout`](sd_core::RegistrarBuilder::deregister_timeout), 5 s |
/// | lingering | consumers that poll the registry still call | [`linger`](Self::linger), 6 s |
/// | finishing | no connection is accepted, calls under way end | all connections are closed; [`finish`](Self::finish), 10 s |
/// | cutting | the connections that are left are cut | they are closed, a second at most |
///
/// By default that takes 22 s at most, less than the 30 s after which Kubernetes kills a process. A second
/// signal cuts everything at once. Each phase is a line in the log and a [status](Self::status). If the
/// server ends early or panics, its entries are removed at once, and [`serve`](Self::serve) returns the
/// error.
///
/// # Examples
/// axum, with the feature `axum`:
///
#[cfg_attr(feature = "axum", doc = "```")]
#[cfg_attr(not(feature = "axum"), doc = "```text")]
/// # use sd_core::{Client, Registrar, Service};
/// # use sd_tower::{Advertise, RegisteredServer};
/// # async fn provider(client: impl Client, app: axum::Router) -> Result<(), Box<dyn std::error::Error>> {
/// let listener = tokio::net::TcpListener::bind("0.0.0.0:8080").await?;
/// let address = Advertise::env("POD_IP").address_of(listener.local_addr()?).await?;
/// let service = Service::new(format!("/services/hello/{address}"), address.to_string())?;
/// RegisteredServer::new(listener)
///     .registrar(Registrar::new(client, service))
///     .on_signals()
///     .serve(|incoming, shutdown| axum::serve(incoming, app).with_graceful_shutdown(shutdown))
///     .await?;
/// # Ok(())
/// # }
/// ```
///
/// tonic, with the feature `tonic-server`, and a health service that says `NOT_SERVING` from the beginning
/// of the drain:
///
#[cfg_attr(feature = "tonic-server", doc = "```")]
#[cfg_attr(not(feature = "tonic-server"), doc = "```text")]
/// # use sd_core::Registrar;
/// # use sd_tower::RegisteredServer;
/// # async fn provider(listener: tokio::net::TcpListener, registrar: Registrar) -> Result<(), Box<dyn std::error::Error>> {
/// use tonic::transport::Server;
/// use tonic_health::ServingStatus::NotServing;
///
/// let (health, health_service) = tonic_health::server::health_reporter();
/// RegisteredServer::new(listener)
///     .registrar(registrar)
///     .on_signals()
///     .on_drain(async move { health.set_service_status("", NotServing).await })
///     .serve(|incoming, shutdown| {
///         Server::builder()
///             .add_service(health_service)
///             .serve_with_incoming_shutdown(incoming, shutdown)
///     })
///     .await?;
/// # Ok(())
/// # }
/// ```
#[must_use = "a server does nothing unless it is served"]
pub struct RegisteredServer {
    listener: TcpListener,
    phases: Phases,
    token: CancellationToken,
    on_signals: bool,
}

impl RegisteredServer {
    /// A server on `listener`, which nobody else accepts connections from. Registers nothing yet.
    pub fn new(listener: TcpListener) -> Self {
        Self {
            listener,
            phases: Phases {
                registrars: Vec::new(),
                was_registered: false,
                check: None,
                check_limit: Duration::from_secs(60),
                on_drain: Box::pin(async {}),
                linger: Duration::from_secs(6),
                finish: Duration::from_secs(10),
                status: watch::Sender::new(ServerStatus::Idle),
            },
            token: CancellationToken::new(),
            on_signals: false,
        }
    }

    /// Registers with `registrar` too. A server of several services has one for each. A program that
    /// [updates](Registrar::update) what is registered, or follows its [status](Registrar::status), keeps
    /// a clone of an `Arc`.
    ///
    /// How long draining is announced is the registrar's option
    /// [`drain`](sd_core::RegistrarBuilder::drain).
    pub fn registrar(mut self, registrar: impl Into<Arc<Registrar>>) -> Self {
        self.phases.registrars.push(registrar.into());
        self
    }

    /// Registers only once `check` has succeeded, such as a call to the server itself. Without one it
    /// registers at once.
    ///
    /// It is called every 200 ms until it succeeds, and never again. An attempt may take 5 s.
    ///
    /// ```
    /// # use sd_tower::RegisteredServer;
    /// # async fn provider(server: RegisteredServer, database: std::net::SocketAddr) -> RegisteredServer {
    /// server.check(move || async move {
    ///     tokio::net::TcpStream::connect(database).await.map(drop)
    /// })
    /// # }
    /// ```
    pub fn check<C, F, E>(mut self, mut check: C) -> Self
    where
        C: FnMut() -> F + Send + 'static,
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<BoxError>,
    {
        let check: Check = Box::new(move || {
            let attempt = check();
            Box::pin(async move { attempt.await.map_err(Into::into) })
        });
        self.phases.check = Some(check);
        self
    }

    /// How long the check may fail before the server gives up and ends, so that whoever started it
    /// notices; by default a minute, at most a day.
    pub fn check_limit(mut self, limit: Duration) -> Self {
        self.phases.check_limit = limit.min(A_DAY);
        self
    }

    /// Runs `then` when the drain begins, before consumers are told, as to have a health service or a
    /// probe say that the server goes. It may take a second. If it panics, that is logged.
    pub fn on_drain(mut self, then: impl Future<Output = ()> + Send + 'static) -> Self {
        self.phases.on_drain = Box::pin(then);
        self
    }

    /// How long the server goes on as before once its entries are removed, for consumers that learn it
    /// late; by default 6 s, at most a day.
    ///
    /// Consumers that watch the registry know within milliseconds. Those that poll it (kitex, hertz: every
    /// 5 s) need the interval and the time of a poll. The server does not linger if it was never
    /// registered.
    pub fn linger(mut self, linger: Duration) -> Self {
        self.phases.linger = linger.min(A_DAY);
        self
    }

    /// How long calls under way may take once no more connections are accepted; by default 10 s, at most a
    /// day. Choose the deadline of the longest call that must not be cut.
    ///
    /// All connections count, also those that an axum server does not wait for (WebSockets).
    pub fn finish(mut self, finish: Duration) -> Self {
        self.phases.finish = finish.min(A_DAY);
        self
    }

    /// Ends the server when `token` is cancelled.
    pub fn cancellation_token(mut self, token: CancellationToken) -> Self {
        self.token = token;
        self
    }

    /// Ends the server at SIGTERM or SIGINT (elsewhere than on Unix, Ctrl-C); at the second one at once.
    ///
    /// From [`serve`](Self::serve) on, the process does not end by these signals any more, also once the
    /// server has ended.
    pub fn on_signals(mut self) -> Self {
        self.on_signals = true;
        self
    }

    /// Follows what the server is doing. Only the newest status is kept.
    pub fn status(&self) -> watch::Receiver<ServerStatus> {
        self.phases.status.subscribe()
    }

    /// Runs `server` until it is told to end, and says how it ended.
    ///
    /// `server` is given the connections to serve, and a future that resolves when it is to accept no more
    /// and finish what is under way. What it returns is polled here, not in a task of its own.
    ///
    /// Dropping the future cuts all connections. Registrars that nobody else holds deregister in the
    /// background then.
    ///
    /// # Errors
    /// [`ServeError`] if it ended without having been told to.
    pub async fn serve<S, F, E>(self, server: S) -> Result<Served, ServeError>
    where
        S: FnOnce(Incoming, WaitForCancellationFutureOwned) -> F,
        F: IntoFuture<Output = Result<(), E>>,
        E: Into<BoxError>,
    {
        let stop = Stop::new(self.token, self.on_signals).map_err(ServeError::Signals)?;
        let open = OpenConnections::new();
        let closing = CancellationToken::new();
        let incoming = Incoming::new(self.listener, open.clone());
        let closed = closing.clone().cancelled_owned();
        let server = async move {
            let ended = server(incoming, closed).into_future().await;
            ended.map_err(|error| ServeError::Server(error.into()))
        };
        phases::run(server, self.phases, stop, open, closing).await
    }
}

impl fmt::Debug for RegisteredServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegisteredServer")
            .field("listener", &self.listener)
            .field("registrars", &self.phases.registrars)
            .field("status", &*self.phases.status.borrow())
            .finish_non_exhaustive()
    }
}
