//! The options of a registration.

use crate::{
    instances::Codec,
    registry::{Entry, ErrorChain, Escaped, Key},
    support::catch,
};
use bytes::Bytes;
use std::{sync::Arc, time::Duration};

/// The options of a [`RegistrationState`](super::RegistrationState).
#[derive(Clone)]
pub(crate) struct Options {
    /// Whether to take a key back that somebody else took.
    pub(crate) retake: bool,
    /// The shortest and the longest delay between attempts.
    pub(crate) backoff: (Duration, Duration),
    /// How long deregistering may take, the time of draining not counted.
    pub(crate) deregister_timeout: Duration,
    /// How long draining is announced before the entry is removed.
    pub(crate) drain: Duration,
    /// Writes the value that announces draining.
    pub(crate) codec: Arc<dyn Codec>,
}

impl Options {
    /// Whether `new` describes the same instance as `old`: the codec reads both, at one address. If
    /// the codec panics it does not, and that is logged.
    pub(super) fn is_same_instance(&self, key: &Key, old: &Bytes, new: &Bytes) -> bool {
        let decode = |value: &Bytes| self.codec.decode(&Entry::new(key.clone(), value.clone()));
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
        let decode = |value: &Bytes| self.codec.decode(&Entry::new(key.clone(), value.clone()));
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

    /// The value that announces draining; `None` where the codec cannot say so. A panic of the
    /// codec is logged, and draining is not announced.
    pub(super) fn draining(&self, key: &Key, value: &Bytes) -> Option<Bytes> {
        catch(|| self.codec.draining(key, value)).unwrap_or_else(|why| {
            tracing::error!(key = %Escaped(key), why = %ErrorChain(&why), "the codec failed, draining is not announced");
            None
        })
    }
}
