//! What a tenure is bound to.

use crate::instances::Codec;
use std::{sync::Arc, time::Duration};

/// What a tenure is bound to, for as long as it lasts.
#[derive(Clone)]
pub(crate) struct Terms {
    /// Whether to take a key back that somebody else took.
    pub(crate) retake: bool,
    /// The shortest and the longest delay between attempts.
    pub(crate) backoff: (Duration, Duration),
    /// How long deregistering may take, the time of draining not counted.
    pub(crate) deregister_timeout: Duration,
    /// How long draining is announced before the entry is removed.
    pub(crate) drain: Duration,
    /// Says what announces draining.
    pub(crate) codec: Arc<dyn Codec>,
}
