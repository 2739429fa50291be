//! Owners: who ends a registration, where several on one client have the same key.

use std::sync::atomic::{AtomicU64, Ordering};

static NEXT: AtomicU64 = AtomicU64::new(0);

/// Whoever registers services and ends only what it registered: an identity that nobody else in
/// this process has.
///
/// A key alone does not say whose a registration is. When a provider is reloaded, the old part of
/// it deregisters while, or after, the new one registers the same key on the same client. With an
/// owner each, [`Client::deregister`](crate::Client::deregister) of the old one removes nothing
/// once the new one has taken the key over, and keeps no call of the new one from succeeding.
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
