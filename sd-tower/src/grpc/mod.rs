//! gRPC with clients that tonic generated.

mod classify;
mod protocol;
mod timeout_header;
mod unimplemented;
