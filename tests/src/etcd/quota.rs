//! An etcd that runs out of space.

use super::server::Etcd;
use etcd_client::{AlarmAction, AlarmOptions, AlarmType, CompactionOptions, DeleteOptions, Error};

/// The path of the entries that fill the space. Nobody else writes there.
const FILLER: &str = "/filler/";
const FILLER_BYTES: usize = 64 * 1024;
/// The most fillers: far more than any test's quota.
const MOST_FILLERS: usize = 4096;

/// The storage quota. Start the etcd with [`Setup::quota`](crate::Setup::quota); otherwise the
/// quota is 2 GiB.
///
/// ```no_run
/// # use sd_tests::Etcd;
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let etcd = Etcd::setup().quota(1 << 20).start().await;
/// etcd.fill_quota().await;
/// // ... nobody can put anything ...
/// etcd.lift_alarm().await;
/// # }
/// ```
impl Etcd {
    /// Writes entries until etcd raises the alarm NOSPACE and refuses further writes.
    ///
    /// # Panics
    /// If it does not after 256 MiB.
    pub async fn fill_quota(&self) {
        for index in 0..MOST_FILLERS {
            let put = self.try_ask("Put", |mut client| async move {
                let filler = vec![0; FILLER_BYTES];
                client.put(format!("{FILLER}{index}"), filler, None).await
            });
            match put.await {
                Ok(_) => {}
                Err(error) if is_full(&error) && self.has_alarm().await => return,
                Err(error) if is_full(&error) => {}
                Err(error) => panic!("{self} cannot be filled: {error}"),
            }
        }
        panic!("{self} has no quota that can be filled");
    }

    /// Makes room as an operator does: deletes the fillers, compacts, defragments, and disarms the
    /// alarm.
    pub async fn lift_alarm(&self) {
        let deleted = self.ask("DeleteRange", |mut client| async move {
            let options = DeleteOptions::new().with_prefix();
            client.delete(FILLER, Some(options)).await
        });
        let revision = deleted.await.header().map_or(0, |header| header.revision());
        self.ask("Compact", |mut client| async move {
            let options = CompactionOptions::new().with_physical();
            client.compact(revision, Some(options)).await
        })
        .await;
        self.ask("Defragment", |mut client| async move {
            client.defragment().await
        })
        .await;
        for member in self.alarmed().await {
            let mut options = AlarmOptions::new();
            options.with_member(member);
            self.ask("Alarm", |mut client| async move {
                let (off, space) = (AlarmAction::Deactivate, AlarmType::Nospace);
                client.alarm(off, space, Some(options)).await
            })
            .await;
        }
    }

    /// Whether an alarm is raised.
    pub async fn has_alarm(&self) -> bool {
        !self.alarmed().await.is_empty()
    }

    /// The ids of the members that have raised an alarm.
    async fn alarmed(&self) -> Vec<u64> {
        let alarms = self.ask("Alarm", |mut client| async move {
            let (look, any) = (AlarmAction::Get, AlarmType::None);
            client.alarm(look, any, None).await
        });
        let alarms = alarms.await;
        alarms.alarms().iter().map(|it| it.member_id()).collect()
    }
}

fn is_full(error: &Error) -> bool {
    error.to_string().contains("database space exceeded")
}
