//! Connectivity: what a target knows of its connection to its host.

use crate::registry::Cause;
use std::sync::Arc;
use tokio::{sync::watch, time::Instant};

/// Whether a target has a connection to its host, as far as it knows without a call.
///
/// The states are those of gRPC's [connectivity semantics], but that a target which connects again
/// after a failure goes on [failing](Self::Failing) until it has succeeded.
///
/// [connectivity semantics]: https://github.com/grpc/grpc/blob/master/doc/connectivity-semantics-and-api.md
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Connectivity {
    /// It has not connected yet, since there was no call.
    Idle,
    /// It connects for the first time, or again after a connection has ended. A call waits for the
    /// outcome.
    Connecting,
    /// It is connected, or was the last time that it connected.
    Ready,
    /// The last connect failed. A call fails at once. Called `TRANSIENT_FAILURE` by gRPC.
    Failing {
        /// Why the newest connect failed.
        cause: Cause,
        /// When the first one failed.
        since: Instant,
        /// When it connects again. In the past while it does. `None`: it never will, since the
        /// target has ended.
        next_attempt: Option<Instant>,
    },
}

impl Connectivity {
    /// Whether a call would fail at once.
    pub fn is_failing(&self) -> bool {
        matches!(self, Self::Failing { .. })
    }
}

/// A target that knows whether its host can be reached: the client of one host, which keeps a
/// connection. [`Reachable`](crate::Reachable) asks it.
///
/// ```
/// use sd_core::{Connectable, Connectivity};
/// use tokio::sync::watch;
///
/// struct Session {
///     state: watch::Sender<Connectivity>,
/// }
///
/// impl Connectable for Session {
///     fn connectivity(&self) -> watch::Receiver<Connectivity> {
///         self.state.subscribe()
///     }
/// }
/// ```
pub trait Connectable {
    /// Follows the state. Called once for each target; must not block. If the channel closes, its
    /// last state stands.
    fn connectivity(&self) -> watch::Receiver<Connectivity>;
}

impl<C: Connectable + ?Sized> Connectable for Arc<C> {
    fn connectivity(&self) -> watch::Receiver<Connectivity> {
        (**self).connectivity()
    }
}
