//! The instancer: the instances registered under a prefix, kept up to date.

mod builder;
mod progress;
mod task;
#[cfg(test)]
mod tests;

use crate::{
    instances::{Event, EventReader, Events, Format, Source, Trouble},
    registry::{Client, Error, Invalid, Prefix, Result},
    support::BackgroundTask,
};
use async_trait::async_trait;
pub use builder::InstancerBuilder;
use progress::Progress;
use std::{fmt, time::Duration};
use tokio::{sync::watch, time};

/// Follows the instances under a prefix.
///
/// Asking the registry before each call is slow, and fails when the registry does. An instancer
/// lists the prefix once, watches for changes, and shares what it knows with any number of
/// subscribers. While the registry is down, it keeps showing what it knows, and says so. The first
/// state comes with the list; it is live when the registry has answered about the watch too.
///
/// ```no_run
/// use futures::StreamExt;
/// use sd_core::{Client, Instancer, Prefix};
/// use std::time::Duration;
///
/// # async fn run(client: impl Client) -> Result<(), Box<dyn std::error::Error>> {
/// let instancer = Instancer::new(client, Prefix::new("/services/hello")?);
/// instancer.ready_within(Duration::from_secs(5)).await?;
///
/// let mut events = instancer.subscribe();
/// while let Some(event) = events.next().await {
///     println!("{event}");
/// }
/// # Ok(())
/// # }
/// ```
///
/// - **Cost.** A change costs a delta, however many instances there are. The prefix is listed again
///   only after a gap in the registry's history.
/// - **Trouble.** An outage never empties the instances; [`Event::health`] reports it. Attempts go on
///   without limit, with growing, jittered pauses. After an error that cannot pass by itself (a
///   wrong password, missing rights) they slow down to one in 30 s, since somebody may grant the
///   right.
/// - **Doubt.** After trouble, additions apply at once, but removals wait until the registry has been
///   healthy for the [grace period](InstancerBuilder::grace): an outage that expires every lease
///   must not take all instances away. An instance that came after the trouble is not held. The same goes for
///   [many removals at once](InstancerBuilder::mass_removal_percent) on a healthy registry.
///   [`Event::held`] shows the removals that wait. An instance that is
///   [`Draining`](crate::Status::Draining) is removed at once.
/// - **Entries that cannot be read**, because the codec fails or panics, are left out, and so are those
///   whose address the [policy](InstancerBuilder::address_policy) refuses and those that are too large.
///   They are [counted](Self::skipped), and the first of them logged, each once. They affect no other entry.
/// - **Limits.** Of a prefix that somebody fills, so much is kept as the
///   [limits](InstancerBuilder::limits) allow. What is shown stays shown.
///
/// It is not `Clone`; share it in an [`Arc`](std::sync::Arc). It owns one task, which ends with
/// [`stop`](Self::stop), when the instancer is dropped, or when its runtime ends. Subscribers then
/// get the last state once more, stale because of [`Trouble::Stopped`], and their streams end. If
/// the client panics, the same happens because of [`Trouble::Panicked`].
pub struct Instancer {
    events: EventReader,
    progress: watch::Receiver<Progress>,
    task: BackgroundTask,
    /// Keeps what is known in a file.
    #[cfg(feature = "snapshot")]
    writer: Option<BackgroundTask>,
}

impl Instancer {
    /// Follows the instances under `prefix` with default options; [`builder`](Self::builder) has
    /// the others.
    ///
    /// Starts a task and returns at once. Nothing is known until [`ready`](Self::ready).
    ///
    /// # Panics
    /// Outside of a tokio runtime, as `tokio::spawn` does.
    pub fn new(client: impl Client, prefix: Prefix) -> Self {
        Self::builder(client, prefix).build()
    }

    /// Options for an instancer that follows the instances under `prefix`.
    pub fn builder(client: impl Client, prefix: Prefix) -> InstancerBuilder {
        InstancerBuilder::new(Box::new(client), prefix)
    }

