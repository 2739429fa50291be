//! A watch that is followed as a mirror of the registry would.

use super::{
    bench::{Bench, Listed, listed},
    stop::{Outcome, Stop, chain, ensure},
    waiting::Waiting,
};
use futures::{StreamExt, stream};
use sd_core::{Batch, Change, Client, Gap, Key, Prefix, Revision, Snapshot, Watch, WatchError};
use std::{sync::Arc, time::Duration};
use tokio::time::timeout;

/// What a watch has to say next.
#[derive(Debug)]
pub(super) enum News {
    Batch,
    Disrupted,
    Interrupted,
    Gap(Gap),
    /// The stream ended without a reason.
    End,
    Silence,
}

/// A mirror of a prefix, and how it came about.
pub(super) struct Follower<'b> {
    bench: &'b Bench<'b>,
    client: Arc<dyn Client>,
    prefix: Prefix,
    watch: Watch,
    /// What the registry holds, by the watch's account.
    pub(super) mirror: Listed,
    /// Where a later watch goes on.
    pub(super) resume: Revision,
    /// All batches so far.
    pub(super) batches: Vec<Batch>,
}

impl<'b> Follower<'b> {
    pub(super) async fn start(
        bench: &'b Bench<'b>,
        client: &Arc<dyn Client>,
        prefix: &Prefix,
        mirror: Listed,
        after: &Revision,
    ) -> Outcome<Self> {
        Ok(Self {
            bench,
            client: client.clone(),
            prefix: prefix.clone(),
            watch: bench.watch(client, prefix, after).await?,
            mirror,
            resume: after.clone(),
            batches: Vec::new(),
        })
    }

    /// All changes so far, oldest first.
    pub(super) fn changes(&self) -> impl Iterator<Item = &Change> {
        self.batches.iter().flat_map(|batch| &batch.changes)
    }

    /// How often `key` was reported.
    pub(super) fn reports_of(&self, key: &Key) -> usize {
        self.changes().filter(|change| change.key() == key).count()
    }

    /// The next item as it comes, applied to the mirror.
    pub(super) async fn next(&mut self, within: Duration) -> News {
        match timeout(within, self.watch.next()).await {
            Err(_) => News::Silence,
            Ok(None) => News::End,
            Ok(Some(Ok(batch))) => {
                self.apply(batch);
                News::Batch
            }
            Ok(Some(Err(WatchError::Disrupted(_)))) => News::Disrupted,
            Ok(Some(Err(WatchError::Gap(gap)))) => News::Gap(gap),
            // `Interrupted`, and what a later version may add: the watch has ended.
            Ok(Some(Err(_))) => News::Interrupted,
        }
    }

    /// Follows until `done`, over disruptions and interruptions, as a consumer would.
    pub(super) async fn until(
        &mut self,
        what: &str,
        done: impl Fn(&Self) -> bool + Send,
    ) -> Outcome {
        let waiting = self.bench.waiting(self.bench.patience());
        while !done(self) {
            match self.next(waiting.left()).await {
                News::Batch | News::Disrupted => {}
                News::Interrupted => {
                    if let Some(gap) = self.resume(&waiting).await? {
                        return Err(Stop::Broken(format!("{what}: a gap ({gap}) without cause")));
                    }
                }
                News::Gap(gap) => {
                    return Err(Stop::Broken(format!("{what}: a gap ({gap}) without cause")));
                }
                News::End => {
                    return Err(Stop::Broken(format!(
                        "{what}: the watch ended, unexplained"
                    )));
                }
                News::Silence => {
                    return Err(Stop::Broken(format!("{what}: the watch does not say so")));
                }
            }
        }
        Ok(())
    }

    /// Follows until the mirror holds `key`.
    pub(super) async fn until_seen(&mut self, key: &Key) -> Outcome {
        self.until(&format!("{key} was put"), |follower| {
            follower.mirror.contains_key(key)
        })
        .await
    }

    /// Follows until the watch, or the next one, says that it cannot go on, or `done`.
    pub(super) async fn until_gap_or(
        &mut self,
        what: &str,
        done: impl Fn(&Self) -> bool + Send,
    ) -> Outcome<Option<Gap>> {
        let waiting = self.bench.waiting(self.bench.patience());
        while !done(self) {
            match self.next(waiting.left()).await {
                News::Batch | News::Disrupted => {}
                News::Gap(gap) => return Ok(Some(gap)),
                News::Interrupted => {
                    if let Some(gap) = self.resume(&waiting).await? {
                        return Ok(Some(gap));
                    }
                }
                News::End => {
                    return Err(Stop::Broken(format!(
                        "{what}: the watch ended, unexplained"
                    )));
                }
                News::Silence => {
                    return Err(Stop::Broken(format!("{what}: silence instead of a gap")));
                }
            }
        }
        Ok(None)
    }

    /// The gap that a watch from `snapshot` finds, at once or before it is `done`.
    pub(super) async fn gap_from(
        bench: &'b Bench<'b>,
        client: &Arc<dyn Client>,
        prefix: &Prefix,
        snapshot: &Snapshot,
        what: &str,
        done: impl Fn(&Self) -> bool + Send,
    ) -> Outcome<Option<Gap>> {
        let mut follower = Self {
            bench,
            client: client.clone(),
            prefix: prefix.clone(),
            watch: Watch::new(stream::empty()),
            mirror: listed(snapshot)?,
            resume: snapshot.revision.clone(),
            batches: Vec::new(),
        };
        match follower.resume(&bench.waiting(bench.patience())).await? {
            Some(gap) => Ok(Some(gap)),
            None => follower.until_gap_or(what, done).await,
        }
    }

    /// Broken if the watch reports a change for a while.
    pub(super) async fn ensure_quiet(&mut self) -> Outcome {
        let (waiting, known) = (
            self.bench.waiting(self.bench.quiet()),
            self.changes().count(),
        );
        while !waiting.left().is_zero() {
            match self.next(waiting.left()).await {
                News::Batch | News::Disrupted | News::Silence => {}
                News::Interrupted => {
                    self.resume(&self.bench.waiting(self.bench.patience()))
                        .await?;
                }
                News::Gap(gap) => return Err(Stop::Broken(format!("a gap ({gap}) without cause"))),
                News::End => return Err(Stop::Broken("the watch ended, unexplained".into())),
            }
            let unexpected = self.changes().nth(known);
            ensure!(unexpected.is_none(), "unexpected change: {unexpected:?}");
        }
        Ok(())
    }

    /// Another watch from the last resume point, or the gap that forbids it. Keeps trying while the
    /// registry cannot be reached.
    async fn resume(&mut self, waiting: &Waiting) -> Outcome<Option<Gap>> {
        loop {
            let watch = self.client.watch_prefix(&self.prefix, &self.resume);
            match self.bench.within("watch_prefix", watch).await? {
                Ok(watch) => {
                    self.watch = watch;
                    return Ok(None);
                }
                Err(WatchError::Gap(gap)) => return Ok(Some(gap)),
                Err(error) => {
                    let what = format!("no watch could be started ({})", chain(&error));
                    waiting.on(what).await?;
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

/// What the mirror is after the batch.
pub(super) fn apply(mirror: &mut Listed, batch: &Batch) {
    for change in &batch.changes {
        match change.value() {
            Some(value) => mirror.insert(change.key().clone(), value.clone()),
            None => mirror.remove(change.key()),
        };
    }
}
