//! Whether all agree, and whether anything is left.

use super::world::PREFIX;
use crate::etcd::Etcd;
use std::{fs, sync::Arc, time::Duration};
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

/// Looks again and again until nothing is wrong, and gives how long that took; what is wrong still
/// after `deadline` is the error.
pub(super) async fn settled<P: Future<Output = Result<(), String>>>(
    deadline: Duration,
    mut look: impl FnMut() -> P,
) -> Result<Duration, String> {
    let start = Instant::now();
    loop {
        match look().await {
            Ok(()) => return Ok(start.elapsed()),
            Err(why) if start.elapsed() > deadline => {
                return Err(format!("still after {deadline:?}: {why}"));
            }
            Err(_) => sleep(PAUSE).await,
        }
    }
}

/// An etcd that nobody uses and a process in which nothing runs: how it was, and is to be again.
pub(super) struct Ground {
    etcd: Arc<Etcd>,
    tasks: usize,
    resident: Option<u64>,
    patience: Duration,
}

impl Ground {
    pub(super) async fn new(etcd: Etcd) -> Self {
        // The test's own connection comes with tasks too.
        etcd.leases().await;
        sleep(Duration::from_millis(100)).await;
        Self {
            etcd: Arc::new(etcd),
            tasks: tasks(),
            resident: None,
            patience: GONE,
        }
    }

    pub(super) fn etcd(&self) -> Arc<Etcd> {
        self.etcd.clone()
    }

    /// Waits until nothing is left of a round; gives how long that took.
    pub(super) async fn is_clean(&mut self) -> Result<Duration, String> {
        let etcd = settled(self.patience, || self.look()).await?;
        // Not at once: to ask etcd takes tasks too.
        let process = settled(self.patience, async || self.look_at_tasks()).await?;
        let took = etcd + process;
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

/// How many tasks there are in this process.
pub(super) fn tasks() -> usize {
    Handle::current().metrics().num_alive_tasks()
}

/// The resident memory of this process in bytes, where the system says.
pub(super) fn resident() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Consumer, Proxy};
    use std::future::pending;
    use tokio::net::TcpStream;

    async fn finds(ground: &mut Ground, what: &str) {
        let found = ground.is_clean().await.expect_err(what);
        assert!(found.contains(what), "{what}: {found}");
    }

    #[tokio::test]
    async fn what_is_left_behind_is_found() {
        let mut ground = Ground::new(Etcd::start().await).await;
        let etcd = ground.etcd();
        ground.is_clean().await.expect("nothing was done yet");
        ground.patience = Duration::from_millis(200);

        etcd.put(format!("{PREFIX}p9"), "left").await;
        finds(&mut ground, "the keys [\"/svc/p9\"]").await;
        etcd.delete(format!("{PREFIX}p9")).await;

        let lease = etcd.put_leased("/elsewhere", "left", GONE).await;
        finds(&mut ground, &format!("the leases [{lease}]")).await;
        etcd.revoke(lease).await;

        let connection = TcpStream::connect(etcd.address()).await.unwrap();
        finds(&mut ground, "1 connections").await;
        drop(connection);

        let consumer = Consumer::start(etcd.endpoint(), PREFIX).await;
        finds(&mut ground, "1 watches on 1 streams").await;
        consumer.client().close().await;
        drop(consumer);

        let task = tokio::spawn(pending::<()>());
        finds(&mut ground, "tasks where there were").await;
        task.abort();
        let proxy = Proxy::to(etcd.address()).await;
        finds(&mut ground, "tasks where there were").await;
        drop(proxy);

        ground.patience = GONE;
        ground.is_clean().await.expect("nothing is left");
        let memory = vec![1_u8; 2 * GROWTH as usize];
        if resident().is_some() {
            finds(&mut ground, "memory has grown").await;
        }
        drop(memory);
    }
}
