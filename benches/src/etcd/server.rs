//! The etcd of a measure, and what writes to it.

use super::{Failure, entries, in_time, micros};
use crate::{clock::now, usage::Usage};
use etcd_client::{Client, KvClient, Txn, TxnOp};
use futures::{StreamExt, TryStreamExt, stream};
use sd_tests::{Etcd, Metrics};
use std::{
    ops::Range,
    time::{Duration, Instant},
};

/// How many puts are under way at once, where they are sent as fast as etcd takes them.
const PIPELINED: usize = 64;

pub(super) struct Server {
    pub(super) etcd: Etcd,
    /// Writes on a connection of its own, whose requests etcd counts.
    writer: KvClient,
    puts: u64,
    /// Bytes that etcd answers to a put.
    bytes_of_put: u64,
    round: u32,
}

/// What etcd has counted, without what the writer asked.
#[derive(Debug, Clone)]
pub(super) struct Counted {
    metrics: Metrics,
    puts: u64,
    pub(super) usage: Usage,
}

impl Server {
    pub(super) async fn start() -> Result<Self, Failure> {
        let etcd = Etcd::start().await;
        let writer = Client::connect([etcd.endpoint()], None).await?.kv_client();
        let mut server = Self {
            etcd,
            writer,
            puts: 0,
            bytes_of_put: 0,
            round: 0,
        };
        let before = server.etcd.metrics().await;
        const COUNT: usize = 100;
        for n in 0..COUNT {
            server.put(format!("/other/{n}"), "x").await?;
        }
        let metrics = server.etcd.metrics().await.since(&before);
        server.bytes_of_put = metrics.bytes_sent() / COUNT as u64;
        Ok(server)
    }

    pub(super) async fn put(
        &mut self,
        key: impl Into<Vec<u8>>,
        value: impl Into<Vec<u8>>,
    ) -> Result<(), Failure> {
        self.puts += 1;
        in_time("a put", self.writer.put(key, value, None)).await??;
        Ok(())
    }

    /// Puts these instances of the first service.
    pub(super) async fn populate(&mut self, instances: Range<usize>) -> Result<(), Failure> {
        let puts = instances.map(|n| TxnOp::put(entries::key(n), entries::value(n, 0), None));
        let puts: Vec<_> = puts.collect();
        let transactions = puts.chunks(100).map(|puts| {
            let (mut writer, transaction) = (self.writer.clone(), Txn::new().and_then(puts));
            async move { writer.txn(transaction).await }
        });
        let transactions: Vec<_> = transactions.collect();
        let all = stream::iter(transactions)
            .buffer_unordered(4)
            .try_for_each(|_| async { Ok(()) });
        in_time("filling etcd", all).await??;
        Ok(())
    }

    /// The mark that is put next.
    pub(super) fn next_mark(&self) -> u32 {
        self.round + 1
    }

    /// The connections of others than the writer.
    pub(super) fn connections(&self) -> usize {
        self.etcd.client_connections().saturating_sub(1)
    }

    /// Puts the mark of each of these services anew. Returns the mark, and when it was sent.
    pub(super) async fn mark(
        &mut self,
        services: Range<usize>,
    ) -> Result<(u32, Duration), Failure> {
        self.round += 1;
        let (round, sent) = (self.round, now());
        for service in services {
            self.put(entries::mark_key(service), entries::value(0, round))
                .await?;
        }
        Ok((round, sent))
    }

    /// Changes `changes` of the first `instances` instances as fast as etcd takes them, and then the mark.
    /// Returns the mark, and when the first change was sent.
    pub(super) async fn burst(
        &mut self,
        changes: usize,
        instances: usize,
    ) -> Result<(u32, Duration), Failure> {
        let sent = now();
        self.round += 1;
        let step = (instances / changes).max(1);
        let puts: Vec<_> = (0..changes)
            .map(|n| {
                let mut writer = self.writer.clone();
                let n = n * step % instances;
                let value = entries::value(n, self.round);
                async move { writer.put(entries::key(n), value, None).await }
            })
            .collect();
        let all = stream::iter(puts)
            .buffer_unordered(PIPELINED)
            .try_for_each(|_| async { Ok(()) });
        in_time("the changes", all).await??;
        self.puts += changes as u64;
        let (mark, _) = self.mark(0..1).await?;
        Ok((mark, sent))
    }

    /// Changes instances at so many a second, and then the mark. Returns the mark.
    pub(super) async fn paced(
        &mut self,
        changes: usize,
        instances: usize,
        a_second: usize,
    ) -> Result<u32, Failure> {
        self.round += 1;
        let begun = Instant::now();
        for n in 0..changes {
            let due = begun + Duration::from_micros((n * 1_000_000 / a_second) as u64);
            tokio::time::sleep_until(due.into()).await;
            let n = n * 7919 % instances;
            self.put(entries::key(n), entries::value(n, self.round))
                .await?;
        }
        let (mark, _) = self.mark(0..1).await?;
        Ok(mark)
    }

    pub(super) async fn counted(&self) -> Result<Counted, Failure> {
        let process = self.etcd.pid().ok_or("etcd does not run")?;
        Ok(Counted {
            metrics: self.etcd.metrics().await,
            puts: self.puts,
            usage: Usage::of(process)?,
        })
    }

    /// What others than the writer have asked since then.
    pub(super) async fn since(&self, before: &Counted) -> Result<Asked, Failure> {
        let now = self.counted().await?;
        let metrics = now.metrics.since(&before.metrics);
        let puts = now.puts - before.puts;
        Ok(Asked {
            requests: metrics.requests().saturating_sub(puts),
            bytes: metrics
                .bytes_sent()
                .saturating_sub(puts * self.bytes_of_put),
            cpu: now.usage.cpu.saturating_sub(before.usage.cpu),
        })
    }
}

/// What etcd did for others than its writer.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Asked {
    pub(super) requests: u64,
    /// That it has sent, in messages.
    pub(super) bytes: u64,
    /// Its processor time, also that for the writer.
    pub(super) cpu: Duration,
}

/// The times between puts and when they were seen, in microseconds.
pub(super) fn latency(sent: Duration, seen: Duration) -> f64 {
    micros(seen.saturating_sub(sent))
}
