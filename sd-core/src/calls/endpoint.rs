//! Endpoints: instances made callable.

use super::{host::Host, observer::Observer};
use crate::{
    instances::{Instance, InstanceKey, Status},
    registry::Key,
};
use std::{
    fmt,
    ops::Deref,
    sync::{Arc, Weak},
};

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
/// new `Endpoint` with the same target replaces the old one, and what the target has lived through
/// (calls in flight, latency) goes on. A panic in the target's `Drop` is caught and logged.
pub struct Endpoint<E> {
    instance: Arc<Instance>,
    host: Arc<Host<E>>,
    /// `None` for most: there may be 100,000 endpoints.
    extras: Option<Box<Extras>>,
}

/// What an adapter or a balancer has added to an endpoint.
#[derive(Clone)]
struct Extras {
    /// In thousandths, at least 1.
    weight_factor: u16,
    /// Whether one of the observers needs times.
    is_timed: bool,
    observers: Box<[Arc<dyn Observer>]>,
}

const WHOLE: u16 = 1000;

impl Default for Extras {
    fn default() -> Self {
        Self {
            weight_factor: WHOLE,
            is_timed: false,
            observers: Box::default(),
        }
    }
}

impl<E> Endpoint<E> {
    /// The endpoint of `instance`, called through `target`.
    pub fn new(instance: impl Into<Arc<Instance>>, target: E) -> Self {
        let instance = instance.into();
        let host = Host::new(instance.clone(), target, Weak::new());
        Self::at(instance, Arc::new(host))
    }

    /// The endpoint of `instance` at this host.
    pub(super) fn at(instance: Arc<Instance>, host: Arc<Host<E>>) -> Self {
        Self {
            host,
            instance,
            extras: None,
        }
    }

    /// The same target and history for an instance with other attributes, for example for an
    /// [`EndpointSource`](crate::EndpointSource) that changes weights.
    #[must_use]
    pub fn with_instance(&self, instance: impl Into<Arc<Instance>>) -> Self {
        Self {
            instance: instance.into(),
            ..self.clone()
        }
    }

    /// The same endpoint with a part of its share of the calls, for one that is not up to its
    /// weight yet. `factor` is between 0 and 1 and rounded to thousandths, at least one of them;
    /// others are capped, and NaN counts as 0. It replaces an earlier factor.
    #[must_use]
    pub fn with_weight_factor(&self, factor: f64) -> Self {
        // `as` saturates, and turns NaN into 0.
        let thousandths = (factor * f64::from(WHOLE)).round() as u16;
        self.with_extras(|extras| extras.weight_factor = thousandths.clamp(1, WHOLE))
    }

    /// The same endpoint with one more observer of its calls. Picks of the endpoint that this
    /// returns are observed, others are not.
    #[must_use]
    pub fn observed_by(&self, observer: Arc<dyn Observer>) -> Self {
        self.with_extras(|extras| {
            extras.is_timed |= observer.needs_times();
            let observers = extras.observers.iter().cloned().chain([observer]);
            extras.observers = observers.collect();
        })
    }

    fn with_extras(&self, change: impl FnOnce(&mut Extras)) -> Self {
        let mut changed = self.clone();
        change(changed.extras.get_or_insert_default());
        changed
    }

    #[inline]
    pub(super) fn observers(&self) -> &[Arc<dyn Observer>] {
        match &self.extras {
            Some(extras) => &extras.observers,
            None => &[],
        }
    }

    /// Whether calls have to read the clock for the observers.
    #[inline]
    pub(super) fn is_timed(&self) -> bool {
        self.extras.as_ref().is_some_and(|extras| extras.is_timed)
    }

    pub(super) fn host(&self) -> &Arc<Host<E>> {
        &self.host
    }

    /// The instance as it was when this endpoint was handed out.
    pub fn instance(&self) -> &Arc<Instance> {
        &self.instance
    }

    /// What the factory made.
    pub fn target(&self) -> &E {
        self.host.target()
    }

