//! A change right after an instancer is ready, or live again after a reconnect, beside a raw watch from the next
//! revision.

use super::{
    Failure, block_on, entries, in_time,
    server::{Server, latency},
};
use crate::{
    clock::now,
    comparison::{Comparison, Target},
    measure::{Measured, Options},
    output::Output,
    statistics::quantile,
    table::{Cell, Table},
};
use etcd_client::{GetOptions, WatchOptions};
use futures::StreamExt;
use sd_core::{Event, Events, Instancer, Prefix};
use sd_etcd::EtcdClient;
use sd_tests::Proxy;
use std::time::Duration;

const INSTANCES: usize = 10;
/// The most that it may take at the median, in microseconds.
const MOST: f64 = 2000.0;

pub(crate) fn run(options: &Options, output: &Output) -> Measured {
    block_on(async {
        let rounds = if options.quick { 15 } else { 50 };
        let mut server = Server::start().await?;
        server.populate(0..INSTANCES).await?;
        let (mut toolkit, mut floor) = (Vec::new(), Vec::new());
        for round in 0..rounds {
            output.progress("after ready", round, rounds);
            toolkit.push(after_ready(&mut server).await?);
            floor.push(after_raw_watch(&mut server).await?);
        }
        let mut again = Vec::new();
        let proxy = Proxy::to(server.etcd.address()).await;
        let client = EtcdClient::connect([proxy.endpoint()])?;
        let instancer = Instancer::new(client, Prefix::new(entries::prefix(0))?);
        until_live(instancer.subscribe()).await?;
        for round in 0..rounds {
            output.progress("after a reconnect", round, rounds);
            again.push(after_reconnect(&mut server, &proxy, &instancer).await?);
        }
        let title = format!(
            "first-change: from a put that is sent to the subscriber, the first change that a watch sees \
             ({rounds} rounds)"
        );
        let columns = [
            ("", "case"),
            ("p50 µs", "p50_us"),
            ("p90", "p90_us"),
            ("worst", "worst_us"),
        ];
        let mut table = Table::new(title, columns);
        let mut medians = Vec::new();
        for (case, mut all) in [
            ("after ready", toolkit),
            ("after a reconnect", again),
            ("floor: raw watch from the next revision", floor),
        ] {
            let [p50, p90, worst] = [0.5, 0.9, 1.0].map(|rank| quantile(&mut all, rank));
            medians.push(p50);
            table.row([
                Cell::Text(case.to_owned()),
                Cell::Number(p50, 0),
                Cell::Number(p90, 0),
                Cell::Number(worst, 0),
            ]);
        }
        output.table(&table)?;
        let compared = |what: &str, median| {
            Comparison::new(what, "µs", median, Target::AtMost(MOST)).beside(medians[2])
        };
        output.compare(&[
            compared("a change right after ready, p50", medians[0]),
            compared("a change right after a reconnect, p50", medians[1]),
        ])?;
        Ok(())
    })
}

async fn after_ready(server: &mut Server) -> Result<f64, Failure> {
    let client = EtcdClient::connect([server.etcd.endpoint()])?;
    let instancer = Instancer::new(client, Prefix::new(entries::prefix(0))?);
    in_time("an instancer", instancer.ready()).await??;
    change(server, instancer.subscribe()).await
}

/// Ends all connections, and waits until the instancer says that it is live again.
async fn after_reconnect(
    server: &mut Server,
    proxy: &Proxy,
    instancer: &Instancer,
) -> Result<f64, Failure> {
    let mut events = instancer.subscribe();
    proxy.drop_connections();
    until(&mut events, |event| !event.health().is_live()).await?;
    until(&mut events, |event| event.health().is_live()).await?;
    change(server, events).await
}

async fn after_raw_watch(server: &mut Server) -> Result<f64, Failure> {
    let mut client = etcd_client::Client::connect([server.etcd.endpoint()], None).await?;
    let listed = client.get(entries::prefix(0), Some(GetOptions::new().with_prefix()));
    let revision = listed.await?.header().map_or(0, |header| header.revision());
    let options = WatchOptions::new().with_prefix();
    let options = options.with_start_revision(revision + 1);
    // Returns when etcd has answered.
    let mut watch = client.watch(entries::prefix(0), Some(options)).await?;
    let (_, sent) = server.mark(0..1).await?;
    loop {
        let response = in_time("a change", watch.message()).await??;
        if !response.ok_or("the watch has ended")?.events().is_empty() {
            return Ok(latency(sent, now()));
        }
    }
}

/// Puts a change and waits for it.
async fn change(server: &mut Server, mut events: Events) -> Result<f64, Failure> {
    let next = server.next_mark();
    let seen = tokio::spawn(async move {
        let key = entries::mark_key(0);
        while let Some(event) = events.next().await {
            let weight = event.instances().get(&key).map(|it| it.weight());
            if weight == Some(1 + next) {
                return Some(now());
            }
        }
        None
    });
    let (_, sent) = server.mark(0..1).await?;
    let seen: Option<Duration> = in_time("a change", seen).await??;
    Ok(latency(sent, seen.ok_or("the instancer has ended")?))
}

pub(super) async fn until_live(mut events: Events) -> Result<(), Failure> {
    until(&mut events, |event| event.health().is_live()).await
}

pub(super) async fn until(events: &mut Events, is: impl Fn(&Event) -> bool) -> Result<(), Failure> {
    let found = async {
        while let Some(event) = events.next().await {
            if is(&event) {
                return Ok(());
            }
        }
        Err(Failure::from("the instancer has ended"))
    };
    in_time("a state", found).await?
}
