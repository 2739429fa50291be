//! What everything costs as there are more of them: instances, subscribers, instancers, registrations, clients.
//!
//! Each axis is a table, whose rows are also what the plots are drawn from (`report`).

use super::{
    Failure, block_on,
    burst::{Followers, follower},
    contender::{Contender, SIDES, Side, took, usage},
    megabytes, micros, millis, register,
    resources::Resources,
    server::{Server, latency},
};
use crate::{
    measure::{Measured, Options},
    output::Output,
    statistics::quantile,
    table::{Cell, Table},
    usage::Usage,
};
use std::{ops::Range, time::Duration};

/// The name of these rows in JSON, under the key `table`.
pub(crate) const TABLE: &str = "growth";

/// How many instances there are where that is not what grows.
const INSTANCES: usize = 1000;
/// The same where each of a thousand clients keeps them.
const INSTANCES_OF_CLIENTS: usize = 100;
/// Changes whose processor time is counted, and how many there are a second.
const CHANGES: usize = 500;
const CHANGES_A_SECOND: usize = 500;

pub(crate) fn run(options: &Options, output: &Output) -> Measured {
    let growth = Growth {
        puts: if options.quick { 50 } else { 300 },
        idle: Duration::from_secs(if options.quick { 1 } else { 5 }),
        kept: (!options.quick).then_some(Duration::from_secs(5)),
        up_to: if options.quick { 10_000 } else { 100_000 },
        output,
    };
    block_on(async {
        growth.instances().await?;
        growth.subscribers().await?;
        growth.instancers().await?;
        growth.registrations().await?;
        growth.clients().await
    })
}

struct Growth<'a> {
    /// How many puts are timed, one after the other.
    puts: usize,
    /// How long it is looked at what goes on while nothing happens.
    idle: Duration,
    /// How long registrations are kept: longer than a third of their TTL, so that a keep-alive is in it.
    kept: Option<Duration>,
    /// The most instances.
    up_to: usize,
    output: &'a Output,
}

/// Powers of ten up to `most`.
fn sizes(least: usize, most: usize) -> impl Iterator<Item = usize> {
    std::iter::successors(Some(least), |size| Some(size * 10)).take_while(move |size| *size <= most)
}

