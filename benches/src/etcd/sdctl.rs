//! `sdctl` as an operator runs it: a list beside `etcdctl get --prefix`, and a watch of many changes.

use super::{Failure, block_on, entries, in_time, megabytes, millis, server::Server};
use crate::{
    comparison::{Comparison, Target},
    measure::{Measured, Options},
    output::Output,
    statistics::Median,
    table::{Cell, Table},
    usage::Usage,
};
use etcd_client::{Client, PutOptions, Txn, TxnOp};
use futures::{StreamExt, TryStreamExt, stream};
use std::{
    env,
    process::Stdio,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Command,
    time::sleep_until,
};

const INSTANCES: usize = 10_000;
/// How many leases they are on. What is left of so many is asked for, each with a request, and of more on demand only.
const LEASES: [usize; 2] = [1_000, 10_000];
/// How much longer than etcdctl a list may take, in milliseconds.
const MOST_BEYOND: f64 = 300.0;

const CHANGES_A_SECOND: usize = 5_000;
/// The changes of one transaction.
const AT_ONCE: usize = 10;
/// How far a watch may be behind in the end, in milliseconds.
const MOST_BEHIND: f64 = 1_000.0;
/// What a watch may have in memory, in megabytes.
const MOST_MEMORY: f64 = 64.0;

pub(crate) fn run(options: &Options, output: &Output) -> Measured {
    block_on(async {
        let mut comparisons = list(options, output).await?;
        comparisons.extend(watch(options, output).await?);
        output.compare(&comparisons)?;
        Ok(())
    })
}

/// `sdctl`, which `./run bench` has built.
fn sdctl(server: &Server, arguments: &[&str]) -> Result<Command, Failure> {
    let program = env::current_exe()?.with_file_name("sdctl");
    if !program.exists() {
        return Err("sdctl is not built: `./run bench` does that".into());
    }
    let mut command = Command::new(program);
    command
        .args(["--etcd", &server.etcd.endpoint()])
        .args(["--format", "default?root=/bench"])
        .args(arguments)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    Ok(command)
}

// === A list ===

async fn list(options: &Options, output: &Output) -> Result<Vec<Comparison>, Failure> {
    let rounds = options.rounds.min(9);
    let title = format!("sdctl: a list of {INSTANCES} instances, beside etcdctl");
    let columns = [
        ("leases", "leases"),
        ("etcdctl get --prefix, ms", "etcdctl_ms"),
        ("sdctl list, ms", "sdctl_ms"),
    ];
    let mut table = Table::new(title, columns).with("instances", INSTANCES);
    let mut comparisons = Vec::new();
    for leases in LEASES {
        let server = Server::start().await?;
        fill(&server, leases).await?;
        let (mut theirs, mut ours) = (Vec::new(), Vec::new());
        for round in 0..rounds {
            output.progress("lists", round, rounds);
            let mut etcdctl = Command::new("etcdctl");
            etcdctl
                .args(["--endpoints", &server.etcd.endpoint()])
                .args(["get", "--prefix", &entries::prefix(0)]);
            theirs.push(time(etcdctl).await?);
            ours.push(time(sdctl(&server, &["list", "000"])?).await?);
        }
        let [theirs, ours] = [theirs, ours].map(|times| Median::of(times).value);
        table.row([
            Cell::Number(leases as f64, 0),
            Cell::Number(theirs, 0),
            Cell::Number(ours, 0),
        ]);
        let what = format!("sdctl list of {INSTANCES} on {leases} leases, beside etcdctl");
        let target = Target::AboveFloor(MOST_BEYOND);
        comparisons.push(Comparison::new(what, "ms", ours, target).beside(theirs));
    }
    output.table(&table)?;
    Ok(comparisons)
}

/// Puts all instances on so many leases.
async fn fill(server: &Server, leases: usize) -> Result<(), Failure> {
    let client = Client::connect([server.etcd.endpoint()], None).await?;
    let each = INSTANCES / leases;
    let filled = stream::iter((0..leases).map(Ok)).try_for_each_concurrent(64, |lease| {
        let mut client = client.clone();
        async move {
            let id = client.lease_grant(3600, None).await?.id();
            let puts = (lease * each..(lease + 1) * each).map(|n| {
                let on = PutOptions::new().with_lease(id);
                TxnOp::put(entries::key(n), entries::value(n, 0), Some(on))
            });
            let transaction = Txn::new().and_then(puts.collect::<Vec<_>>());
            client.txn(transaction).await.map(drop)
        }
    });
    in_time("filling etcd", filled).await??;
    Ok(())
}

