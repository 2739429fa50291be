//! What the keys and values of a service mean to its consumers.

use super::key_value::KeyValue;
use crate::{
    instances::{AddressPolicy, Codec, Edit, Instance, Status},
    registry::{Entry, ErrorChain, Escaped, Invalid, Key, ServiceKey},
    support::{Panicked, catch},
};
use bytes::Bytes;
use std::sync::Arc;

/// The format of the values of one service. A panic of the codec is an error of the value that it
/// was called for.
#[derive(Clone)]
pub(crate) struct ValueFormat {
    /// What consumers read the values with; `None` if no codec does, and nothing is known of them.
    pub(crate) codec: Option<Arc<dyn Codec>>,
    /// Which addresses consumers call.
    pub(crate) addresses: AddressPolicy,
    /// How large an entry consumers read, as an entry and as the instance that it becomes, in bytes.
    pub(crate) most_bytes: usize,
}

impl ValueFormat {
    /// Refuses what no consumer could read, in part or at all, and an address that none would call.
    pub(crate) fn check(&self, written: &KeyValue) -> Result<(), Invalid> {
        let Some(codec) = &self.codec else {
            return Ok(());
        };
        let entry = entry(written);
        let unreadable = |reason| Invalid::UnreadableValue {
            size: written.value.len(),
            reason,
        };
        match catch(|| codec.decode(&entry)) {
            Ok(Ok(decoded)) => match decoded.ignored() {
                Some(error) => Err(unreadable(ErrorChain(error).to_string())),
                None if decoded.instances().is_empty() => {
                    Err(unreadable("it is no instance of the service".to_owned()))
                }
                None => {
                    self.check_size(&entry, decoded.instances())?;
                    let mut instances = decoded.instances().iter();
                    instances.try_for_each(|instance| self.addresses.check(instance))
                }
            },
            Ok(Err(error)) => match error.uncallable() {
                Some(why) => Err(why),
                None => Err(unreadable(ErrorChain(&error).to_string())),
            },
            Err(why @ Panicked(_)) => Err(unreadable(ErrorChain(&why).to_string())),
        }
    }

    /// The address of the instance that the key and the value describe. `None` if no codec reads them.
    pub(super) fn address(&self, key: &ServiceKey, value: &Bytes) -> Option<String> {
        let codec = self.codec.as_ref()?;
        let entry = entry(&KeyValue::new(key.clone(), value.clone()));
        let decoded = catch(|| codec.decode(&entry)).ok()?.ok()?;
        Some(decoded.into_iter().next()?.address().to_owned())
    }

    /// Refuses what consumers leave out because of its size.
    fn check_size(&self, entry: &Entry, instances: &[Instance]) -> Result<(), Invalid> {
        let size = entry.key.as_str().len() + entry.value.len();
        let size = size.max(instances.iter().map(Instance::memory).sum());
        if size <= self.most_bytes {
            return Ok(());
        }
        Err(Invalid::TooLargeForConsumers {
            key: Escaped(&entry.key).to_string(),
            size,
            limit: self.most_bytes,
        })
    }

    /// Whether `new` describes the same instances as `old`: the codec reads both, at the same addresses.
    pub(super) fn is_same_instance(&self, key: &Key, old: &Bytes, new: &Bytes) -> bool {
        let is_same = |codec: &dyn Codec| {
            let read = |value| read(codec, key, value);
            let (old, new) = read(old).zip(read(new))?;
            is_same_at_same_address(&old, &new).then_some(())
        };
        self.ask(
            key,
            "the codec failed, an edited value is not kept",
            is_same,
        )
        .is_some()
    }

