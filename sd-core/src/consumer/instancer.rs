//! The instancer: what is registered under a prefix, kept up to date.
//!
//! Reading the registry for each call is slow and fails with it. An [`Instancer`] reads it once,
//! follows what changes, and shares what it knows with any number of subscribers. It keeps showing
//! it when the registry is gone, and says so.
//!
//! ```no_run
//! use futures::StreamExt;
//! use sd_core::{Client, Instancer, Prefix};
//! use std::time::Duration;
//!
//! # async fn run(client: impl Client) -> Result<(), Box<dyn std::error::Error>> {
//! let instancer = Instancer::new(client, Prefix::new("/services/hello")?);
//! instancer.ready_within(Duration::from_secs(5)).await?;
//!
//! let mut events = instancer.subscribe();
//! while let Some(event) = events.next().await {
//!     println!("{} instances, {:?}", event.instances().len(), event.health());
//! }
//! # Ok(())
//! # }
//! ```

use super::{
    cache::{EventCache, EventReader},
    mirror::{Mirror, Next},
};
use crate::{
    instances::{Codec, DefaultCodec, Event, Events, Source, Trouble},
    registry::{Client, Error, Prefix, Result, Watch},
};
use futures::{FutureExt, StreamExt};
use std::{fmt, future, sync::Arc, time::Duration};
use tokio::{sync::watch, task, time, time::Instant};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

/// How long the registry has to have been healthy before it is believed that an instance is gone.
const GRACE: Duration = Duration::from_secs(15);
/// The longest pause between two attempts while the registry is down.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// So many batches become one state at most, so that subscribers hear of a registry that never
/// pauses.
const BATCHES_AT_ONCE: usize = 256;

/// Follows the instances under a prefix.
///
/// - **Cost.** The prefix is listed once and watched from there; a change costs a delta, however
///   many instances there are. It is listed again only after a gap in the registry's history.
/// - **Trouble.** It never empties what is shown, and it is said in [`Event::health`]. Attempts go on
///   without limit with growing, jittered pauses. After an error that cannot pass by itself (a wrong
///   password, missing rights) they slow down to one in 30 s, since somebody may grant the right.
/// - **Doubt.** After trouble, additions apply at once, but removals wait until the registry has been
///   healthy for the [grace period](InstancerBuilder::grace), lest an outage that expires every
///   lease takes all instances away. What waits is in [`Event::held`]. An instance that announced
///   itself as [`Draining`](crate::Status::Draining) goes at once.
///
/// Not `Clone`; put it into an [`Arc`] to share it. It owns one task, which ends with
/// [`stop`](Self::stop) or when the instancer is dropped; subscribers keep the last state, marked as
/// stale because of [`Trouble::Stopped`], and their streams end.
pub struct Instancer {
    events: EventReader,
    progress: watch::Receiver<Progress>,
    tasks: TaskTracker,
    stop: CancellationToken,
    _stop_on_drop: DropGuard,
}

impl Instancer {
    /// Follows what is under `prefix` with all options at their defaults; see
    /// [`builder`](Self::builder) for what can be chosen.
    ///
    /// Returns at once; nothing is known until [`ready`](Self::ready).
    ///
    /// # Panics
    /// Outside of a tokio runtime, as `tokio::spawn` does.
    pub fn new(client: impl Client, prefix: Prefix) -> Self {
        Self::builder(client, prefix).build()
    }

    /// Options for an instancer that follows what is under `prefix`.
    pub fn builder(client: impl Client, prefix: Prefix) -> InstancerBuilder {
        InstancerBuilder {
            client: Box::new(client),
            prefix,
            codec: Arc::new(DefaultCodec),
            grace: GRACE,
            longest_pause: LONGEST_PAUSE,
        }
    }

    /// Waits until the instances are known. Waits without limit for a registry that is down;
    /// [`ready_within`](Self::ready_within) sets a limit.
    ///
    /// Once ready, an instancer stays so, whatever happens to the registry. Cancellation safe.
    ///
    /// # Errors
    /// What listing failed with, if that cannot pass by itself; the instancer goes on trying all the
    /// same. [`Error::Closed`] if it was stopped before it was ready.
    pub async fn ready(&self) -> Result<()> {
        let mut progress = self.progress.clone();
        let settled = progress
            .wait_for(|progress| progress.outcome().is_some())
            .await
            .map_err(|_| Error::Closed)?;
        settled.outcome().unwrap_or(Err(Error::Closed))
    }

