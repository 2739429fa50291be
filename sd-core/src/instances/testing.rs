//! Waits for tests of sources.

use super::{Event, Events, Health, Trouble};
use std::time::Duration;
use tokio::time;

/// Awaits `happens`. Panics if it takes too long.
pub(crate) async fn in_time<T>(happens: impl Future<Output = T>) -> T {
    time::timeout(Duration::from_secs(3600), happens)
        .await
        .expect("it never happened")
}

/// The next state for which `fits` returns `true`. Panics if none comes.
pub(crate) async fn until(events: &mut Events, fits: impl FnMut(&Event) -> bool) -> Event {
    in_time(events.until(fits)).await.unwrap()
}

/// Waits until all tasks are idle. On paused time, the clock advances only when they are.
pub(crate) async fn quiet() {
    time::sleep(Duration::from_millis(1)).await;
}

/// Whether `event` is the last state of a source that was stopped.
pub(crate) fn is_stopped(event: &Event) -> bool {
    matches!(
        event.health(),
        Health::Stale {
            why: Trouble::Stopped,
            ..
        }
    )
}
