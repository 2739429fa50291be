//! What tests of sources wait for.

use super::{Event, Events, Health, Trouble};
use std::time::Duration;
use tokio::time;

/// Waits for what has to happen sooner or later.
pub(crate) async fn in_time<T>(happens: impl Future<Output = T>) -> T {
    time::timeout(Duration::from_secs(3600), happens)
        .await
        .expect("it never happened")
}

/// The next state that fits, which has to come.
pub(crate) async fn until(events: &mut Events, fits: impl FnMut(&Event) -> bool) -> Event {
    in_time(events.until(fits)).await.unwrap()
}

/// Waits until every task waits for something that does not come. On paused time, the clock moves
/// only when there is nothing else to do.
pub(crate) async fn quiet() {
    time::sleep(Duration::from_millis(1)).await;
}

/// Whether it is the last state of a source that was stopped.
pub(crate) fn is_stopped(event: &Event) -> bool {
    matches!(
        event.health(),
        Health::Stale {
            why: Trouble::Stopped,
            ..
        }
    )
}
