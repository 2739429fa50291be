//! Removals that are held back.

use super::health::Trouble;
use tokio::time::Instant;

/// Why an instance that the registry has removed is still shown.
///
/// A registry that has had an outage reports removals that are none: the leases of live providers
/// have expired with it. So does one that most providers are cut off from. An
/// [`Instancer`](crate::Instancer) applies such removals only when the registry has been healthy for
/// a grace period. See [`Event::held`](crate::Event::held).
///
/// ```
/// use sd_core::Event;
///
/// fn report(event: &Event) {
///     for (key, held) in event.held() {
///         println!("{key} was removed {:?} ago, doubted: {}", held.since.elapsed(), held.why);
///     }
/// }
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Held {
    /// When the registry reported the removal.
    pub since: Instant,
    /// The trouble that makes the removal doubtful; [`Trouble::ManyRemoved`] if it is one of many at
    /// once.
    pub why: Trouble,
}

impl Held {
    /// A removal that the registry reported at `since`, held back because of `why`.
    pub fn new(since: Instant, why: Trouble) -> Self {
        Self { since, why }
    }
}
