//! Registers services: with registrars, or with puts on a lease.

use super::{Failure, say_usage, told};
use crate::etcd::entries;
use etcd_client::{Client, PutOptions};
use futures::future::{join_all, try_join_all};
use sd_core::{Registrar, Service, Ttl};
use sd_etcd::EtcdClient;
use std::time::{Duration, Instant};

/// Of all leases, in seconds.
const TTL: u32 = 10;

fn services(directory: &str, count: usize) -> impl Iterator<Item = (String, sd_core::Bytes)> {
    (0..count).map(move |n| (format!("{directory}{n:06}"), entries::value(n, 0)))
}

pub(super) async fn toolkit(etcd: &str, directory: &str, count: usize) -> Result<(), Failure> {
    say_usage("started", Duration::ZERO)?;
    let begun = Instant::now();
    let client = EtcdClient::connect([etcd])?;
    let registrars = services(directory, count).map(|(key, value)| {
        let service = Service::new(key, value)?.with_ttl(Ttl::from_secs(TTL.into())?);
        Ok(Registrar::new(client.clone(), service))
    });
    let registrars = registrars.collect::<Result<Vec<_>, Failure>>()?;
    try_join_all(registrars.iter().map(Registrar::register)).await?;
    say_usage("ready", begun.elapsed())?;
    let mut told = told();
    while told.recv().await.is_some() {
        say_usage("usage", Duration::ZERO)?;
    }
    let begun = Instant::now();
    join_all(registrars.iter().map(Registrar::deregister)).await;
    say_usage("ended", begun.elapsed())
}

/// All puts are sent at once, on one connection, and one lease is kept alive at a third of its TTL.
pub(super) async fn floor(etcd: &str, directory: &str, count: usize) -> Result<(), Failure> {
    say_usage("started", Duration::ZERO)?;
    let begun = Instant::now();
    let mut client = Client::connect([etcd], None).await?;
    let lease = client.lease_grant(TTL.into(), None).await?.id();
    let puts = services(directory, count).map(|(key, value)| {
        let mut client = client.clone();
        let options = PutOptions::new().with_lease(lease);
        async move { client.put(key, value, Some(options)).await }
    });
    try_join_all(puts).await?;
    say_usage("ready", begun.elapsed())?;
    let (mut keeper, mut answers) = client.lease_keep_alive(lease).await?;
    let mut third = tokio::time::interval(Duration::from_secs(u64::from(TTL)) / 3);
    let mut told = told();
    loop {
        tokio::select! {
            told = told.recv() => match told {
                Some(_) => say_usage("usage", Duration::ZERO)?,
                None => break,
            },
            _ = third.tick() => {
                keeper.keep_alive().await?;
                answers.message().await?;
            }
        }
    }
    let begun = Instant::now();
    client.lease_revoke(lease).await?;
    say_usage("ended", begun.elapsed())
}
