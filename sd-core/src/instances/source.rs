//! Sources: whatever knows the instances of a service.

use super::{event::Event, events::Events};
use crate::registry::{Error, Result};
use async_trait::async_trait;
use std::{error::Error as StdError, fmt, sync::Arc};

/// Whatever knows the instances of a service.
///
/// [`Instancer`](crate::Instancer), [`FixedInstancer`](crate::FixedInstancer) and
/// [`MergedInstancer`](crate::MergedInstancer) are sources, and so is what reads an
/// [`EventPublisher`](crate::EventPublisher) of one's own. Everything above takes any of them, as
/// itself or as `Arc<dyn Source>`.
///
/// ```
/// use sd_core::{FixedInstancer, Instance, Key, Source};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let hello = FixedInstancer::new([Instance::new(Key::new("/hello/a")?, "10.0.0.1:80")]);
/// hello.ready().await?;
/// hello.insert(Instance::new(Key::new("/hello/b")?, "10.0.0.2:80"));
/// hello.until(|event| event.instances().len() == 2).await?;
/// hello.remove("/hello/a");
/// hello.until(|event| event.instances().get("/hello/a").is_none()).await?;
/// # Ok(())
/// # }
/// ```
#[async_trait]
pub trait Source: Send + Sync + 'static {
    /// The states from the current one on.
    fn subscribe(&self) -> Events;

    /// The current state. Does not wait. `None` while nothing is known yet, which is not the same
    /// as knowing that there is no instance.
    fn state(&self) -> Option<Event>;

    /// Waits for the first state, without limit. Cancellation safe.
    ///
    /// # Errors
    /// [`Error::Closed`] if the source ends before it knows anything. A source may also say at once
    /// what keeps it from ever becoming ready, as an [`Instancer`](crate::Instancer) does.
    async fn ready(&self) -> Result<()> {
        let first = self.subscribe().until(|_| true).await;
        first.map(|_| ()).map_err(|_| Error::Closed)
    }

    /// Waits for a state that fits, from the current one on, and returns it. Waits without limit;
    /// `tokio::time::timeout` sets one. Cancellation safe.
    ///
    /// A source that changes quickly skips states, so that a state may come and go unseen. On a
    /// `dyn Source` that is not in an `Arc`, use [`Events::until`].
    ///
    /// # Errors
    /// [`SourceEnded`] if the source ends first.
    async fn until<F>(&self, fits: F) -> Result<Event, SourceEnded>
    where
        Self: Sized,
        F: FnMut(&Event) -> bool + Send,
    {
        self.subscribe().until(fits).await
    }
}

#[async_trait]
impl<S: Source + ?Sized> Source for Arc<S> {
    fn subscribe(&self) -> Events {
        (**self).subscribe()
    }

    fn state(&self) -> Option<Event> {
        (**self).state()
    }

    async fn ready(&self) -> Result<()> {
        (**self).ready().await
    }
}

/// A source ended before the state came that was [waited for](Source::until).
///
/// Its [`Display`](fmt::Display) tells the last state, which says why the source ended.
///
/// ```
/// use sd_core::{FixedInstancer, Source};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let source = FixedInstancer::new([]);
/// source.stop();
/// let ended = source.until(|event| !event.instances().is_empty()).await;
/// let ended = ended.map_err(|ended| ended.to_string());
/// assert_eq!(
///     ended.err().as_deref(),
///     Some("the source ended (version 2: 0 instances, stale: stopped)")
/// );
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct SourceEnded {
    last: Option<Box<Event>>,
}

impl SourceEnded {
    pub(super) fn new(last: Option<Event>) -> Self {
        let last = last.map(Box::new);
        Self { last }
    }

    /// The last state of the source; `None` if it never had one.
    pub fn last(&self) -> Option<&Event> {
        self.last.as_deref()
    }
}

impl fmt::Display for SourceEnded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.last {
            Some(last) => write!(f, "the source ended ({last})"),
            None => f.write_str("the source ended before it knew anything"),
        }
    }
}

impl StdError for SourceEnded {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::instances::{EventPublisher, Instance, Instances};
    use crate::registry::Key;
    use futures::FutureExt;

    fn event(names: &[&str]) -> Event {
        let instance = |name: &&str| Instance::new(Key::new(name).unwrap(), "h:1");
        Event::new(1, names.iter().map(instance).collect())
    }

    #[tokio::test]
    async fn two_instances_are_waited_for_in_one_line() {
        let (publisher, reader) = EventPublisher::channel();
        let source: Arc<dyn Source> = Arc::new(reader);
        assert!(source.ready().now_or_never().is_none());
        publisher.publish(event(&["a"]));
        source.ready().await.unwrap();
        let two = source.until(|event| event.instances().len() == 2);
        let (two, ()) = tokio::join!(two, async { publisher.publish(event(&["a", "b"])) });
        assert_eq!(two.unwrap().version(), 2);
        let gone = |event: &Event| event.instances().get("a").is_none();
        let mut events = source.subscribe();
        let (gone, ()) = tokio::join!(events.until(gone), async {
            publisher.publish(event(&["b"]));
        });
        assert_eq!(gone.unwrap().version(), 3);
    }

    #[tokio::test]
    async fn the_end_of_the_source_ends_the_wait() {
        let (publisher, source) = EventPublisher::channel();
        publisher.publish(Event::new(1, Instances::default()));
        drop(publisher);
        let ended = source.until(|event| event.health().is_live()).await;
        let last = ended.unwrap_err().last().cloned().unwrap();
        assert!(crate::instances::testing::is_stopped(&last));
        source.ready().await.expect("it has a state");

        let (publisher, source) = EventPublisher::channel();
        drop(publisher);
        assert!(matches!(source.ready().await, Err(Error::Closed)));
        assert!(source.until(|_| true).await.unwrap_err().last().is_none());
    }

    #[test]
    fn subscriptions_are_shared_between_threads() {
        fn shared<T: Send + Sync + 'static>() {}
        shared::<Events>();
        shared::<EventPublisher>();
        shared::<SourceEnded>();
    }
}
