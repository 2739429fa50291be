//! What happens to the connections of clients: passwords of a whole fleet, changes of credentials,
//! certificates and members, names with several addresses, odd options, slow networks, many watches.

mod changes;
mod fleet;
mod names;
mod options;
mod refused;
mod slowness;
mod watches;

use sd_core::{Instancer, Prefix, Registrar, RegistrarStatus, Service, Ttl};
use sd_etcd::EtcdClient;
use sd_tests::{Etcd, PATIENCE, eventually};
use std::time::Duration;
use tokio::time::timeout;

const KEY: &str = "/svc/10.0.0.1:80";
const OTHER: &str = "/svc/10.0.0.2:80";

fn service(key: &str, ttl: u64) -> Service {
    let address = key.rsplit('/').next().unwrap().to_owned();
    let ttl = Ttl::from_secs(ttl).unwrap();
    Service::new(key, address).unwrap().with_ttl(ttl)
}

fn prefix() -> Prefix {
    Prefix::new("/svc").unwrap()
}

async fn in_time<T>(future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.expect("in time")
}

async fn ready(client: &EtcdClient) -> Instancer {
    let instancer = Instancer::new(client.clone(), prefix());
    in_time(instancer.ready()).await.unwrap();
    instancer
}

async fn registered(client: &EtcdClient, service: Service) -> Registrar {
    let registrar = Registrar::new(client.clone(), service);
    in_time(registrar.register()).await.unwrap();
    registrar
}

fn keys(instancer: &Instancer) -> Vec<String> {
    let event = instancer.state().expect("it was ready");
    let instances = event.instances().iter();
    instances.map(|it| it.key().to_string()).collect()
}

fn is_live(instancer: &Instancer) -> bool {
    instancer.state().is_some_and(|it| it.health().is_live())
}

/// The registrar holds its key and knows of no trouble.
fn is_well(registrar: &Registrar) -> bool {
    matches!(
        *registrar.status().borrow(),
        RegistrarStatus::Registered { error: None, .. }
    )
}

async fn instances_are(instancer: &Instancer, expected: &[&str]) {
    let seen = async || (is_live(instancer), keys(instancer));
    let accept = |(live, seen): &(bool, Vec<String>)| *live && seen == expected;
    eventually(PATIENCE, "the instances", seen, accept).await;
}

/// Waits until a change that `etcd` makes now is seen.
async fn follows(instancer: &Instancer, etcd: &Etcd, key: &str) {
    etcd.put(key, key.rsplit('/').next().unwrap()).await;
    let seen = async || keys(instancer);
    let has = |seen: &Vec<String>| seen.iter().any(|it| it == key);
    eventually(PATIENCE, "the change to be seen", seen, has).await;
}

/// Waits until the lease is kept alive again: until one more keep-alive is answered.
async fn is_kept_alive(etcd: &Etcd) {
    let before = etcd.metrics().await;
    let beats = async || etcd.metrics().await.since(&before).keepalives();
    eventually(PATIENCE, "a keep-alive", beats, |beats| *beats >= 1).await;
}

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}
