//! Many watches of one client, until all are back after a lost connection, far from etcd.

use super::{
    Failure, block_on, entries,
    first_change::{until, until_live},
    millis,
    server::Server,
};
use crate::{
    comparison::{Comparison, Target},
    measure::{Measured, Options},
    output::Output,
    statistics::Median,
    table::{Cell, Table},
};
use futures::future::try_join_all;
use sd_core::{Instancer, Prefix};
use sd_etcd::EtcdClient;
use sd_tests::Proxy;
use std::time::{Duration, Instant};

const WATCHES: usize = 500;
const ROUND_TRIP: Duration = Duration::from_millis(50);

pub(crate) fn run(options: &Options, output: &Output) -> Measured {
    block_on(async {
        let rounds = if options.quick { 1 } else { 5 };
        let mut server = Server::start().await?;
        server.mark(0..WATCHES).await?;
        let proxy = Proxy::to(server.etcd.address()).await;
        let client = EtcdClient::connect([proxy.endpoint()])?;
        let instancers = (0..WATCHES).map(|service| {
            let prefix = Prefix::new(entries::prefix(service))?;
            Ok(Instancer::new(client.clone(), prefix))
        });
        let instancers = instancers.collect::<Result<Vec<_>, Failure>>()?;
        output.progress("opening the watches", 0, rounds);
        let live = || instancers.iter().map(|it| until_live(it.subscribe()));
        try_join_all(live()).await?;
        proxy.delay(ROUND_TRIP / 2);
        // The delay is older than the connection that is measured.
        tokio::time::sleep(2 * ROUND_TRIP).await;
        let (mut times, mut asked) = (Vec::new(), Vec::new());
        for round in 0..rounds {
            output.progress("reconnecting", round, rounds);
            let counted = server.counted().await?;
            let mut events: Vec<_> = instancers.iter().map(Instancer::subscribe).collect();
            let begun = Instant::now();
            proxy.drop_connections();
            let back = events.iter_mut().map(async |events| {
                until(events, |event| !event.health().is_live()).await?;
                until(events, |event| event.health().is_live()).await
            });
            try_join_all(back).await?;
            times.push(millis(begun.elapsed()));
            asked.push(server.since(&counted).await?.requests as f64);
        }
        let took = Median::of(times);
        let title = format!(
            "reconnect: {WATCHES} watches of one client back after its connections ended, round trip {} ms \
             (median of {rounds} rounds)",
            ROUND_TRIP.as_millis()
        );
        let columns = [
            ("ms", "took_ms"),
            ("±", "took_ms_spread"),
            ("requests", "requests"),
        ];
        let mut table = Table::new(title, columns).with("watches", WATCHES);
        table.row([
            Cell::Number(took.value, 0),
            Cell::Number(took.spread, 0),
            Cell::Number(Median::of(asked).value, 0),
        ]);
        output.table(&table)?;
        output.compare(&[Comparison::new(
            format!(
                "{WATCHES} watches back, round trip {} ms",
                ROUND_TRIP.as_millis()
            ),
            "ms",
            took.value,
            // Ten round trips and a second.
            Target::AtMost(millis(10 * ROUND_TRIP + Duration::from_secs(1))),
        )
        .beside(millis(ROUND_TRIP))])?;
        Ok(())
    })
}