    /// What the owner writes now, `new`, with what was edited in `old` to make `edited` of it, but for what the owner
    /// changes too: what differs, and what it `said`.
    pub(super) fn rebase(
        &self,
        old: &KeyValue,
        edited: &KeyValue,
        new: KeyValue,
        said: &[Edit],
    ) -> KeyValue {
        let mut entry = entry(&new);
        let key = entry.key.clone();
        let rebased = self.ask(&key, "the codec failed, an edit is not kept", |codec| {
            let read = |it: &KeyValue| read(codec, &it.any_key(), &it.value);
            let (old, edited) = read(old).zip(read(edited))?;
            let owned = read(&new)?;
            for ((old, edited), new) in old.iter().zip(&edited).zip(&owned) {
                let edit = Edit::between(old, edited).without(&Edit::between(old, new));
                let said = said.iter().filter(|said| said.is_about(new));
                let edit = said.fold(edit, |edit, said| edit.without(said));
                if !edit.is_empty() {
                    entry = codec.edit(&entry, &edit).ok()?;
                }
            }
            let rebased = new.with_value(entry.value);
            (entry.key == key && self.check(&rebased).is_ok()).then_some(rebased)
        });
        rebased.unwrap_or(new)
    }

    /// Whether `value` differs from `old` in weight and status alone, as far as the codec can say. A bare
    /// address does not count: other programs register that for themselves.
    pub(super) fn differs_in_weight_or_status(
        &self,
        key: &Key,
        old: &Bytes,
        value: &Bytes,
    ) -> bool {
        let is_such = |codec: &dyn Codec| {
            let (old, new) = read(codec, key, old).zip(read(codec, key, value))?;
            let is_bare = |new: &Instance| new.address().as_bytes() == value.as_ref();
            let is_all_else_same = |(old, new): (&Instance, &Instance)| {
                let new = new.clone().with_weight(old.weight());
                new.with_status(old.status()) == *old
            };
            let is_such = new != old
                && old.len() == new.len()
                && !new.iter().any(is_bare)
                && old.iter().zip(&new).all(is_all_else_same);
            is_such.then_some(())
        };
        self.ask(key, "the codec failed, what took the key is left", is_such)
            .is_some()
    }

    /// What the owner writes, `written`, after `edit`. Under another key if the format says there what is changed.
    pub(super) fn edit(&self, written: &KeyValue, edit: &Edit) -> Result<KeyValue, Invalid> {
        let unsayable = |reason: String| Invalid::Unsayable { reason };
        let Some(codec) = &self.codec else {
            return Err(unsayable("no codec reads the value".to_owned()));
        };
        let entry = entry(written);
        let edited = match catch(|| codec.edit(&entry, edit)) {
            Ok(Ok(edited)) => edited,
            Ok(Err(error)) => return Err(unsayable(ErrorChain(&error).to_string())),
            Err(why @ Panicked(_)) => return Err(unsayable(ErrorChain(&why).to_string())),
        };
        match &written.key {
            _ if edited.key == entry.key => Ok(written.with_value(edited.value)),
            ServiceKey::Fixed(_) => Ok(KeyValue::new(edited.key, edited.value)),
            ServiceKey::LeaseSuffixed(_) => Err(unsayable(
                "the change needs another key than one that ends in the lease".to_owned(),
            )),
        }
    }

    /// The value that announces draining; `None` where the format cannot say so under the same key.
    pub(super) fn draining(&self, key: &Key, value: &Bytes) -> Option<Bytes> {
        self.ask(
            key,
            "the codec failed, draining is not announced",
            |codec| {
                let entry = Entry::new(key.clone(), value.clone());
                let edit = Edit::new().status(Status::Draining);
                let announced = codec.edit(&entry, &edit).ok()?;
                (announced.key == *key).then_some(announced.value)
            },
        )
    }

    /// What the codec says. `None` if there is none, or if it panics.
    fn ask<T>(
        &self,
        key: &Key,
        failed: &'static str,
        question: impl FnOnce(&dyn Codec) -> Option<T>,
    ) -> Option<T> {
        let codec = self.codec.as_deref()?;
        catch(|| question(codec)).unwrap_or_else(|why| {
            tracing::error!(key = %Escaped(key), why = %ErrorChain(&why), "{}", failed);
            None
        })
    }
}

/// The entry that is written so.
fn entry(written: &KeyValue) -> Entry {
    Entry::new(written.any_key(), written.value.clone())
}

