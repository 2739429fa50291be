//! Clients that watch wrongly.

use super::{Flaw, Right};
use futures::{Stream, StreamExt, stream};
use sd_core::{Batch, Client, Error, Gap, Prefix, Revision, Watch, WatchError, async_trait};
use std::{future, ops::ControlFlow, time::Duration};
use tokio::time::timeout;

/// Watches from the current revision rather than from that of the list.
#[derive(Debug, Default)]
pub struct LosesChangesBeforeTheWatch;

#[async_trait]
impl Flaw for LosesChangesBeforeTheWatch {
    async fn watch(
        &self,
        right: &Right,
        prefix: &Prefix,
        after: &Revision,
    ) -> Result<Watch, WatchError> {
        // Still reports gaps, for the revision of the caller.
        drop(right.client.watch_prefix(prefix, after).await?);
        let now = right.client.get_entries(prefix).await;
        let now = now.map_err(WatchError::Interrupted)?.revision;
        right.client.watch_prefix(prefix, &now).await
    }
}

/// Changes a right watch item by item.
async fn with_items<S>(
    right: &Right,
    prefix: &Prefix,
    after: &Revision,
    change: impl Fn(Result<Batch, WatchError>) -> S + Send + 'static,
) -> Result<Watch, WatchError>
where
    S: IntoIterator<Item = ControlFlow<(), Result<Batch, WatchError>>>,
    S::IntoIter: Send + 'static,
{
    let watch = right.client.watch_prefix(prefix, after).await?;
    let items = watch.flat_map(move |item| stream::iter(change(item)));
    Ok(Watch::new(items.filter_map(async |item| match item {
        ControlFlow::Continue(item) => Some(item),
        ControlFlow::Break(()) => future::pending().await,
    })))
}

/// Yields each change in a batch of its own, with its revision.
#[derive(Debug, Default)]
pub struct SplitsRevisions;

#[async_trait]
impl Flaw for SplitsRevisions {
    async fn watch(
        &self,
        right: &Right,
        prefix: &Prefix,
        after: &Revision,
    ) -> Result<Watch, WatchError> {
        with_items(right, prefix, after, |item| match item {
            Ok(batch) if !batch.changes.is_empty() => {
                let one = |change| Batch::new(vec![change], batch.resume.clone());
                let split = batch.changes.into_iter().map(one);
                split.map(Ok).map(ControlFlow::Continue).collect()
            }
            item => vec![ControlFlow::Continue(item)],
        })
        .await
    }
}

/// Returns the first resume token of a watch in every batch, so that the next watch repeats
/// changes.
#[derive(Debug, Default)]
pub struct RepeatsChangesOnResume;

#[async_trait]
impl Flaw for RepeatsChangesOnResume {
    async fn watch(
        &self,
        right: &Right,
        prefix: &Prefix,
        after: &Revision,
    ) -> Result<Watch, WatchError> {
        let began = after.clone();
        with_items(right, prefix, after, move |item| {
            let item = item.map(|batch| Batch::new(batch.changes, began.clone()));
            [ControlFlow::Continue(item)]
        })
        .await
    }
}

/// Waits for changes instead of reporting a gap.
#[derive(Debug, Default)]
pub struct AnswersGapsWithSilence;

#[async_trait]
impl Flaw for AnswersGapsWithSilence {
    async fn watch(
        &self,
        right: &Right,
        prefix: &Prefix,
        after: &Revision,
    ) -> Result<Watch, WatchError> {
        let quiet = with_items(right, prefix, after, |item| match item {
            Err(WatchError::Gap(_)) => [ControlFlow::Break(())],
            item => [ControlFlow::Continue(item)],
        });
        match quiet.await {
            Err(WatchError::Gap(_)) => Ok(Watch::new(stream::pending())),
            watch => watch,
        }
    }
}

/// Waits for a registry that does not answer, without a report.
#[derive(Debug, Default)]
pub struct IsSilentInOutages;

#[async_trait]
impl Flaw for IsSilentInOutages {
    async fn watch(
        &self,
        right: &Right,
        prefix: &Prefix,
        after: &Revision,
    ) -> Result<Watch, WatchError> {
        with_items(right, prefix, after, |item| match item {
            Err(WatchError::Disrupted(_)) => vec![],
            Err(WatchError::Interrupted(Error::Timeout { .. })) => vec![ControlFlow::Break(())],
            item => vec![ControlFlow::Continue(item)],
        })
        .await
    }
}

