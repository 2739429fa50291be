//! Runs factories, each with a time limit, and catches their panics.

use super::factory_queue::RunId;
use crate::{
    calls::factory::{Factory, FactoryError},
    instances::Instance,
    support::catch_async,
};
use futures::{
    StreamExt,
    future::{AbortHandle, Abortable, BoxFuture},
    stream::FuturesUnordered,
};
use std::{collections::HashMap, sync::Arc, time::Duration};
use tokio::time::timeout;

/// The factories that run at the moment.
pub(super) struct FactoryRuns<E> {
    factory: Arc<dyn Factory<Target = E>>,
    timeout: Duration,
    running: FuturesUnordered<BoxFuture<'static, (RunId, Option<Made<E>>)>>,
    aborts: HashMap<RunId, AbortHandle>,
}

/// The result of a factory.
pub(super) type Made<E> = Result<E, FactoryError>;

impl<E: Send + Sync + 'static> FactoryRuns<E> {
    pub(super) fn new(factory: Arc<dyn Factory<Target = E>>, timeout: Duration) -> Self {
        Self {
            factory,
            timeout,
            running: FuturesUnordered::new(),
            aborts: HashMap::new(),
        }
    }

    /// Calls the factory with `instance`.
    pub(super) fn start(&mut self, id: RunId, instance: Arc<Instance>) {
        let (factory, limit) = (self.factory.clone(), self.timeout);
        let (abort, aborted) = AbortHandle::new_pair();
        self.aborts.insert(id, abort);
        let make = async move {
            let make = async { timeout(limit, factory.make(&instance)).await };
            // Awaited here, so that it is also dropped where a panic is caught.
            Abortable::new(make, aborted).await
        };
        let run = async move {
            let made = match catch_async(make).await {
                Ok(Err(_aborted)) => None,
                Ok(Ok(Ok(Ok(target)))) => Some(Ok(target)),
                Ok(Ok(Ok(Err(error)))) => Some(Err(FactoryError::Failed(error.into()))),
                Ok(Ok(Err(_))) => Some(Err(FactoryError::TimedOut(limit))),
                Err(panicked) => Some(Err(FactoryError::Panicked(panicked.0.into()))),
            };
            (id, made)
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
    pub(super) async fn next(&mut self) -> Option<(RunId, Made<E>)> {
        loop {
            let (id, made) = self.running.next().await?;
            self.aborts.remove(&id);
            if let Some(made) = made {
                return Some((id, made));
            }
        }
    }
}