    /// Follows the instances of the service called `service`, as `format` lays them out, with default options.
    ///
    /// # Errors
    /// [`Invalid::Name`](crate::Invalid::Name) if no service can have this name.
    ///
    /// # Panics
    /// Outside of a tokio runtime, as `tokio::spawn` does.
    pub fn of(
        client: impl Client,
        format: &(impl Format + ?Sized),
        service: &str,
    ) -> Result<Self, Invalid> {
        Ok(Self::builder_of(client, format, service)?.build())
    }

    /// [`of`](Self::of) with other options. Prefix and codec are those of the format.
    ///
    /// # Errors
    /// Those of `of`.
    pub fn builder_of(
        client: impl Client,
        format: &(impl Format + ?Sized),
        service: &str,
    ) -> Result<InstancerBuilder, Invalid> {
        Self::builder(client, format.prefix(service)?).format(format, service)
    }

    /// Waits until the instances are known, without limit;
    /// [`ready_within`](Self::ready_within) sets a limit. What a predecessor knew, in its snapshot file, counts as known.
    ///
    /// Once ready, an instancer stays so, whatever happens to the registry. Cancellation safe.
    ///
    /// # Errors
    /// The error that listing failed with, if it cannot pass by itself; the instancer goes on trying
    /// all the same. [`Error::Closed`] if it was stopped before it was ready, [`Error::Panicked`] if
    /// its client panicked before that.
    pub async fn ready(&self) -> Result<()> {
        let mut progress = self.progress.clone();
        let settled = progress
            .wait_for(|progress| progress.outcome().is_some())
            .await
            .map_err(|_| Error::Closed)?;
        settled.outcome().unwrap_or(Err(Error::Closed))
    }

    /// Like [`ready`](Self::ready), but waits no longer than `limit`. Cancellation safe.
    ///
    /// # Errors
    /// Those of [`ready`](Self::ready). When the time is up, the error of the last attempt, or
    /// [`Error::Timeout`] if the first attempt has not ended.
    pub async fn ready_within(&self, limit: Duration) -> Result<()> {
        match time::timeout(limit, self.ready()).await {
            Ok(ready) => ready,
            Err(_) => match self.trouble() {
                Some(Trouble::List(error)) => Err(error),
                _ => Err(Error::Timeout {
                    operation: "get_entries",
                    after: limit,
                }),
            },
        }
    }

    /// The newest trouble, until it is overcome. [`Event::health`] has the first of several troubles
    /// in a row, and does not exist before the first state.
    pub fn trouble(&self) -> Option<Trouble> {
        self.progress.borrow().trouble.clone()
    }

    /// How many entries were left out so far, because their key is not UTF-8 or the codec could not
    /// read their value. An entry that is read again, with another value or after a gap, counts
    /// again.
    pub fn skipped(&self) -> u64 {
        self.progress.borrow().skipped
    }

    /// The current state. Does not wait. `None` before the first list has succeeded.
    pub fn state(&self) -> Option<Event> {
        self.events.state()
    }

    /// The states from the current one on. There is none before the first list has succeeded.
    pub fn subscribe(&self) -> Events {
        self.events.subscribe()
    }

    /// Ends the watch and all subscriptions, after a last state that says so, and waits until the
    /// task has ended. Later calls do nothing more.
    ///
    /// Cancellation safe: the stop stands, the wait is given up.
    pub async fn stop(&self) {
        #[cfg(feature = "snapshot")]
        if let Some(writer) = &self.writer {
            writer.stop().await;
        }
        self.task.stop().await;
    }
}

#[async_trait]
impl Source for Instancer {
    fn subscribe(&self) -> Events {
        self.subscribe()
    }

    fn state(&self) -> Option<Event> {
        self.state()
    }

    async fn ready(&self) -> Result<()> {
        self.ready().await
    }

    fn trouble(&self) -> Option<Trouble> {
        self.trouble()
    }
}

impl fmt::Debug for Instancer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Instancer")
            .field("progress", &*self.progress.borrow())
            .finish_non_exhaustive()
    }
}
