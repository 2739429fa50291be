//! The members of a union.

use crate::instances::{Event, Source, Trouble};
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// Which members of a [`MergedInstancer`](crate::MergedInstancer) have to be known before it has its first state. Later it
/// has states whoever is known, also if members are added that are not.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReadyWhen {
    /// All that there are, so that no part is taken for the whole. A member that is down keeps the union from
    /// its first state.
    All,
    /// Any: for callers who prefer one data centre to none.
    Any,
    /// The member of this name, as the registry that everybody is to move to, or from.
    Primary(String),
}

/// A member of a [`MergedInstancer`](crate::MergedInstancer) as it is now.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct MemberStatus {
    /// The name it was added with.
    pub name: String,
    /// Its current state. `None` if it has none yet.
    pub state: Option<Event>,
    /// What keeps it from its first state, or from following its registry.
    pub trouble: Option<Trouble>,
}

/// Tells a member from those that had its name before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct MemberId(u64);

#[derive(Clone)]
pub(super) struct Member {
    pub(super) id: MemberId,
    pub(super) name: Arc<str>,
    pub(super) source: Arc<dyn Source>,
}

impl Member {
    pub(super) fn new(name: String, source: Arc<dyn Source>) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self {
            id: MemberId(NEXT.fetch_add(1, Ordering::Relaxed)),
            name: name.into(),
            source,
        }
    }

    pub(super) fn status(&self) -> MemberStatus {
        MemberStatus {
            name: self.name.as_ref().to_owned(),
            state: self.source.state(),
            trouble: self.source.trouble(),
        }
    }
}
