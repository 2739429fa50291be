//! What tells a server to end.

use std::{future, io};
use tokio_util::sync::CancellationToken;

/// A token, and the signals of the process if they count.
pub(super) struct Stop {
    token: CancellationToken,
    signals: Option<Signals>,
    /// How many signals have come.
    seen: u32,
}

impl Stop {
    pub(super) fn new(token: CancellationToken, on_signals: bool) -> io::Result<Self> {
        Ok(Self {
            token,
            signals: on_signals.then(Signals::new).transpose()?,
            seen: 0,
        })
    }

    /// Waits until the server is to end. Says why. Cancellation safe.
    pub(super) async fn asked(&mut self) -> &'static str {
        tokio::select! {
            () = self.token.cancelled() => "its token was cancelled",
            signal = next(&mut self.signals) => {
                self.seen += 1;
                signal
            }
        }
    }

    /// Waits for the second signal, which asks to end at once. Cancellation safe.
    ///
    /// A signal after the token counts as the first: both may come from one who stops the process.
    pub(super) async fn asked_again(&mut self) -> &'static str {
        loop {
            let signal = next(&mut self.signals).await;
            self.seen += 1;
            if self.seen > 1 {
                return signal;
            }
        }
    }
}

async fn next(signals: &mut Option<Signals>) -> &'static str {
    match signals {
        Some(signals) => signals.next().await,
        None => future::pending().await,
    }
}

#[cfg(unix)]
struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            Some(()) = self.terminate.recv() => "SIGTERM",
            Some(()) = self.interrupt.recv() => "SIGINT",
            else => future::pending().await,
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) -> &'static str {
        match tokio::signal::ctrl_c().await {
            Ok(()) => "Ctrl-C",
            Err(_) => future::pending().await,
        }
    }
}