    /// [`ready`](Self::ready), but for no longer than `limit`. Cancellation safe.
    ///
    /// # Errors
    /// Those of [`ready`](Self::ready). When the time is up, the error that the last attempt failed
    /// with, or [`Error::Timeout`] if the first has not come to an end.
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

    /// What went wrong last, until it is overcome. Unlike [`Event::health`], it is there before the
    /// first state too, and it is the newest of several troubles in a row.
    pub fn trouble(&self) -> Option<Trouble> {
        self.progress.borrow().trouble.clone()
    }

    /// How many entries were left out so far, because their key is not UTF-8 or the codec could not
    /// read their value. One that is met again, with another value or after a gap, counts again.
    pub fn skipped(&self) -> u64 {
        self.progress.borrow().skipped
    }

    /// The current state; `None` before the first list has succeeded.
    pub fn state(&self) -> Option<Event> {
        self.events.state()
    }

    /// The states from the current one on. There is none before the first list has succeeded.
    pub fn subscribe(&self) -> Events {
        self.events.subscribe()
    }

    /// Ends the watch and all subscriptions, after a last state that says so, and waits until it is
    /// done. Later calls do nothing more.
    ///
    /// Cancellation safe: what is dropped is the wait, not the stop.
    pub async fn stop(&self) {
        self.stop.cancel();
        self.tasks.wait().await;
    }
}

impl Source for Instancer {
    fn subscribe(&self) -> Events {
        self.subscribe()
    }

    fn state(&self) -> Option<Event> {
        self.state()
    }
}

impl fmt::Debug for Instancer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Instancer")
            .field("progress", &*self.progress.borrow())
            .finish_non_exhaustive()
    }
}

/// Options of an [`Instancer`].
///
/// ```no_run
/// use sd_core::{Client, DefaultCodec, Instancer, Prefix};
/// use std::time::Duration;
///
/// # fn build(client: impl Client) -> Result<Instancer, sd_core::Invalid> {
/// let instancer = Instancer::builder(client, Prefix::new("/services/hello")?)
///     .codec(DefaultCodec)
///     .grace(Duration::from_secs(30))
///     .build();
/// # Ok(instancer)
/// # }
/// ```
#[must_use = "a builder does nothing until it is built"]
pub struct InstancerBuilder {
    client: Box<dyn Client>,
    prefix: Prefix,
    codec: Arc<dyn Codec>,
    grace: Duration,
    longest_pause: Duration,
}

impl InstancerBuilder {
    /// How entries are read; [`DefaultCodec`] unless set.
    pub fn codec(mut self, codec: impl Codec) -> Self {
        self.codec = Arc::new(codec);
        self
    }

    /// How long the registry has to have been healthy after trouble before removals apply; 15 s
    /// unless set, and zero has them always apply at once.
    ///
    /// It should be longer than the providers need to register again: three times their longest
    /// pause between attempts.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// The longest pause between two attempts while the registry is down; 2 s unless set, and 10 ms
    /// at least.
    pub fn longest_pause(mut self, longest_pause: Duration) -> Self {
        self.longest_pause = longest_pause;
        self
    }

    /// Starts to follow.
    ///
    /// # Panics
    /// Outside of a tokio runtime, as `tokio::spawn` does.
    pub fn build(self) -> Instancer {
        let cache = EventCache::new();
        let events = cache.reader();
        let (progress, receiver) = watch::channel(Progress::default());
        let follower = Follower {
            mirror: Mirror::new(
                self.prefix.clone(),
                self.codec,
                self.grace,
                self.longest_pause,
            ),
            client: self.client,
            prefix: self.prefix,
            cache,
            progress,
        };
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        tasks.spawn(follower.run(stop.clone()));
        tasks.close();
        Instancer {
            events,
            progress: receiver,
            tasks,
            _stop_on_drop: stop.clone().drop_guard(),
            stop,
        }
    }
}

