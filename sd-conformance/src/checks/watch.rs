//! What a watch reports while the registry is well, and how it ends.

use crate::{
    check::{Check, check},
    clients::Entries,
    context::Context,
    deadline::Deadline,
    error::{CheckError, CheckResult, ensure},
    follower::{WatchItem, apply},
};
use bytes::Bytes;
use futures::FutureExt;
use sd_core::Change;
use std::time::Duration;
use tokio::time::timeout;

pub(super) const CHECKS: &[Check] = &[
    check!(
        a_watch_begins_with_an_answer,
        "A watch's first item is a batch, empty if nothing has changed, as soon as it stands."
    ),
    check!(
        a_watch_reports_puts_updates_and_deletions,
        "Every kind of change reaches the mirror."
    ),
    check!(
        what_changed_at_once_is_one_batch,
        "Changes of one revision are never split over two batches."
    ),
    check!(
        keys_that_die_with_one_lease_are_one_batch,
        "All keys of a lease are removed at one revision, so that they are one batch."
    ),
    check!(
        a_watch_ends_at_the_path_boundary,
        "A watch of foo does not report the entries of foobar."
    ),
    check!(
        a_raw_watch_ends_anywhere,
        "A watch of a raw prefix reports every key that begins with its text."
    ),
    check!(
        watches_of_one_client_are_independent,
        "Ending one watch leaves the client's others alone."
    ),
    check!(
        a_watch_that_nobody_reads_holds_nobody_up,
        "An unread watch delays no other call, and loses nothing or says that it was interrupted."
    ),
    check!(
        a_watch_of_a_closed_client_ends,
        "Closing a client ends its watches."
    ),
    check!(
        exclusive a_dropped_watch_leaves_no_watcher,
        "Dropping a watch ends it at the registry too, also while it is being started."
    ),
];

async fn a_watch_begins_with_an_answer(ctx: &Context<'_>) -> CheckResult {
    let client = ctx.client().await?;
    let prefix = ctx.prefix("foo")?;
    ctx.put(&ctx.key("foo/a")?, "a").await?;
    for _ in 0..2 {
        let mut follower = ctx.follow(&client, &prefix).await?;
        match follower.next(ctx.timeout()).await {
            WatchItem::Batch => {}
            item => {
                return Err(CheckError::Failed(format!(
                    "of an idle prefix it says {item:?}"
                )));
            }
        }
        let unexpected = follower.changes().next();
        ensure!(unexpected.is_none(), "unexpected change: {unexpected:?}");
    }
    Ok(())
}

async fn a_watch_reports_puts_updates_and_deletions(ctx: &Context<'_>) -> CheckResult {
    let client = ctx.client().await?;
    let mut follower = ctx.follow(&client, &ctx.prefix("foo")?).await?;
    let key = ctx.key("foo/a")?;

    ctx.put(&key, "1").await?;
    follower.until_seen(&key).await?;
    ctx.put(&key, "2").await?;
    follower
        .until("an update", |follower| {
            follower.mirror.get(&key).is_some_and(|value| value == "2")
        })
        .await?;
    ctx.delete(&key).await?;
    follower
        .until("a deletion", |follower| follower.mirror.is_empty())
        .await
}

async fn what_changed_at_once_is_one_batch(ctx: &Context<'_>) -> CheckResult {
    let client = ctx.client().await?;
    let mut follower = ctx.follow(&client, &ctx.prefix("foo")?).await?;
    let keys = [ctx.key("foo/a")?, ctx.key("foo/b")?, ctx.key("foo/c")?];
    let put = |n: u32| {
        keys.each_ref()
            .map(|key| (key.clone(), Bytes::from(n.to_string())))
    };

    for n in 0..4 {
        ctx.transact(&put(n), &[]).await?;
    }
    ctx.transact(&put(4)[..1], &keys[1..]).await?;
    ctx.transact(&[], &keys[..1]).await?;
    let done = ctx.key("foo/done")?;
    ctx.put(&done, "done").await?;
    follower.until_seen(&done).await?;

    let mut mirror = Entries::new();
    for batch in &follower.batches {
        apply(&mut mirror, batch);
        let [a, b, c] = keys.each_ref().map(|key| mirror.get(key));
        ensure!(
            (a == b && b == c) || (a.is_some_and(|a| a == "4") && b.is_none() && c.is_none()),
            "a batch leads to {mirror:?}, which the registry never held"
        );
    }
    Ok(())
}

async fn keys_that_die_with_one_lease_are_one_batch(ctx: &Context<'_>) -> CheckResult {
    let (provider, consumer) = (ctx.client().await?, ctx.client().await?);
    let mut held = Vec::new();
    for path in ["foo/a", "foo/b", "foo/c"] {
        let service = ctx.service(path, "x")?;
        held.push(ctx.register(&provider, &service).await?);
    }
    let lease = held[0].lease_id().clone();
    ensure!(
        held.iter()
            .all(|registration| *registration.lease_id() == lease),
        "the services do not share a lease"
    );
    let mut follower = ctx.follow(&consumer, &ctx.prefix("foo")?).await?;

    ctx.expire(&lease).await?;
    follower
        .until("the end of a lease", |follower| follower.mirror.is_empty())
        .await?;

    let sizes: Vec<_> = follower
        .batches
        .iter()
        .map(|batch| batch.changes.len())
        .filter(|size| *size > 0)
        .collect();
    ensure!(sizes == [3], "its keys go in batches of {sizes:?}");
    Ok(())
}

