//! etcd behind the [`Client`](sd_core::Client) of `sd-core`.

mod client;
mod config;
mod error;
mod feed;
mod hub;
mod ledger;
mod link;
mod list;
mod pulse;
mod revision;
mod session;
mod txn;

pub use client::EtcdClient;
pub use config::EtcdClientBuilder;
#[cfg(feature = "tls")]
pub use config::Tls;
