//! Calls: from a set of instances to one request on one of them.
//!
//! An [`Endpointer`] follows a source of instances and has a [`Factory`] make an endpoint of each.
//! The endpoints stand in a table that is an [`EndpointSource`]. A [`Balancer`] picks one of them
//! per call, as a [`Pick`] that hears how the call ended. [`Retry`] makes the call, and makes it on
//! another endpoint if it fails, within a [`RetryBudget`].
//!
//! This room imports `instances`, `registry` (keys and errors) and `support`. It follows any
//! source, and imports nothing of `consumer`. Inside, arrows run from `retry` to `balancer` to
//! `pick` and `endpoint_source` to `endpoint_table` to `endpoint`; `endpointer` stands beside
//! `balancer`. Whatever derives endpoints from endpoints is an [`EndpointSource`] over another one.

mod balancer;
mod budget;
mod endpoint;
mod endpoint_source;
mod endpoint_table;
mod endpointer;
mod factory;
pub(crate) mod meters;
mod no_endpoints;
mod pick;
mod retry;

pub use balancer::{Balancer, Random, RoundRobin};
pub use budget::RetryBudget;
pub use endpoint::Endpoint;
pub use endpoint_source::EndpointSource;
pub use endpoint_table::Endpoints;
pub use endpointer::{
    Endpointer, EndpointerBuilder, EndpointerStatus, FactoryFailure, FixedEndpointer,
};
pub use factory::{
    AsyncFactoryFn, BoxError, Factory, FactoryError, FactoryFn, async_factory_fn, factory_fn,
};
pub use no_endpoints::NoEndpoints;
pub use pick::{Observer, Outcome, Pick, PickContext};
pub use retry::{Attempt, AttemptError, Retry, RetryBuilder, RetryError, Stopped};
