//! Addresses: what endpoints are made for.

use crate::instances::Instance;
use std::{cmp::Ordering, fmt, ops::Deref, sync::Arc};

/// The address of an instance, whose text it shares: there may be 100,000 of them.
#[derive(Clone)]
pub(super) struct Address(Arc<Instance>);

impl Address {
    pub(super) fn of(instance: &Arc<Instance>) -> Self {
        Self(instance.clone())
    }
}

impl Deref for Address {
    type Target = str;

    fn deref(&self) -> &str {
        self.0.address()
    }
}

impl PartialEq for Address {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Address {}

impl PartialOrd for Address {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Address {
    fn cmp(&self, other: &Self) -> Ordering {
        (**self).cmp(&**other)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}
