//! Leases: how long they are, and how long they have left.

use super::Etcd;
use crate::{
    failure::{Failure, Outcome},
    output::Progress,
};
use futures::{StreamExt, TryStreamExt, stream};
use std::collections::BTreeMap;

/// How many leases are asked for at once.
const AT_ONCE: usize = 128;

/// A lease as etcd has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lease {
    /// What it was granted for, in seconds.
    pub(crate) granted: i64,
    /// What is left of it, in whole seconds. Negative if it has ended.
    pub(crate) left: i64,
}

impl Lease {
    /// Whether it has not ended.
    pub(crate) fn is_alive(self) -> bool {
        self.granted > 0 && self.left >= 0
    }
}

impl Etcd {
    /// These leases, each asked for once. A lease that has ended is among them.
    pub(crate) async fn leases(
        &self,
        ids: impl IntoIterator<Item = i64>,
    ) -> Outcome<BTreeMap<i64, Lease>> {
        let mut ids: Vec<_> = ids.into_iter().filter(|id| *id != 0).collect();
        ids.sort_unstable();
        ids.dedup();
        let mut progress = Progress::new("leases asked for");
        let asked = stream::iter(ids)
            .map(|id| async move { Ok::<_, Failure>((id, self.lease(id).await?)) });
        let mut leases = BTreeMap::new();
        let mut answers = asked.buffer_unordered(AT_ONCE);
        while let Some((id, lease)) = answers.try_next().await? {
            leases.insert(id, lease);
            progress.at(leases.len());
        }
        Ok(leases)
    }

    async fn lease(&self, id: i64) -> Outcome<Lease> {
        let answer = self.client().lease_time_to_live(id, None).await?;
        Ok(Lease {
            granted: answer.granted_ttl(),
            left: answer.ttl(),
        })
    }
}
