//! Tasks that do not end without a word.

use std::thread;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Spawns a task.
///
/// If it does not come to its end, since it has panicked or its runtime has ended, that is logged, and
/// `stop` is cancelled: a client that lacks a part of itself is closed, so that nobody waits for it.
pub(crate) fn spawn(
    tasks: &TaskTracker,
    stop: &CancellationToken,
    name: &'static str,
    task: impl Future<Output = ()> + Send + 'static,
) {
    let guard = StopGuard {
        name,
        stop: stop.clone(),
        has_ended: false,
    };
    tasks.spawn(async move {
        // All of it, not only the field.
        let mut guard = guard;
        task.await;
        guard.has_ended = true;
    });
}

struct StopGuard {
    name: &'static str,
    stop: CancellationToken,
    has_ended: bool,
}

impl Drop for StopGuard {
    fn drop(&mut self) {
        if self.has_ended || self.stop.is_cancelled() {
            return;
        }
        if thread::panicking() {
            tracing::error!(
                task = self.name,
                "a task of the etcd client panicked: the client is closed"
            );
        } else {
            tracing::warn!(
                task = self.name,
                "the runtime of the etcd client has ended: the client is closed"
            );
        }
        self.stop.cancel();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::support::Log;
    use std::future::pending;

    /// Row 36.
    #[tokio::test]
    async fn a_task_that_panics_closes_the_client_and_says_so() {
        let log = Log::capture();
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let other = stop.clone();
        spawn(
            &tasks,
            &stop,
            "other",
            async move { other.cancelled().await },
        );

        spawn(&tasks, &stop, "leases", async { panic!("on purpose") });

        stop.cancelled().await;
        tasks.close();
        tasks.wait().await;
        assert_eq!(
            log.text(),
            ["ERROR a task of the etcd client panicked: the client is closed task=\"leases\""]
        );
    }

    /// Row 36.
    #[test]
    fn a_runtime_that_ends_closes_the_client() {
        let log = Log::capture();
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        runtime.block_on(async { spawn(&tasks, &stop, "watches", pending()) });
        drop(runtime);
        assert!(stop.is_cancelled());
        assert_eq!(log.text().len(), 1, "{:?}", log.text());
    }

    #[tokio::test]
    async fn a_task_that_is_stopped_says_nothing() {
        let log = Log::capture();
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let stopped = stop.clone();
        spawn(
            &tasks,
            &stop,
            "leases",
            async move { stopped.cancelled().await },
        );
        stop.cancel();
        tasks.close();
        tasks.wait().await;
        assert!(log.text().is_empty(), "{:?}", log.text());
    }
}
