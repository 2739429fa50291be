//! The phases of a server, from its check to its last connection.

use super::{
    connection::OpenConnections,
    status::{ServeError, Served, ServerStatus},
    stop::Stop,
};
use futures::{
    FutureExt,
    future::{BoxFuture, join_all, try_join_all},
};
use sd_core::{BoxError, Deregistered, ErrorChain, Registrar};
use std::{
    panic::AssertUnwindSafe,
    pin::{Pin, pin},
    sync::Arc,
    time::Duration,
};
use tokio::{
    select,
    sync::watch,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

/// How long to wait between two attempts of a check, and how long an attempt may take.
const CHECK_PAUSE: Duration = Duration::from_millis(200);
const CHECK_TIMEOUT: Duration = Duration::from_secs(5);
/// How long what is told of the drain may take.
const ON_DRAIN_TIMEOUT: Duration = Duration::from_secs(1);
/// How long connections that were cut may take to end.
const CUT_TIMEOUT: Duration = Duration::from_secs(1);

/// One attempt of a check.
pub(super) type Check = Box<dyn FnMut() -> BoxFuture<'static, Result<(), BoxError>> + Send>;

/// What a server does in its phases.
pub(super) struct Phases {
    pub(super) registrars: Vec<Arc<Registrar>>,
    pub(super) was_registered: bool,
    pub(super) check: Option<Check>,
    pub(super) check_limit: Duration,
    pub(super) on_drain: BoxFuture<'static, ()>,
    pub(super) linger: Duration,
    pub(super) finish: Duration,
    pub(super) status: watch::Sender<ServerStatus>,
}

/// Takes `server` through all phases. `closing` tells it to accept no more connections.
pub(super) async fn run(
    server: impl Future<Output = Result<(), ServeError>>,
    mut phases: Phases,
    mut stop: Stop,
    open: OpenConnections,
    closing: CancellationToken,
) -> Result<Served, ServeError> {
    let ending = Ending { open, closing };
    let mut server = Server {
        future: pin!(caught(server)),
        ended: None,
    };

    let asked = select! {
        biased;
        () = server.ended() => match &server.ended {
            Some(Ok(())) => Err(ServeError::EndedEarly),
            _ => Ok(()),
        },
        asked = caught(phases.until_asked(&mut stop)) => asked,
    };

    // Nobody is served any more, or whoever has asked twice waits for nobody.
    let mut at_once = server.ended.is_some();
    let mut deregistered = None;
    if !at_once {
        select! {
            biased;
            reason = stop.asked_again() => at_once = again(reason),
            outcomes = server.beside(phases.drain()) => deregistered = Some(outcomes),
        }
    }
    ending.closing.cancel();
    if !at_once {
        phases.enter(ServerStatus::Finishing);
        tracing::info!(
            connections = ending.open.count(),
            "accepting no more connections, finishing"
        );
        select! {
            biased;
            reason = stop.asked_again() => at_once = again(reason),
            _ = timeout(phases.finish, server.finished(&ending.open)) => {}
        }
    }
    let cut = ending.open.count();
    if cut > 0 || server.ended.is_none() {
        phases.enter(ServerStatus::Cutting);
        tracing::warn!(connections = cut, at_once, "cutting connections");
        ending.open.cut();
    }
    let registrars = &phases.registrars;
    let ((), deregistered) = tokio::join!(
        async { drop(timeout(CUT_TIMEOUT, server.finished(&ending.open)).await) },
        async {
            match deregistered {
                Some(outcomes) => outcomes,
                None => deregister(registrars, true).await,
            }
        }
    );
    let left = ending.open.count();
    phases.enter(ServerStatus::Ended);
    tracing::info!(cut, left, "the server has ended");
    asked?;
    server.ended.unwrap_or(Ok(()))?;
    Ok(Served {
        deregistered,
        cut,
        left,
    })
}

fn again(reason: &'static str) -> bool {
    tracing::warn!(reason, "asked again to end, ending at once");
    true
}

impl Phases {
    fn enter(&self, phase: ServerStatus) {
        self.status.send_replace(phase);
    }

    /// Checks, registers, and serves until it is asked to end.
    async fn until_asked(&mut self, stop: &mut Stop) -> Result<(), ServeError> {
        let reason = select! {
            biased;
            reason = stop.asked() => reason,
            started = self.start() => {
                started?;
                stop.asked().await
            }
        };
        tracing::info!(reason, "asked to end");
        Ok(())
    }

    async fn start(&mut self) -> Result<(), ServeError> {
        self.enter(ServerStatus::Checking { error: None });
        self.pass_check().await?;
        self.enter(ServerStatus::Registering);
        let registering = self.registrars.iter().map(|registrar| registrar.register());
        try_join_all(registering)
            .await
            .map_err(ServeError::Register)?;
        self.was_registered = !self.registrars.is_empty();
        self.enter(ServerStatus::Serving);
        tracing::info!("registered and serving");
        Ok(())
    }

    async fn pass_check(&mut self) -> Result<(), ServeError> {
        let Some(mut check) = self.check.take() else {
            return Ok(());
        };
        let (status, mut last) = (&self.status, None);
        let passed = timeout(self.check_limit, async {
            loop {
                let error: Arc<dyn std::error::Error + Send + Sync> =
                    match timeout(CHECK_TIMEOUT, check()).await {
                        Ok(Ok(())) => return,
                        Ok(Err(error)) => error.into(),
                        Err(late) => Arc::new(late),
                    };
                if last.is_none() {
                    tracing::warn!(error = %ErrorChain(&*error), "the check fails, not registered yet");
                }
                last = Some(error.clone());
                status.send_replace(ServerStatus::Checking { error: Some(error) });
                sleep(CHECK_PAUSE).await;
            }
        });
        passed.await.map_err(|_| ServeError::NotReady {
            after: self.check_limit,
            source: last,
        })
    }

    /// Tells consumers that the server goes, and waits until they know. What became of the registrations.
    async fn drain(&mut self) -> Vec<Deregistered> {
        self.enter(ServerStatus::Draining);
        tracing::info!("draining");
        let told = timeout(ON_DRAIN_TIMEOUT, caught(self.on_drain.as_mut().map(Ok)));
        match told.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::error!(error = %ErrorChain(&error), "what runs at the drain has failed")
            }
            Err(_) => {
                tracing::error!(limit = ?ON_DRAIN_TIMEOUT, "what runs at the drain takes too long")
            }
        }
        let outcomes = deregister(&self.registrars, false).await;
        if self.was_registered || outcomes.contains(&Deregistered::Removed) {
            self.enter(ServerStatus::Lingering);
            tracing::info!(linger = ?self.linger, "deregistered, lingering");
            sleep(self.linger).await;
        }
        outcomes
    }
}

