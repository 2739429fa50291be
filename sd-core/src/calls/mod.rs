//! Calls: from a set of instances to a request to one of them.
//!
//! An [`Endpointer`] follows a source of instances and calls a [`Factory`] to make an endpoint for
//! each address. It publishes the endpoints as a table, an [`EndpointSource`]. For each call, a
//! [`Balancer`] picks an endpoint from the table and returns a [`Pick`], which takes the outcome of
//! the call. [`Retry`] makes the call, and repeats it on another endpoint if it fails, within a
//! [`RetryBudget`].
//!
//! This room imports `instances`, `registry` (keys and errors) and `support`. It follows any
//! source, and imports nothing from `consumer`. Inside, imports run from `retry` to `balancer` to
//! `pick` and `endpoint_source` to `endpoint_table` to `endpoint` to `host` to `load`. `endpointer`
//! is beside `balancer`. A type that derives endpoints from others is an [`EndpointSource`] around another
//! one.

mod adapters;
mod balancer;
mod budget;
mod connectivity;
mod derived;
mod endpoint;
mod endpoint_source;
mod endpoint_table;
mod endpointer;
mod factory;
mod host;
mod indexes;
mod load;
pub(crate) mod meters;
mod no_endpoints;
mod observer;
mod pick;
mod rebuild_pace;
mod replacements;
mod retry;
mod run_queue;
mod runs;
mod table_index;
mod table_writer;
mod thread_copies;
mod thread_number;

#[cfg(feature = "tcp")]
pub use adapters::TcpConnect;
pub use adapters::{
    ActiveHealth, ActiveHealthBuilder, EjectedEndpoint, Ejection, EjectionBuilder, EjectionReason,
    EjectionStatus, FailurePercentageEjection, HealthCheck, HealthCheckError, HealthStatus, Lane,
    LaneBalancer, LaneFallback, Lanes, LanesBuilder, Observed, Reachable, ReachableStatus,
    SlowStart, SlowStartBuilder, Subset, SubsetBuilder, SuccessRateEjection, UnhealthyEndpoint,
    UnreachableEndpoint, ZonePreference, ZonePreferenceBuilder,
};
pub use balancer::{
    Balancer, ConsistentHash, ConsistentHashBuilder, LeastLoaded, LeastLoadedBuilder, Random,
    RoundRobin, Weighted, WeightedRandom,
};
pub use budget::RetryBudget;
pub use connectivity::{Connectable, Connectivity};
pub use endpoint::Endpoint;
pub use endpoint_source::EndpointSource;
pub use endpoint_table::{Endpoints, TableRef};
pub use endpointer::{
    Endpointer, EndpointerBuilder, EndpointerStatus, FactoryFailure, FixedEndpointer,
};
pub use factory::{
    AsyncFactoryFn, BoxError, Factory, FactoryError, FactoryFn, async_factory_fn, factory_fn,
};
pub use no_endpoints::NoEndpoints;
pub use observer::{EndedCall, Observer, Outcome};
pub use pick::{Pick, PickContext};
pub use retry::{Attempt, AttemptError, Retry, RetryBuilder, RetryError, StopReason};
pub use table_index::TableIndex;
