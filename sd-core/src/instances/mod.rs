//! What is known of the instances of a service.
//!
//! A [`Codec`] turns an entry of the registry into an [`Instance`] and back. A [`Source`] knows a
//! set of instances and tells of each change as an [`Event`], together with the health of what it
//! follows.
//!
//! Nothing here follows a registry or makes a call. This room imports `registry`; `provider`,
//! `consumer` and `calls` meet here.

mod codec;
mod event;
mod instance;

pub use codec::{Codec, CodecError, DefaultCodec};
pub use event::{Event, Events, Health, Held, InstanceChange, Instances, Source, Trouble};
pub use instance::{Instance, Status};
