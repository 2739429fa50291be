//! The hostile writers: a task each.

use super::attack::{Attack, Target};
use crate::Etcd;
use fastrand::Rng;
use std::collections::BTreeMap;
use tokio::{task::JoinSet, time::sleep};
use tokio_util::sync::CancellationToken;

/// So many writers share a connection.
const PER_CONNECTION: usize = 5;

/// All writers. Aborted when dropped.
pub(super) struct Writers {
    tasks: JoinSet<(Attack, u64)>,
    stop: CancellationToken,
}

impl Writers {
    /// Starts `count` writers, which share the attacks, and each attack the targets, evenly.
    pub(super) async fn start(
        etcd: &Etcd,
        seed: u64,
        attacks: &[Attack],
        targets: &[Target],
        count: usize,
    ) -> Self {
        let mut tasks = JoinSet::new();
        let stop = CancellationToken::new();
        let mut client = etcd.client().await;
        for writer in 0..count {
            let Some(&attack) = attacks.get(writer % attacks.len().max(1)) else {
                break;
            };
            if writer % PER_CONNECTION == 0 {
                client = etcd.client().await;
            }
            let target = targets[writer / attacks.len() % targets.len()].clone();
            let mut kv = client.kv_client();
            let mut rng = Rng::with_seed(seed.wrapping_mul(1_000).wrapping_add(writer as u64));
            let stop = stop.clone();
            tasks.spawn(async move {
                let mut written = 0;
                while !stop.is_cancelled() {
                    let step = attack.step(writer, &target, &mut rng);
                    written += u64::from(kv.txn(step).await.is_ok());
                    sleep(attack.pause()).await;
                }
                (attack, written)
            });
        }
        Self { tasks, stop }
    }

    /// Stops all. Returns how many steps of each attack etcd has carried out.
    pub(super) async fn stop(self) -> BTreeMap<Attack, u64> {
        self.stop.cancel();
        let mut written = BTreeMap::new();
        for (attack, steps) in self.tasks.join_all().await {
            *written.entry(attack).or_default() += steps;
        }
        written
    }
}
