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
//! | put another registry underneath | [`Client`], `conformance`; [`Lister`] and [`Poller`] if it can only list |
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
//! - `conformance`: the contract of [`Client`] as executable checks, for authors of backends.
//! - `metrics`: counters and gauges through the `metrics` facade, see [`telemetry`].
//! - `mock`: `MockClient`, for scripting a registry's answers call by call.
//!
//! Everything needs a tokio runtime with time enabled.

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
#[cfg(test)]
mod lines;
mod lost_leases;
mod merge;
mod mirror;
#[cfg(feature = "mock")]
mod mock;
mod pauses;
mod poll;
mod prefix;
#[cfg(test)]
mod properties;
mod registrar;
mod registration;
mod retry;
mod revision;
mod service;
pub mod telemetry;
mod tenure;
mod warnings;
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
pub use lost_leases::LostLeases;
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
