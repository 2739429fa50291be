//! Where balancers take endpoints from.

use super::{
    endpoint_table::{Endpoints, TableRef},
    no_endpoints::NoEndpoints,
};
use std::sync::Arc;
use tokio::sync::watch;

/// Where a balancer takes its endpoints from: an [`Endpointer`](crate::Endpointer), a
/// [`FixedEndpointer`](crate::FixedEndpointer), or your own selection from another source.
///
/// # Adapters
/// An adapter is a source over another one. Adapters stack in any order. The recommended one, from
/// the endpointer outwards:
///
/// | adapter | its endpoints |
/// |---|---|
/// | [`Reachable`](crate::Reachable) | those whose target can connect, where it knows |
/// | [`ActiveHealth`](crate::ActiveHealth) | those that pass a check |
/// | [`Ejection`](crate::Ejection) | those whose calls do not fail more than others' |
/// | [`Lanes`](crate::Lanes) | those with a piece of metadata, such as a version |
/// | [`ZonePreference`](crate::ZonePreference) | those in the caller's zone, and what it lacks of others |
/// | [`Subset`](crate::Subset) | a part for each client, where there are too many to connect to |
/// | [`SlowStart`](crate::SlowStart) | all, new ones with a smaller weight |
/// | [`Observed`](crate::Observed) | all, each with an observer of yours; anywhere among them |
///
/// - Those three come first: they look at each endpoint once, whatever is above, and what they take
///   out is replaced by a zone preference and a subset. Only above them does a zone
///   preference see that too few are well. Where a check of all instances by each client is too
///   much, put a subset below.
/// - Lanes come next, so that a zone or a subset never leaves a lane without endpoints. A
///   [balancer over lanes](crate::Lanes::balancer) has the other adapters above each lane.
/// - The zone comes before the subset, so that the subset is near.
/// - Slow start comes last, so that it eases in what the others let back.
///
/// # Your own
/// To write a source, keep a [`FixedEndpointer`](crate::FixedEndpointer) inside,
/// [set](crate::FixedEndpointer::set_shared) it when the endpoints change, and delegate to it:
///
/// ```
/// use sd_core::{Endpoint, EndpointSource, Endpoints, FixedEndpointer, Instance, Key, TableRef};
/// use tokio::sync::watch;
///
/// /// The endpoints of one zone.
/// struct InZone<S: EndpointSource> {
///     zone: &'static str,
///     all: S,
///     selected: FixedEndpointer<S::Target>,
/// }
///
/// impl<S: EndpointSource> InZone<S> {
///     /// Call this whenever `self.all.versions()` changes.
///     fn select(&self) {
///         match self.all.endpoints().non_empty() {
///             Ok(all) => {
///                 let here = all.iter().filter(|one| one.zone() == Some(self.zone));
///                 self.selected.set_shared(here.cloned());
///             }
///             Err(none) => self.selected.set_none(none),
///         }
///     }
/// }
///
/// impl<S: EndpointSource> EndpointSource for InZone<S> {
///     type Target = S::Target;
///
///     fn endpoints(&self) -> Endpoints<S::Target> {
///         self.selected.endpoints()
///     }
///
///     // So that picks are quick.
///     fn table_ref(&self) -> Option<TableRef<'_, S::Target>> {
///         self.selected.table_ref()
///     }
///
///     fn versions(&self) -> watch::Receiver<u64> {
///         self.selected.versions()
///     }
/// }
///
/// let endpoint = |name, zone| {
///     let instance = Instance::new(Key::new(name)?, "10.0.0.1:80").with_zone(zone);
///     Ok::<_, sd_core::Invalid>(Endpoint::new(instance, ()))
/// };
/// let all = FixedEndpointer::new([endpoint("a", "north")?, endpoint("b", "south")?]);
/// let selected = FixedEndpointer::unknown();
/// let south = InZone { zone: "south", all, selected };
/// south.select();
/// assert_eq!(south.endpoints().len(), 1);
/// # Ok::<(), sd_core::Invalid>(())
/// ```
pub trait EndpointSource: Send + Sync + 'static {
    /// The target of its endpoints: what a [`Factory`](crate::Factory) makes from an instance.
    type Target: Send + Sync + 'static;

    /// Returns the current endpoints, in the order of their keys. Takes no lock, reads no clock,
    /// allocates nothing.
    fn endpoints(&self) -> Endpoints<Self::Target>;

    /// The table that [`endpoints`](Self::endpoints) are read from, if it is one: so the toolkit's balancers read
    /// them where they are, which takes half the time.
    ///
    /// A source that delegates to another one delegates this too. Default: `None`, for one that does not.
    #[inline]
    fn table_ref(&self) -> Option<TableRef<'_, Self::Target>> {
        None
    }

    /// A channel with the [version](Endpoints::version) of the newest endpoints, for code that
    /// derives something from them and has to know when they change.
    fn versions(&self) -> watch::Receiver<u64>;

    /// Waits until there is an endpoint to pick, without limit; `tokio::time::timeout` sets one.
    /// Returns at once if there is one. Cancellation safe.
    ///
    /// For a program that cannot do without at its start. A
    /// [`Retry`](crate::RetryBuilder::wait_for_endpoints) can wait in each call.
    ///
    /// ```
    /// use sd_core::{EndpointSource, NoEndpoints};
    /// use std::time::Duration;
    /// use tokio::time::timeout;
    ///
    /// async fn start(hello: &impl EndpointSource) -> Result<(), NoEndpoints> {
    ///     match timeout(Duration::from_secs(10), hello.wait_for_endpoints()).await {
    ///         Ok(waited) => waited,
    ///         // Why there is none yet.
    ///         Err(_) => hello.endpoints().non_empty().map(|_| ()),
    ///     }
    /// }
    /// ```
    ///
    /// # Errors
    /// Why there is none, if that [cannot pass](NoEndpoints::is_transient).
    fn wait_for_endpoints(&self) -> impl Future<Output = Result<(), NoEndpoints>> + Send
    where
        Self: Sized,
    {
        async {
            let mut versions = self.versions();
            loop {
                // Before the table is read, so that no change after it is missed.
                versions.borrow_and_update();
                let none = match self.endpoints().non_empty() {
                    Ok(_) => return Ok(()),
                    Err(none) => none,
                };
                if !none.is_transient() || versions.changed().await.is_err() {
                    return Err(none);
                }
            }
        }
    }
}

impl<S: EndpointSource + ?Sized> EndpointSource for Arc<S> {
    type Target = S::Target;

    #[inline]
    fn endpoints(&self) -> Endpoints<S::Target> {
        (**self).endpoints()
    }

    #[inline]
    fn table_ref(&self) -> Option<TableRef<'_, S::Target>> {
        (**self).table_ref()
    }

    fn versions(&self) -> watch::Receiver<u64> {
        (**self).versions()
    }
}

impl<S: EndpointSource + ?Sized> EndpointSource for Box<S> {
    type Target = S::Target;

    #[inline]
    fn endpoints(&self) -> Endpoints<S::Target> {
        (**self).endpoints()
    }

    #[inline]
    fn table_ref(&self) -> Option<TableRef<'_, S::Target>> {
        (**self).table_ref()
    }

    fn versions(&self) -> watch::Receiver<u64> {
        (**self).versions()
    }
}
