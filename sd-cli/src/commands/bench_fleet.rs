//! `sdctl bench-fleet`: how a fleet of this size does on this etcd.

use crate::{
    failure::{Failure, Outcome},
    measured::{Measured, Phase},
    output::{Progress, Table},
    settings::Settings,
};
use futures::{StreamExt, TryStreamExt, stream};
use sd_core::{Address, Advert, Edit, Instancer, Invalid, Registrar, Ttl};
use sd_etcd::EtcdClient;
use std::{process::ExitCode, time::Duration};
use tokio::time::{Instant, sleep, timeout, timeout_at};

/// How many providers begin at once, as a fleet that is deployed would.
const AT_ONCE: usize = 50;
/// What providers say at first. No default of a format: some say nothing of that.
const FIRST_WEIGHT: u32 = 2;
/// How long one phase may take, whatever the fleet.
const PHASE: Duration = Duration::from_secs(60);

/// Measure how a fleet would do on this etcd: N providers, M consumers, for a bounded time
///
/// Each provider and each consumer has a client of its own, as a process would, and so connections and a lease of its own.
/// It is measured how long registrations take, until all consumers have seen them, until a change has reached all
/// consumers, and until the fleet is gone. The service has a name of its own, and nothing is left of it.
///
/// It is a load on the etcd: one that is not on this host is refused without --yes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How many providers
    #[arg(long, value_name = "N", default_value_t = 100)]
    providers: usize,

    /// How many consumers
    #[arg(long, value_name = "N", default_value_t = 10)]
    consumers: usize,

    /// For how long changes are made
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = humantime::parse_duration)]
    time: Duration,

    /// How many changes a second
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rate: u32,

    /// The TTL of the providers' leases
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = humantime::parse_duration)]
    ttl: Duration,

    /// Also on an etcd that is not on this host
    #[arg(long)]
    yes: bool,
}

pub(crate) async fn run(args: Args, settings: &Settings) -> Outcome {
    let far = settings
        .endpoints
        .iter()
        .find(|endpoint| !is_loopback(endpoint));
    if let Some(far) = far
        && !args.yes
    {
        return Err(
            Failure::new(format!("{} is not on this host", sd_core::Escaped(far)))
                .advice("this is a load on etcd and on the network: --yes if it may bear it"),
        );
    }
    if args.providers == 0 || args.consumers == 0 {
        return Err(Failure::new(
            "a fleet has at least one provider and one consumer",
        ));
    }
    let service = format!("sdctl-bench-{:08x}", fastrand::u32(..));
    let mut fleet = Fleet {
        providers: Vec::new(),
        consumers: Vec::new(),
    };
    let measured = tokio::select! {
        measured = fleet.measure(&args, settings, &service) => measured,
        stopped = crate::telling::told_to_stop() => Err(match stopped {
            Ok(()) => Failure::new("stopped"),
            Err(error) => error.into(),
        }),
    };
    // Whatever came of it, nothing stays.
    fleet.close().await;
    let measured = measured?;
    settings.output.rows(&measured, |rows, _| table(rows))?;
    Ok(ExitCode::SUCCESS)
}

fn is_loopback(endpoint: &str) -> bool {
    Address::try_from(endpoint).is_ok_and(|address| {
        let host = address.host();
        host == "localhost"
            || host
                .parse::<std::net::IpAddr>()
                .is_ok_and(|ip| ip.is_loopback())
    })
}

struct Fleet {
    providers: Vec<(EtcdClient, Registrar)>,
    consumers: Vec<(EtcdClient, Instancer)>,
}

impl Fleet {
    async fn measure(
        &mut self,
        args: &Args,
        settings: &Settings,
        service: &str,
    ) -> Outcome<Vec<Measured>> {
        self.start_consumers(args, settings, service).await?;
        let registered = self.register(args, settings, service).await?;
        let seen = self.seen_by_all(args.providers, "all see all").await?;
        let changed = self.change(args).await?;
        let gone = self.deregister().await?;
        let none = self.seen_by_all(0, "nobody sees any").await?;
        Ok(vec![registered, seen, changed, gone, none])
    }

    async fn start_consumers(
        &mut self,
        args: &Args,
        settings: &Settings,
        service: &str,
    ) -> Outcome<()> {
        for _ in 0..args.consumers {
            let client = settings.client()?;
            let instancer = Instancer::builder_of(client.clone(), &settings.format, service)?
                .grace(Duration::ZERO)
                .build();
            self.consumers.push((client, instancer));
        }
        for (_, instancer) in &self.consumers {
            instancer.ready_within(PHASE).await?;
        }
        Ok(())
    }

