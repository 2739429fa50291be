//! The tasks of the connections, and their end.

use std::time::Duration;
use tokio::time::timeout;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// The owner of all tasks that serve connections: the connections themselves, their HTTP/2 streams
/// and the upgraded ones. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tasks {
    tasks: TaskTracker,
    draining: CancellationToken,
    cut: CancellationToken,
}

impl Tasks {
    pub(crate) fn spawn<F>(&self, task: F)
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        let cut = self.cut.clone();
        self.tasks.spawn(cut.run_until_cancelled_owned(task));
    }

    /// Resolves when connections should take no more requests.
    pub(crate) async fn draining(&self) {
        self.draining.cancelled().await;
    }

    /// Gives all tasks `limit` to finish. Returns how many were cut off then.
    pub(crate) async fn drain(&self, limit: Duration) -> usize {
        self.draining.cancel();
        self.tasks.close();
        let finished = timeout(limit, self.tasks.wait()).await;
        let left = match finished {
            Ok(()) => 0,
            Err(_) => self.tasks.len(),
        };
        self.cut.cancel();
        self.tasks.wait().await;
        left
    }
}

/// hyper's streams.
impl<F> hyper::rt::Executor<F> for Tasks
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    fn execute(&self, task: F) {
        self.spawn(task);
    }
}
