//! Background tasks and their owner.

use super::panics::{Panicked, catch_async};
use crate::registry::ErrorChain;
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

/// What a background task does.
///
/// The task owns the work and drops it when it ends, for whatever reason: it is done, is stopped,
/// panics, or its runtime ends. So the work's `Drop` publishes the end.
pub(crate) trait Work: Send + 'static {
    /// What the log calls the task.
    const NAME: &'static str;

    /// Does the work. A stop drops this future at an await.
    fn run(&mut self) -> impl Future<Output = ()> + Send;

    /// Called after a panic in `run`, before the work is dropped. Notes why the work has ended.
    fn panicked(&mut self, why: Panicked);
}

/// Owns a background task. [`stop`](Self::stop) stops it and waits for its end; dropping the owner
/// stops it too.
#[derive(Debug)]
pub(crate) struct BackgroundTask {
    running: TaskTracker,
    stop: CancellationToken,
    _stop_on_drop: DropGuard,
}

impl BackgroundTask {
    /// Starts `work`.
    ///
    /// # Panics
    /// Outside of a tokio runtime, as `tokio::spawn` does.
    pub(crate) fn spawn<W: Work>(mut work: W) -> Self {
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let running = TaskTracker::new();
        let unfinished = Unfinished {
            task: W::NAME,
            stop: stop.clone(),
            is_over: false,
        };
        running.spawn(async move {
            // In a box, since each future around it has room for it twice.
            let run = stopped.run_until_cancelled(Box::pin(work.run()));
            if let Err(why) = catch_async(run).await {
                tracing::error!(task = W::NAME, why = %ErrorChain(&why), "a background task has ended");
                work.panicked(why);
            }
            unfinished.finish();
        });
        running.close();
        Self {
            running,
            _stop_on_drop: stop.clone().drop_guard(),
            stop,
        }
    }

    /// Stops the task and waits until its work is dropped. Later calls do nothing more.
    ///
    /// Cancellation safe: if the future is dropped after its first poll, the task still stops.
    pub(crate) async fn stop(&self) {
        self.stop.cancel();
        self.running.wait().await;
    }
}

/// Logs that the runtime dropped a task before its end, unless the task was told to stop.
struct Unfinished {
    task: &'static str,
    stop: CancellationToken,
    is_over: bool,
}

impl Unfinished {
    fn finish(mut self) {
        self.is_over = true;
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if !self.is_over && !self.stop.is_cancelled() {
            // Not a warning: every program drops its runtime at its end.
            tracing::info!(
                task = self.task,
                "a background task has ended with its runtime"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::support::Log;
    use std::{
        future,
        sync::{Arc, Mutex},
    };

    #[derive(Clone, Copy)]
    enum Course {
        Done,
        Panic,
        Endless,
    }

    /// Records how it ends.
    struct Witness(Course, Arc<Mutex<Vec<String>>>);

    impl Work for Witness {
        const NAME: &'static str = "witness";

        async fn run(&mut self) {
            tokio::task::yield_now().await;
            match self.0 {
                Course::Done => {}
                Course::Panic => panic!("oh"),
                Course::Endless => future::pending().await,
            }
        }

        fn panicked(&mut self, why: Panicked) {
            self.1.lock().unwrap().push(why.to_string());
        }
    }

    impl Drop for Witness {
        fn drop(&mut self) {
            self.1.lock().unwrap().push("dropped".into());
        }
    }

    fn start(course: Course) -> (BackgroundTask, Arc<Mutex<Vec<String>>>) {
        let seen = Arc::new(Mutex::new(Vec::new()));
        (BackgroundTask::spawn(Witness(course, seen.clone())), seen)
    }

    #[tokio::test]
    async fn a_stop_waits_for_the_end() {
        let (task, seen) = start(Course::Endless);
        task.stop().await;
        task.stop().await;
        assert_eq!(*seen.lock().unwrap(), ["dropped"]);
    }

    #[tokio::test]
    async fn a_drop_stops() {
        let (task, seen) = start(Course::Endless);
        let running = task.running.clone();
        drop(task);
        running.wait().await;
        assert_eq!(*seen.lock().unwrap(), ["dropped"]);
    }

    #[tokio::test]
    async fn a_panic_is_logged_and_told_before_the_work_is_dropped() {
        let log = Log::capture();
        let (task, seen) = start(Course::Panic);
        task.running.wait().await;
        assert_eq!(*seen.lock().unwrap(), ["panicked: oh", "dropped"]);
        assert_eq!(
            log.text(),
            ["ERROR a background task has ended task=\"witness\" why=panicked: oh"]
        );
    }

    #[tokio::test]
    async fn work_that_is_done_needs_no_stop() {
        let (task, seen) = start(Course::Done);
        task.running.wait().await;
        task.stop().await;
        assert_eq!(*seen.lock().unwrap(), ["dropped"]);
    }

    #[test]
    fn the_end_of_the_runtime_drops_the_work() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let log = Log::capture();
        let (task, seen) = runtime.block_on(async { start(Course::Endless) });
        let (stopped, _) = runtime.block_on(async { start(Course::Endless) });
        drop(stopped);
        drop(runtime);
        assert_eq!(*seen.lock().unwrap(), ["dropped"]);
        assert_eq!(
            log.text(),
            ["INFO a background task has ended with its runtime task=\"witness\""]
        );
        drop(task);
    }
}
