//! The receiving end of a published status.

use std::{fmt, sync::Arc};
use tokio::sync::watch::{self, error::RecvError};

/// Follows a status that changes: the newest is kept, those that nobody read in time are skipped.
///
/// Its methods are those of [`tokio::sync::watch::Receiver`], but they return the status in an
/// [`Arc`] rather than under a lock. So a caller may keep what it has read across an `.await`, and
/// the publisher never waits for it.
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
    /// A channel that begins with `initial`.
    pub(crate) fn channel(initial: S) -> (watch::Sender<Arc<S>>, Self) {
        let (sender, receiver) = watch::channel(Arc::new(initial));
        (sender, Self(receiver))
    }

    /// The newest status.
    pub fn borrow(&self) -> Arc<S> {
        self.0.borrow().clone()
    }

    /// The newest status, which [`changed`](Self::changed) regards as seen from now on.
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

    /// Waits for a status that was not seen yet, and regards it as seen. Cancellation safe.
    ///
    /// # Errors
    /// [`RecvError`] if the publisher is gone and its last status was seen.
    pub async fn changed(&mut self) -> Result<(), RecvError> {
        self.0.changed().await
    }

    /// Waits for a status that fulfils `condition`, beginning with the newest, and regards it as
    /// seen. Cancellation safe.
    ///
    /// # Errors
    /// [`RecvError`] if the publisher is gone and its last status does not fulfil it.
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
