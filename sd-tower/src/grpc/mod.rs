//! gRPC with clients that tonic generated.
//!
//! [`Channel`] is a `Caller` of the room `call`, whose protocol is `Grpc`, over connections of
//! the room `connection`.

mod builder;
mod channel;
mod classify;
mod protocol;
mod target;
mod timeout_header;
mod unimplemented;

pub use builder::ChannelBuilder;
pub use channel::{Channel, GrpcBody, GrpcEndpoints, channel};
pub use target::GrpcTarget;