/// What became of each registration.
async fn deregister(registrars: &[Arc<Registrar>], at_once: bool) -> Vec<Deregistered> {
    let deregistering = registrars.iter().map(async |registrar| {
        let outcome = match at_once {
            true => registrar.deregister_now().await,
            false => registrar.deregister().await,
        };
        outcome.unwrap_or_else(|error| {
            tracing::warn!(error = %ErrorChain(&error), "the server could not be deregistered");
            Deregistered::Unconfirmed
        })
    });
    join_all(deregistering).await
}

/// The server, and how it ended.
struct Server<'a, F> {
    future: Pin<&'a mut F>,
    ended: Option<Result<(), ServeError>>,
}

impl<F: Future<Output = Result<(), ServeError>>> Server<'_, F> {
    /// Runs it until it ends. Cancellation safe.
    async fn ended(&mut self) {
        if self.ended.is_none() {
            self.ended = Some(self.future.as_mut().await);
        }
    }

    /// Runs it while `phase` lasts.
    async fn beside<T>(&mut self, phase: impl Future<Output = T>) -> T {
        let mut phase = pin!(phase);
        select! {
            biased;
            output = &mut phase => return output,
            () = self.ended() => {}
        }
        phase.await
    }

    /// Runs it until it has ended and none of its connections is open.
    async fn finished(&mut self, open: &OpenConnections) {
        self.ended().await;
        open.none().await;
    }
}

/// Cuts all connections when the server ends, or is dropped: they are in tasks that it does not own.
struct Ending {
    open: OpenConnections,
    closing: CancellationToken,
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.closing.cancel();
        self.open.cut();
    }
}

/// Turns a panic into an error.
async fn caught<T>(future: impl Future<Output = Result<T, ServeError>>) -> Result<T, ServeError> {
    let caught = AssertUnwindSafe(future).catch_unwind().await;
    caught.unwrap_or_else(|payload| {
        let text = payload.downcast_ref::<&str>().map(ToString::to_string);
        let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
        Err(ServeError::Panicked {
            message: text.unwrap_or_else(|| "no message".to_owned()),
        })
    })
}