impl Growth<'_> {
    fn table<const N: usize>(
        &self,
        axis: &str,
        title: &str,
        columns: [(&'static str, &'static str); N],
    ) -> Table {
        Table::new(format!("growth: {title}"), columns)
            .with("table", TABLE)
            .with("axis", axis)
    }

    async fn instances(&self) -> Result<(), Failure> {
        let columns = [
            ("instances", "size"),
            ("", "side"),
            ("first list ms", "list_ms"),
            ("its CPU ms", "list_cpu_ms"),
            ("put p50 µs", "put_p50_us"),
            ("p99", "put_p99_us"),
            ("CPU µs a change", "change_cpu_us"),
            ("MB", "memory_mb"),
        ];
        let title = "a service with more and more instances, followed by one subscriber";
        let mut table = self.table("instances", title, columns);
        let (mut server, mut known) = (Server::start().await?, 0);
        server.mark(0..1).await?;
        for size in sizes(10, self.up_to) {
            self.output.progress("instances", size, self.up_to);
            server.populate(known..size).await?;
            known = size;
            for side in SIDES {
                let follower = follower(&server.etcd.endpoint(), side, Followers::ONE)?;
                let seen = self.follow(&mut server, follower, size, 0..1).await?;
                table.row([
                    Cell::Number(size as f64, 0),
                    Cell::Text(side.name().to_owned()),
                    Cell::Number(millis(seen.took), 1),
                    Cell::Number(millis(seen.ready.cpu - seen.started.cpu), 1),
                    Cell::Number(seen.p50, 0),
                    Cell::Number(seen.p99, 0),
                    Cell::Number(seen.change_cpu, 1),
                    Cell::Number(megabytes(seen.memory()), 1),
                ]);
            }
        }
        self.output.table(&table)?;
        Ok(())
    }

    async fn subscribers(&self) -> Result<(), Failure> {
        let columns = [
            ("subscribers", "size"),
            ("put p50 µs, the last one", "put_p50_us"),
            ("p99", "put_p99_us"),
            ("CPU µs a change", "change_cpu_us"),
            ("MB", "memory_mb"),
        ];
        let title = "one instancer with more and more subscribers";
        let mut table = self.table("subscribers", title, columns);
        let mut server = Server::start().await?;
        server.populate(0..INSTANCES).await?;
        server.mark(0..1).await?;
        for subscribers in sizes(1, 1000) {
            self.output.progress("subscribers", subscribers, 1000);
            let followers = Followers {
                subscribers,
                ..Followers::ONE
            };
            let follower = follower(&server.etcd.endpoint(), Side::Toolkit, followers)?;
            let seen = self.follow(&mut server, follower, INSTANCES, 0..1).await?;
            table.row([
                Cell::Number(subscribers as f64, 0),
                Cell::Number(seen.p50, 0),
                Cell::Number(seen.p99, 0),
                Cell::Number(seen.change_cpu, 1),
                Cell::Number(megabytes(seen.memory()), 1),
            ]);
        }
        self.output.table(&table)?;
        Ok(())
    }

    async fn instancers(&self) -> Result<(), Failure> {
        let columns = [
            ("instancers", "size"),
            ("ready ms", "list_ms"),
            ("KB each", "each_kb"),
            ("idle CPU ms a second", "idle_cpu_ms"),
            ("requests a second", "idle_requests"),
            ("connections", "connections"),
        ];
        let title = "one client with more and more instancers, each on a service of its own";
        let mut table = self.table("instancers", title, columns);
        let mut server = Server::start().await?;
        for services in sizes(1, 1000) {
            self.output.progress("instancers", services, 1000);
            server.mark(services / 10..services).await?;
            let followers = Followers {
                services,
                ..Followers::ONE
            };
            let mut follower = follower(&server.etcd.endpoint(), Side::Toolkit, followers)?;
            let started = usage(&follower.said("started").await?)?;
            let ready = follower.said("ready").await?;
            let (took, ready) = (took(&ready)?, usage(&ready)?);
            let idle = self.idle(&mut server, &mut follower, 0..services).await?;
            let memory = ready.resident.saturating_sub(started.resident);
            table.row([
                Cell::Number(services as f64, 0),
                Cell::Number(millis(took), 1),
                Cell::Number(memory as f64 / 1e3 / services as f64, 1),
                Cell::Number(millis(idle.cpu) / self.idle.as_secs_f64(), 2),
                Cell::Number(idle.requests / self.idle.as_secs_f64(), 1),
                Cell::Number(server.connections() as f64, 0),
            ]);
            follower.end().await?;
        }
        self.output.table(&table)?;
        Ok(())
    }

    async fn registrations(&self) -> Result<(), Failure> {
        let columns = [
            ("registrations", "size"),
            ("", "side"),
            ("ms", "took_ms"),
            ("CPU ms", "cpu_ms"),
            ("peak MB", "memory_mb"),
            ("requests", "requests"),
            ("CPU ms a second to keep them", "keep_cpu_ms"),
            ("etcd's", "keep_etcd_cpu_ms"),
            ("ms to end them", "end_ms"),
            ("CPU ms", "end_cpu_ms"),
            ("leases", "leases"),
        ];
        let title = "one process that registers more and more services, and keeps them";
        let mut table = self.table("registrations", title, columns);
        let server = Server::start().await?;
        for size in sizes(1, 10_000) {
            self.output.progress("registrations", size, 10_000);
            // etcd refuses more puts at once than that.
            let floor = (size <= 1000).then_some(Side::Floor);
            for side in [Side::Toolkit].into_iter().chain(floor) {
                let all = register::measure(&server, side, size, self.kept).await?;
                let registering = all.registering;
                let a_second = |cpu: Duration, it: &Resources| millis(cpu) / it.took.as_secs_f64();
                table.row([
                    Cell::Number(size as f64, 0),
                    Cell::Text(side.name().to_owned()),
                    Cell::Number(millis(registering.took), 1),
                    Cell::Number(millis(registering.cpu), 1),
                    Cell::Number(megabytes(registering.peak), 1),
                    Cell::Number(registering.asked.requests as f64, 0),
                    Cell::number(all.keeping.map(|it| a_second(it.cpu, &it)), 2),
                    Cell::number(all.keeping.map(|it| a_second(it.asked.cpu, &it)), 1),
                    Cell::Number(millis(all.ending.0), 1),
                    Cell::Number(millis(all.ending.1), 1),
                    Cell::Number(all.leases as f64, 0),
                ]);
            }
        }
        self.output.table(&table)?;
        Ok(())
    }

    async fn clients(&self) -> Result<(), Failure> {
        let columns = [
            ("clients", "size"),
            ("put p50 µs, the last one", "put_p50_us"),
            ("p99", "put_p99_us"),
            ("etcd's CPU µs a change", "change_etcd_cpu_us"),
            ("its idle CPU ms a second", "idle_etcd_cpu_ms"),
            ("its MB", "etcd_mb"),
            ("requests a second", "idle_requests"),
            ("connections", "connections"),
        ];
        let title = "one etcd with more and more clients; each follows the same service and registers one instance of \
                     another";
        let mut table = self.table("clients", title, columns);
        for clients in sizes(1, 1000) {
            self.output.progress("clients", clients, 1000);
            // A new one each time, as it does not give memory back.
            let mut server = Server::start().await?;
            server.populate(0..INSTANCES_OF_CLIENTS).await?;
            server.mark(0..1).await?;
            let before = server.counted().await?.usage;
            let followers = Followers {
                clients,
                registers: true,
                ..Followers::ONE
            };
            let mut follower = follower(&server.etcd.endpoint(), Side::Toolkit, followers)?;
            follower.said("ready").await?;
            let idle = self.idle(&mut server, &mut follower, 0..1).await?;
            let (mut puts, changed) = self.puts(&mut server, &mut follower, 0..1).await?;
            let [p50, p99] = [0.5, 0.99].map(|rank| quantile(&mut puts, rank));
            let etcd = server.counted().await?.usage;
            table.row([
                Cell::Number(clients as f64, 0),
                Cell::Number(p50, 0),
                Cell::Number(p99, 0),
                Cell::Number(micros(changed) / puts.len() as f64, 0),
                Cell::Number(millis(idle.etcd_cpu) / self.idle.as_secs_f64(), 1),
                Cell::Number(megabytes(etcd.peak.saturating_sub(before.resident)), 1),
                Cell::Number(idle.requests / self.idle.as_secs_f64(), 0),
                Cell::Number(server.connections() as f64, 0),
            ]);
        }
        self.output.table(&table)?;
        Ok(())
    }

    /// Follows a process from its start through puts and changes.
    async fn follow(
        &self,
        server: &mut Server,
        mut follower: Contender,
        instances: usize,
        services: Range<usize>,
    ) -> Result<Followed, Failure> {
        let started = usage(&follower.said("started").await?)?;
        let ready = follower.said("ready").await?;
        let (took, ready) = (took(&ready)?, usage(&ready)?);
        let (mut puts, _) = self.puts(server, &mut follower, services).await?;
        let [p50, p99] = [0.5, 0.99].map(|rank| quantile(&mut puts, rank));
        let before = follower.usage().await?;
        let mark = server.paced(CHANGES, instances, CHANGES_A_SECOND).await?;
        follower.seen(mark).await?;
        let changed = follower.usage().await?.cpu - before.cpu;
        follower.end().await?;
        Ok(Followed {
            started,
            ready,
            took,
            p50,
            p99,
            change_cpu: micros(changed) / CHANGES as f64,
        })
    }

    /// The times from puts until all have seen them, one after the other, in microseconds; and etcd's processor
    /// time for all of them.
    async fn puts(
        &self,
        server: &mut Server,
        follower: &mut Contender,
        services: Range<usize>,
    ) -> Result<(Vec<f64>, Duration), Failure> {
        // Whoever sees this has its watch open.
        let (mark, _) = server.mark(services.clone()).await?;
        follower.seen(mark).await?;
        let before = server.counted().await?;
        let mut all = Vec::new();
        for _ in 0..self.puts {
            let (mark, sent) = server.mark(services.clone()).await?;
            all.push(latency(sent, follower.seen(mark).await?));
        }
        Ok((all, server.since(&before).await?.cpu))
    }

    /// What goes on while nothing happens.
    async fn idle(
        &self,
        server: &mut Server,
        follower: &mut Contender,
        services: Range<usize>,
    ) -> Result<Idle, Failure> {
        let (mark, _) = server.mark(services).await?;
        follower.seen(mark).await?;
        // The watches of own keys are opened.
        tokio::time::sleep(Duration::from_secs(2)).await;
        let (before, counted) = (follower.usage().await?, server.counted().await?);
        tokio::time::sleep(self.idle).await;
        let after = follower.usage().await?;
        let asked = server.since(&counted).await?;
        Ok(Idle {
            cpu: after.cpu - before.cpu,
            etcd_cpu: asked.cpu,
            requests: asked.requests as f64,
        })
    }
}

struct Followed {
    started: Usage,
    ready: Usage,
    took: Duration,
    p50: f64,
    p99: f64,
    /// Microseconds.
    change_cpu: f64,
}

impl Followed {
    fn memory(&self) -> u64 {
        self.ready.resident.saturating_sub(self.started.resident)
    }
}

struct Idle {
    cpu: Duration,
    etcd_cpu: Duration,
    requests: f64,
}