    /// All providers register, so many at once.
    async fn register(
        &mut self,
        args: &Args,
        settings: &Settings,
        service: &str,
    ) -> Outcome<Measured> {
        let ttl = Ttl::new(args.ttl)?;
        for n in 0..args.providers {
            let client = settings.client()?;
            // Addresses that are nobody's, in the network for benchmarks.
            let address = format!("198.18.{}.{}:{}", n / 256 % 256, n % 256, 1024 + n / 65_536);
            let advert = Advert::new(address).ttl(ttl);
            let weighed = advert.clone().weight(FIRST_WEIGHT);
            // A format that cannot say a weight is changed in no other way either.
            let registrar = Registrar::of(client.clone(), &settings.format, service, &weighed)
                .or_else(|error| match error {
                    Invalid::Unsayable { .. } => {
                        Registrar::of(client.clone(), &settings.format, service, &advert)
                    }
                    other => Err(other),
                })?;
            self.providers.push((client, registrar));
        }
        let mut progress = Progress::new("registered");
        let mut phase = Phase::begin("register");
        let deadline = Instant::now() + PHASE;
        let registering = stream::iter(&self.providers).map(|(_, registrar)| async move {
            let start = Instant::now();
            match timeout_at(deadline, registrar.register()).await {
                Ok(registered) => registered.map(|()| start.elapsed()).map_err(Failure::from),
                Err(_) => Err(Failure::new(format!(
                    "not all have registered within {PHASE:?}"
                ))),
            }
        });
        let mut registering = registering.buffer_unordered(AT_ONCE);
        while let Some(took) = registering.try_next().await? {
            phase.took(took);
            progress.at(phase.count());
        }
        Ok(phase.end())
    }

    /// Waits until each consumer has so many instances.
    async fn seen_by_all(&self, expected: usize, what: &'static str) -> Outcome<Measured> {
        let mut phase = Phase::begin(what);
        let start = Instant::now();
        for (_, instancer) in &self.consumers {
            let mut events = instancer.subscribe();
            let seen = timeout(
                PHASE,
                events.until(|event| event.instances().len() == expected),
            )
            .await;
            if !matches!(seen, Ok(Ok(_))) {
                return Err(Failure::new(format!(
                    "a consumer has not seen {expected} instances within {PHASE:?}"
                )));
            }
            phase.took(start.elapsed());
        }
        Ok(phase.end())
    }

    /// One provider after the other says another weight; each time all consumers are waited for.
    async fn change(&self, args: &Args) -> Outcome<Measured> {
        let mut phase = Phase::begin("a change has reached all");
        let mut progress = Progress::new("changes");
        let end = Instant::now() + args.time.min(PHASE * 10);
        let pause = Duration::from_secs(1) / args.rate;
        let mut weights = FIRST_WEIGHT + 1..;
        'changes: while Instant::now() < end {
            for (_, registrar) in &self.providers {
                let start = Instant::now();
                if start >= end {
                    break 'changes;
                }
                let Some(weight) = weights.next() else {
                    break 'changes;
                };
                match registrar.edit(&Edit::new().weight(weight)).await {
                    Ok(_) => {}
                    // The format has no weights: there is nothing that could change.
                    Err(sd_core::Error::Invalid(Invalid::Unsayable { .. })) => break 'changes,
                    Err(error) => return Err(error.into()),
                }
                for (_, instancer) in &self.consumers {
                    let mut events = instancer.subscribe();
                    let is_there = |event: &sd_core::Event| {
                        event.instances().iter().any(|it| it.weight() == weight)
                    };
                    let seen = timeout(PHASE, events.until(is_there)).await;
                    if !matches!(seen, Ok(Ok(_))) {
                        return Err(Failure::new(format!(
                            "a change has not reached a consumer within {PHASE:?}"
                        )));
                    }
                }
                phase.took(start.elapsed());
                progress.at(phase.count());
                sleep(pause.saturating_sub(start.elapsed())).await;
            }
        }
        Ok(phase.end())
    }

    async fn deregister(&self) -> Outcome<Measured> {
        let mut phase = Phase::begin("deregister");
        let removing = stream::iter(&self.providers).map(|(_, registrar)| async move {
            let start = Instant::now();
            registrar.deregister().await.map(|_| start.elapsed())
        });
        let mut removing = removing.buffer_unordered(AT_ONCE);
        while let Some(took) = removing.try_next().await? {
            phase.took(took);
        }
        Ok(phase.end())
    }

    async fn close(self) {
        let clients = self.providers.iter().map(|(client, _)| client);
        let clients = clients.chain(self.consumers.iter().map(|(client, _)| client));
        stream::iter(clients)
            .for_each_concurrent(AT_ONCE, EtcdClient::close)
            .await;
    }
}

fn table(rows: &[Measured]) -> Table {
    let mut table = Table::new(["PHASE", "COUNT", "PER SECOND", "P50", "P90", "P99", "MAX"]);
    for row in rows {
        let ms = |value: f64| format!("{value:.1} ms");
        table.row([
            row.phase.to_owned(),
            row.count.to_string(),
            format!("{:.0}", row.per_second),
            ms(row.p50_ms),
            ms(row.p90_ms),
            ms(row.p99_ms),
            ms(row.max_ms),
        ]);
    }
    table
}
