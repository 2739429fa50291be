//! Instances: what is known about a service.
//!
//! A [`Format`] says where the entries of a service are, and its [`Codec`] what they mean: it turns an entry
//! into an [`Instance`] (key, address, weight, status) and back, and an [`Edit`] changes a part of it. An
//! [`Advert`] is what a provider says of itself before it has a key, and an [`AddressPolicy`] says which addresses
//! are called. A [`Source`] knows a set of instances, [`Instances`], and publishes each new state as
//! an [`Event`], together with its [`Health`]: whether it follows its registry. All sources in this
//! crate publish with an [`EventPublisher`].
//!
//! Nothing here follows a registry or makes a call. This room imports `registry`. `provider`,
//! `consumer` and `calls` import it.

mod address;
mod address_policy;
mod advert;
mod codec;
mod decoded;
mod edit;
mod event;
mod events;
mod format;
mod health;
mod held;
mod instance;
mod instance_key;
mod instance_text;
mod json;
mod json_object;
mod metadata_value;
mod publisher;
mod set;
mod source;
mod source_ended;
mod status;
#[cfg(test)]
pub(crate) mod testing;

pub use address::Address;
pub use address_policy::AddressPolicy;
pub use advert::Advert;
pub use codec::{Codec, CodecError, DefaultCodec};
pub use decoded::{Decoded, DecodedIter};
pub use edit::Edit;
pub use event::{Event, EventSummary};
pub use events::Events;
pub use format::{DefaultFormat, Format, OneLevel};
pub use health::{Health, Trouble};
pub use held::Held;
pub use instance::Instance;
pub use instance_key::InstanceKey;
#[cfg(feature = "snapshot")]
pub(crate) use json::{InstanceRead, InstanceWritten};
pub use json_object::JsonObject;
pub use metadata_value::MetadataValue;
pub use publisher::{EventPublisher, EventReader};
pub use set::{InstanceChange, Instances, InstancesIter};
pub use source::Source;
pub use source_ended::SourceEnded;
pub use status::Status;

/// How large an entry, and the instance that it becomes, may be unless somebody says so, in bytes.
pub(crate) const DEFAULT_ENTRY_BYTES: usize = 128 << 10;
