//! Calls over real sockets: a channel to several servers beside a plain one to a single server.
//!
//! The servers are in a process of their own, so that their work is not measured as the clients'.

mod clients;
mod gateways;
mod proxy;
mod servers;

pub use proxy::proxy;
pub use servers::{Kind, serve};

use crate::{
    comparison::{Comparison, Target},
    measure::{Measured, Options},
    output::Output,
    statistics::{Median, quantile},
    table::{Cell, Table},
};
use clients::{Client, clients};
use futures::{StreamExt, stream::FuturesUnordered};
use gateways::Gateways;
use servers::Servers;
use std::{
    error::Error,
    time::{Duration, Instant},
};

/// How many servers there are.
const SERVERS: usize = 4;
/// How long a turn of one client lasts.
const TURN: Duration = Duration::from_millis(150);
/// How many calls are under way in turns that measure throughput.
const CONCURRENT: usize = 64;

pub(crate) fn run(options: &Options, output: &Output) -> Measured {
    runtime()?.block_on(async {
        let servers = Servers::start(Kind::Grpc, SERVERS)?;
        let clients = clients(servers.addresses()).await?;
        let title =
            format!("calls: unary gRPC over loopback, {SERVERS} servers in another process");
        let rounds = measure(&title, &clients, options, output).await?;
        output.compare(&comparisons(&clients, &rounds))?;
        Ok(())
    })
}

/// The gateway of the examples beside a proxy that knows its instances from the start.
pub(crate) fn run_gateway(options: &Options, output: &Output) -> Measured {
    runtime()?.block_on(async {
        let servers = Servers::start(Kind::Http, SERVERS)?;
        let gateways = Gateways::start(servers.addresses()).await?;
        let clients = gateways.clients(servers.addresses());
        let title = format!(
            "gateway: GET over loopback through a proxy of one process to {SERVERS} servers"
        );
        measure(&title, &clients, options, output).await?;
        Ok(())
    })
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    (tokio::runtime::Builder::new_current_thread().enable_all()).build()
}

async fn measure(
    title: &str,
    clients: &[Client],
    options: &Options,
    output: &Output,
) -> Result<Vec<Round>, Box<dyn Error>> {
    let mut clients = clients.to_vec();
    let mut rounds = Vec::with_capacity(options.rounds);
    for round in 0..options.rounds {
        output.progress("calls", round, options.rounds);
        rounds.push(measure_round(&mut clients, round).await?);
    }
    output.table(&table(title, &clients, &rounds))?;
    Ok(rounds)
}

/// The balanced channels beside the plain ones with as many servers, compared round by round.
fn comparisons(clients: &[Client], rounds: &[Round]) -> Vec<Comparison> {
    let position = |name: &str| clients.iter().position(|client| client.name == name);
    let mut all = Vec::new();
    for (ours, plain) in clients::PAIRS {
        let Some((n, floor)) = position(ours).zip(position(plain)) else {
            continue;
        };
        let of = |value: fn(&Turns, &Turns) -> f64| {
            Median::of(rounds.iter().map(|turns| value(&turns[n], &turns[floor]))).value
        };
        let (floor, more) = (
            of(|_, plain| plain.latency),
            of(|own, plain| own.latency - plain.latency),
        );
        let what = format!("gRPC call, {ours} beside {plain}: median");
        all.push(Comparison::new(what, "µs", floor + more, Target::AboveFloor(20.0)).beside(floor));
        let (floor, ratio) = (
            of(|_, plain| 1e6 / plain.throughput),
            of(|own, plain| plain.throughput / own.throughput),
        );
        let what = format!("gRPC call, {ours} beside {plain}: time of one among {CONCURRENT}");
        all.push(Comparison::new(what, "µs", floor * ratio, Target::OfFloor(1.05)).beside(floor));
    }
    all
}

/// What the clients did in one round, in their order.
type Round = Vec<Turns>;

/// The two turns of a client in a round.
#[derive(Debug, Clone, Copy, Default)]
struct Turns {
    /// The median time of a call, with no other one under way, in microseconds.
    latency: f64,
    /// Calls a second, with many under way.
    throughput: f64,
}

async fn measure_round(clients: &mut [Client], round: usize) -> Result<Round, Box<dyn Error>> {
    let mut turns = vec![Turns::default(); clients.len()];
    for n in 0..clients.len() {
        // Each has each place in turn.
        let turn = (round + n) % clients.len();
        turns[turn] = Turns {
            latency: latency(&mut clients[turn]).await?,
            throughput: throughput(&clients[turn]).await?,
        };
    }
    Ok(turns)
}

async fn latency(client: &mut Client) -> Result<f64, Box<dyn Error>> {
    client.call().await?;
    let mut times = Vec::new();
    let end = Instant::now() + TURN;
    while Instant::now() < end {
        let begun = Instant::now();
        client.call().await?;
        times.push(begun.elapsed().as_secs_f64() * 1e6);
    }
    Ok(quantile(&mut times, 0.5))
}

async fn throughput(client: &Client) -> Result<f64, Box<dyn Error>> {
    let begun = Instant::now();
    let end = begun + TURN;
    let callers = (0..CONCURRENT).map(|_| {
        let mut client = client.clone();
        async move {
            let mut calls = 0_u64;
            while Instant::now() < end {
                client.call().await?;
                calls += 1;
            }
            Ok::<_, Box<dyn Error>>(calls)
        }
    });
    let mut callers: FuturesUnordered<_> = callers.collect();
    let mut calls = 0;
    while let Some(called) = callers.next().await {
        calls += called?;
    }
    Ok(calls as f64 / begun.elapsed().as_secs_f64())
}

fn table(title: &str, clients: &[Client], rounds: &[Round]) -> Table {
    let title = format!(
        "{title} (median of {} rounds; latency with one call under way, throughput with \
         {CONCURRENT})",
        rounds.len()
    );
    let columns = [
        ("client", "client"),
        ("µs", "latency_us"),
        ("±", "latency_us_spread"),
        ("more than the first", "latency_us_more"),
        ("calls/s", "calls_per_s"),
        ("of the first", "of_first"),
    ];
    let mut table = Table::new(title, columns)
        .with("servers", SERVERS)
        .with("rounds", rounds.len());
    for (n, client) in clients.iter().enumerate() {
        let of = |value: fn(&Turns, &Turns) -> f64| {
            Median::of(rounds.iter().map(|turns| value(&turns[n], &turns[0])))
        };
        let latency = of(|own, _| own.latency);
        table.row([
            Cell::Text(client.name.to_owned()),
            Cell::Number(latency.value, 1),
            Cell::Number(latency.spread, 1),
            Cell::Number(of(|own, plain| own.latency - plain.latency).value, 1),
            Cell::Number(of(|own, _| own.throughput).value, 0),
            Cell::Number(of(|own, plain| own.throughput / plain.throughput).value, 3),
        ]);
    }
    table
}
