//! What a registrar writes: a key and the value under it.

use crate::registry::{Key, LeaseId, ServiceKey};
use bytes::Bytes;

/// A key and the value under it. The key belongs to it, since some formats say there what others say in the
/// value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeyValue {
    pub(crate) key: ServiceKey,
    pub(crate) value: Bytes,
}

impl KeyValue {
    pub(crate) fn new(key: impl Into<ServiceKey>, value: impl Into<Bytes>) -> Self {
        Self {
            key: key.into(),
            value: value.into(),
        }
    }

    /// The key of the entry on some lease. Which one that is does not matter to a codec.
    pub(crate) fn any_key(&self) -> Key {
        self.key.under(&LeaseId::from(1))
    }

    /// Another value under the same key.
    pub(crate) fn with_value(&self, value: Bytes) -> Self {
        Self::new(self.key.clone(), value)
    }
}
