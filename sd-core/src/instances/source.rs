//! Sources: anything that knows the instances of a service.

use super::{
    event::Event,
    events::Events,
    health::{Health, Trouble},
    source_ended::SourceEnded,
};
use crate::registry::{Error, Result};
use async_trait::async_trait;
use std::sync::Arc;

/// Anything that knows the instances of a service.
///
/// [`Instancer`](crate::Instancer), [`FixedInstancer`](crate::FixedInstancer) and
/// [`MergedInstancer`](crate::MergedInstancer) are sources. So is an
/// [`EventReader`](crate::EventReader), with which you write your own. The layers above take any of
/// them, by value or as `Arc<dyn Source>`.
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
    /// Subscribes to the states, beginning with the current one.
    fn subscribe(&self) -> Events;

    /// Returns the current state. Does not wait. `None` before the first state; a source that knows
    /// that there are no instances has a state, which is empty.
    fn state(&self) -> Option<Event>;

    /// Waits for the first state, without limit. Cancellation safe.
    ///
    /// # Errors
    /// [`Error::Closed`] if the source ends before its first state. A source may also return an
    /// error that keeps it from becoming ready, as an [`Instancer`](crate::Instancer) does.
    async fn ready(&self) -> Result<()> {
        let first = self.subscribe().until(|_| true).await;
        first.map(|_| ()).map_err(|_| Error::Closed)
    }

    /// What keeps the source from its first state, or from following its registry since. Does not
    /// wait. `None` if nothing is known to. A source without a state mostly has nothing to say; an
    /// [`Instancer`](crate::Instancer) has the error of its last attempt.
    fn trouble(&self) -> Option<Trouble> {
        match self.state()?.health() {
            Health::Stale { why, .. } => Some(why.clone()),
            Health::Live => None,
        }
    }

    /// Waits for a state for which `fits` returns `true`, beginning with the current one, and
    /// returns it. Waits without limit; `tokio::time::timeout` sets one. Cancellation safe.
    ///
    /// Subscribers of a source that changes quickly skip states, so a state that lasts only briefly
    /// may be missed. On a `dyn Source` that is not in an `Arc`, use [`Events::until`].
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

    fn trouble(&self) -> Option<Trouble> {
        (**self).trouble()
    }
}

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
