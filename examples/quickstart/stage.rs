//! The stage: the registry and how providers start on it. Only this differs between registries.

use crate::provider::provide;
use sd_core::{BoxError, Client};
use sd_memory::{MemoryClient, Registry};
use tokio::{sync::oneshot, task::JoinHandle};

/// A registry, and a way to start providers on it.
pub(crate) trait Stage {
    /// Its name, for the output.
    fn name(&self) -> String;

    /// A client for the consumer.
    fn client(&self) -> Result<impl Client, BoxError>;

    /// Starts a provider, which registers as soon as it can.
    fn start(&self, name: &'static str) -> Result<impl Provider, BoxError>;
}

/// A provider that was started.
pub(crate) trait Provider {
    /// Tells it to deregister, and waits until it has ended.
    async fn leave(self) -> Result<(), BoxError>;

    /// Ends it without deregistering.
    async fn crash(self) -> Result<(), BoxError>;
}

/// A registry in this process. Its providers are tasks, each with its own client.
#[derive(Default)]
pub(crate) struct InMemory(Registry);

impl Stage for InMemory {
    fn name(&self) -> String {
        "memory".into()
    }

    fn client(&self) -> Result<impl Client, BoxError> {
        Ok(self.0.client())
    }

    fn start(&self, name: &'static str) -> Result<impl Provider, BoxError> {
        let client = self.0.client();
        let (leave, told) = oneshot::channel::<()>();
        let provider = provide(client.clone(), name, async {
            // Also ends if the sender is dropped.
            let _ = told.await;
        });
        Ok(Task {
            client,
            leave,
            task: tokio::spawn(provider),
        })
    }
}

/// A provider that is a task.
struct Task {
    client: MemoryClient,
    leave: oneshot::Sender<()>,
    task: JoinHandle<Result<(), BoxError>>,
}

impl Provider for Task {
    async fn leave(self) -> Result<(), BoxError> {
        drop(self.leave);
        self.task.await?
    }

    async fn crash(self) -> Result<(), BoxError> {
        // The client first, so that nothing can deregister.
        self.client.crash();
        self.task.abort();
        match self.task.await {
            Err(error) if error.is_cancelled() => Ok(()),
            Err(error) => Err(error.into()),
            Ok(ended) => ended,
        }
    }
}
