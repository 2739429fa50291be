//! Endpoints: instances made callable.

use crate::{
    instances::{Instance, Status},
    registry::{ErrorChain, Escaped, Key},
    support::catch,
};
use std::{fmt, ops::Deref, sync::Arc};

/// What callers pick: an instance and its target. The target is what a [`Factory`](crate::Factory)
/// made from the instance, such as a client connected to its address.
///
/// Dereferences to the target, so that its methods can be called directly:
///
/// ```
/// use sd_core::{Endpoint, Instance, Key};
///
/// let instance = Instance::new(Key::new("/services/hello/a")?, "10.0.0.1:8080");
/// let endpoint = Endpoint::new(instance, String::from("a client"));
/// assert_eq!(endpoint.address(), "10.0.0.1:8080");
/// assert_eq!(endpoint.len(), 8); // the string's
/// # Ok::<(), sd_core::Invalid>(())
/// ```
///
/// # Methods of the same name
/// A method of the endpoint hides one of the target, and later versions may add methods. An
/// endpoint is mostly behind an `Arc` or a [`Pick`](crate::Pick), whose methods hide the target's
/// too. On [`target`](Self::target) you reach all of the target's own methods:
///
/// ```
/// use sd_core::{Endpoint, Instance, Key, Status};
/// use std::sync::Arc;
///
/// #[derive(Clone)]
/// struct Printer;
///
/// impl Printer {
///     fn status(&self) -> &'static str {
///         "out of paper"
///     }
/// }
///
/// let instance = Instance::new(Key::new("/printers/a")?, "10.0.0.1:631");
/// let endpoint = Arc::new(Endpoint::new(instance, Printer));
/// assert_eq!(endpoint.status(), Status::Serving); // the instance's
/// assert_eq!(endpoint.target().status(), "out of paper"); // the printer's
///
/// // Many clients are cloned for a call.
/// let _endpoint: Arc<Endpoint<Printer>> = endpoint.clone();
/// let _printer: Printer = endpoint.target().clone();
/// # Ok::<(), sd_core::Invalid>(())
/// ```
///
/// # How long it lives
/// Endpoints are handed out as `Arc<Endpoint<E>>`, so a call in flight keeps its endpoint after the
/// instance has gone. When an attribute of the instance changes (weight, status, zone, metadata), a
/// new `Endpoint` with the same target replaces the old one. A panic in the target's `Drop` is
/// caught and logged.
pub struct Endpoint<E> {
    instance: Arc<Instance>,
    /// `None` only while the endpoint is dropped.
    target: Option<Arc<E>>,
}

impl<E> Endpoint<E> {
    /// The endpoint of `instance`, called through `target`.
    pub fn new(instance: impl Into<Arc<Instance>>, target: E) -> Self {
        Self::sharing(instance, Arc::new(target))
    }

    /// The endpoint of `instance`, called through a target that others share.
    pub fn sharing(instance: impl Into<Arc<Instance>>, target: Arc<E>) -> Self {
        Self {
            instance: instance.into(),
            target: Some(target),
        }
    }

    /// The same target for an instance whose attributes changed.
    pub(crate) fn with_instance(&self, instance: Arc<Instance>) -> Self {
        Self::sharing(instance, self.shared_target().clone())
    }

    /// The instance as it was when this endpoint was handed out.
    pub fn instance(&self) -> &Arc<Instance> {
        &self.instance
    }

    /// What the factory made.
    pub fn target(&self) -> &E {
        self.shared_target()
    }

    /// What the factory made, as an `Arc` to share. The same one (by [`Arc::ptr_eq`]) for as long
    /// as the instance's address stays the same.
    pub fn shared_target(&self) -> &Arc<E> {
        match &self.target {
            Some(target) => target,
            None => unreachable!("a dropped endpoint"),
        }
    }

    /// The key of the instance: its identity.
    pub fn key(&self) -> &Key {
        self.instance.key()
    }

    /// The address of the instance.
    pub fn address(&self) -> &str {
        self.instance.address()
    }

    /// The instance's share of the calls relative to other instances.
    pub fn weight(&self) -> u32 {
        self.instance.weight()
    }

    /// The zone of the instance.
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
        self.target()
    }
}

impl<E> Clone for Endpoint<E> {
    fn clone(&self) -> Self {
        self.with_instance(self.instance.clone())
    }
}

/// Catches a panic in the target's `Drop`. It would otherwise end whatever drops the endpoint: the
/// endpointer's task, or an unrelated call.
impl<E> Drop for Endpoint<E> {
    fn drop(&mut self) {
        let target = self.target.take();
        if let Err(why) = catch(|| drop(target)) {
            tracing::error!(
                key = %Escaped(self.key()), address = %Escaped(self.address()), why = %ErrorChain(&why), "the target of an endpoint failed to be dropped");
        }
    }
}

/// Omits the target, which need not be `Debug`.
impl<E> fmt::Debug for Endpoint<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("instance", &self.instance)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::support::Log;

    fn instance() -> Instance {
        Instance::new(Key::new("a").unwrap(), "h:1")
    }

    #[test]
    fn an_attribute_changes_without_another_target() {
        let endpoint = Endpoint::new(instance(), 7_u8);
        let heavier = endpoint.with_instance(Arc::new(instance().with_weight(5)));
        assert_eq!((endpoint.weight(), heavier.weight()), (1, 5));
        let (old, new) = (endpoint.shared_target(), heavier.shared_target());
        assert!(Arc::ptr_eq(old, new));
        assert_eq!(*heavier, *endpoint);
    }

    #[test]
    fn every_method_of_the_target_can_be_called() {
        #[derive(Clone, PartialEq, Debug)]
        struct Shadowed;
        impl Shadowed {
            fn key(&self) -> u8 {
                1
            }
            fn target(&self) -> u8 {
                2
            }
        }
        let endpoint = Arc::new(Endpoint::new(instance(), Shadowed));
        assert_eq!(endpoint.key().as_str(), "a");
        assert_eq!(endpoint.target().key(), 1);
        assert_eq!(endpoint.target().target(), 2);
        assert_eq!(endpoint.target().clone(), Shadowed);
    }

    #[test]
    fn a_target_that_panics_when_dropped_is_logged_and_harms_nobody() {
        struct Faulty;
        impl Drop for Faulty {
            fn drop(&mut self) {
                panic!("a bug");
            }
        }
        let log = Log::capture();
        // Two panics at once would abort the process.
        let both: Box<[_]> = Box::new([
            Endpoint::new(instance(), Faulty),
            Endpoint::new(instance(), Faulty),
        ]);
        drop(both);
        let line = "ERROR the target of an endpoint failed to be dropped \
                    key=a address=h:1 why=panicked: a bug";
        assert_eq!(log.text(), [line, line]);
    }
}
