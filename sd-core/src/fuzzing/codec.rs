//! Codecs against any value.

use super::text::assert_is_line;
use crate::{
    instances::{Codec, DefaultCodec, Edit, Instance, Status},
    registry::{Entry, ErrorChain, Key},
};

/// The default codec reads `value`.
pub fn default_codec(value: &[u8]) {
    let key = Key::new("/services/hello/a").expect("it is not empty");
    codec(&DefaultCodec, &Entry::new(key, value.to_vec()));
}

/// `codec` reads `given`, writes what it has read, and edits it. What it has read takes no more memory than the entry
/// accounts for.
pub fn codec(codec: &(impl Codec + ?Sized), given: &Entry) {
    let edit = Edit::new().weight(3).status(Status::Draining);
    let edited = codec.edit(given, &edit);
    let decoded = match codec.decode(given) {
        Ok(decoded) => decoded,
        Err(error) => {
            assert_is_line(&ErrorChain(&error).to_string());
            assert!(edited.is_err(), "edited what is no instance");
            return;
        }
    };
    if let Some(ignored) = decoded.ignored() {
        assert_is_line(&ErrorChain(ignored).to_string());
    }
    let instances = decoded.instances();
    let memory: usize = instances.iter().map(Instance::memory).sum();
    let size = given.key.as_str().len() + given.value.len();
    assert!(memory <= 1000 + 128 * size, "{memory} bytes of {size}");
    for instance in instances {
        assert_eq!(instance.key(), &given.key);
        if let Ok(written) = codec.encode(instance) {
            let again = codec.decode(&given.clone().with_value(written.clone()));
            let again = again.expect("what is written is read");
            let [again] = again.instances() else {
                panic!("one is written, and {again:?} is read");
            };
            // A format may write more than was said, as a version; once written, that stays so.
            let said = |it: &Instance| (it.identity(), it.address().to_owned(), it.weight());
            assert_eq!(said(again), said(instance));
            assert_eq!(again.status(), instance.status());
            assert_eq!(codec.encode(again).ok(), Some(written));
        }
    }
    if let Ok(edited) = edited {
        let drained = codec.decode(&edited).expect("it is readable");
        let key = &edited.key;
        let expected = instances
            .iter()
            .map(|instance| edit.apply(instance.clone()));
        let expected: Vec<_> = expected.map(|it| it.with_key(key.clone())).collect();
        assert_eq!(drained.instances(), expected);
    }
}
