//! How a registration is put back, and how its client notices that its handle was dropped.

use crate::{client::check_size, holdings::Mark, session::Session};
use sd_core::{
    Bytes, Deregistered, Reclaim, Reclaimed, RegistrationId, Result, Service, async_trait,
};
use std::sync::Arc;

/// A registration's link to its client.
#[derive(Debug)]
pub(crate) struct MemoryReclaim {
    pub(crate) session: Arc<Session>,
    pub(crate) id: RegistrationId,
    pub(crate) service: Service,
    pub(crate) mark: Mark,
}

#[async_trait]
impl Reclaim for MemoryReclaim {
    async fn reclaim(&self, value: Bytes) -> Result<Reclaimed> {
        check_size(&self.session, &self.service.key, &value)?;
        let service = self.service.clone().with_value(value);
        self.session.reclaim(&service, &self.mark).await
    }

    async fn remove_unleased(&self, value: Bytes) -> Result<Deregistered> {
        self.session.remove_unleased(&self.mark, &value).await
    }
}

impl Drop for MemoryReclaim {
    fn drop(&mut self) {
        self.session.release(self.id);
    }
}
