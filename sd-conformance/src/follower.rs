//! Follows a prefix like a consumer: lists, watches, and applies the changes to a copy.

use crate::{
    clients::{Entries, entries_of},
    context::Context,
    deadline::Deadline,
    error::{CheckError, CheckResult, ensure},
};
use futures::{StreamExt, stream};
use sd_core::{
    Batch, Change, Client, ErrorChain, Gap, Key, Prefix, Revision, Snapshot, Watch, WatchError,
};
use std::{sync::Arc, time::Duration};
use tokio::time::timeout;

impl Context<'_> {
    /// Lists, and watches from there.
    pub(crate) async fn follow(
        &self,
        client: &Arc<dyn Client>,
        prefix: &Prefix,
    ) -> CheckResult<Follower<'_>> {
        let snapshot = self.snapshot(client, prefix).await?;
        self.follow_from(client, prefix, &snapshot).await
    }

    /// Watches from an earlier list.
    pub(crate) async fn follow_from(
        &self,
        client: &Arc<dyn Client>,
        prefix: &Prefix,
        snapshot: &Snapshot,
    ) -> CheckResult<Follower<'_>> {
        let mirror = entries_of(snapshot)?;
        Follower::start(self, client, prefix, mirror, &snapshot.revision).await
    }
}

/// What a watch yields next.
#[derive(Debug)]
pub(crate) enum WatchItem {
    Batch,
    Disrupted,
    Interrupted,
    Gap(Gap),
    /// The stream has ended.
    Ended,
    /// Nothing came in time.
    TimedOut,
}

/// A copy of what the registry holds under a prefix, kept up to date by a watch.
pub(crate) struct Follower<'b> {
    ctx: &'b Context<'b>,
    client: Arc<dyn Client>,
    prefix: Prefix,
    watch: Watch,
    /// What the registry holds, according to the watch.
    pub(crate) mirror: Entries,
    /// The revision at which the next watch begins.
    pub(crate) resume: Revision,
    /// All batches so far.
    pub(crate) batches: Vec<Batch>,
}

impl<'b> Follower<'b> {
    pub(crate) async fn start(
        ctx: &'b Context<'b>,
        client: &Arc<dyn Client>,
        prefix: &Prefix,
        mirror: Entries,
        after: &Revision,
    ) -> CheckResult<Self> {
        Ok(Self {
            ctx,
            client: client.clone(),
            prefix: prefix.clone(),
            watch: ctx.watch(client, prefix, after).await?,
            mirror,
            resume: after.clone(),
            batches: Vec::new(),
        })
    }

    /// All changes so far, oldest first.
    pub(crate) fn changes(&self) -> impl Iterator<Item = &Change> {
        self.batches.iter().flat_map(|batch| &batch.changes)
    }

    /// How often `key` was reported.
    pub(crate) fn reports_of(&self, key: &Key) -> usize {
        self.changes().filter(|change| change.key() == key).count()
    }

    /// The next item. A batch is applied to the mirror.
    pub(crate) async fn next(&mut self, within: Duration) -> WatchItem {
        match timeout(within, self.watch.next()).await {
            Err(_) => WatchItem::TimedOut,
            Ok(None) => WatchItem::Ended,
            Ok(Some(Ok(batch))) => {
                self.apply(batch);
                WatchItem::Batch
            }
            Ok(Some(Err(WatchError::Disrupted(_)))) => WatchItem::Disrupted,
            Ok(Some(Err(WatchError::Gap(gap)))) => WatchItem::Gap(gap),
            // `Interrupted`, or a variant that a later version adds: the watch has ended.
            Ok(Some(Err(_))) => WatchItem::Interrupted,
        }
    }

    /// Follows until `done`. Watches again after an interruption, as a consumer would.
    pub(crate) async fn until(
        &mut self,
        what: &str,
        done: impl Fn(&Self) -> bool + Send,
    ) -> CheckResult {
        let deadline = Deadline::after(self.ctx.timeout());
        while !done(self) {
            match self.next(deadline.left()).await {
                WatchItem::Batch | WatchItem::Disrupted => {}
                WatchItem::Interrupted => {
                    if let Some(gap) = self.resume(&deadline).await? {
                        return Err(CheckError::Failed(format!(
                            "{what}: a gap ({gap}) without cause"
                        )));
                    }
                }
                WatchItem::Gap(gap) => {
                    return Err(CheckError::Failed(format!(
                        "{what}: a gap ({gap}) without cause"
                    )));
                }
                WatchItem::Ended => {
                    return Err(CheckError::Failed(format!(
                        "{what}: the watch ended without a reason"
                    )));
                }
                WatchItem::TimedOut => {
                    return Err(CheckError::Failed(format!(
                        "{what}: the watch does not report it"
                    )));
                }
            }
        }
        Ok(())
    }

