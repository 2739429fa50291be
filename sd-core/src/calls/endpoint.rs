//! Endpoints: instances made callable.

use crate::{
    instances::{Instance, Status, Trouble},
    registry::Key,
};
use std::{fmt, ops::Deref, sync::Arc, time::Duration};

/// What callers pick: an instance and what a [`Factory`](crate::Factory) made of it, such as a
/// client connected to its address.
///
/// Dereferences to what was made. Handed out as `Arc<Endpoint<E>>`, so that a call in flight keeps
/// its endpoint after the instance has gone. When an attribute of the instance changes (weight,
/// status, zone, metadata) there is another `Endpoint` around the same target.
///
/// ```
/// use sd_core::{Endpoint, Instance, Key};
///
/// let instance = Instance::new(Key::new("/services/hello/a")?, "10.0.0.1:8080");
/// let endpoint = Endpoint::new(instance, String::from("a client"));
/// assert_eq!(endpoint.address(), "10.0.0.1:8080");
/// assert_eq!(endpoint.len(), 8); // String's own
/// # Ok::<(), sd_core::Invalid>(())
/// ```
pub struct Endpoint<E> {
    instance: Arc<Instance>,
    target: Arc<E>,
}

impl<E> Endpoint<E> {
    /// The endpoint of `instance`, called by way of `target`.
    pub fn new(instance: impl Into<Arc<Instance>>, target: E) -> Self {
        Self::sharing(instance, Arc::new(target))
    }

    /// The endpoint of `instance`, called by way of a target that others share.
    pub fn sharing(instance: impl Into<Arc<Instance>>, target: Arc<E>) -> Self {
        Self {
            instance: instance.into(),
            target,
        }
    }

    /// The same target for an instance whose attributes changed.
    pub(crate) fn rewrapped(&self, instance: Arc<Instance>) -> Self {
        Self::sharing(instance, self.target.clone())
    }

    /// The instance as it was registered when this endpoint was handed out.
    pub fn instance(&self) -> &Arc<Instance> {
        &self.instance
    }

    /// What the factory made. The same one (by [`Arc::ptr_eq`]) for as long as the instance's
    /// address stays what it is.
    pub fn target(&self) -> &Arc<E> {
        &self.target
    }

    /// Where the instance is registered: its identity.
    pub fn key(&self) -> &Key {
        self.instance.key()
    }

    /// Where the instance is called.
    pub fn address(&self) -> &str {
        self.instance.address()
    }

    /// The instance's share of the calls relative to the others.
    pub fn weight(&self) -> u32 {
        self.instance.weight()
    }

    /// Where the instance runs.
    pub fn zone(&self) -> Option<&str> {
        self.instance.zone()
    }

    /// Whether the instance wants new calls.
    pub fn status(&self) -> Status {
        self.instance.status()
    }
}

impl<E> Deref for Endpoint<E> {
    type Target = E;

    fn deref(&self) -> &E {
        &self.target
    }
}

impl<E> Clone for Endpoint<E> {
    fn clone(&self) -> Self {
        self.rewrapped(self.instance.clone())
    }
}

/// Without the target, which need not be `Debug`.
impl<E> fmt::Debug for Endpoint<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("instance", &self.instance)
            .finish_non_exhaustive()
    }
}

/// Why there is no endpoint to pick. Cheap to clone.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum NoEndpoints {
    /// The source has not said yet which instances there are.
    #[error("no endpoints: the instances are not known yet")]
    Unknown,

    /// It is known that there is no instance.
    #[error("no endpoints: no instance is registered")]
    Empty,

    /// There are instances, but none of them has an endpoint yet: factories are at work or fail.
    #[error("no endpoints: none of {instances} instances has one yet")]
    Unmade {
        /// How many instances there are.
        instances: usize,
        /// What the factory said of the first of them that failed, if one did.
        #[source]
        why: Option<crate::calls::factory::FactoryError>,
    },

    /// The instances have been stale for longer than
    /// [`invalidate_on_error`](crate::EndpointerBuilder::invalidate_on_error) allows.
    #[error("no endpoints: the instances have been stale for {after:?}")]
    Invalidated {
        /// The limit that was passed.
        after: Duration,
        /// What keeps the source from following its registry.
        #[source]
        why: Arc<Trouble>,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attribute_changes_without_another_target() {
        let instance = Instance::new(Key::new("a").unwrap(), "h:1");
        let endpoint = Endpoint::new(instance.clone(), 7_u8);
        let heavier = endpoint.rewrapped(Arc::new(instance.with_weight(5)));
        assert_eq!((endpoint.weight(), heavier.weight()), (1, 5));
        assert!(Arc::ptr_eq(endpoint.target(), heavier.target()));
        assert_eq!(*heavier, *endpoint);
    }
}
