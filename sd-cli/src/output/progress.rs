//! What is told of work that takes longer than a second.

use std::{
    fmt::Display,
    io::{self, IsTerminal, Write},
    pin::pin,
    time::{Duration, Instant},
};
use tokio::time::timeout;

const QUIET: Duration = Duration::from_secs(1);
const EVERY: Duration = Duration::from_millis(250);
/// Returns to the beginning of the line, and clears it.
const CLEAR: &str = "\r\x1b[K";

/// One line on the terminal's stderr, rewritten as the work goes on and removed at its end. Nothing is written within
/// the first second, and nothing where there is no terminal.
pub(crate) struct Progress {
    what: &'static str,
    start: Instant,
    last: Option<Instant>,
    is_shown: bool,
}

impl Progress {
    pub(crate) fn new(what: &'static str) -> Self {
        Self {
            what,
            start: Instant::now(),
            last: None,
            is_shown: io::stderr().is_terminal(),
        }
    }

    /// So much is done.
    pub(crate) fn at(&mut self, done: usize) {
        let now = Instant::now();
        let is_due = self.last.is_none_or(|last| now - last >= EVERY);
        if self.is_shown && is_due && now - self.start >= QUIET {
            self.last = Some(now);
            let _ = write!(io::stderr(), "{CLEAR}{done} {}", self.what);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.last.is_some() {
            let _ = write!(io::stderr(), "{CLEAR}");
        }
    }
}

/// Waits for `work`. Says on such a line what it waits for, where nobody knows how far it is.
pub(crate) async fn waiting<T>(what: impl Display, work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    if let Ok(done) = timeout(QUIET, &mut work).await {
        return done;
    }
    let is_shown = io::stderr().is_terminal();
    if is_shown {
        let _ = write!(io::stderr(), "{CLEAR}{what} ...");
    }
    let done = work.await;
    if is_shown {
        let _ = write!(io::stderr(), "{CLEAR}");
    }
    done
}
