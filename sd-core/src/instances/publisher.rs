//! Publishing the states of a source.

use super::{event::Event, events::Events, health::Trouble, source::Source};
use std::fmt;
use tokio::{sync::watch, time::Instant};

/// Holds the current state of a source and hands it to subscribers. Use it to write your own
/// source.
///
/// [`channel`](Self::channel) makes one together with an [`EventReader`], which is the source that
/// subscribers see. All subscribers share one slot: memory does not grow with what they have not
/// read, and publishing does not wait for them. It is not `Clone`, so that a source has one writer.
///
/// Dropping it publishes the last state once more, stale because of [`Trouble::Stopped`], and ends
/// all subscriptions. So subscribers learn of the end however the source ends: stopped, dropped, or
/// together with its runtime.
///
/// ```
/// use sd_core::{Event, EventPublisher, EventReader, Instance, Instances, Key, Source};
/// use tokio::sync::mpsc;
///
/// /// A source of whole lists, which come from elsewhere.
/// fn follow(mut lists: mpsc::Receiver<Vec<Instance>>) -> EventReader {
///     let (publisher, source) = EventPublisher::channel();
///     tokio::spawn(async move {
///         let mut instances = Instances::default();
///         while let Some(list) = lists.recv().await {
///             instances.update_to(&list.into_iter().collect());
///             publisher.publish(Event::new(0, instances.clone()));
///         }
///     });
///     source
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (sender, lists) = mpsc::channel(1);
/// let source = follow(lists);
/// let found = Instance::new(Key::new("/services/hello/a")?, "10.0.0.1:80");
/// sender.send(vec![found]).await?;
/// let event = source.until(|event| event.instances().len() == 1).await?;
/// assert_eq!(event.version(), 1);
/// # Ok(())
/// # }
/// ```
pub struct EventPublisher {
    current: watch::Sender<Option<Event>>,
    end: Trouble,
}

impl EventPublisher {
    /// A publisher that has published nothing yet, and its reader.
    pub fn channel() -> (Self, EventReader) {
        let (current, reader) = watch::channel(None);
        let end = Trouble::Stopped;
        (Self { current, end }, EventReader(reader))
    }

    /// Makes `event` the current state. Does not wait.
    ///
    /// Versions grow from 1: an event whose version is not greater than that of the current state
    /// gets the next version. So a source that does not count versions can pass 0.
    pub fn publish(&self, mut event: Event) {
        let mut old = None;
        self.current.send_modify(|current| {
            let next = current.as_ref().map_or(1, |last| last.version + 1);
            event.version = event.version.max(next);
            old = current.replace(event);
        });
        // Dropped here rather than under the lock, as it may be large.
        drop(old);
    }

    /// Sets the reason in the last state, which is published when the publisher is dropped.
    /// Default: [`Trouble::Stopped`].
    pub fn ends_because(&mut self, why: Trouble) {
        self.end = why;
    }
}

impl Drop for EventPublisher {
    fn drop(&mut self) {
        let last = self.current.borrow().clone();
        if let Some(last) = last {
            self.publish(last.ended(self.end.clone(), Instant::now()));
        }
    }
}

impl fmt::Debug for EventPublisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventPublisher")
            .field("current", &*self.current.borrow())
            .finish_non_exhaustive()
    }
}

/// The source at the reading end of an [`EventPublisher`]. Cheap to clone. Does not keep the
/// publisher alive.
///
/// ```
/// use sd_core::{Event, EventPublisher, Instances, Source};
///
/// let (publisher, source) = EventPublisher::channel();
/// assert!(source.state().is_none());
/// publisher.publish(Event::new(1, Instances::default()));
/// assert_eq!(source.state().map(|event| event.version()), Some(1));
/// ```
#[derive(Clone)]
pub struct EventReader(watch::Receiver<Option<Event>>);

impl Source for EventReader {
    fn subscribe(&self) -> Events {
        Events::new(self.0.clone())
    }

    fn state(&self) -> Option<Event> {
        self.0.borrow().clone()
    }
}

impl fmt::Debug for EventReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventReader")
            .field("state", &self.state())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::instances::{Health, Instances, testing::is_stopped};
    use futures::{FutureExt, StreamExt};

    fn event(version: u64) -> Event {
        Event::new(version, Instances::default())
    }

    #[test]
    fn versions_grow_whatever_is_published() {
        let (publisher, reader) = EventPublisher::channel();
        let versions = [5, 5, 3, 9].map(|version| {
            publisher.publish(event(version));
            reader.state().unwrap().version()
        });
        assert_eq!(versions, [5, 6, 7, 9]);
    }

    #[test]
    fn the_last_state_says_why_it_is_the_last() {
        let (mut publisher, reader) = EventPublisher::channel();
        let mut events = reader.subscribe();
        publisher.publish(event(1));
        publisher.ends_because(Trouble::Panicked {
            message: "oh".into(),
        });
        drop(publisher);
        let last = events.next().now_or_never().flatten().unwrap();
        let why = "stale: panicked: oh";
        assert_eq!(
            (last.version(), last.health().to_string().as_str()),
            (2, why)
        );
        for _ in 0..2 {
            assert!(events.next().now_or_never().unwrap().is_none());
        }
    }

    #[test]
    fn a_source_that_was_stale_stays_stale_since_then() {
        let (publisher, reader) = EventPublisher::channel();
        let since = Instant::now() - std::time::Duration::from_secs(60);
        publisher.publish(event(1).with_health(Health::stale(since, Trouble::Stopped)));
        drop(publisher);
        let last = reader.state().unwrap();
        assert!(is_stopped(&last));
        assert!(matches!(last.health(), Health::Stale { since: it, .. } if *it == since));
    }

    #[test]
    fn without_a_state_the_streams_end_without_one() {
        let (publisher, reader) = EventPublisher::channel();
        let mut events = reader.subscribe();
        drop(publisher);
        assert!(events.next().now_or_never().unwrap().is_none());
        assert!(events.latest().is_none());
    }
}
