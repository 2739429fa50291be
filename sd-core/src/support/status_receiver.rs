//! The receiving half of a published status.

use std::{fmt, sync::Arc};
use tokio::sync::watch::{self, error::RecvError};

/// Follows a status that changes. Only the newest status is kept; a slow reader skips older ones.
///
/// Its methods are those of [`tokio::sync::watch::Receiver`], but they return the status in an
/// [`Arc`] rather than under a lock. So a caller can hold it across an `.await` without blocking
/// the publisher.
///
/// ```
/// # use sd_core::*;
/// # async fn drain(registrar: &Registrar) -> Result<()> {
/// match &*registrar.status().borrow() {
///     RegistrarStatus::Registered { key, .. } => {
///         let outcome = registrar.deregister().await?; // publishes new statuses meanwhile
///         println!("{key}: {outcome:?}");
///     }
///     status => println!("{status}"),
/// }
/// # Ok(())
/// # }
/// ```
pub struct StatusReceiver<S>(watch::Receiver<Arc<S>>);

impl<S> StatusReceiver<S> {
    /// A channel with `initial` as its first status.
    pub(crate) fn channel(initial: S) -> (watch::Sender<Arc<S>>, Self) {
        let (sender, receiver) = watch::channel(Arc::new(initial));
        (sender, Self(receiver))
    }

    /// The newest status.
    pub fn borrow(&self) -> Arc<S> {
        self.0.borrow().clone()
    }

    /// The newest status. Marks it as seen, so that [`changed`](Self::changed) waits for the next.
    pub fn borrow_and_update(&mut self) -> Arc<S> {
        self.0.borrow_and_update().clone()
    }

    /// Whether the status has changed since it was last seen.
    ///
    /// # Errors
    /// [`RecvError`] if the publisher is gone.
    pub fn has_changed(&self) -> Result<bool, RecvError> {
        self.0.has_changed()
    }

    /// Waits for a status that was not seen yet, and marks it as seen. Cancellation safe.
    ///
    /// # Errors
    /// [`RecvError`] if the publisher is gone and its last status was seen.
    pub async fn changed(&mut self) -> Result<(), RecvError> {
        self.0.changed().await
    }

    /// Waits for a status for which `condition` returns `true`, beginning with the newest, and
    /// marks it as seen. Cancellation safe.
    ///
    /// # Errors
    /// [`RecvError`] if the publisher is gone and its last status is not such a one.
    pub async fn wait_for(
        &mut self,
        mut condition: impl FnMut(&S) -> bool,
    ) -> Result<Arc<S>, RecvError> {
        let status = self.0.wait_for(|status| condition(status)).await?;
        Ok(status.clone())
    }
}

impl<S> Clone for StatusReceiver<S> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<S: fmt::Debug> fmt::Debug for StatusReceiver<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("StatusReceiver")
            .field(&self.borrow())
            .finish()
    }
}
