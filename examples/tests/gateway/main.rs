//! The gateway as a process, between clients and servers on real sockets.

mod changes;
mod client;
mod gateway;
#[path = "../../grpc/greeter.rs"]
mod greeter;
mod grpc;
mod headers;
mod page;
#[path = "../program/mod.rs"]
mod program;
mod routing;
mod shutdown;
mod streams;
mod upgrades;
mod upstream;
