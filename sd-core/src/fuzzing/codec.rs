//! Codecs against any value.

use super::text::assert_is_line;
use crate::{
    instances::{Codec, DefaultCodec, Instance, Status},
    registry::{Entry, ErrorChain, Key},
};

/// The default codec reads `value`.
pub fn default_codec(value: &[u8]) {
    codec(&DefaultCodec, value);
}

/// `codec` reads `value`, writes what it has read, and announces it as draining. What it has read takes
/// no more memory than the value accounts for.
pub fn codec(codec: &impl Codec, value: &[u8]) {
    let key = Key::new("/services/hello/a").expect("it is not empty");
    let entry = |value: &[u8]| Entry::new(key.clone(), value.to_vec());
    let given = entry(value);

    let ignored = codec.ignored(&given);
    let draining = codec.draining(&key, &given.value);
    if let Some(ignored) = &ignored {
        assert_is_line(&ErrorChain(ignored).to_string());
    }
    let instance: Instance = match codec.decode(&given) {
        Ok(instance) => instance,
        Err(error) => {
            assert_is_line(&ErrorChain(&error).to_string());
            assert!(ignored.is_none(), "attributes of what is no instance");
            assert_eq!(draining, None, "of what is no instance");
            return;
        }
    };
    assert_eq!(instance.key(), &key);
    let most = 1000 + 32 * value.len();
    assert!(instance.memory() <= most, "{} bytes", instance.memory());

    if let Ok(written) = codec.encode(&instance) {
        let again = codec.decode(&entry(&written));
        assert_eq!(again.expect("what is written is read"), instance);
    }
    if let Some(draining) = draining {
        let drained = codec.decode(&entry(&draining)).expect("it is readable");
        assert_eq!(drained, instance.with_status(Status::Draining));
    }
}
