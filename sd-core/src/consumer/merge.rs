//! Several sources seen as one.

mod state;
#[cfg(test)]
mod tests;

use crate::{
    instances::{Event, EventPublisher, EventReader, Events, Source, Trouble},
    support::{BackgroundTask, Panicked, Work},
};
use futures::{FutureExt, StreamExt, future, stream};
use state::MergeState;
use std::fmt;
use tokio::time::Instant;

/// At most so many states of the sources become one state.
const STATES_AT_ONCE: usize = 256;

/// The union of several sources, such as two prefixes or the registries of two data centres.
///
/// - Where several sources have an instance under one key, the first source wins. A source whose
///   registry has removed the instance, so that it is [held](Event::held), comes after the others.
/// - The union is stale while any source is, since the source that became stale first.
/// - A change of a source costs a delta, however many instances there are.
///
/// ```
/// use futures::StreamExt;
/// use sd_core::{FixedInstancer, Instance, Key, MergedInstancer};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), sd_core::Invalid> {
/// let near = FixedInstancer::new([Instance::new(Key::new("/eu/hello/a")?, "10.0.0.1:80")]);
/// let far = FixedInstancer::new([Instance::new(Key::new("/us/hello/a")?, "10.9.0.1:80")]);
///
/// let both = MergedInstancer::new([near, far]);
/// let event = both.subscribe().next().await;
/// assert_eq!(event.map(|event| event.instances().len()), Some(2));
/// # Ok(())
/// # }
/// ```
///
/// It owns its sources (sources of different types go in as `Arc<dyn Source>`) and one task, which
/// ends when all sources have ended, with [`stop`](Self::stop), when the union is dropped, or when
/// its runtime ends. The sources are then dropped, and all subscriptions end after a last state,
/// stale because of [`Trouble::Stopped`]. To stop a source and wait for that, keep an
/// [`Arc`](std::sync::Arc) of it. If a source panics, the union ends because of
/// [`Trouble::Panicked`].
pub struct MergedInstancer {
    events: EventReader,
    task: BackgroundTask,
}

impl MergedInstancer {
    /// The union of `sources`. It is known once all sources are known, so that it never shows only a
    /// part. Starts a task.
    ///
    /// # Panics
    /// Outside of a tokio runtime, as `tokio::spawn` does.
    pub fn new<S: Source>(sources: impl IntoIterator<Item = S>) -> Self {
        Self::start(sources, false)
    }

    /// The union of `sources`. It is known once any source is known, and stale until all are: for
    /// callers who prefer one data centre to none. Starts a task.
    ///
    /// # Panics
    /// Outside of a tokio runtime, as `tokio::spawn` does.
    pub fn partial<S: Source>(sources: impl IntoIterator<Item = S>) -> Self {
        Self::start(sources, true)
    }

    /// The current state. Does not wait. `None` before the first state.
    pub fn state(&self) -> Option<Event> {
        self.events.state()
    }

    /// The states from the current one on.
    pub fn subscribe(&self) -> Events {
        self.events.subscribe()
    }

    /// Ends all subscriptions after a last state that says so, and waits until the task has ended.
    /// Later calls do nothing more.
    ///
    /// Cancellation safe: the stop stands, the wait is given up.
    pub async fn stop(&self) {
        self.task.stop().await;
    }

    fn start<S: Source>(sources: impl IntoIterator<Item = S>, partial: bool) -> Self {
        let (publisher, events) = EventPublisher::channel();
        let boxed = |source| Box::new(source) as Box<dyn Source>;
        let sources: Vec<_> = sources.into_iter().map(boxed).collect();
        let task = MergeTask {
            state: MergeState::new(sources.len(), partial, Instant::now()),
            sources,
            publisher,
        };
        Self {
            events,
            task: BackgroundTask::spawn(task),
        }
    }
}

impl Source for MergedInstancer {
    fn subscribe(&self) -> Events {
        self.subscribe()
    }

    fn state(&self) -> Option<Event> {
        self.state()
    }
}

impl fmt::Debug for MergedInstancer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MergedInstancer")
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}

/// Feeds the states of the sources to the merge state, and publishes the union.
struct MergeTask {
    state: MergeState,
    sources: Vec<Box<dyn Source>>,
    publisher: EventPublisher,
}

impl Work for MergeTask {
    const NAME: &'static str = "merged instancer";

    async fn run(&mut self) {
        let states = self.sources.iter().enumerate().map(|(index, source)| {
            source
                .subscribe()
                .map(move |event| (index, Some(event)))
                .chain(stream::once(future::ready((index, None))))
        });
        let mut states = stream::select_all(states);
        while let Some((index, event)) = states.next().await {
            self.state.update(index, event, Instant::now());
            for _ in 1..STATES_AT_ONCE {
                let Some(Some((index, event))) = states.next().now_or_never() else {
                    break;
                };
                self.state.update(index, event, Instant::now());
            }
            if let Some(event) = self.state.event() {
                self.publisher.publish(event);
            }
            tokio::task::consume_budget().await;
        }
    }

    fn panicked(&mut self, why: Panicked) {
        self.publisher
            .ends_because(Trouble::Panicked { message: why.0 });
    }
}
