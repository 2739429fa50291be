//! Real etcd processes: how to start them, their faults, their contents and their metrics.
//!
//! [`Setup`] starts an [`Etcd`] (`server`), the type that everything here is about. `entries`,
//! `auth`, `backup` and `quota` are further methods of it, one file for each subject. [`Cluster`] is three of
//! them, [`GrpcProxy`] etcd's own proxy in front of one. [`FakeEtcd`] is none: it lies. A test's own calls go through `admin`, which
//! keeps them out of [`Metrics`].
//!
//! Uses `network` and `process`; knows nothing of providers and consumers.

mod admin;
mod auth;
mod backup;
mod cluster;
mod entries;
mod fake;
mod grpc_proxy;
mod http;
mod member;
mod metrics;
mod quota;
mod server;
mod setup;
mod tls;

pub use backup::Backup;
pub use cluster::Cluster;
pub use fake::{Answers, FakeEtcd, header, honest_watch};
pub use grpc_proxy::GrpcProxy;
pub use metrics::Metrics;
pub use server::Etcd;
pub use setup::Setup;
pub use tls::{Ca, Certificate};
