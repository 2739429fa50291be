//! What the values of a service mean to its consumers.

use crate::{
    instances::{AddressPolicy, Codec, Instance},
    registry::{Entry, ErrorChain, Escaped, Invalid, Key, LeaseId, ServiceKey},
    support::{Panicked, catch},
};
use bytes::Bytes;
use std::sync::Arc;

/// The format of the values of one service. A panic of the codec is an error of the value that it
/// was called for.
#[derive(Clone)]
pub(crate) struct ValueFormat {
    /// The key of the service.
    pub(crate) key: ServiceKey,
    /// What consumers read the values with; `None` if no codec does, and nothing is known of them.
    pub(crate) codec: Option<Arc<dyn Codec>>,
    /// Which addresses consumers call.
    pub(crate) addresses: AddressPolicy,
    /// How large an entry consumers read, as an entry and as the instance that it becomes, in bytes.
    pub(crate) most_bytes: usize,
}

impl ValueFormat {
    /// Refuses what no consumer could read, in part or at all, and an address that none would call.
    pub(crate) fn check(&self, value: &Bytes) -> Result<(), Invalid> {
        let Some(codec) = &self.codec else {
            return Ok(());
        };
        // A codec may look at the key. Which lease it will end in does not matter.
        let entry = Entry::new(self.key.under(&LeaseId::from(1)), value.clone());
        let unreadable = |reason| Invalid::UnreadableValue {
            value: Escaped(&String::from_utf8_lossy(value)).to_string(),
            reason,
        };
        let decoded = catch(|| (codec.decode(&entry), codec.ignored(&entry)));
        match decoded {
            Ok((Ok(instance), None)) => self
                .check_size(&entry, &instance)
                .and_then(|()| self.addresses.check(&instance)),
            Ok((Ok(_), Some(error)) | (Err(error), _)) => match error.uncallable() {
                Some(why) => Err(why.clone()),
                None => Err(unreadable(ErrorChain(&error).to_string())),
            },
            Err(why @ Panicked(_)) => Err(unreadable(ErrorChain(&why).to_string())),
        }
    }

    /// Refuses what consumers leave out because of its size.
    fn check_size(&self, entry: &Entry, instance: &Instance) -> Result<(), Invalid> {
        let size = entry.key.as_str().len() + entry.value.len();
        let size = size.max(instance.memory());
        if size <= self.most_bytes {
            return Ok(());
        }
        Err(Invalid::TooLargeForConsumers {
            key: Escaped(&entry.key).to_string(),
            size,
            limit: self.most_bytes,
        })
    }

    /// Whether `new` describes the same instance as `old`: the codec reads both, at one address.
    pub(super) fn is_same_instance(&self, key: &Key, old: &Bytes, new: &Bytes) -> bool {
        let Some(codec) = &self.codec else {
            return false;
        };
        let decode = |value: &Bytes| codec.decode(&Entry::new(key.clone(), value.clone()));
        let is_same = catch(|| match (decode(old), decode(new)) {
            (Ok(old), Ok(new)) => old.address() == new.address(),
            _ => false,
        });
        is_same.unwrap_or_else(|why| {
            tracing::error!(key = %Escaped(key), why = %ErrorChain(&why), "the codec failed, an edited value is not kept");
            false
        })
    }

    /// Whether `value` differs from `old` in weight and status alone, as far as the codec can say. A bare
    /// address does not count: other programs register that for themselves.
    pub(super) fn differs_in_weight_or_status(
        &self,
        key: &Key,
        old: &Bytes,
        value: &Bytes,
    ) -> bool {
        let Some(codec) = &self.codec else {
            return false;
        };
        let decode = |value: &Bytes| codec.decode(&Entry::new(key.clone(), value.clone()));
        let is_such = catch(|| match (decode(old), decode(value)) {
            (Ok(old), Ok(new)) => {
                let is_bare = new.address().as_bytes() == value.as_ref();
                !is_bare
                    && new != old
                    && new.with_weight(old.weight()).with_status(old.status()) == old
            }
            _ => false,
        });
        is_such.unwrap_or_else(|why| {
            tracing::error!(key = %Escaped(key), why = %ErrorChain(&why), "the codec failed, what took the key is left");
            false
        })
    }

