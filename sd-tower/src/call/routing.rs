//! What the balancer may know about a call.

use bytes::Bytes;
use sd_core::PickContext;
use std::sync::Arc;

/// What the balancer may know about a call, as an extension of its request.
///
/// ```
/// use sd_tower::Routing;
///
/// let mut request = http::Request::get("http://hello/").body(())?;
/// request.extensions_mut().insert(Routing::new().with_hash_key("user-17"));
/// # Ok::<(), http::Error>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Routing {
    hash_key: Option<Bytes>,
    lane: Option<Arc<str>>,
}

impl Routing {
    /// Neither a hash key nor a lane.
    pub fn new() -> Self {
        Self::default()
    }

    /// Calls with the same hash key go to the same endpoint, if the balancer is a
    /// [`ConsistentHash`](sd_core::ConsistentHash).
    #[must_use]
    pub fn with_hash_key(mut self, key: impl Into<Bytes>) -> Self {
        self.hash_key = Some(key.into());
        self
    }

    /// The lane of the call, if the balancer is one over [`Lanes`](sd_core::Lanes).
    #[must_use]
    pub fn with_lane(mut self, lane: impl Into<Arc<str>>) -> Self {
        self.lane = Some(lane.into());
        self
    }

    pub(super) fn context(&self) -> PickContext<'_> {
        let mut context = PickContext::new();
        context.hash_key = self.hash_key.as_deref();
        context.lane = self.lane.as_deref();
        context
    }
}
