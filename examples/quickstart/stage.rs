//! Where the story is played: the only part that differs from one registry to another.

use crate::provider::provide;
use sd_core::{BoxError, Client};
use sd_memory::{MemoryClient, Registry};
use tokio::{sync::oneshot, task::JoinHandle};

/// A registry, and a way to have providers of their own on it.
pub(crate) trait Stage {
    /// What to call it.
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

    /// Ends it without a farewell.
    async fn crash(self) -> Result<(), BoxError>;
}

/// A registry in this process, on which providers are tasks, each with a client of its own.
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
            // Also when the story ends early.
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
        // First what could still say farewell.
        self.client.crash();
        self.task.abort();
        match self.task.await {
            Err(error) if error.is_cancelled() => Ok(()),
            Err(error) => Err(error.into()),
            Ok(ended) => ended,
        }
    }
}
