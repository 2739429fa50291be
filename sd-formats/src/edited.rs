//! Changes of an entry that are what was asked for, and nothing else.

use sd_core::{Codec, CodecError, Edit, Entry, Instance};

/// `entry` as `change` makes it, if `codec` reads the result as what it read before with what `edit` changes.
/// `entry` as it is if nothing would change.
pub(crate) fn edited(
    codec: &impl Codec,
    entry: &Entry,
    edit: &Edit,
    change: impl FnOnce() -> Result<Entry, CodecError>,
) -> Result<Entry, CodecError> {
    let before = codec.decode(entry)?;
    if before.instances().is_empty() {
        return Err(CodecError::new("the entry is no instance of the service"));
    }
    let instances = before.instances().iter().cloned();
    let expected: Vec<_> = instances.map(|it| edit.apply(it)).collect();
    if expected == before.instances() {
        return Ok(entry.clone());
    }
    let edited = change()?;
    let after = codec.decode(&edited)?;
    // Where the address stands in the key, the key may be another one.
    let after: Vec<_> = after
        .into_iter()
        .map(|it| it.with_key(entry.key.clone()))
        .collect();
    match expected.iter().zip(&after).find(|(want, is)| want != is) {
        None if expected.len() == after.len() => Ok(edited),
        None => Err(CodecError::new("the entry would describe other instances")),
        Some((want, is)) => Err(unsayable(want, is)),
    }
}

fn unsayable(want: &Instance, is: &Instance) -> CodecError {
    CodecError::cannot_say(if want.weight() != is.weight() {
        "this weight"
    } else if want.status_word() != is.status_word() {
        "this status"
    } else {
        "this metadata"
    })
}