/// The instances that `value` describes under `key`. `None` if there are none.
fn read(codec: &dyn Codec, key: &Key, value: &Bytes) -> Option<Vec<Instance>> {
    let entry = Entry::new(key.clone(), value.clone());
    let instances: Vec<_> = codec.decode(&entry).ok()?.into_iter().collect();
    (!instances.is_empty()).then_some(instances)
}

fn is_same_at_same_address(old: &[Instance], new: &[Instance]) -> bool {
    let place = |instance: &Instance| (instance.identity(), instance.address().to_owned());
    old.iter().map(place).eq(new.iter().map(place))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        instances::{CodecError, DEFAULT_ENTRY_BYTES, Decoded, DefaultCodec},
        registry::Key,
    };

    struct NameCodec;

    impl Codec for NameCodec {
        fn decode(&self, entry: &Entry) -> Result<Decoded, CodecError> {
            assert_ne!(entry.value, "a bug");
            if entry.key.as_str().ends_with('/') {
                return Err(CodecError::new("the key has no id"));
            }
            let address = String::from_utf8_lossy(&entry.value).into_owned();
            Ok(Instance::new(entry.key.clone(), address).into())
        }

        fn encode(&self, instance: &Instance) -> Result<Bytes, CodecError> {
            Ok(instance.address().to_owned().into())
        }
    }

    fn written(value: &'static str) -> KeyValue {
        KeyValue::new(Key::lease_suffixed("/hello/").unwrap(), value)
    }

    fn format(codec: Option<Arc<dyn Codec>>) -> ValueFormat {
        ValueFormat {
            codec,
            addresses: AddressPolicy::default(),
            most_bytes: DEFAULT_ENTRY_BYTES,
        }
    }

    fn refusal(format: &ValueFormat, value: &'static str) -> String {
        let refusal = format.check(&written(value)).expect_err(value);
        refusal.to_string()
    }

    #[test]
    fn a_refusal_names_the_address_or_the_size_the_reason_and_the_way_out() {
        let default = format(Some(Arc::new(DefaultCodec)));
        let says = refusal(&default, "0.0.0.0:80");
        assert!(says.contains("\"0.0.0.0:80\"") && says.contains("consumers reach"));
        let says = refusal(&default, "not\nan address");
        assert!(says.contains("14 bytes") && says.contains("without_codec"));
        assert!(!says.contains("an address\""), "{says}");
        let says = refusal(&default, r#"{"address":"10.0.0.1:80","weight":1.0}"#);
        assert!(says.contains("weight") && !says.contains("1.0"), "{says}");
        let says = refusal(&default, "http://root:secret@10.0.0.1:80");
        assert!(says.contains("***@10.0.0.1:80") && !says.contains("secret"));
        let says = refusal(&default, r#"{"address":"10.0.0.1:0"}"#);
        assert!(says.contains("\"10.0.0.1:0\"") && says.contains("port 0"));
    }

    #[test]
    fn a_codec_of_ones_own_keeps_to_the_address_policy() {
        let mut named = format(Some(Arc::new(NameCodec)));
        assert!(refusal(&named, "node-7").contains("no port"));
        assert!(refusal(&named, "169.254.169.254:80").contains("link-local"));
        named.addresses = AddressPolicy::any();
        named.check(&written("node-7")).unwrap();
        assert!(refusal(&named, "a bug").contains("panicked"));
        format(None).check(&written("10.0.0.1")).unwrap();
    }

    #[test]
    fn what_consumers_leave_out_because_of_its_size_is_refused() {
        let mut small = format(Some(Arc::new(DefaultCodec)));
        let value = r#"{"address":"10.0.0.1:80","metadata":{"m":"0123456789"}}"#;
        let Err(Invalid::TooLargeForConsumers { size, limit, .. }) = ({
            small.most_bytes = 100;
            small.check(&written(value))
        }) else {
            panic!("it takes more in memory");
        };
        assert!(size > 100 && limit == 100, "{size}");
        small.most_bytes = size;
        small.check(&written(value)).unwrap();
        small.most_bytes = size - 1;
        assert!(refusal(&small, value).contains("RegistrarBuilder::entry_bytes"));
    }
}
