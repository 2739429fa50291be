//! Calls through discovered endpoints: gRPC with tonic, HTTP with hyper or reqwest, tower's
//! `Discover`, and servers that register themselves.

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
