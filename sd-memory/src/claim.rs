//! Claims: how a registration is put back, and how its client hears that its owner is gone.

use crate::{book::Mark, client::check_size, session::Session};
use sd_core::{Bytes, Reclaim, Reclaimed, Result, ServiceKey, Ttl, async_trait};
use std::sync::Arc;

/// What a registration keeps of its client.
#[derive(Debug)]
pub(crate) struct Claim {
    session: Arc<Session>,
    id: u64,
    service: ServiceKey,
    ttl: Ttl,
    mark: Mark,
}

impl Claim {
    pub(crate) fn new(
        session: Arc<Session>,
        id: u64,
        service: ServiceKey,
        ttl: Ttl,
        mark: Mark,
    ) -> Self {
        Self {
            session,
            id,
            service,
            ttl,
            mark,
        }
    }
}

#[async_trait]
impl Reclaim for Claim {
    async fn reclaim(&self, value: Bytes) -> Result<Reclaimed> {
        check_size(&self.session, &self.service, &value)?;
        self.session
            .reclaim(&self.service, value, self.ttl, &self.mark)
            .await
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.session.forget(self.id, &self.service);
    }
}