impl fmt::Debug for InstancerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InstancerBuilder")
            .field("prefix", &self.prefix)
            .field("grace", &self.grace)
            .field("longest_pause", &self.longest_pause)
            .finish_non_exhaustive()
    }
}

/// What those who wait for the first state want to know.
#[derive(Debug, Default)]
struct Progress {
    is_ready: bool,
    trouble: Option<Trouble>,
    skipped: u64,
}

impl Progress {
    /// What [`Instancer::ready`] answers, once it is clear.
    fn outcome(&self) -> Option<Result<()>> {
        match &self.trouble {
            _ if self.is_ready => Some(Ok(())),
            Some(Trouble::List(error)) if !error.is_transient() => Some(Err(error.clone())),
            _ => None,
        }
    }
}

/// The task: does what the mirror asks for and publishes what comes of it.
struct Follower {
    mirror: Mirror,
    client: Box<dyn Client>,
    prefix: Prefix,
    cache: EventCache,
    progress: watch::Sender<Progress>,
}

impl Follower {
    /// Everything it holds is dropped where it ends: the watch first, then the cache, which thereby
    /// publishes the last state.
    async fn run(mut self, stop: CancellationToken) {
        stop.run_until_cancelled(self.follow()).await;
    }

    async fn follow(&mut self) {
        let mut watch = None;
        loop {
            let (pause, next) = self.mirror.next();
            if next != Next::Read {
                watch = None;
            }
            if !pause.is_zero() {
                time::sleep(pause).await;
            }
            match next {
                Next::List => match self.client.get_entries(&self.prefix).await {
                    Ok(snapshot) => self.mirror.listed(snapshot, Instant::now()),
                    Err(error) => self.mirror.list_failed(error, Instant::now()),
                },
                Next::Watch { after } => {
                    match self.client.watch_prefix(&self.prefix, &after).await {
                        Ok(opened) => {
                            watch = Some(opened);
                            self.mirror.opened(Instant::now());
                        }
                        Err(error) => self.mirror.watch_failed(error, Instant::now()),
                    }
                }
                Next::Read => self.read(&mut watch).await,
            }
            self.publish();
        }
    }

    /// Waits until `watch` yields something or held removals are due, and applies all there is.
    async fn read(&mut self, watch: &mut Option<Watch>) {
        let Some(watch) = watch else {
            return self.mirror.watch_ended(Instant::now());
        };
        let mut applied = 0;
        tokio::select! {
            biased;
            item = watch.next() => {
                self.apply(item);
                applied += 1;
            }
            () = sleep_until(self.mirror.deadline()) => {}
        }
        while self.mirror.is_watching() && applied < BATCHES_AT_ONCE {
            let Some(item) = watch.next().now_or_never() else {
                break;
            };
            self.apply(item);
            applied += 1;
        }
        self.mirror.tick(Instant::now());
        if applied == BATCHES_AT_ONCE {
            task::yield_now().await;
        }
    }

    fn apply(&mut self, item: Option<<Watch as futures::Stream>::Item>) {
        let now = Instant::now();
        match item {
            Some(Ok(batch)) => self.mirror.batch(batch, now),
            Some(Err(error)) => self.mirror.watch_failed(error, now),
            None => self.mirror.watch_ended(now),
        }
    }

    fn publish(&mut self) {
        let event = self.mirror.take_event();
        let mirror = &self.mirror;
        let mut was_clear = false;
        // What was left out before the state without it, so that who sees the one can count on
        // the other.
        self.progress.send_if_modified(|progress| {
            was_clear = progress.outcome().is_some();
            progress.skipped = mirror.skipped();
            false
        });
        // Then the state, so that whoever is told that it is ready finds one.
        if let Some(event) = event {
            self.cache.publish(event);
        }
        self.progress.send_if_modified(|progress| {
            progress.is_ready = mirror.is_ready();
            progress.trouble = mirror.trouble().cloned();
            !was_clear && progress.outcome().is_some()
        });
    }
}

/// Never, if there is no deadline.
async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => time::sleep_until(deadline).await,
        None => future::pending().await,
    }
}

#[cfg(test)]
mod tests;
