//! Owners: who may end a registration, if several on one client have the same key.

use std::sync::atomic::{AtomicU64, Ordering};

static NEXT: AtomicU64 = AtomicU64::new(0);

/// Identifies who registered a service, unique in this process. An owner can end only its own
/// registrations.
///
/// The key alone does not say this. When a provider is reloaded, its old part may deregister during
/// or after the new part's registration of the same key on the same client. If each part has an
/// owner, [`Client::deregister`](crate::Client::deregister) by the old part removes nothing once
/// the new part has registered, and does not stop a pending `register` of the new part.
///
/// ```
/// use sd_core::{Owner, Service};
///
/// let [old, new] = [Owner::new(), Owner::new()];
/// let service = Service::new("/services/hello/a", "10.0.0.1:80")?;
/// assert_eq!(service.owner(), None);
/// assert_ne!(service.clone().owned_by(old).owner(), service.owned_by(new).owner());
/// # Ok::<(), sd_core::Invalid>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Owner(u64);

impl Owner {
    /// An owner that is not equal to any other.
    #[expect(clippy::new_without_default, reason = "two of them are never equal")]
    pub fn new() -> Self {
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}
