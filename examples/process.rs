//! What `provider`, `consumer`, `grpc` and `gateway` share: programs that run until they are told to stop.

use std::{fmt, io, io::Write};
use tokio::time::Instant;
use tracing_subscriber::EnvFilter;

/// Prints the toolkit's log on stderr, at the level in `RUST_LOG`. Default: only errors, since the
/// programs print what there is to see.
pub(crate) fn log() {
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::from_default_env())
        .with_writer(io::stderr)
        .init();
}

/// Resolves at the first Ctrl-C or SIGTERM. From its first poll on, neither kills the program.
#[cfg(unix)]
pub(crate) async fn told_to_stop() -> io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted,
        _ = terminate.recv() => Ok(()),
    }
}

/// Resolves at the first Ctrl-C.
#[cfg(not(unix))]
pub(crate) async fn told_to_stop() -> io::Result<()> {
    tokio::signal::ctrl_c().await
}

/// Prints lines that begin with the seconds since the start.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Diary {
    start: Instant,
}

impl Diary {
    pub(crate) fn begin(title: impl fmt::Display) -> io::Result<Self> {
        writeln!(io::stdout(), "{title}\n")?;
        Ok(Self {
            start: Instant::now(),
        })
    }

    pub(crate) fn note(self, what: impl fmt::Display) -> io::Result<()> {
        let now = self.at(Instant::now());
        writeln!(io::stdout(), "{now:>8}  {what}")
    }

    /// `moment` in seconds since the start.
    pub(crate) fn at(self, moment: Instant) -> String {
        let since = moment.saturating_duration_since(self.start);
        format!("{:.1} s", since.as_secs_f64())
    }
}
