//! Reading entries: what an entry has to be like to become an instance.

use crate::{
    consumer::prefix_limits::PrefixLimits,
    instances::{AddressPolicy, Codec, CodecError, Decoded, DefaultCodec, Instance, InstanceKey},
    registry::Entry,
    support::catch,
};
use std::{collections::HashSet, sync::Arc};

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

    /// What `entry` describes, on the entry's lease. A codec that panics could not read it.
    pub(super) fn decode(&self, entry: &Entry) -> Result<Decoded, CodecError> {
        if !self.is_small(entry) {
            return Err(self.too_large());
        }
        let decoded = catch(|| self.codec.decode(entry));
        let decoded = decoded
            .unwrap_or_else(|panicked| Err(CodecError::new(format!("the codec {panicked}"))))?;
        let mut memory = 0;
        for instance in decoded.instances() {
            // An instance under another key would never be removed again.
            if *instance.key() != entry.key {
                return Err(CodecError::new("the codec gave the instance another key"));
            }
            memory += instance.memory();
            self.check_names(instance)?;
        }
        if memory > self.most_bytes {
            return Err(self.too_large());
        }
        if decoded.instances().len() > 1 && !are_distinct(decoded.instances()) {
            return Err(CodecError::new(
                "two instances of the entry have the same part",
            ));
        }
        Ok(match &entry.lease {
            Some(lease) => decoded.map(|instance| instance.with_lease(lease.clone())),
            None => decoded,
        })
    }

    /// Refuses an instance that nobody is to call, that could not be told from another, or that is too large.
    #[cfg(feature = "snapshot")]
    pub(super) fn check(&self, instance: &Instance) -> Result<(), CodecError> {
        if instance.memory() > self.most_bytes {
            return Err(self.too_large());
        }
        self.check_names(instance)
    }

    fn check_names(&self, instance: &Instance) -> Result<(), CodecError> {
        if !InstanceKey::is_clear(instance.key()) {
            return Err(CodecError::new("the key has a zero byte"));
        }
        // Not repeated: in an entry of somebody else it may be anything.
        let key = Some(instance.key().as_str());
        match self.addresses.why_refused(instance.address(), key) {
            None => Ok(()),
            Some(why) => Err(CodecError::new(format!("the address is refused: {why}"))),
        }
    }

    fn too_large(&self) -> CodecError {
        let limit = self.most_bytes;
        CodecError::new(format!("the entry takes more than {limit} bytes"))
    }
}

/// Whether all of `instances` have a part, each another.
fn are_distinct(instances: &[Instance]) -> bool {
    let mut parts = HashSet::new();
    let mut parts_of = instances.iter().map(Instance::part);
    parts_of.all(|part| part.is_some_and(|part| parts.insert(part)))
}
