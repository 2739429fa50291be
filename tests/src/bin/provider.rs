//! A provider in its own process, so that a test can freeze the process. Registers an address with
//! the shortest TTL and keeps it registered until it is killed.
//!
//! Arguments: etcd's endpoint, the key, the address.

use sd_core::{Registrar, Service, Ttl};
use sd_etcd::EtcdClient;
use std::{env, error::Error, future::pending};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [endpoint, key, address] = arguments.as_slice() else {
        return Err("usage: provider ENDPOINT KEY ADDRESS".into());
    };
    let client = EtcdClient::connect([endpoint.as_str()])?;
    let service = Service::new(key.as_str(), address.clone())?.with_ttl(Ttl::MIN);
    let registrar = Registrar::new(client, service);
    registrar.register().await?;
    pending().await
}
