//! Service discovery, thought through: see the README of the workspace for the whole picture.

mod balancer;
mod budget;
mod cache;
mod client;
mod codec;
#[cfg(feature = "conformance")]
pub mod conformance;
mod endpoint;
mod endpointer;
mod endpoints;
mod entry;
mod error;
mod event;
mod factory;
mod fixed;
mod instance;
mod instancer;
mod key;
mod lease;
mod merge;
mod mirror;
#[cfg(feature = "mock")]
mod mock;
mod pauses;
mod poll;
mod prefix;
mod registrar;
mod registration;
mod retry;
mod revision;
mod service;
mod tenure;
mod watch;

pub use balancer::{Balancer, Observer, Outcome, Pick, PickContext, Random, RoundRobin};
pub use budget::RetryBudget;
pub use client::{Client, Deregistered};
pub use codec::{Codec, CodecError, DefaultCodec};
pub use endpoint::{Endpoint, NoEndpoints};
pub use endpointer::{
    Endpointer, EndpointerBuilder, EndpointerStatus, FactoryFailure, FixedEndpointer,
};
pub use endpoints::{EndpointSource, Endpoints};
pub use entry::{Entry, Snapshot};
pub use error::{Cause, Error, Invalid, Result};
pub use event::{Event, Events, Health, Held, InstanceChange, Instances, Source, Trouble};
pub use factory::{
    AsyncFactoryFn, BoxError, Factory, FactoryError, FactoryFn, async_factory_fn, factory_fn,
};
pub use fixed::FixedInstancer;
pub use instance::{Instance, Status};
pub use instancer::{Instancer, InstancerBuilder};
pub use key::{Key, ServiceKey};
pub use lease::{LeaseId, Ttl};
pub use merge::MergedInstancer;
#[cfg(feature = "mock")]
pub use mock::MockClient;
pub use poll::{Lister, Poller};
pub use prefix::Prefix;
pub use registrar::{Registrar, RegistrarBuilder, RegistrarStatus, Updated};
pub use registration::{LossSender, Lost, NoReclaim, Reclaim, Reclaimed, Registration};
pub use retry::{Attempt, AttemptError, Retry, RetryBuilder, RetryError, Stopped};
pub use revision::Revision;
pub use service::Service;
pub use watch::{Batch, Change, Gap, Watch, WatchError};

/// The attribute that implementations of [`Client`], [`Reclaim`] and [`Lister`] carry.
pub use async_trait::async_trait;
/// The values of entries.
pub use bytes::Bytes;
