//! Factories: make something to call from an instance.

use crate::{
    instances::Instance,
    registry::{Cause, Message},
};
use async_trait::async_trait;
use std::{error::Error as StdError, fmt, future::Future, sync::Arc, time::Duration};

/// Any error. `?` converts every error into it.
pub type BoxError = Box<dyn StdError + Send + Sync>;

/// Makes the target of an endpoint from an instance: a client, a connection, a URL.
///
/// An [`Endpointer`](crate::Endpointer) calls it once per address, retries it when it fails, and
/// shares what it made among the instances that have the address. Most factories are closures: [`factory_fn`],
/// [`async_factory_fn`].
///
/// ```
/// use sd_core::{BoxError, Factory, Instance, async_trait};
/// use std::net::SocketAddr;
///
/// struct Resolve;
///
/// #[async_trait]
/// impl Factory for Resolve {
///     type Target = SocketAddr;
///
///     async fn make(&self, instance: &Instance) -> Result<SocketAddr, BoxError> {
///         Ok(instance.address().parse()?)
///     }
/// }
/// ```
#[async_trait]
pub trait Factory: Send + Sync + 'static {
    /// What it makes from an instance.
    type Target: Send + Sync + 'static;

    /// Makes the target for calls to `instance`. Use only the address of the instance: its other
    /// attributes may change while the target is in use, and another instance with this address may
    /// take its place.
    ///
    /// Runs on the endpointer's task: it may await, but must not block the thread. The future is
    /// dropped if no instance has the address any longer, or if it takes too long. A panic counts as
    /// a failure.
    ///
    /// # Errors
    /// Any error. The endpointer reports it and tries again.
    async fn make(&self, instance: &Instance) -> Result<Self::Target, BoxError>;

    /// Whether a target belongs to one registration: a session with one process, or a connection
    /// that does not connect again. The endpointer asks once, when it starts.
    ///
    /// If so, it makes another target when an instance at the address has a
    /// [lease](Instance::lease) that none had when the target was made: another process has
    /// registered there, or the same one again after it lost its lease. The old endpoint stays until
    /// then. Entries without leases, and registries that do not tell them, cause nothing.
    ///
    /// Default: `false`, for targets that reach whoever is at the address.
    fn is_per_registration(&self) -> bool {
        false
    }
}

#[async_trait]
impl<F: Factory + ?Sized> Factory for Arc<F> {
    type Target = F::Target;

    async fn make(&self, instance: &Instance) -> Result<F::Target, BoxError> {
        (**self).make(instance).await
    }

    fn is_per_registration(&self) -> bool {
        (**self).is_per_registration()
    }
}

#[async_trait]
impl<F: Factory + ?Sized> Factory for Box<F> {
    type Target = F::Target;

    async fn make(&self, instance: &Instance) -> Result<F::Target, BoxError> {
        (**self).make(instance).await
    }

    fn is_per_registration(&self) -> bool {
        (**self).is_per_registration()
    }
}

/// A factory from a closure that does not await, for example for clients that connect on their
/// first call.
///
/// ```
/// use sd_core::factory_fn;
/// use std::net::SocketAddr;
///
/// let parsed = factory_fn(|instance| Ok(instance.address().parse::<SocketAddr>()?));
/// let shared = factory_fn(|instance| Ok(format!("http://{}", instance.address())));
/// # fn check(_: impl sd_core::Factory) {}
/// # check(parsed); check(shared);
/// ```
pub fn factory_fn<E, F>(make: F) -> FactoryFn<F>
where
    F: Fn(&Instance) -> Result<E, BoxError> + Send + Sync + 'static,
{
    FactoryFn(make)
}

/// What [`factory_fn`] returns.
#[derive(Clone, Copy)]
pub struct FactoryFn<F>(F);

impl<F> fmt::Debug for FactoryFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FactoryFn")
    }
}

#[async_trait]
impl<E, F> Factory for FactoryFn<F>
where
    E: Send + Sync + 'static,
    F: Fn(&Instance) -> Result<E, BoxError> + Send + Sync + 'static,
{
    type Target = E;

    async fn make(&self, instance: &Instance) -> Result<E, BoxError> {
        (self.0)(instance)
    }
}

/// A factory from a closure that returns a future. The closure owns the instance, so it can hold it
/// across awaits.
///
/// ```
/// use sd_core::{Instance, async_factory_fn};
/// # struct Connection;
/// # async fn connect(_: &str) -> std::io::Result<Connection> { Ok(Connection) }
///
/// let connected = async_factory_fn(async |instance: Instance| {
///     Ok(connect(instance.address()).await?)
/// });
/// # fn check(_: impl sd_core::Factory) {}
/// # check(connected);
/// ```
pub fn async_factory_fn<E, F, Fut>(make: F) -> AsyncFactoryFn<F>
where
    F: Fn(Instance) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<E, BoxError>> + Send,
{
    AsyncFactoryFn(make)
}

/// What [`async_factory_fn`] returns.
#[derive(Clone, Copy)]
pub struct AsyncFactoryFn<F>(F);

impl<F> fmt::Debug for AsyncFactoryFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AsyncFactoryFn")
    }
}

#[async_trait]
impl<E, F, Fut> Factory for AsyncFactoryFn<F>
where
    E: Send + Sync + 'static,
    F: Fn(Instance) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<E, BoxError>> + Send,
{
    type Target = E;

    async fn make(&self, instance: &Instance) -> Result<E, BoxError> {
        (self.0)(instance.clone()).await
    }
}

/// Why a factory failed. Cheap to clone.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum FactoryError {
    /// It returned this error.
    #[error(transparent)]
    Failed(Cause),
    /// It took too long and was dropped.
    #[error("the factory did not finish within {0:?}")]
    TimedOut(Duration),
    /// It panicked.
    #[error("the factory panicked: {}", Message(.0))]
    Panicked(Arc<str>),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Key;

    #[tokio::test]
    async fn factories_are_objects() {
        let shared: Arc<dyn Factory<Target = String>> =
            Arc::new(factory_fn(|instance| Ok(instance.address().to_owned())));
        let boxed: Box<dyn Factory<Target = String>> =
            Box::new(async_factory_fn(async |instance: Instance| {
                Ok(instance.address().to_owned())
            }));
        let instance = Instance::new(Key::new("a").unwrap(), "h:1");
        let boxed: Box<dyn Factory<Target = String>> = Box::new(boxed);
        assert_eq!(shared.make(&instance).await.unwrap(), "h:1");
        assert_eq!(boxed.make(&instance).await.unwrap(), "h:1");
    }
}