    /// Follows until the mirror holds `key`.
    pub(crate) async fn until_seen(&mut self, key: &Key) -> CheckResult {
        self.until(&format!("{key} was put"), |follower| {
            follower.mirror.contains_key(key)
        })
        .await
    }

    /// Follows until `done` (`None`) or until this watch, or the next one, reports a gap.
    pub(crate) async fn until_gap_or(
        &mut self,
        what: &str,
        done: impl Fn(&Self) -> bool + Send,
    ) -> CheckResult<Option<Gap>> {
        let deadline = Deadline::after(self.ctx.timeout());
        while !done(self) {
            match self.next(deadline.left()).await {
                WatchItem::Batch | WatchItem::Disrupted => {}
                WatchItem::Gap(gap) => return Ok(Some(gap)),
                WatchItem::Interrupted => {
                    if let Some(gap) = self.resume(&deadline).await? {
                        return Ok(Some(gap));
                    }
                }
                WatchItem::Ended => {
                    return Err(CheckError::Failed(format!(
                        "{what}: the watch ended without a reason"
                    )));
                }
                WatchItem::TimedOut => {
                    return Err(CheckError::Failed(format!(
                        "{what}: silence instead of a gap"
                    )));
                }
            }
        }
        Ok(None)
    }

    /// Watches from `snapshot` until `done` (`None`) or until the watch reports a gap.
    pub(crate) async fn gap_from(
        ctx: &'b Context<'b>,
        client: &Arc<dyn Client>,
        prefix: &Prefix,
        snapshot: &Snapshot,
        what: &str,
        done: impl Fn(&Self) -> bool + Send,
    ) -> CheckResult<Option<Gap>> {
        let mut follower = Self {
            ctx,
            client: client.clone(),
            prefix: prefix.clone(),
            watch: Watch::new(stream::empty()),
            mirror: entries_of(snapshot)?,
            resume: snapshot.revision.clone(),
            batches: Vec::new(),
        };
        match follower.resume(&Deadline::after(ctx.timeout())).await? {
            Some(gap) => Ok(Some(gap)),
            None => follower.until_gap_or(what, done).await,
        }
    }

    /// Fails the check if the watch reports a change within the quiet period.
    pub(crate) async fn ensure_quiet(&mut self) -> CheckResult {
        let (deadline, known) = (
            Deadline::after(self.ctx.quiet_period()),
            self.changes().count(),
        );
        while !deadline.left().is_zero() {
            match self.next(deadline.left()).await {
                WatchItem::Batch | WatchItem::Disrupted | WatchItem::TimedOut => {}
                WatchItem::Interrupted => {
                    self.resume(&Deadline::after(self.ctx.timeout())).await?;
                }
                WatchItem::Gap(gap) => {
                    return Err(CheckError::Failed(format!("a gap ({gap}) without cause")));
                }
                WatchItem::Ended => {
                    return Err(CheckError::Failed(
                        "the watch ended without a reason".into(),
                    ));
                }
            }
            let unexpected = self.changes().nth(known);
            ensure!(unexpected.is_none(), "unexpected change: {unexpected:?}");
        }
        Ok(())
    }

    /// Watches again from the last resume point; gives the gap if that is not possible. Retries while
    /// the registry cannot be reached.
    pub(crate) async fn resume(&mut self, deadline: &Deadline) -> CheckResult<Option<Gap>> {
        loop {
            let watch = self.client.watch_prefix(&self.prefix, &self.resume);
            match self.ctx.within("watch_prefix", watch).await? {
                Ok(watch) => {
                    self.watch = watch;
                    return Ok(None);
                }
                Err(WatchError::Gap(gap)) => return Ok(Some(gap)),
                Err(error) => {
                    let what = format!("no watch could be started ({})", ErrorChain(&error));
                    deadline.retry(what).await?;
                }
            }
        }
    }

    fn apply(&mut self, batch: Batch) {
        apply(&mut self.mirror, &batch);
        self.resume = batch.resume.clone();
        self.batches.push(batch);
    }
}

/// Applies the batch to the mirror.
pub(crate) fn apply(mirror: &mut Entries, batch: &Batch) {
    for change in &batch.changes {
        match change.value() {
            Some(value) => mirror.insert(change.key().clone(), value.clone()),
            None => mirror.remove(change.key()),
        };
    }
}