    /// The value that announces draining; `None` where the format cannot say so.
    pub(super) fn draining(&self, key: &Key, value: &Bytes) -> Option<Bytes> {
        let codec = self.codec.as_ref()?;
        catch(|| codec.draining(key, value)).unwrap_or_else(|why| {
            tracing::error!(key = %Escaped(key), why = %ErrorChain(&why), "the codec failed, draining is not announced");
            None
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        instances::{CodecError, DEFAULT_ENTRY_BYTES, DefaultCodec},
        registry::Key,
    };

    struct NameCodec;

    impl Codec for NameCodec {
        fn decode(&self, entry: &Entry) -> Result<Instance, CodecError> {
            assert_ne!(entry.value, "a bug");
            if entry.key.as_str().ends_with('/') {
                return Err(CodecError::new("the key has no id"));
            }
            let address = String::from_utf8_lossy(&entry.value).into_owned();
            Ok(Instance::new(entry.key.clone(), address))
        }

        fn encode(&self, instance: &Instance) -> Result<Bytes, CodecError> {
            Ok(instance.address().to_owned().into())
        }
    }

    fn format(codec: Option<Arc<dyn Codec>>) -> ValueFormat {
        let key = Key::lease_suffixed("/hello/").unwrap();
        ValueFormat {
            key,
            codec,
            addresses: AddressPolicy::default(),
            most_bytes: DEFAULT_ENTRY_BYTES,
        }
    }

    fn refusal(format: &ValueFormat, value: &'static str) -> String {
        let refusal = format.check(&value.into()).expect_err(value);
        refusal.to_string()
    }

    #[test]
    fn a_refusal_names_the_value_the_reason_and_the_way_out() {
        let default = format(Some(Arc::new(DefaultCodec)));
        let says = refusal(&default, "0.0.0.0:80");
        assert!(says.contains("\"0.0.0.0:80\"") && says.contains("consumers reach"));
        let says = refusal(&default, "not\nan address");
        assert!(says.contains(r"not\nan address") && says.contains("without_codec"));
        let says = refusal(&default, r#"{"address":"10.0.0.1:80","weight":1.0}"#);
        assert!(says.contains("weight"), "{says}");
        let says = refusal(&default, r#"{"address":"10.0.0.1:0"}"#);
        assert!(says.contains("\"10.0.0.1:0\"") && says.contains("port 0"));
    }

    #[test]
    fn a_codec_of_ones_own_keeps_to_the_address_policy() {
        let mut named = format(Some(Arc::new(NameCodec)));
        assert!(refusal(&named, "node-7").contains("no port"));
        assert!(refusal(&named, "169.254.169.254:80").contains("link-local"));
        named.addresses = AddressPolicy::any();
        named.check(&"node-7".into()).unwrap();
        assert!(refusal(&named, "a bug").contains("panicked"));
        format(None).check(&"10.0.0.1".into()).unwrap();
    }

    #[test]
    fn what_consumers_leave_out_because_of_its_size_is_refused() {
        let mut small = format(Some(Arc::new(DefaultCodec)));
        let value = r#"{"address":"10.0.0.1:80","metadata":{"m":"0123456789"}}"#;
        let Err(Invalid::TooLargeForConsumers { size, limit, .. }) = ({
            small.most_bytes = 100;
            small.check(&value.into())
        }) else {
            panic!("it takes more in memory");
        };
        assert!(size > 100 && limit == 100, "{size}");
        small.most_bytes = size;
        small.check(&value.into()).unwrap();
        small.most_bytes = size - 1;
        assert!(refusal(&small, value).contains("RegistrarBuilder::entry_bytes"));
    }
}
