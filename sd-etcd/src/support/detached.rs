//! Work that blocks and cannot be cancelled.

use std::{io, thread};
use tokio::sync::oneshot;

/// Runs `work` on a thread of its own and returns what it returned.
///
/// Nobody waits for the thread: neither the runtime when it shuts down, as it does for
/// `spawn_blocking`, nor the process when it ends. That is for the system's resolver and for files,
/// which can hang for minutes. Dropping the future leaves the thread to end by itself.
///
/// # Errors
/// If no thread can be started, or `work` panicked.
pub(crate) async fn run_detached<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    let (done, result) = oneshot::channel();
    thread::Builder::new().name(name.into()).spawn(move || {
        // Whoever asked may have given up.
        let _ = done.send(work());
    })?;
    result
        .await
        .map_err(|_| io::Error::other(format!("the thread {name} panicked")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        sync::mpsc,
        time::{Duration, Instant},
    };

    /// Row 44: with `spawn_blocking` in its place this hangs.
    #[test]
    fn work_that_hangs_does_not_hold_up_a_runtime() {
        let (stuck, ends) = mpsc::channel::<()>();
        let begun = Instant::now();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        let given_up = runtime.block_on(async {
            let work = run_detached("stuck", move || ends.recv());
            tokio::time::timeout(Duration::from_millis(10), work).await
        });
        drop(runtime);

        assert!(given_up.is_err());
        assert!(begun.elapsed() < Duration::from_secs(20));
        drop(stuck);
    }

    #[tokio::test]
    async fn what_panics_is_an_error() {
        let result = run_detached("panics", || -> () { panic!("on purpose") }).await;
        assert!(result.unwrap_err().to_string().contains("panics"));
    }
}
