//! Subscriptions to a source.

use super::{event::Event, source_ended::SourceEnded};
use futures::{Stream, StreamExt};
use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};
use tokio::sync::watch;
use tokio_util::sync::ReusableBoxFuture;

type Receiver = watch::Receiver<Option<Event>>;

/// A subscription to a source: the current state first, as soon as there is one, then every newer
/// one.
///
/// A slow reader skips the states in between and gets the newest. Nothing is queued, and no reader
/// holds up its source. The stream ends when the source is stopped or dropped, after a last state
/// that says so. Subscriptions are made by a [`Source`](crate::Source); a source of one's own has
/// an [`EventPublisher`](crate::EventPublisher) make them.
///
/// ```
/// use futures::StreamExt;
/// use sd_core::Source;
///
/// async fn log(source: impl Source) {
///     let mut events = source.subscribe();
///     while let Some(event) = events.next().await {
///         println!("{event}");
///     }
/// }
/// ```
#[must_use = "streams do nothing unless polled"]
pub struct Events {
    latest: Receiver,
    /// Waits for the next state, and gives the receiver back. (`BoxFuture` is not `Sync`.)
    changed: ReusableBoxFuture<'static, (bool, Receiver)>,
}

impl Events {
    pub(super) fn new(receiver: Receiver) -> Self {
        let mut unseen = receiver.clone();
        unseen.mark_changed();
        Self {
            latest: receiver,
            changed: ReusableBoxFuture::new(changed(unseen)),
        }
    }

    /// The newest state, read or not. Does not wait. `None` before the first state.
    pub fn latest(&self) -> Option<Event> {
        self.latest.borrow().clone()
    }

    /// Waits for a state that fits, and returns it. States that do not fit are skipped.
    ///
    /// Cancellation safe. [`Source::until`](crate::Source::until) is the same from the current
    /// state on.
    ///
    /// # Errors
    /// [`SourceEnded`] if the source ends first.
    pub async fn until(
        &mut self,
        mut fits: impl FnMut(&Event) -> bool,
    ) -> Result<Event, SourceEnded> {
        while let Some(event) = self.next().await {
            if fits(&event) {
                return Ok(event);
            }
        }
        Err(SourceEnded::new(self.latest()))
    }
}

/// Waits for a state that `receiver` has not seen; `false` once there is none to come.
async fn changed(mut receiver: Receiver) -> (bool, Receiver) {
    (receiver.changed().await.is_ok(), receiver)
}

impl Stream for Events {
    type Item = Event;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        loop {
            let (is_open, mut receiver) = ready!(self.changed.poll(cx));
            let event = receiver.borrow_and_update().clone();
            self.changed.set(changed(receiver));
            if event.is_some() || !is_open {
                return Poll::Ready(event.filter(|_| is_open));
            }
        }
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events")
            .field("latest", &self.latest())
            .finish_non_exhaustive()
    }
}
