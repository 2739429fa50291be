//! From a set of instances to a call that lands on one of them.
//!
//! An [`Endpointer`] has a [`Factory`] make an endpoint of each instance of a source. A
//! [`Balancer`] picks one of them per call, and [`Retry`] tries another when one fails, within a
//! [`RetryBudget`].
//!
//! This room imports `instances`, `registry` (keys and errors) and `support`. It follows any
//! source, and imports nothing of `consumer`.

mod balancer;
mod budget;
mod endpoint;
mod endpointer;
mod endpoints;
mod factory;
pub(crate) mod meters;
mod retry;

pub use balancer::{Balancer, Observer, Outcome, Pick, PickContext, Random, RoundRobin};
pub use budget::RetryBudget;
pub use endpoint::{Endpoint, NoEndpoints};
pub use endpointer::{
    Endpointer, EndpointerBuilder, EndpointerStatus, FactoryFailure, FixedEndpointer,
};
pub use endpoints::{EndpointSource, Endpoints};
pub use factory::{
    AsyncFactoryFn, BoxError, Factory, FactoryError, FactoryFn, async_factory_fn, factory_fn,
};
pub use retry::{Attempt, AttemptError, Retry, RetryBuilder, RetryError, Stopped};