async fn a_watch_ends_at_the_path_boundary(ctx: &Context<'_>) -> CheckResult {
    let client = ctx.client().await?;
    let mut follower = ctx.follow(&client, &ctx.prefix("foo")?).await?;
    let last = ctx.key("foo/last")?;

    for path in ["foobar/a", "foobar", "foo", "fo/a", "foo-/a"] {
        ctx.put(&ctx.key(path)?, "x").await?;
    }
    ctx.put(&last, "x").await?;
    follower.until_seen(&last).await?;

    let reported: Vec<_> = follower.changes().map(Change::key).collect();
    ensure!(reported == [&last], "a watch of foo reports {reported:?}");
    Ok(())
}

async fn a_raw_watch_ends_anywhere(ctx: &Context<'_>) -> CheckResult {
    let client = ctx.client().await?;
    let mut follower = ctx.follow(&client, &ctx.raw_prefix("foo")?).await?;
    ctx.put(&ctx.key("fo")?, "x").await?;
    for path in ["foo", "foobar", "foo/a"] {
        let key = ctx.key(path)?;
        ctx.put(&key, "x").await?;
        follower.until_seen(&key).await?;
    }
    let reported = follower.mirror.len();
    ensure!(reported == 3, "it reports {:?}", follower.mirror);
    Ok(())
}

async fn watches_of_one_client_are_independent(ctx: &Context<'_>) -> CheckResult {
    let client = ctx.client().await?;
    let (prefix, another) = (ctx.prefix("foo")?, ctx.prefix("bar")?);
    let mut one = ctx.follow(&client, &prefix).await?;
    let same = ctx.follow(&client, &prefix).await?;
    let other = ctx.follow(&client, &another).await?;

    drop((same, other));
    ctx.wait_quiet_period().await;
    let key = ctx.key("foo/a")?;
    ctx.put(&key, "a").await?;
    one.until_seen(&key).await?;

    let reports = one.reports_of(&key);
    ensure!(reports == 1, "one change is reported {reports} times");
    Ok(())
}

async fn a_watch_that_nobody_reads_holds_nobody_up(ctx: &Context<'_>) -> CheckResult {
    let client = ctx.client().await?;
    let (unread_prefix, read_prefix) = (ctx.prefix("foo")?, ctx.prefix("bar")?);
    let mut unread = ctx.follow(&client, &unread_prefix).await?;
    let mut read = ctx.follow(&client, &read_prefix).await?;
    let value = Bytes::from(vec![b'x'; 16 * 1024]);
    let mut keys = Vec::new();
    for n in 0..64 {
        let key = ctx.key(&format!("foo/{n}"))?;
        ctx.put(&key, value.clone()).await?;
        keys.push(key);
    }

    let key = ctx.key("bar/a")?;
    ctx.put(&key, "a").await?;
    read.until_seen(&key).await?;
    let listed = ctx.list(&client, &unread_prefix).await?;
    ensure!(listed.len() == 64, "{} entries are listed", listed.len());

    unread
        .until("64 changes", |follower| follower.mirror.len() == 64)
        .await?;
    for key in &keys {
        let reports = unread.reports_of(key);
        ensure!(reports == 1, "{key} is reported {reports} times");
    }
    Ok(())
}

async fn a_watch_of_a_closed_client_ends(ctx: &Context<'_>) -> CheckResult {
    let test_client = ctx.test_client().await?;
    let Some(close) = test_client.close else {
        return Err(CheckError::NotRun(
            "the harness's clients have no `close`".into(),
        ));
    };
    let mut follower = ctx.follow(&test_client.client, &ctx.prefix("foo")?).await?;

    ctx.within("end of close", close).await?;

    let deadline = Deadline::after(ctx.timeout());
    loop {
        match follower.next(deadline.left()).await {
            WatchItem::Ended => return Ok(()),
            WatchItem::TimedOut => return Err(CheckError::Failed("it goes on in silence".into())),
            WatchItem::Gap(gap) => {
                return Err(CheckError::Failed(format!("a gap ({gap}) without cause")));
            }
            WatchItem::Batch | WatchItem::Disrupted | WatchItem::Interrupted => {}
        }
    }
}

async fn a_dropped_watch_leaves_no_watcher(ctx: &Context<'_>) -> CheckResult {
    let client = ctx.client().await?;
    let prefix = ctx.prefix("foo")?;
    let before = ctx.settled_watchers().await?;

    let mut follower = ctx.follow(&client, &prefix).await?;
    ctx.put(&ctx.key("foo/a")?, "a").await?;
    follower.until_seen(&ctx.key("foo/a")?).await?;
    let during = ctx.watchers().await?;
    ensure!(
        during > before,
        "the registry counts {during} watchers while it is watched and {before} before"
    );
    drop(follower);
    let snapshot = ctx.snapshot(&client, &prefix).await?;
    for millis in [0, 1, 2] {
        let starting = client.watch_prefix(&prefix, &snapshot.revision);
        let _ = timeout(Duration::from_millis(millis), starting).await;
    }
    let _ = client
        .watch_prefix(&prefix, &snapshot.revision)
        .now_or_never();
    // A cancelled request may still arrive at the registry.
    ctx.wait_quiet_period().await;

    let deadline = Deadline::after(ctx.timeout());
    loop {
        let after = ctx.watchers().await?;
        if after <= before {
            return Ok(());
        }
        deadline
            .retry(format!(
                "{after} watchers are left of {before} before and {during} in between"
            ))
            .await?;
    }
}
