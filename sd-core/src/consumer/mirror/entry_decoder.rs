//! Reading entries: what an entry has to be like to become an instance.

use crate::{
    consumer::prefix_limits::PrefixLimits,
    instances::{AddressPolicy, Codec, CodecError, DefaultCodec, Instance},
    registry::Entry,
    support::catch,
};
use std::sync::Arc;

/// Makes instances of entries.
pub(in crate::consumer) struct EntryDecoder {
    pub(in crate::consumer) codec: Arc<dyn Codec>,
    pub(in crate::consumer) addresses: AddressPolicy,
    /// Of one entry.
    pub(in crate::consumer) most_bytes: usize,
}

impl Default for EntryDecoder {
    fn default() -> Self {
        Self {
            codec: Arc::new(DefaultCodec),
            addresses: AddressPolicy::default(),
            most_bytes: PrefixLimits::default().entry_bytes,
        }
    }
}

impl EntryDecoder {
    /// Whether key and value are within the limit.
    pub(super) fn is_small(&self, entry: &Entry) -> bool {
        entry.key.as_str().len() + entry.value.len() <= self.most_bytes
    }

    /// The instance that `entry` is, on the entry's lease, and what of it was left out. A codec that
    /// panics could not read it.
    pub(super) fn decode(
        &self,
        entry: &Entry,
    ) -> Result<(Instance, Option<CodecError>), CodecError> {
        let too_large = || {
            let limit = self.most_bytes;
            CodecError::new(format!("the entry takes more than {limit} bytes"))
        };
        if !self.is_small(entry) {
            return Err(too_large());
        }
        let codec = &self.codec;
        let decoded = catch(|| Ok((codec.decode(entry)?, codec.ignored(entry))));
        let (instance, ignored) = decoded
            .unwrap_or_else(|panicked| Err(CodecError::new(format!("the codec {panicked}"))))?;
        // An instance under another key would never be removed again.
        if *instance.key() != entry.key {
            return Err(CodecError::new("the codec gave the instance another key"));
        }
        if instance.memory() > self.most_bytes {
            return Err(too_large());
        }
        // Not repeated: in an entry of somebody else it may be anything.
        let key = Some(entry.key.as_str());
        if let Some(why) = self.addresses.why_refused(instance.address(), key) {
            return Err(CodecError::new(format!("the address is refused: {why}")));
        }
        let instance = match &entry.lease {
            Some(lease) => instance.with_lease(lease.clone()),
            None => instance,
        };
        Ok((instance, ignored))
    }
}
