//! Tools for tests against real etcd processes.
//!
//! A test of the toolkit should also check what etcd says. [`Etcd`] is an etcd process for one
//! test; its methods cause every fault, and read what etcd holds and which requests it has counted.
//! [`Cluster`] is three of them. [`Proxy`] is a network with faults, [`GrpcProxy`] is etcd's own
//! proxy, [`FakeEtcd`] an etcd that lies. [`eventually`] and [`throughout`] wait for a condition, never for a time. A test of a new
//! fault takes about twenty lines:
//!
//! ```no_run
//! # use sd_tests::{Etcd, PATIENCE, eventually};
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! let etcd = Etcd::start().await;
//! let before = etcd.metrics().await;
//! etcd.put("/services/hello/a", "10.0.0.1:80").await;
//!
//! etcd.freeze();
//! // ... use a client while etcd is frozen ...
//! etcd.thaw();
//!
//! let keys = || etcd.keys("/services/hello/");
//! eventually(PATIENCE, "the entry to be there", keys, |keys| keys.len() == 1).await;
//! assert_eq!(etcd.metrics().await.since(&before).range_requests(), 0, "nothing was listed");
//! # }
//! ```
//!
//! [`soak`] causes such faults one after the other, for minutes or days. [`kills`] calls providers that
//! are killed one after the other. [`hostile`] attacks a fleet with all that somebody who may write can do.
//!
//! Everything here panics on errors, since it is for tests. Processes need real time. Providers and
//! consumers in memory ([`Provider::in_memory`], [`Consumer::in_memory`]) are for paused time.

pub mod cli;
mod conformance;
mod etcd;
mod eventually;
mod fleet;
pub mod hostile;
pub mod kills;
mod network;
mod process;
pub mod simulation;
pub mod soak;

pub use conformance::{EtcdHarness, MemoryHarness, wrong_clients};
pub use etcd::{
    Answers, Backup, Ca, Certificate, Cluster, Etcd, FakeEtcd, GrpcProxy, Metrics, Setup, header,
    honest_watch,
};
pub use eventually::{PATIENCE, eventually, throughout};
pub use fleet::{Consumer, Provider, RemoteProvider, View};
pub use network::{Proxy, Traffic};
pub use sd_test_support::{Line, Log};

/// An entry as etcd holds it: value, lease and revisions.
pub use etcd_client::KeyValue;

/// Compiles and runs the code in the README and on the pages of `docs`.
#[cfg(doctest)]
mod pages {
    macro_rules! pages {
        ($($name:ident = $page:literal)*) => {$(
            #[doc = include_str!(concat!("../../", $page))]
            struct $name;
        )*};
    }
    pages! {
        Readme = "README.md"
        Backends = "docs/backends.md"
        Consume = "docs/consume.md"
        Grpc = "docs/grpc.md"
        Http = "docs/http.md"
        Join = "docs/join.md"
        Migration = "docs/migration.md"
        Operations = "docs/operations.md"
        Provide = "docs/provide.md"
        Testing = "docs/testing.md"
    }
}
