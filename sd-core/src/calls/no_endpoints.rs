//! Why there is no endpoint to pick.

use super::factory::FactoryError;
use crate::{
    instances::Trouble,
    registry::{Error, Escaped},
};
use std::{sync::Arc, time::Duration};

/// Why there is no endpoint to pick. Cheap to clone.
///
/// It tells whether to wait, to check the registry, or to check the factory:
///
/// ```
/// use sd_core::NoEndpoints;
///
/// fn advice(none: &NoEndpoints) -> &'static str {
///     match none {
///         NoEndpoints::Unknown => "wait: the registry has not answered yet",
///         NoEndpoints::SourceFailed { .. } => "check the rights of the registry's user",
///         NoEndpoints::Empty => "start an instance: none is registered",
///         NoEndpoints::Unreadable { .. } => "compare the codec with what is registered",
///         NoEndpoints::FactoryPending { .. } => "there are instances: see why the factory fails",
///         NoEndpoints::Invalidated { .. } => "the registry is in trouble",
///         _ => "see the text",
///     }
/// }
/// assert!(advice(&NoEndpoints::Empty).starts_with("start"));
/// ```
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum NoEndpoints {
    /// The instances are not known yet.
    #[error("no endpoints: the instances are not known yet")]
    Unknown,

    /// The instances are not known, and the source says what keeps it from knowing them: a refused
    /// password, a missing right, its own end. An [`Instancer`](crate::Instancer) goes on trying all
    /// the same, since somebody may grant the right.
    #[error("no endpoints: the instances cannot be known")]
    SourceFailed {
        /// What the [source](crate::Source::ready) says.
        #[source]
        why: Arc<Error>,
    },

    /// The instances are known, and there are none.
    #[error("no endpoints: no instance is registered")]
    Empty,

    /// Entries are registered, and none of them can be read: another format, or another codec.
    #[error("no endpoints: none of the {entries} registered entries can be read")]
    Unreadable {
        /// How many entries cannot be read; see [`Event::unreadable`](crate::Event::unreadable).
        entries: usize,
    },

    /// There are instances, but the factory has not succeeded for any of them yet: it runs, or fails
    /// and is retried.
    #[error("no endpoints: none of {instances} instances has one yet")]
    FactoryPending {
        /// How many instances there are.
        instances: usize,
        /// The error of the first instance whose factory failed, if one did.
        #[source]
        why: Option<FactoryError>,
    },

    /// The instances have been stale for longer than
    /// [`invalidate_on_error`](crate::EndpointerBuilder::invalidate_on_error) allows.
    #[error("no endpoints: the instances have been stale for {after:?}")]
    Invalidated {
        /// The limit that was passed.
        after: Duration,
        /// Why the source does not follow its registry.
        #[source]
        why: Arc<Trouble>,
    },

    /// There are endpoints, but none in the lane of the call, and no
    /// [fallback](crate::LaneFallback).
    #[error("no endpoints: none is in the lane {}", Escaped(lane))]
    NoLane {
        /// The name of the lane.
        lane: Arc<str>,
    },

    /// There are endpoints, but none of them may be used: all are ejected, or none has passed its
    /// health check, and the [panic threshold](crate::EjectionBuilder::panic_percent) is turned off
    /// or does not apply.
    #[error("no endpoints: none of {endpoints} is healthy")]
    Unhealthy {
        /// How many endpoints there are.
        endpoints: usize,
    },

    /// The endpointer, or an adapter over it, has ended without an endpoint, so there will be none:
    /// it was stopped, its runtime has ended, its task panicked, or its source ended without an
    /// instance.
    #[error("no endpoints: the endpointer or an adapter has ended")]
    Ended {
        /// What ended it.
        #[source]
        why: Arc<Trouble>,
    },
}

impl NoEndpoints {
    /// Whether there may be endpoints later although nobody changes anything but the registry's
    /// contents. `false` once the endpointer has ended, and if the source has
    /// [failed](Self::SourceFailed) with an error that is not
    /// [transient](crate::Error::is_transient).
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Ended { .. } => false,
            Self::SourceFailed { why } => why.is_transient(),
            Self::Unknown
            | Self::Empty
            | Self::Unreadable { .. }
            | Self::FactoryPending { .. }
            | Self::Invalidated { .. }
            | Self::NoLane { .. }
            | Self::Unhealthy { .. } => true,
        }
    }

    /// Whether it is not known yet if there will be endpoints: the instances are not known, or their
    /// factories run for the first time. Just after a start that passes within moments.
    pub fn is_pending(&self) -> bool {
        matches!(self, Self::Unknown | Self::FactoryPending { why: None, .. })
    }
}
