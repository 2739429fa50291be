//! What is between an endpoint of [`sd_core`] and a call that lands: gRPC, HTTP, tower, and servers that register
//! themselves.
//!
//! | I want to | take | feature |
//! |---|---|---|
//! | call by gRPC, with clients that tonic generated | [`Channel`], or [`channel`] with its defaults | `tonic` |
//! | call by HTTP | [`HttpService`]; [`HttpServices`] for services by name, as in a gateway | `hyper` |
//! | the same with reqwest's requests | [`ReqwestService`] | `reqwest` |
//! | say what may be called again, and how long a call may take | [`CallPolicy`] | |
//! | name registry, service and options in one string | [`Resolvers`], [`Target`]; `etcd://` needs the feature | `etcd` |
//! | run a server that registers itself, and ends without a failed call | [`RegisteredServer`] | `serve`, `axum`, `tonic-server` |
//! | find the address under which others reach this process | [`Advertise`] | `serve` |
//! | check the health of gRPC servers | [`GrpcHealth`], for `sd_core::ActiveHealth` | `grpc-health` |
//! | use tower's own balancing | [`DiscoverEndpoints`] | |
//! | use TLS | [`Tls`] | `tls`, `tls-roots` |
//!
//! Each feature switches on what it needs. Without any there are target strings and tower's `Discover`.

#[cfg(feature = "client")]
mod call;
#[cfg(any(feature = "hyper", feature = "tonic"))]
mod connection;
mod discover;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
#[cfg(feature = "tonic")]
mod grpc;
#[cfg(feature = "hyper")]
mod http;
#[cfg(feature = "serve")]
mod serve;
mod target;

#[cfg(feature = "hyper")]
pub use self::http::{
    HttpBody, HttpEndpoints, HttpError, HttpErrorKind, HttpOptions, HttpService,
    HttpServiceBuilder, HttpServices, HttpServicesBuilder, HttpTarget,
};
#[cfg(feature = "reqwest")]
pub use self::http::{ReqwestEndpoints, ReqwestService, ReqwestServiceBuilder, ReqwestTarget};
#[cfg(feature = "client")]
pub use call::{AttemptError, CallPolicy, RequestBody, Routing, nothing_executed};
#[cfg(any(feature = "hyper", feature = "tonic"))]
pub use connection::{ConnectError, ConnectErrorKind, ConnectOptions};
#[cfg(feature = "tonic")]
pub use connection::{Connection, Http2Options};
#[cfg(feature = "hyper")]
pub use connection::{Connector, HttpVersions};
#[cfg(all(feature = "tls", any(feature = "hyper", feature = "tonic")))]
pub use connection::{Tls, TlsBuilder, TlsError};
pub use discover::DiscoverEndpoints;
#[cfg(feature = "grpc-health")]
pub use grpc::GrpcHealth;
#[cfg(feature = "tonic")]
pub use grpc::{Channel, ChannelBuilder, GrpcBody, GrpcEndpoints, GrpcTarget, channel};
#[cfg(feature = "serve")]
pub use serve::{
    Advertise, AdvertiseError, Incoming, IncomingConnection, RegisteredServer, ServeError, Served,
    ServerStatus,
};
#[cfg(feature = "etcd")]
pub use target::EtcdResolver;
pub use target::{
    Authority, BalancerKind, ResolveError, ResolvedTarget, Resolvers, Target, TargetError,
    TargetOptions, TargetProblem,
};