    /// Whether both are called through one target. True for as long as the address of an instance
    /// stays the same, and for instances that have one address.
    pub fn shares_target_with(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.host, &other.host)
    }

    /// Asks for another target, because this one is dead: a process that was started again at the
    /// same address, a client that does not connect again by itself.
    ///
    /// The [`Endpointer`](crate::Endpointer) that made the endpoint runs its factory for the
    /// address again, and then replaces the endpoint by one with the new target, which begins
    /// without load. Until then, or if the factory fails, the old one stays. The first request for a
    /// target counts, others do nothing. A target that is asked to be replaced soon after it has
    /// replaced another waits for the pause of
    /// [`factory_backoff`](crate::EndpointerBuilder::factory_backoff). On endpoints that no
    /// endpointer made this does nothing.
    ///
    /// ```
    /// use sd_core::{Balancer, NoEndpoints};
    /// # struct Session;
    /// # impl Session { fn is_closed(&self) -> bool { true } }
    ///
    /// fn check(sessions: &impl Balancer<Target = Session>) -> Result<(), NoEndpoints> {
    ///     let session = sessions.endpoint()?;
    ///     if session.is_closed() {
    ///         session.replace_target();
    ///     }
    ///     Ok(())
    /// }
    /// ```
    pub fn replace_target(&self) {
        self.host.replace();
    }

    /// Waits until the instance is certainly gone: an [`Endpointer`](crate::Endpointer) has dropped
    /// the address, since its last instance was removed from the registry (its lease has ended, or
    /// somebody deleted it) and had not announced that it is [draining](Status::Draining). A call
    /// that still waits for an answer will hardly get one, and need not wait for its deadline.
    ///
    /// Waits for ever if the instance announced draining, since it may be about to answer; if its
    /// key now says another address; if the target was replaced by another; and for endpoints that
    /// no endpointer made. Allocates nothing, but for the first wait for a target.
    /// Cancellation safe.
    ///
    /// ```
    /// use sd_core::{Balancer, NoEndpoints};
    /// use tokio::net::TcpStream;
    ///
    /// async fn connect(hosts: &impl Balancer<Target = String>) -> Result<bool, NoEndpoints> {
    ///     let host = hosts.endpoint()?;
    ///     tokio::select! {
    ///         connected = TcpStream::connect(host.target()) => Ok(connected.is_ok()),
    ///         () = host.removed() => Ok(false),
    ///     }
    /// }
    /// ```
    pub async fn removed(&self) {
        self.host.removed().await;
    }

    /// The key of the instance's entry.
    pub fn key(&self) -> &Key {
        self.instance.key()
    }

    /// What tells the instance from all others: its key, and its part if it is one of several of its entry. Tables
    /// are in the order of these.
    pub fn identity(&self) -> InstanceKey {
        self.instance.identity()
    }

    pub(super) fn place(&self) -> (&str, Option<&str>) {
        self.instance.place()
    }

    /// The address of the instance.
    pub fn address(&self) -> &str {
        self.instance.address()
    }

    /// The instance's share of the calls relative to other instances.
    pub fn weight(&self) -> u32 {
        self.instance.weight()
    }

    /// The share of the calls relative to others in the same table, for balancers: the weight in
    /// thousandths, times the [factor](Self::with_weight_factor). An endpoint of weight 0 is in a
    /// table only if all others have weight 0 or are draining too, so it counts as weight 1.
    pub fn effective_weight(&self) -> u64 {
        let factor = (self.extras.as_ref()).map_or(WHOLE, |extras| extras.weight_factor);
        u64::from(self.weight().max(1)) * u64::from(factor)
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
        Self {
            instance: self.instance.clone(),
            host: self.host.clone(),
            extras: self.extras.clone(),
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
        assert!(heavier.shares_target_with(&endpoint));
        assert_eq!(*heavier, *endpoint);
    }

    #[test]
    fn a_factor_scales_the_weight_and_never_to_nothing() {
        let endpoint = Endpoint::new(instance().with_weight(3), ());
        assert_eq!(endpoint.effective_weight(), 3000);
        let factors = [0.5, 0.0, -1.0, f64::NAN, 7.0];
        let weights = factors.map(|factor| endpoint.with_weight_factor(factor).effective_weight());
        assert_eq!(weights, [1500, 3, 3, 3, 3000]);
        let unweighted = endpoint.with_instance(instance().with_weight(0));
        assert_eq!(unweighted.effective_weight(), 1000);
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