/// Reads a watch in a task that goes on after the watch is dropped.
#[derive(Debug, Default)]
pub struct LeaksItsWatch;

#[async_trait]
impl Flaw for LeaksItsWatch {
    async fn watch(
        &self,
        right: &Right,
        prefix: &Prefix,
        after: &Revision,
    ) -> Result<Watch, WatchError> {
        let mut watch = right.client.watch_prefix(prefix, after).await?;
        let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Some(item) = watch.next().await {
                let _ = sender.send(item);
            }
        });
        Ok(Watch::new(stream::poll_fn(move |cx| {
            receiver.poll_recv(cx)
        })))
    }
}

/// Assumes that every token is its own.
#[derive(Debug, Default)]
pub struct PanicsAtForeignTokens;

#[async_trait]
impl Flaw for PanicsAtForeignTokens {
    async fn watch(
        &self,
        right: &Right,
        prefix: &Prefix,
        after: &Revision,
    ) -> Result<Watch, WatchError> {
        let watch = right.client.watch_prefix(prefix, after).await;
        match watch {
            Err(WatchError::Gap(Gap::ForeignToken)) => panic!("not my token"),
            watch => watch,
        }
    }
}

/// Begins with the first change, so that nobody knows whether it stands.
#[derive(Debug, Default)]
pub struct BeginsInSilence;

#[async_trait]
impl Flaw for BeginsInSilence {
    async fn watch(
        &self,
        right: &Right,
        prefix: &Prefix,
        after: &Revision,
    ) -> Result<Watch, WatchError> {
        let watch = right.client.watch_prefix(prefix, after).await?;
        let mut is_first = true;
        Ok(Watch::new(watch.filter(move |item| {
            let is_first = std::mem::take(&mut is_first);
            let is_empty = matches!(item, Ok(batch) if batch.changes.is_empty());
            future::ready(!(is_first && is_empty))
        })))
    }
}

/// Says that a watch stands before the registry has.
#[derive(Debug, Default)]
pub struct AnswersForTheRegistry;

#[async_trait]
impl Flaw for AnswersForTheRegistry {
    async fn watch(
        &self,
        right: &Right,
        prefix: &Prefix,
        after: &Revision,
    ) -> Result<Watch, WatchError> {
        let opening = right.client.watch_prefix(prefix, after);
        if let Ok(opened) = timeout(Duration::from_millis(1), opening).await {
            return opened;
        }
        let stands = Ok(Batch::new(vec![], after.clone()));
        Ok(Watch::new(
            stream::iter([stands]).chain(opened_lazily(right, prefix, after)),
        ))
    }
}

/// Asks the registry when the watch is read. No flaw: it says nothing before the registry has.
#[derive(Debug, Default)]
pub struct OpensLazily;

#[async_trait]
impl Flaw for OpensLazily {
    async fn watch(
        &self,
        right: &Right,
        prefix: &Prefix,
        after: &Revision,
    ) -> Result<Watch, WatchError> {
        let opening = right.client.watch_prefix(prefix, after);
        match timeout(Duration::from_millis(1), opening).await {
            Ok(Err(error)) => Err(error),
            _ => Ok(Watch::new(opened_lazily(right, prefix, after))),
        }
    }
}

fn opened_lazily(
    right: &Right,
    prefix: &Prefix,
    after: &Revision,
) -> impl Stream<Item = Result<Batch, WatchError>> + Send + use<> {
    let (right, prefix, after) = (right.clone(), prefix.clone(), after.clone());
    let opened = async move { right.client.watch_prefix(&prefix, &after).await };
    stream::once(opened).flat_map(|opened| match opened {
        Ok(watch) => watch.left_stream(),
        Err(error) => stream::iter([Err(error)]).right_stream(),
    })
}

/// Ends a watch of a silent registry without a disruption first. No flaw: both say that it does not
/// answer.
#[derive(Debug, Default)]
pub struct InterruptsWithoutDisruption;

#[async_trait]
impl Flaw for InterruptsWithoutDisruption {
    async fn watch(
        &self,
        right: &Right,
        prefix: &Prefix,
        after: &Revision,
    ) -> Result<Watch, WatchError> {
        with_items(right, prefix, after, |item| match item {
            Err(WatchError::Disrupted(_)) => None,
            item => Some(ControlFlow::Continue(item)),
        })
        .await
    }
}
