//! The honest providers: one process that registers all instances.

use super::{
    log::{self, View},
    names::{HONEST, PER_SERVICE, SERVICES, honest_address, honest_key},
};
use sd_core::{BoxError, Registrar, Service, Ttl};
use sd_etcd::EtcdClient;
use std::time::Duration;
use tokio::time::sleep;

/// The first argument of a program that is to [`provide`].
pub const PROVIDE: &str = "--provide";

/// How many clients register them. Each has a lease of its own.
const CLIENTS: usize = 8;
/// Short, so that the keys on a lease are looked at every 2 s.
const TTL: Duration = Duration::from_secs(6);

/// The main function of the process that registers all honest instances. Runs until it is killed.
/// `memory` tells the most memory that the process has had, in bytes.
///
/// # Errors
/// The registry refuses.
pub async fn provide(endpoint: &str, memory: fn() -> usize) -> Result<(), BoxError> {
    log::start();
    let base = memory();
    let clients = (0..CLIENTS).map(|_| EtcdClient::connect([endpoint]));
    let clients = clients.collect::<Result<Vec<_>, _>>()?;
    let registrars = (0..HONEST).map(|n| {
        let (service, instance) = (n / PER_SERVICE, n % PER_SERVICE);
        let address = honest_address(service, instance);
        let described = Service::new(honest_key(service, instance), address)?;
        let described = described.with_ttl(Ttl::new(TTL)?);
        Ok(Registrar::new(clients[n % CLIENTS].clone(), described))
    });
    let registrars = registrars.collect::<Result<Vec<_>, BoxError>>()?;
    let registering = registrars.iter().map(Registrar::register);
    futures::future::try_join_all(registering).await?;
    let mut least = [PER_SERVICE; SERVICES];
    loop {
        let services = registrars.chunks(PER_SERVICE).zip(&mut least);
        for (service, (registrars, least)) in services.enumerate() {
            let registered = registrars.iter();
            let registered = registered.filter(|it| it.status().borrow().is_registered());
            let registered = registered.count();
            *least = registered.min(*least);
            View {
                service,
                seen: [registered; 2],
                least: [*least; 2],
                shown: 0,
                made: 0,
                foreign: 0,
                memory: memory().saturating_sub(base),
            }
            .print();
        }
        sleep(log::INTERVAL).await;
    }
}
