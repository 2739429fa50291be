//! Health checks: how to find out whether an endpoint is well.

use crate::{
    calls::{endpoint::Endpoint, factory::BoxError},
    registry::{Cause, Message},
};
use async_trait::async_trait;
use std::{sync::Arc, time::Duration};

/// Finds out whether an endpoint is well, for an [`ActiveHealth`](crate::ActiveHealth).
///
/// `E` is the target of the endpoints; a check that needs only the address implements it for all.
///
/// ```
/// use sd_core::{BoxError, Endpoint, HealthCheck, async_trait};
/// # struct Client;
/// # impl Client { async fn ping(&self) -> std::io::Result<String> { Ok("pong".into()) } }
///
/// struct Ping;
///
/// #[async_trait]
/// impl HealthCheck<Client> for Ping {
///     async fn check(&self, endpoint: &Endpoint<Client>) -> Result<(), BoxError> {
///         match &*endpoint.target().ping().await? {
///             "pong" => Ok(()),
///             other => Err(format!("the answer was {other}").into()),
///         }
///     }
/// }
/// ```
#[async_trait]
pub trait HealthCheck<E>: Send + Sync + 'static {
    /// Checks `endpoint` once.
    ///
    /// Runs on a task of the [`ActiveHealth`](crate::ActiveHealth), beside other checks: it may
    /// await, but must not block the thread. The future is dropped if it takes longer than the
    /// timeout or if the endpoint goes. A panic counts as a failure.
    ///
    /// # Errors
    /// Any error: the endpoint is not well.
    async fn check(&self, endpoint: &Endpoint<E>) -> Result<(), BoxError>;
}

#[async_trait]
impl<E: Send + Sync, C: HealthCheck<E> + ?Sized> HealthCheck<E> for Arc<C> {
    async fn check(&self, endpoint: &Endpoint<E>) -> Result<(), BoxError> {
        (**self).check(endpoint).await
    }
}

#[async_trait]
impl<E: Send + Sync, C: HealthCheck<E> + ?Sized> HealthCheck<E> for Box<C> {
    async fn check(&self, endpoint: &Endpoint<E>) -> Result<(), BoxError> {
        (**self).check(endpoint).await
    }
}

/// Why a health check failed. Cheap to clone.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum HealthCheckError {
    /// It returned this error.
    #[error(transparent)]
    Failed(Cause),
    /// It took too long and was dropped.
    #[error("the health check did not finish within {0:?}")]
    TimedOut(Duration),
    /// It panicked.
    #[error("the health check panicked: {}", Message(.0))]
    Panicked(Arc<str>),
}
