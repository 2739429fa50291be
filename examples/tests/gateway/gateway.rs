//! A gateway that runs beside a test.

use crate::{client::Client, program::Program, upstream::Upstream};
use sd_tests::{Etcd, PATIENCE, eventually};
use serde_json::Value;

/// A running gateway. Killed when dropped.
pub(crate) struct Gateway {
    pub(crate) program: Program,
    address: String,
}

impl Gateway {
    /// A gateway with these options, on any free port.
    pub(crate) async fn start(options: &[&str]) -> Self {
        let arguments = [&["--listen", "127.0.0.1:0"], options].concat();
        let program = Program::start("gateway", env!("CARGO_BIN_EXE_gateway"), &arguments);
        program.prints("gateway at http://").await;
        let first = &program.lines()[0];
        let address = first
            .strip_prefix("gateway at http://")
            .and_then(|rest| rest.strip_suffix('/'))
            .unwrap_or_else(|| panic!("not an address: {first}"));
        let address = address.to_owned();
        Self { program, address }
    }

    /// A gateway to one service, `hello`, which is this server.
    pub(crate) async fn to(server: &Upstream) -> Self {
        let fixed = format!("hello={}", server.address());
        Self::start(&["--fixed", &fixed]).await
    }

    /// A gateway to what is registered in `etcd`.
    pub(crate) async fn on(etcd: &Etcd) -> Self {
        Self::start(&["--etcd", &etcd.endpoint()]).await
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// The URI of a path.
    pub(crate) fn uri(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// What it says about its services.
    pub(crate) async fn status(&self) -> Value {
        let answer = Client::http1().get(&self.uri("/services")).await;
        assert_eq!(answer.headers["content-type"], "application/json");
        serde_json::from_str(&answer.body).expect("JSON")
    }

    /// Waits until its status is as told.
    pub(crate) async fn shows(&self, what: &str, accept: impl Fn(&Value) -> bool) -> Value {
        eventually(PATIENCE, what, || self.status(), accept).await
    }

    /// Waits until it has so many instances of a service.
    pub(crate) async fn knows(&self, service: &str, instances: usize) -> Value {
        let what = format!("{instances} instances of {service}");
        self.shows(&what, |status| {
            instances_of(status, service).len() == instances
        })
        .await
    }
}

/// The instances of a service in a status.
pub(crate) fn instances_of<'s>(status: &'s Value, service: &str) -> &'s [Value] {
    let services = status["services"].as_array().expect("services");
    let mut services = services.iter().filter(|it| it["name"] == service);
    let instances = services.next().and_then(|it| it["instances"].as_array());
    instances.map_or(&[], Vec::as_slice)
}

/// Registers a server without a lease.
pub(crate) async fn register(etcd: &Etcd, service: &str, server: &Upstream) -> String {
    let address = server.address();
    let key = format!("/services/{service}/{address}");
    etcd.put(&*key, &*address).await;
    key
}
