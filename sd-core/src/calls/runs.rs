//! Runs of foreign code, many at once, each with a time limit.

use super::{factory::BoxError, run_queue::RunId};
use crate::support::catch_async;
use futures::{
    StreamExt,
    future::{AbortHandle, Abortable, BoxFuture},
    stream::FuturesUnordered,
};
use std::{collections::HashMap, sync::Arc, time::Duration};
use tokio::time::timeout;

/// The runs of factories or health checks that are under way. Dropping it drops them.
pub(super) struct Runs<T> {
    timeout: Duration,
    running: FuturesUnordered<Run<T>>,
    aborts: HashMap<RunId, AbortHandle>,
}

/// `None` if it was aborted.
type Run<T> = BoxFuture<'static, (RunId, Option<Result<T, RunError>>)>;

/// Why a run failed.
pub(super) enum RunError {
    Failed(BoxError),
    TimedOut(Duration),
    /// With the message of the panic.
    Panicked(Arc<str>),
}

impl<T: 'static> Runs<T> {
    /// Each run may take as long as `timeout`.
    pub(super) fn new(timeout: Duration) -> Self {
        Self {
            timeout,
            running: FuturesUnordered::new(),
            aborts: HashMap::new(),
        }
    }

    pub(super) fn start(
        &mut self,
        id: RunId,
        run: impl Future<Output = Result<T, BoxError>> + Send + 'static,
    ) {
        let limit = self.timeout;
        let (abort, aborted) = AbortHandle::new_pair();
        self.aborts.insert(id, abort);
        // Inside of what catches panics, so that one is also caught while the future is dropped.
        let run = async move { Abortable::new(timeout(limit, run), aborted).await };
        let run = async move {
            let result = match catch_async(run).await {
                Ok(Err(_aborted)) => None,
                Ok(Ok(Ok(result))) => Some(result.map_err(RunError::Failed)),
                Ok(Ok(Err(_))) => Some(Err(RunError::TimedOut(limit))),
                Err(panicked) => Some(Err(RunError::Panicked(panicked.0.into()))),
            };
            (id, result)
        };
        self.running.push(Box::pin(run));
    }

    /// Aborts a run.
    pub(super) fn abort(&mut self, id: RunId) {
        if let Some(abort) = self.aborts.remove(&id) {
            abort.abort();
        }
    }

    /// Waits for the end of a run that was not aborted. `None` if there is none. Cancellation safe.
    pub(super) async fn next(&mut self) -> Option<(RunId, Result<T, RunError>)> {
        loop {
            let (id, result) = self.running.next().await?;
            self.aborts.remove(&id);
            if let Some(result) = result {
                return Some((id, result));
            }
        }
    }
}