/// How long a program takes whose output nobody reads, in milliseconds.
async fn time(mut program: Command) -> Result<f64, Failure> {
    let begun = Instant::now();
    let ended = in_time("a list", program.stdout(Stdio::null()).status());
    let status = ended
        .await?
        .map_err(|error| format!("{program:?}: {error}"))?;
    match status.success() {
        true => Ok(millis(begun.elapsed())),
        false => Err(format!("{program:?}: {status}").into()),
    }
}

// === A watch ===

async fn watch(options: &Options, output: &Output) -> Result<Vec<Comparison>, Failure> {
    let seconds = if options.quick { 5 } else { 20 };
    let mut server = Server::start().await?;
    server.populate(0..INSTANCES).await?;
    let mut command = sdctl(&server, &["-o", "jsonl", "watch", "000"])?;
    let mut program = command.stdout(Stdio::piped()).spawn()?;
    let process = program.id().ok_or("sdctl has ended")?;
    let mut lines = BufReader::new(program.stdout.take().ok_or("it has no output")?).lines();
    for _ in 0..INSTANCES {
        in_time("what there is", lines.next_line()).await??;
    }
    let before = Usage::of(process)?;
    let key = format!("\"key\":\"{}\"", entries::mark_key(0));
    // Reads while others write, as a terminal does.
    let reader = tokio::spawn(async move {
        let mut count = 0_usize;
        while let Some(line) = lines.next_line().await? {
            if line.contains(&key) {
                return Ok(count);
            }
            count += 1;
        }
        Err(std::io::Error::other("sdctl has ended"))
    });
    output.progress("changes", 0, seconds);
    let changes = seconds * CHANGES_A_SECOND;
    let took = change(&server, changes).await?;
    server.mark(0..1).await?;
    let written = Instant::now();
    let seen = in_time("the last change", reader).await???;
    let behind = millis(written.elapsed());
    let usage = Usage::of(process)?;
    let rate = changes as f64 / took.as_secs_f64();
    let cpu = millis(usage.cpu.saturating_sub(before.cpu)) / took.as_secs_f64();
    let peak = megabytes(usage.peak);
    let title = format!("sdctl: a watch of {INSTANCES} instances, {changes} changes");
    let columns = [
        ("changes/s", "changes_per_second"),
        ("lines", "lines"),
        ("ms behind at the end", "behind_ms"),
        ("MB at the peak", "peak_mb"),
        ("CPU ms a second", "cpu_ms_a_second"),
    ];
    let mut table = Table::new(title, columns).with("instances", INSTANCES);
    table.row([
        Cell::Number(rate, 0),
        Cell::Number(seen as f64, 0),
        Cell::Number(behind, 1),
        Cell::Number(peak, 1),
        Cell::Number(cpu, 0),
    ]);
    output.table(&table)?;
    let what = |what: &str| format!("sdctl watch of {CHANGES_A_SECOND} changes a second: {what}");
    let most = Target::AtMost;
    Ok(vec![
        Comparison::new(what("behind at the end"), "ms", behind, most(MOST_BEHIND)),
        Comparison::new(what("peak memory"), "MB", peak, most(MOST_MEMORY)),
    ])
}

/// Changes instances at a steady rate, some in each transaction. Returns how long it took.
async fn change(server: &Server, changes: usize) -> Result<Duration, Failure> {
    let client = Client::connect([server.etcd.endpoint()], None).await?;
    let begun = Instant::now();
    let changed = stream::iter(0..changes / AT_ONCE).map(|turn| {
        let mut client = client.clone();
        async move {
            let first = turn * AT_ONCE;
            let due = Duration::from_micros((first * 1_000_000 / CHANGES_A_SECOND) as u64);
            sleep_until((begun + due).into()).await;
            let puts = (first..first + AT_ONCE).map(|change| {
                let (n, round) = (change % INSTANCES, 1 + change / INSTANCES);
                TxnOp::put(entries::key(n), entries::value(n, round as u32), None)
            });
            let transaction = Txn::new().and_then(puts.collect::<Vec<_>>());
            client.txn(transaction).await
        }
    });
    let all = changed.buffered(64).try_for_each(|_| async { Ok(()) });
    in_time("the changes", all).await??;
    Ok(begun.elapsed())
}
