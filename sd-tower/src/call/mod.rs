//! The call core, shared by gRPC and HTTP: pick, deadline, attempts, classification, replay of the
//! request's body, and the pick ended with the response's.
//!
//! A [`Caller`] makes calls through a balancer over any targets that are tower services of
//! `http::Request<RequestBody>`. What differs between protocols is a [`Protocol`].

mod attempt_error;
mod begun_call;
mod caller;
mod caller_builder;
mod classifier;
mod nothing_executed;
mod policy;
mod protocol;
mod request_body;
mod response_body;
mod routing;
mod upgraded;

pub use attempt_error::AttemptError;
pub use nothing_executed::nothing_executed;
pub use policy::CallPolicy;
pub use request_body::RequestBody;
pub use routing::Routing;

pub(crate) use caller_builder::{Built, CallerBuilder};
pub(crate) use classifier::Classifier;
#[cfg(feature = "tonic")]
pub(crate) use nothing_executed::chain;
pub(crate) use protocol::{Answer, Protocol, Pushback};
#[cfg(feature = "grpc-health")]
pub(crate) use request_body::RecordedBody;
pub(crate) use request_body::RequestBodyError;
pub(crate) use response_body::ResponseBody;
#[cfg(feature = "hyper")]
pub(crate) use upgraded::UpgradedConnection;
