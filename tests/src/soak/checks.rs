//! Whether all agree, and whether anything is left.

use super::world::PREFIX;
use crate::Etcd;
use std::{fs, time::Duration};
use tokio::{
    runtime::Handle,
    time::{Instant, sleep},
};

const PAUSE: Duration = Duration::from_millis(20);
/// By then what was stopped is gone: the leases of those that crashed take longest.
const GONE: Duration = Duration::from_secs(15);
/// Memory may grow by so much over what it was after the first round: allocators keep what they
/// were given. A leak of what a round uses is larger after some of them.
const GROWTH: u64 = 48 * 1024 * 1024;

/// All agree.
#[derive(Debug)]
pub(super) struct Agreement {
    /// How long it took.
    pub(super) took: Duration,
}

/// Looks again and again until nothing is wrong; what is wrong still after `deadline` is the error.
pub(super) async fn settled<P: Future<Output = Result<(), String>>>(
    deadline: Duration,
    mut look: impl FnMut() -> P,
) -> Result<Agreement, String> {
    let start = Instant::now();
    loop {
        match look().await {
            Ok(()) => {
                let took = start.elapsed();
                return Ok(Agreement { took });
            }
            Err(why) if start.elapsed() > deadline => {
                return Err(format!("still after {deadline:?}: {why}"));
            }
            Err(_) => sleep(PAUSE).await,
        }
    }
}

/// An etcd that nobody uses and a process in which nothing runs: how it was, and is to be again.
pub(super) struct Ground {
    etcd: Etcd,
    tasks: usize,
    resident: Option<u64>,
}

impl Ground {
    pub(super) async fn new(etcd: Etcd) -> Self {
        // The test's own connection comes with tasks too.
        etcd.leases().await;
        sleep(Duration::from_millis(100)).await;
        Self {
            etcd,
            tasks: tasks(),
            resident: None,
        }
    }

    pub(super) fn etcd(&self) -> &Etcd {
        &self.etcd
    }

    /// Waits until nothing is left of a round; gives how long that took.
    pub(super) async fn is_clean(&mut self) -> Result<Duration, String> {
        let etcd = settled(GONE, || self.look()).await?;
        // Not at once: to ask etcd takes tasks too.
        let process = settled(GONE, async || self.look_at_tasks()).await?;
        let took = etcd.took + process.took;
        let Some(now) = resident() else {
            return Ok(took);
        };
        let first = *self.resident.get_or_insert(now);
        if now > first + GROWTH {
            return Err(format!(
                "memory has grown from {first} to {now} bytes since the first round"
            ));
        }
        Ok(took)
    }

    async fn look(&self) -> Result<(), String> {
        let (keys, leases) = (self.etcd.keys(PREFIX).await, self.etcd.leases().await);
        let metrics = self.etcd.metrics().await;
        let watches = (metrics.watchers(), metrics.watch_streams());
        let streams = metrics.keepalive_streams();
        let connections = self.etcd.client_connections();
        let none = keys.is_empty() && leases.is_empty() && watches == (0, 0);
        if !none || streams + connections as u64 > 0 {
            return Err(format!(
                "etcd has the keys {keys:?}, the leases {leases:?}, {} watches on {} streams, \
                 {streams} keep-alive streams and {connections} connections",
                watches.0, watches.1
            ));
        }
        Ok(())
    }

    fn look_at_tasks(&self) -> Result<(), String> {
        match tasks() {
            now if now > self.tasks => Err(format!("{now} tasks where there were {}", self.tasks)),
            _ => Ok(()),
        }
    }
}

fn tasks() -> usize {
    Handle::current().metrics().num_alive_tasks()
}

/// The resident memory of this process in bytes, where the system says.
pub(super) fn resident() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib * 1024)
}
