//! Checks that nothing is left when everything has stopped.

use super::{
    measure::{resident, settled, tasks},
    plan::PREFIX,
};
use crate::etcd::Etcd;
use std::{sync::Arc, time::Duration};
use tokio::time::sleep;

/// How long to wait for that. The leases of crashed providers take longest.
const GONE: Duration = Duration::from_secs(15);
/// How much memory may grow compared with the end of the first round, since allocators keep memory.
/// A leak in every round exceeds this after some rounds.
const GROWTH: u64 = 48 * 1024 * 1024;

/// The state of etcd and of this process before the first round, which must be reached again.
pub(super) struct Baseline {
    etcd: Arc<Etcd>,
    tasks: usize,
    resident: Option<u64>,
    timeout: Duration,
}

impl Baseline {
    pub(super) async fn new(etcd: Etcd) -> Self {
        // Opens the test's own connection, which has tasks too.
        etcd.leases().await;
        sleep(Duration::from_millis(100)).await;
        Self {
            etcd: Arc::new(etcd),
            tasks: tasks(),
            resident: None,
            timeout: GONE,
        }
    }

    pub(super) fn etcd(&self) -> Arc<Etcd> {
        self.etcd.clone()
    }

    /// Waits until nothing is left of a round. Returns how long that took.
    pub(super) async fn until_clean(&mut self) -> Result<Duration, String> {
        let etcd = settled(self.timeout, || self.look()).await?;
        // One after the other, since requests to etcd need tasks too.
        let process = settled(self.timeout, async || self.look_at_tasks()).await?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{fleet::Consumer, network::Proxy};
    use std::future::pending;
    use tokio::net::TcpStream;

    async fn finds(baseline: &mut Baseline, what: &str) {
        let found = baseline.until_clean().await.expect_err(what);
        assert!(found.contains(what), "{what}: {found}");
    }

    #[tokio::test]
    async fn what_is_left_behind_is_found() {
        let mut baseline = Baseline::new(Etcd::start().await).await;
        let etcd = baseline.etcd();
        baseline.until_clean().await.expect("nothing was done yet");
        baseline.timeout = Duration::from_millis(200);

        etcd.put(format!("{PREFIX}p9"), "left").await;
        finds(&mut baseline, "the keys [\"/svc/p9\"]").await;
        etcd.delete(format!("{PREFIX}p9")).await;

        let lease = etcd.put_leased("/elsewhere", "left", GONE).await;
        finds(&mut baseline, &format!("the leases [{lease}]")).await;
        etcd.revoke(lease).await;

        let connection = TcpStream::connect(etcd.address()).await.unwrap();
        finds(&mut baseline, "1 connections").await;
        drop(connection);

        let consumer = Consumer::start(etcd.endpoint(), PREFIX).await;
        finds(&mut baseline, "1 watches on 1 streams").await;
        consumer.client().close().await;
        drop(consumer);

        let task = tokio::spawn(pending::<()>());
        finds(&mut baseline, "tasks where there were").await;
        task.abort();
        let proxy = Proxy::to(etcd.address()).await;
        finds(&mut baseline, "tasks where there were").await;
        drop(proxy);

        baseline.timeout = GONE;
        baseline.until_clean().await.expect("nothing is left");
        let memory = vec![1_u8; 2 * GROWTH as usize];
        if resident().is_some() {
            finds(&mut baseline, "memory has grown").await;
        }
        drop(memory);
    }
}
