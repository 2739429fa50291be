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

/// A subscription to a source: a stream that yields the current state first, as soon as there is
/// one, and then newer ones.
///
/// A slow reader skips intermediate states and gets the newest. Nothing is queued, and no reader
/// delays the source. When the source is stopped or dropped, the stream yields a last state, which
/// is stale, and ends. A [`Source`](crate::Source) makes subscriptions; your own source uses an
/// [`EventPublisher`](crate::EventPublisher) to make them.
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
    /// Waits for the next state, and returns the receiver. (A `BoxFuture` is not `Sync`.)
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

    /// Returns the newest state, even if the stream has not yielded it yet. Does not wait. `None`
    /// before the first state.
    pub fn latest(&self) -> Option<Event> {
        self.latest.borrow().clone()
    }

    /// Waits for a state for which `fits` returns `true`, and returns it. Skips all others.
    ///
    /// Looks only at states that the stream has not yielded yet;
    /// [`Source::until`](crate::Source::until) begins with the current state. Cancellation safe.
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

/// Waits for a state that `receiver` has not seen. `false` if the publisher is gone.
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
