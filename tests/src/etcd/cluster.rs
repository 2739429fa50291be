//! Several etcds that are one registry.

use super::server::Etcd;
use crate::eventually::{PATIENCE, eventually};

/// A cluster of three real etcds. Each member is an [`Etcd`], with its methods. Dropping the
/// cluster kills the members.
///
/// ```no_run
/// # use sd_tests::Cluster;
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let cluster = Cluster::start().await;
/// let leader = cluster.leader().await;
/// cluster.members()[leader].kill();
/// assert_ne!(cluster.leader().await, leader, "another one is elected");
/// # }
/// ```
#[derive(Debug)]
pub struct Cluster {
    members: [Etcd; 3],
}

impl Cluster {
    /// Starts three members and waits until all answer.
    ///
    /// # Panics
    /// With the end of its log, if one does not start.
    pub async fn start() -> Self {
        Self {
            members: Etcd::setup().start_members().await,
        }
    }

    /// The members, including killed ones.
    pub fn members(&self) -> &[Etcd; 3] {
        &self.members
    }

    /// The URLs of all members.
    pub fn endpoints(&self) -> Vec<String> {
        self.members.iter().map(Etcd::endpoint).collect()
    }

    /// The index of the leader. Waits for an election.
    pub async fn leader(&self) -> usize {
        let probe = || self.known_leader();
        eventually(PATIENCE, "a leader", probe, Option::is_some)
            .await
            .expect("it was waited for")
    }

    /// Moves leadership to the member with this index, and waits until it leads.
    pub async fn move_leader(&self, to: usize) {
        let target = self.id(to).await.expect("the new leader answers");
        let leader = self.leader().await;
        if leader != to {
            let moved = self.members[leader]
                .client()
                .await
                .move_leader(target)
                .await;
            moved.expect("the leader steps down");
        }
        let leader = || self.known_leader();
        eventually(PATIENCE, "the new leader", leader, |leader| {
            *leader == Some(to)
        })
        .await;
    }

    /// The leader on which all serving members agree, if it serves itself.
    async fn known_leader(&self) -> Option<usize> {
        let mut ids = [None; 3];
        let mut leaders = Vec::new();
        for (id, member) in ids.iter_mut().zip(&self.members) {
            if member.is_serving() {
                let status = member.status().await.ok()?;
                *id = Some(status.header()?.member_id());
                leaders.push(status.leader());
            }
        }
        let leader = *leaders.first()?;
        if leaders.iter().any(|other| *other != leader) {
            return None;
        }
        ids.iter().position(|id| *id == Some(leader))
    }

    async fn id(&self, member: usize) -> Option<u64> {
        let status = self.members[member].status().await.ok()?;
        Some(status.header()?.member_id())
    }
}
