//! Runs factories.

use crate::{
    calls::{
        factory::{Factory, FactoryError},
        run_queue::RunId,
        runs::{RunError, Runs},
    },
    instances::Instance,
};
use std::{sync::Arc, time::Duration};

/// The factories that run at the moment.
pub(super) struct FactoryRuns<E> {
    factory: Arc<dyn Factory<Target = E>>,
    runs: Runs<E>,
}

/// The result of a factory.
pub(super) type Made<E> = Result<E, FactoryError>;

impl<E: Send + Sync + 'static> FactoryRuns<E> {
    pub(super) fn new(factory: Arc<dyn Factory<Target = E>>, timeout: Duration) -> Self {
        Self {
            factory,
            runs: Runs::new(timeout),
        }
    }

    /// Calls the factory with `instance`.
    pub(super) fn start(&mut self, id: RunId, instance: Arc<Instance>) {
        let factory = self.factory.clone();
        let make = async move { factory.make(&instance).await };
        self.runs.start(id, make);
    }

    /// Aborts a run.
    pub(super) fn abort(&mut self, id: RunId) {
        self.runs.abort(id);
    }

    /// Waits for the end of a run that was not aborted. `None` if there is none. Cancellation safe.
    pub(super) async fn next(&mut self) -> Option<(RunId, Made<E>)> {
        let (id, made) = self.runs.next().await?;
        let made = made.map_err(|error| match error {
            RunError::Failed(error) => FactoryError::Failed(error.into()),
            RunError::TimedOut(limit) => FactoryError::TimedOut(limit),
            RunError::Panicked(message) => FactoryError::Panicked(message),
        });
        Some((id, made))
    }
}
