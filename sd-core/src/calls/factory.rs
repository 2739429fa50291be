//! Factories: how an instance becomes something to call.

use crate::{instances::Instance, registry::Cause};
use async_trait::async_trait;
use std::{error::Error as StdError, fmt, future::Future, sync::Arc, time::Duration};

/// Any error; what `?` turns every error into.
pub type BoxError = Box<dyn StdError + Send + Sync>;

/// Makes of an instance what its callers call: a client, a connection, a URL.
///
/// An [`Endpointer`](crate::Endpointer) calls it once per key and address, retries it when it fails,
/// and shares what it made. Most are closures: [`factory_fn`], [`async_factory_fn`].
///
/// ```
/// use sd_core::{BoxError, Factory, Instance, async_trait};
/// use std::net::SocketAddr;
///
/// struct Resolve;
///
/// #[async_trait]
/// impl Factory<SocketAddr> for Resolve {
///     async fn make(&self, instance: &Instance) -> Result<SocketAddr, BoxError> {
///         Ok(instance.address().parse()?)
///     }
/// }
/// ```
#[async_trait]
pub trait Factory<E>: Send + Sync + 'static {
    /// What calls to `instance` go through. Only the key and the address are sure to stay what they
    /// are for as long as it is used.
    ///
    /// Runs on the endpointer's task: it may wait, but must not block the thread. It may be dropped
    /// at any await, when the instance goes, its address changes, or it takes too long.
    ///
    /// # Errors
    /// Anything; the endpointer reports it and tries again.
    async fn make(&self, instance: &Instance) -> Result<E, BoxError>;
}

#[async_trait]
impl<E, F: Factory<E> + ?Sized> Factory<E> for Arc<F> {
    async fn make(&self, instance: &Instance) -> Result<E, BoxError> {
        (**self).make(instance).await
    }
}

/// A factory made of a closure that need not wait, as clients that connect at their first call.
///
/// ```
/// use sd_core::factory_fn;
/// use std::net::SocketAddr;
///
/// let parsed = factory_fn(|instance| Ok(instance.address().parse::<SocketAddr>()?));
/// let shared = factory_fn(|instance| Ok(format!("http://{}", instance.address())));
/// # fn check<E>(_: impl sd_core::Factory<E>) {}
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
impl<E, F> Factory<E> for FactoryFn<F>
where
    F: Fn(&Instance) -> Result<E, BoxError> + Send + Sync + 'static,
{
    async fn make(&self, instance: &Instance) -> Result<E, BoxError> {
        (self.0)(instance)
    }
}

/// A factory made of an async closure, which gets an instance of its own to hold across awaits.
///
/// ```
/// use sd_core::{Instance, async_factory_fn};
/// # struct Connection;
/// # async fn connect(_: &str) -> std::io::Result<Connection> { Ok(Connection) }
///
/// let connected = async_factory_fn(async |instance: Instance| {
///     Ok(connect(instance.address()).await?)
/// });
/// # fn check<E>(_: impl sd_core::Factory<E>) {}
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
impl<E, F, Fut> Factory<E> for AsyncFactoryFn<F>
where
    F: Fn(Instance) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<E, BoxError>> + Send,
{
    async fn make(&self, instance: &Instance) -> Result<E, BoxError> {
        (self.0)(instance.clone()).await
    }
}

/// Why a factory made nothing. Cheap to clone.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum FactoryError {
    /// It said so.
    #[error(transparent)]
    Failed(Cause),
    /// It took too long and was dropped.
    #[error("the factory did not finish within {0:?}")]
    TimedOut(Duration),
    /// It panicked.
    #[error("the factory panicked: {0}")]
    Panicked(Arc<str>),
}
