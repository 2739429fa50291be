//! gRPC with clients that tonic generated.
//!
//! [`Channel`] is a `Caller` of the room `call`, whose protocol is `Grpc`, over connections of
//! the room `connection`.

mod builder;
mod channel;
mod classify;
#[cfg(feature = "grpc-health")]
mod health;
mod protocol;
mod target;
mod timeout_header;
mod unimplemented;

pub use builder::ChannelBuilder;
pub use channel::{Channel, GrpcBody, GrpcEndpoints, channel};
#[cfg(feature = "grpc-health")]
pub use health::GrpcHealth;
pub use target::GrpcTarget;
