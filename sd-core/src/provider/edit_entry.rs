//! Edits from outside: an operator changes the entry of a provider that another process keeps.

use super::{key_value::KeyValue, value_format::ValueFormat};
use crate::{
    instances::{AddressPolicy, Codec, CodecError, DEFAULT_ENTRY_BYTES, Edit},
    registry::{Editor, Entry, Error, Invalid, Key},
    support::{Backoff, catch},
};
use std::{sync::Arc, time::Duration};
use tokio::time::sleep;

/// How often an entry is read that others keep changing.
const MAX_ATTEMPTS: usize = 16;
const FIRST_DELAY: Duration = Duration::from_millis(5);
const LONGEST_DELAY: Duration = Duration::from_millis(100);

/// An entry before and after an [`edit`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Edited {
    /// As it was read.
    pub before: Entry,
    /// As it stands since. The same if there was nothing to change, and so nothing was written.
    pub after: Entry,
}

/// Why an [`edit`] did not happen.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum EditError {
    /// There is no entry under the key, or there is none any more.
    #[error("there is no such entry")]
    NotFound,

    /// The entry has no instance of the [part](Edit::part) that is meant.
    #[error("the entry has no such part")]
    NoSuchPart,

    /// The codec cannot read the entry, or reads no instance of its service in it.
    #[error("the entry cannot be read")]
    Unreadable(#[source] CodecError),

    /// The format has no way to say the change.
    #[error(transparent)]
    CannotSay(CodecError),

    /// The change is said by the key. Only the provider can register another one.
    #[error("the change needs another key, which only the provider can register")]
    NeedsAnotherKey,

    /// Consumers would not read the entry as before: its value, its addresses, or its size.
    #[error("consumers would not read the entry any more")]
    Refused(#[source] Invalid),

    /// Others changed the entry each time between the reading and the writing.
    #[error("others change the entry faster than it can be edited")]
    Contended,

    /// The registry did not answer, or refused. After a timeout the edit may have happened; to try again does no harm.
    #[error(transparent)]
    Registry(#[from] Error),
}

/// Changes some attributes of the entry under `key`, whoever holds it, and leaves all else in its value and its lease
/// as they are.
///
/// For operators and their tools. The owner's registrar, in whatever process, keeps the edit until the owner changes
/// the same attribute: see [`Registrar`](crate::Registrar). The owner itself uses
/// [`Registrar::edit`](crate::Registrar::edit).
///
/// The change is written only if the entry is as it was read. If somebody was quicker, it is read and changed again, a
/// bounded number of times. So edits of several operators at once are all kept, and an entry that another instance has
/// put meanwhile is never overwritten with the old one's value. Writes nothing if there is nothing to change.
///
/// What consumers could not read any more is refused. What they cannot read already, such as an address that their
/// policy refuses, is no reason: an instance that is wrong can be drained.
///
/// When the future is dropped before it resolves, the edit may still happen.
///
/// ```
/// # async fn drain(client: impl sd_core::Editor) -> Result<(), Box<dyn std::error::Error>> {
/// use sd_core::{DefaultCodec, Edit, Key, Status, edit};
///
/// let key = Key::new("/services/hello/10.0.0.1:8080")?;
/// let edited = edit(&client, DefaultCodec, &key, &Edit::new().status(Status::Draining)).await?;
/// assert_eq!(edited.before.lease, edited.after.lease);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`EditError`]. Nothing is changed then, but for what it says of a timeout.
pub async fn edit(
    client: &impl Editor,
    codec: impl Codec,
    key: &Key,
    edit: &Edit,
) -> Result<Edited, EditError> {
    let format = ValueFormat {
        codec: Some(Arc::new(codec)),
        addresses: AddressPolicy::default(),
        most_bytes: DEFAULT_ENTRY_BYTES,
    };
    let mut backoff = Backoff::new(FIRST_DELAY, LONGEST_DELAY);
    for attempt in 0..MAX_ATTEMPTS {
        if attempt > 0 {
            sleep(backoff.next_delay()).await;
        }
        let read = client.get_entry(key).await?.ok_or(EditError::NotFound)?;
        let before = read.entry.clone();
        let after = edited(&format, &before, edit)?;
        if after.value == before.value || client.replace_entry(&read, after.value.clone()).await? {
            return Ok(Edited { before, after });
        }
    }
    Err(EditError::Contended)
}

/// The entry after the edit, if consumers read it as they did before.
fn edited(format: &ValueFormat, before: &Entry, edit: &Edit) -> Result<Entry, EditError> {
    let Some(codec) = &format.codec else {
        return Err(EditError::Unreadable(CodecError::new("there is no codec")));
    };
    let asked = catch(|| {
        let decoded = codec.decode(before).map_err(EditError::Unreadable)?;
        if decoded.instances().is_empty() {
            let error = CodecError::new("it is no instance of the service");
            return Err(EditError::Unreadable(error));
        }
        if !decoded.instances().iter().any(|it| edit.is_about(it)) {
            return Err(EditError::NoSuchPart);
        }
        codec
            .edit(before, edit)
            .map_err(|error| match error.is_unsayable() {
                true => EditError::CannotSay(error),
                false => EditError::Unreadable(error),
            })
    });
    let panicked = |why| CodecError::new("the codec failed").with_source(why);
    let after = asked.unwrap_or_else(|why| Err(EditError::Unreadable(panicked(why))))?;
    if after.key != before.key {
        return Err(EditError::NeedsAnotherKey);
    }
    let written = |value| KeyValue::new(before.key.clone(), value);
    if let Err(why) = format.check(&written(after.value.clone()))
        && format.check(&written(before.value.clone())).is_ok()
    {
        return Err(EditError::Refused(why));
    }
    if !format.is_same_instance(&before.key, &before.value, &after.value) {
        let error = CodecError::cannot_say("the change without another instance or address");
        return Err(EditError::CannotSay(error));
    }
    // Whatever the codec says of it: an edit leaves the lease.
    Ok(before.clone().with_value(after.value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        instances::{Decoded, DefaultCodec, Instance, Status},
        registry::ErrorChain,
    };
    use bytes::Bytes;

    const KEY: &str = "/svc/a";

    fn try_edit(codec: impl Codec, value: &str, edit: &Edit) -> Result<String, EditError> {
        let key = Key::new(KEY).unwrap();
        let format = ValueFormat {
            codec: Some(Arc::new(codec)),
            addresses: AddressPolicy::default(),
            most_bytes: 600,
        };
        let entry = Entry::new(key, value.to_owned());
        let after = edited(&format, &entry, edit)?;
        Ok(String::from_utf8_lossy(&after.value).into_owned())
    }

    fn json(address: &str) -> String {
        format!(r#"{{"address":"{address}","weight":1}}"#)
    }

    #[test]
    fn what_consumers_could_not_read_any_more_is_refused() {
        let large = Edit::new().metadata("m", "x".repeat(600));
        let outcome = try_edit(DefaultCodec, &json("10.0.0.1:80"), &large);
        let Err(EditError::Refused(Invalid::TooLargeForConsumers { .. })) = outcome else {
            panic!("{outcome:?}");
        };
        let plain = try_edit(DefaultCodec, "10.0.0.1:80", &Edit::new().weight(2));
        assert!(matches!(plain, Err(EditError::CannotSay(_))), "{plain:?}");
        for unreadable in ["", "{}", "no address"] {
            let outcome = try_edit(DefaultCodec, unreadable, &Edit::new().weight(2));
            assert!(matches!(outcome, Err(EditError::Unreadable(_))));
        }
        let other = Edit::new().weight(2).part("n2");
        let outcome = try_edit(DefaultCodec, &json("10.0.0.1:80"), &other);
        assert!(matches!(outcome, Err(EditError::NoSuchPart)));
    }

    #[test]
    fn what_consumers_refuse_already_can_be_drained() {
        let draining = Edit::new().status(Status::Draining);
        let edited = try_edit(DefaultCodec, &json("169.254.1.1:80"), &draining).unwrap();
        assert!(edited.contains("draining"), "{edited}");
    }

    /// Says a weight in the key or in the address, or panics.
    struct Odd(&'static str);

    impl Codec for Odd {
        fn decode(&self, entry: &Entry) -> Result<Decoded, CodecError> {
            let address = String::from_utf8_lossy(&entry.value).into_owned();
            Ok(Instance::new(entry.key.clone(), address).into())
        }

        fn encode(&self, instance: &Instance) -> Result<Bytes, CodecError> {
            Ok(instance.address().to_owned().into())
        }

        fn edit(&self, entry: &Entry, _: &Edit) -> Result<Entry, CodecError> {
            match self.0 {
                "key" => Ok(Entry::new(Key::new("/svc/a?w=2")?, entry.value.clone())),
                "address" => Ok(entry.clone().with_value("10.0.0.2:80")),
                _ => panic!("a bug"),
            }
        }
    }

    #[test]
    fn another_key_another_address_and_a_panic_are_refused() {
        let outcome = |what| try_edit(Odd(what), "10.0.0.1:80", &Edit::new().weight(2));
        assert!(matches!(outcome("key"), Err(EditError::NeedsAnotherKey)));
        assert!(matches!(outcome("address"), Err(EditError::CannotSay(_))));
        let panicked = outcome("panic").unwrap_err();
        let panicked = ErrorChain(&panicked).to_string();
        assert!(panicked.contains("a bug"), "{panicked}");
    }
}
