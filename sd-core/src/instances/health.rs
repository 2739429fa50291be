//! Health: whether a source follows its registry, and if not, why.

use crate::registry::{Error, ErrorChain, Message, WatchError};
use std::fmt;
use tokio::time::Instant;

/// What keeps a source from following its registry, or from believing it: the phase that failed, and
/// why.
///
/// [`Display`](fmt::Display) prints the phase; `source()` returns the error.
///
/// ```
/// use sd_core::{Error, Trouble};
/// use std::error::Error as _;
///
/// let trouble = Trouble::List(Error::unavailable("connection refused"));
/// assert_eq!(trouble.to_string(), "listing failed");
/// let cause = trouble.source().map(ToString::to_string);
/// assert_eq!(cause.as_deref(), Some("the registry is unavailable: connection refused"));
/// ```
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Trouble {
    /// The instances could not be listed.
    #[error("listing failed")]
    List(#[source] Error),
    /// The watch failed or does not answer.
    #[error(transparent)]
    Watch(#[from] WatchError),
    /// The instances were listed, and the registry has not answered about the watch yet: what has
    /// changed since the list is not known. Every source begins so, for a moment.
    #[error("the registry has not answered about the watch yet")]
    Unanswered,
    /// The registry answers, and reports so many removals at once that they are doubted. The reason
    /// of [held](crate::Event::held) removals only: the source follows the registry.
    #[error("{removed} of {of} instances were removed at once")]
    #[non_exhaustive]
    ManyRemoved {
        /// How many were removed within the grace period, without having announced it.
        removed: usize,
        /// Of how many.
        of: usize,
    },
    /// The registry has not answered yet. What is shown is what a predecessor knew, from its snapshot file.
    #[error("not listed yet, shown as it was known {age:?} ago")]
    #[non_exhaustive]
    Snapshot {
        /// How old the file is, by the clock of the host.
        age: std::time::Duration,
    },
    /// The entry of an instance is there, but can no longer be read.
    #[error("the entry can no longer be read")]
    Unreadable,
    /// There are more entries under the prefix than the [limits](crate::PrefixLimits) allow. What is shown
    /// is followed, others are left out.
    #[error(
        "more entries than the limits allow: {instances} instances of {bytes} bytes are shown, others are left out"
    )]
    #[non_exhaustive]
    OverLimits {
        /// How many are shown.
        instances: usize,
        /// What they take in memory.
        bytes: usize,
    },
    /// The source was stopped or dropped, or its runtime has ended. It publishes nothing more.
    #[error("stopped")]
    Stopped,
    /// The task of the source panicked, in its client perhaps. It publishes nothing more.
    #[error("panicked: {}", Message(.message))]
    Panicked {
        /// The message of the panic.
        message: String,
    },
}

/// Whether a source follows its registry.
///
/// An outage of the registry does not empty a source. It shows here instead.
///
/// ```
/// use sd_core::{Error, Health, Trouble};
/// use tokio::time::Instant;
///
/// let why = Trouble::List(Error::unavailable("connection refused"));
/// let health = Health::stale(Instant::now(), why);
/// assert!(!health.is_live());
/// assert_eq!(
///     health.to_string(),
///     "stale: listing failed: the registry is unavailable: connection refused"
/// );
/// assert_eq!(Health::Live.to_string(), "live");
/// ```
#[derive(Debug, Clone)]
pub enum Health {
    /// The instances are those that the registry holds: it has answered about the watch.
    Live,
    /// The instances are those that were known last. Made with [`Health::stale`].
    #[non_exhaustive]
    Stale {
        /// Since when.
        since: Instant,
        /// What happened. If several things went wrong in a row, the first of them.
        why: Trouble,
    },
}

impl Health {
    /// Stale since `since`, because of `why`.
    pub fn stale(since: Instant, why: Trouble) -> Self {
        Self::Stale { since, why }
    }

    /// Whether the source follows its registry.
    pub fn is_live(&self) -> bool {
        matches!(self, Self::Live)
    }
}

/// `live`, or `stale: ` and the whole chain of causes.
impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Live => f.write_str("live"),
            Self::Stale { why, .. } => write!(f, "stale: {}", ErrorChain(why)),
        }
    }
}
