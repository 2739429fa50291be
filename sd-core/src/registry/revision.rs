//! Revisions: where a watch begins or resumes.

use std::{any::Any, fmt, sync::Arc};

/// A point in the history of a registry, as an opaque resume token. Every list and every batch has
/// one, and a watch can begin after it.
///
/// Only the backend that made it understands it: for etcd it is a revision and a witness of the
/// history, for Consul an index, for Kubernetes a string. All other code passes it back unchanged,
/// and compares it for equality at most. Cheap to clone.
///
/// ```
/// use sd_core::Revision;
///
/// let revision = Revision::new(7_u64);
/// assert_eq!(revision, Revision::new(7_u64));
/// assert_ne!(revision, Revision::new("7"));
/// assert_eq!(revision.downcast_ref::<u64>(), Some(&7));
/// ```
#[derive(Clone)]
pub struct Revision(Arc<dyn Token>);

impl Revision {
    /// A revision that carries `token`.
    pub fn new<T>(token: T) -> Self
    where
        T: Eq + fmt::Debug + Send + Sync + 'static,
    {
        Self(Arc::new(token))
    }

    /// The token, for the backend that made it. `None` if it is of another type, and so from
    /// another backend.
    pub fn downcast_ref<T: 'static>(&self) -> Option<&T> {
        self.0.as_any().downcast_ref()
    }
}

impl PartialEq for Revision {
    fn eq(&self, other: &Self) -> bool {
        self.0.equals(&*other.0)
    }
}

impl Eq for Revision {}

impl fmt::Debug for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

trait Token: fmt::Debug + Send + Sync {
    fn as_any(&self) -> &dyn Any;
    fn equals(&self, other: &dyn Token) -> bool;
}

impl<T: Eq + fmt::Debug + Send + Sync + 'static> Token for T {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn equals(&self, other: &dyn Token) -> bool {
        other.as_any().downcast_ref::<T>() == Some(self)
    }
}
