//! Service discovery, client-side load balancing and retries, over any registry.
//!
//! A service registers itself under a lease, everybody else sees it, callers get a balanced set of
//! live endpoints, and an outage of the registry takes nobody down. This crate is the contract with
//! the registry, [`Client`], and every layer above it; `sd-etcd` and `sd-memory` are registries.
//!
//! | to | take |
//! |---|---|
//! | register a service | [`Registrar`] and [`Service`] |
//! | know a service's instances | [`Instancer`], [`Event`] and [`Instances`] |
//! | have something to call for each | [`Endpointer`] and [`Factory`] |
//! | pick one | [`Balancer`]: [`RoundRobin`], [`Random`] |
//! | try again on another | [`Retry`] and [`RetryBudget`] |
//! | read values of your own | [`Codec`] |
//! | find instances elsewhere | [`Source`] and [`EventPublisher`] |
//! | put another registry underneath | [`Client`], [`Ledger`], [`Listing`], the crate `sd-conformance`; [`Lister`] and [`Poller`] if it can only list |
//! | test without a registry | [`FixedInstancer`], [`FixedEndpointer`], `MockClient` |
//!
//! Each layer knows the one below by a trait and none above, so that any of them can be used alone.
//!
//! ```
//! use sd_core::{Client, Endpointer, Instancer, Prefix, Retry, RoundRobin, factory_fn};
//! use tokio::net::TcpStream;
//!
//! async fn say_hello(registry: impl Client) -> Result<TcpStream, Box<dyn std::error::Error>> {
//!     let instancer = Instancer::new(registry, Prefix::new("/services/hello")?);
//!     let addresses = factory_fn(|instance| Ok(instance.address().to_owned()));
//!     let endpointer = Endpointer::new(instancer, addresses);
//!     endpointer.ready().await?;
//!     let hello = Retry::new(RoundRobin::new(endpointer));
//!     Ok(hello.call(async |address| TcpStream::connect(&**address).await).await?)
//! }
//! ```
//!
//! # Features
//! - `metrics`: counters and gauges through the `metrics` facade, see [`telemetry`].
//! - `mock`: `MockClient`, for scripting a registry's answers call by call.
//! - `serde`: [`Instance`], [`Status`] and [`EventSummary`] can be serialised and deserialised. (The
//!   default codec needs serde in any case; the feature makes it part of the public API.)
//!
//! Everything needs a tokio runtime with time enabled.

mod calls;
mod consumer;
mod instances;
mod provider;
mod registry;
mod support;
pub mod telemetry;

pub use calls::{
    AsyncFactoryFn, Attempt, AttemptError, Balancer, BoxError, Endpoint, EndpointSource,
    Endpointer, EndpointerBuilder, EndpointerStatus, Endpoints, Factory, FactoryError,
    FactoryFailure, FactoryFn, FixedEndpointer, NoEndpoints, Observer, Outcome, Pick, PickContext,
    Random, Retry, RetryBudget, RetryBuilder, RetryError, RoundRobin, Stopped, async_factory_fn,
    factory_fn,
};
pub use consumer::{FixedInstancer, Instancer, InstancerBuilder, MergedInstancer};
pub use instances::{
    Codec, CodecError, DefaultCodec, Event, EventPublisher, EventReader, EventSummary, Events,
    Health, Held, Instance, InstanceChange, Instances, InstancesIter, Source, SourceEnded, Status,
    Trouble,
};
pub use provider::{Registrar, RegistrarBuilder, RegistrarStatus, Updated};
#[cfg(feature = "mock")]
pub use registry::MockClient;
pub use registry::{
    Batch, Call, Cause, Change, Client, Deregistered, Entry, Error, ErrorChain, Escaped, Gap,
    Invalid, Key, LeaseId, LeaseProof, Ledger, Lister, Listing, LossSender, Lost, LostLeases,
    NoReclaim, Owner, Poller, Prefix, ProofSender, Reclaim, Reclaimed, Registration,
    RegistrationId, Removal, Result, Revision, Service, ServiceKey, Snapshot, Ttl, Unproven, Watch,
    WatchError,
};

pub use support::{Backoff, StatusReceiver};

/// The attribute that implementations of [`Client`], [`Reclaim`] and [`Lister`] carry.
pub use async_trait::async_trait;
/// The values of entries.
pub use bytes::Bytes;
