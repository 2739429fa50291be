//! Service discovery, client-side load balancing and retries, over any registry.
//!
//! A service registers itself under a lease, its consumers see it and call it through a balanced
//! set of live endpoints, and an outage of the registry interrupts no calls. This crate is the
//! contract with the registry, [`Client`], and every layer above it; `sd-etcd` and `sd-memory` are
//! backends.
//!
//! | to | use |
//! |---|---|
//! | register a service | [`Registrar`] and [`Service`]; [`RegistrarGroup`] in several formats or registries |
//! | change the weight or status of an instance from outside, as an operator | [`edit`](edit()) and [`Edit`] |
//! | follow the instances of a service | [`Instancer`], [`Event`] and [`Instances`] |
//! | make a client for each instance | [`Endpointer`] and [`Factory`] |
//! | choose an endpoint for each call | [`Balancer`]: [`RoundRobin`], [`Random`], [`Weighted`], [`WeightedRandom`], [`LeastLoaded`], [`ConsistentHash`] |
//! | choose from fewer endpoints | [`Reachable`], [`ActiveHealth`], [`Ejection`], [`Lanes`] (by version or tenant), [`ZonePreference`], [`Subset`], [`SlowStart`]; see [`EndpointSource`] |
//! | retry failed calls on other endpoints | [`Retry`] and [`RetryBudget`] |
//! | name services instead of keys, or read and write a format of your own | [`Format`] and [`Advert`], [`Codec`] |
//! | get instances from elsewhere | [`Source`] and [`EventPublisher`] |
//! | support another registry | [`Client`], [`Ledger`], [`Listing`], the crate `sd-conformance`; [`Lister`] and [`Poller`] if it can only list |
//! | test without a registry | [`FixedInstancer`], [`FixedEndpointer`], `MockClient` |
//!
//! Each layer knows only the one below it, by a trait, so each can be used alone.
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
//! - `mock`: `MockClient`, which scripts a registry's answers call by call.
//! - `serde`: [`Instance`], [`Status`] and [`EventSummary`] can be serialised and deserialised.
//!   (The default codec uses serde in any case; the feature makes it part of the public API.)
//! - `snapshot`: `SnapshotFile`, from which an [`Instancer`] begins while its registry is down. Adds `tempfile`.
//! - `tcp`: `TcpConnect`, a health check that connects. Adds tokio's network.
//!
//! Everything needs a tokio runtime with time enabled.

mod calls;
mod consumer;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod instances;
mod provider;
mod registry;
mod support;
pub mod telemetry;

#[cfg(feature = "tcp")]
pub use calls::TcpConnect;
pub use calls::{
    ActiveHealth, ActiveHealthBuilder, AsyncFactoryFn, Attempt, AttemptError, Balancer, BoxError,
    Connectable, Connectivity, ConsistentHash, ConsistentHashBuilder, EjectedEndpoint, Ejection,
    EjectionBuilder, EjectionReason, EjectionStatus, EndedCall, Endpoint, EndpointSource,
    Endpointer, EndpointerBuilder, EndpointerStatus, Endpoints, Factory, FactoryError,
    FactoryFailure, FactoryFn, FailurePercentageEjection, FixedEndpointer, HealthCheck,
    HealthCheckError, HealthStatus, Lane, LaneBalancer, LaneFallback, Lanes, LanesBuilder,
    LeastLoaded, LeastLoadedBuilder, NoEndpoints, Observed, Observer, Outcome, Pick, PickContext,
    Random, Reachable, ReachableStatus, Retry, RetryBudget, RetryBuilder, RetryError, RoundRobin,
    SlowStart, SlowStartBuilder, StopReason, Subset, SubsetBuilder, SuccessRateEjection,
    TableIndex, TableRef, UnhealthyEndpoint, UnreachableEndpoint, Weighted, WeightedRandom,
    ZonePreference, ZonePreferenceBuilder, async_factory_fn, factory_fn,
};
#[cfg(feature = "snapshot")]
pub use consumer::SnapshotFile;
pub use consumer::{
    FixedInstancer, Instancer, InstancerBuilder, MemberStatus, MergedInstancer, PrefixLimits,
    ReadyWhen,
};
pub use instances::{
    Address, AddressPolicy, Advert, Codec, CodecError, Decoded, DecodedIter, DefaultCodec,
    DefaultFormat, Edit, Event, EventPublisher, EventReader, EventSummary, Events, Format, Health,
    Held, Instance, InstanceChange, InstanceKey, Instances, InstancesIter, JsonObject,
    MetadataValue, OneLevel, Source, SourceEnded, Status, Trouble,
};
pub use provider::{
    EditError, Edited, Need, Registrar, RegistrarBuilder, RegistrarGroup, RegistrarStatus, Updated,
    edit,
};
#[cfg(feature = "mock")]
pub use registry::MockClient;
pub use registry::{
    Batch, Call, Cause, Change, Client, Deregistered, Editor, Entry, Error, ErrorChain, Escaped,
    FencedEntry, FormerLeases, Gap, Generation, Invalid, Key, LeaseId, LeaseProof, Ledger, Lister,
    Listing, LossSender, Lost, LostLeases, NoReclaim, Owner, Poller, Prefix, ProofSender, Reclaim,
    Reclaimed, Registration, RegistrationId, Removal, Result, Revision, Service, ServiceKey,
    Snapshot, Ttl, Unproven, Watch, WatchError,
};

pub use support::{Backoff, StatusReceiver};

/// The attribute for implementations of the async traits: [`Client`], [`Editor`], [`Reclaim`], [`Lister`],
/// [`Source`] and [`Factory`].
pub use async_trait::async_trait;
/// The type of an entry's value.
pub use bytes::Bytes;
