//! What is known of the instances of a service.
//!
//! A [`Codec`] turns an entry of the registry into an [`Instance`] and back. A [`Source`] knows a
//! set of instances, [`Instances`], and publishes each change as an [`Event`], together with its
//! [`Health`]: whether it follows its registry. An [`EventPublisher`] is what every source here
//! publishes with.
//!
//! Nothing here follows a registry or makes a call. This room imports `registry`; `provider`,
//! `consumer` and `calls` meet here.

mod codec;
mod event;
mod events;
mod health;
mod held;
mod instance;
mod json;
mod publisher;
mod set;
mod source;
mod source_ended;
mod status;
#[cfg(test)]
pub(crate) mod testing;

pub use codec::{Codec, CodecError, DefaultCodec};
pub use event::{Event, EventSummary};
pub use events::Events;
pub use health::{Health, Trouble};
pub use held::Held;
pub use instance::Instance;
pub use publisher::{EventPublisher, EventReader};
pub use set::{InstanceChange, Instances, InstancesIter};
pub use source::Source;
pub use source_ended::SourceEnded;
pub use status::Status;
