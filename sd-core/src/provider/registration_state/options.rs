//! The options of a registration.

use crate::provider::value_format::ValueFormat;
use std::time::Duration;

/// The options of a [`RegistrationState`](super::RegistrationState).
#[derive(Clone)]
pub(crate) struct Options {
    /// Whether to take a key back that somebody else took.
    pub(crate) retake: bool,
    /// The shortest and the longest delay between attempts.
    pub(crate) backoff: (Duration, Duration),
    /// How long deregistering may take, the time of draining not counted.
    pub(crate) deregister_timeout: Duration,
    /// How long calls are still served once consumers have been told.
    pub(crate) drain: Duration,
    /// What the values mean, and how draining is announced.
    pub(crate) format: ValueFormat,
}
