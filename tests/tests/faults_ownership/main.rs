//! What is a provider's own: by owner, lease and modification.

mod draining;
mod edits;
mod own_keys;
mod reloads;
mod rollbacks;
mod scale;

use sd_core::{Client, Registrar, Service, Ttl};
use sd_etcd::EtcdClient;
use sd_tests::{Etcd, PATIENCE, eventually};

const KEY: &str = "/svc/a";
const ADDRESS: &str = "10.0.0.1:80";
const OWN: &str = r#"{"address":"10.0.0.1:80","weight":1}"#;
const OTHER: &str = r#"{"address":"10.0.0.1:80","weight":7}"#;

fn client(etcd: &Etcd) -> EtcdClient {
    EtcdClient::connect([etcd.endpoint()]).unwrap()
}

fn service(key: &str, value: &'static str) -> Service {
    Service::new(key, value).unwrap().with_ttl(Ttl::MIN)
}

fn registrar(client: &EtcdClient, value: &'static str) -> Registrar {
    Registrar::new(client.clone(), service(KEY, value))
}

/// Waits until the entry has this value, on the client's lease, and the registrar is registered.
async fn has(etcd: &Etcd, client: &EtcdClient, registrar: &Registrar, value: &str) {
    let look = async || {
        let entry = etcd.entry(KEY).await;
        let lease = client.lease_id().map(|lease| lease.to_string());
        let is_ours = entry.as_ref().map(|it| it.lease().to_string()) == lease;
        let is_registered = registrar.status().borrow().is_registered();
        (
            entry.map(|it| String::from_utf8_lossy(it.value()).into_owned()),
            is_ours && is_registered,
        )
    };
    let expected = (Some(value.to_owned()), true);
    eventually(PATIENCE, value, look, |it| *it == expected).await;
}
