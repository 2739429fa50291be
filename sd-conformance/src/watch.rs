//! What a watch reports while the registry is well, and how it ends.

use super::{
    Check,
    bench::{Bench, Listed},
    check,
    follower::{News, apply},
    stop::{Outcome, Stop, ensure},
};
use bytes::Bytes;
use futures::FutureExt;
use sd_core::Change;
use std::time::Duration;
use tokio::time::timeout;

pub(super) const CHECKS: &[Check] = &[
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
        "What goes with a lease goes at once, so that it is one batch."
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
        alone a_dropped_watch_leaves_no_watcher,
        "Dropping a watch ends it at the registry too, also while it is being started."
    ),
];

async fn a_watch_reports_puts_updates_and_deletions(bench: &Bench<'_>) -> Outcome {
    let client = bench.client().await?;
    let mut follower = bench.follow(&client, &bench.prefix("foo")?).await?;
    let key = bench.key("foo/a")?;

    bench.put(&key, "1").await?;
    follower.until_seen(&key).await?;
    bench.put(&key, "2").await?;
    follower
        .until("an update", |follower| {
            follower.mirror.get(&key).is_some_and(|value| value == "2")
        })
        .await?;
    bench.delete(&key).await?;
    follower
        .until("a deletion", |follower| follower.mirror.is_empty())
        .await
}

async fn what_changed_at_once_is_one_batch(bench: &Bench<'_>) -> Outcome {
    let client = bench.client().await?;
    let mut follower = bench.follow(&client, &bench.prefix("foo")?).await?;
    let keys = [
        bench.key("foo/a")?,
        bench.key("foo/b")?,
        bench.key("foo/c")?,
    ];
    let put = |n: u32| {
        keys.each_ref()
            .map(|key| (key.clone(), Bytes::from(n.to_string())))
    };

    for n in 0..4 {
        bench.transact(&put(n), &[]).await?;
    }
    bench.transact(&put(4)[..1], &keys[1..]).await?;
    bench.transact(&[], &keys[..1]).await?;
    let done = bench.key("foo/done")?;
    bench.put(&done, "done").await?;
    follower.until_seen(&done).await?;

    let mut mirror = Listed::new();
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

async fn keys_that_die_with_one_lease_are_one_batch(bench: &Bench<'_>) -> Outcome {
    let (provider, consumer) = (bench.client().await?, bench.client().await?);
    let mut held = Vec::new();
    for path in ["foo/a", "foo/b", "foo/c"] {
        let service = bench.service(path, "x")?;
        held.push(bench.register(&provider, &service).await?);
    }
    let lease = held[0].lease_id().clone();
    ensure!(
        held.iter()
            .all(|registration| *registration.lease_id() == lease),
        "the services do not share a lease"
    );
    let mut follower = bench.follow(&consumer, &bench.prefix("foo")?).await?;

    bench.expire(&lease).await?;
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

async fn a_watch_ends_at_the_path_boundary(bench: &Bench<'_>) -> Outcome {
    let client = bench.client().await?;
    let mut follower = bench.follow(&client, &bench.prefix("foo")?).await?;
    let last = bench.key("foo/last")?;

    for path in ["foobar/a", "foobar", "foo", "fo/a", "foo-/a"] {
        bench.put(&bench.key(path)?, "x").await?;
    }
    bench.put(&last, "x").await?;
    follower.until_seen(&last).await?;

    let reported: Vec<_> = follower.changes().map(Change::key).collect();
    ensure!(reported == [&last], "a watch of foo reports {reported:?}");
    Ok(())
}

async fn a_raw_watch_ends_anywhere(bench: &Bench<'_>) -> Outcome {
    let client = bench.client().await?;
    let mut follower = bench.follow(&client, &bench.raw("foo")?).await?;
    bench.put(&bench.key("fo")?, "x").await?;
    for path in ["foo", "foobar", "foo/a"] {
        let key = bench.key(path)?;
        bench.put(&key, "x").await?;
        follower.until_seen(&key).await?;
    }
    let reported = follower.mirror.len();
    ensure!(reported == 3, "it reports {:?}", follower.mirror);
    Ok(())
}

async fn watches_of_one_client_are_independent(bench: &Bench<'_>) -> Outcome {
    let client = bench.client().await?;
    let (prefix, another) = (bench.prefix("foo")?, bench.prefix("bar")?);
    let mut one = bench.follow(&client, &prefix).await?;
    let same = bench.follow(&client, &prefix).await?;
    let other = bench.follow(&client, &another).await?;

    drop((same, other));
    bench.while_quiet().await;
    let key = bench.key("foo/a")?;
    bench.put(&key, "a").await?;
    one.until_seen(&key).await?;

    let reports = one.reports_of(&key);
    ensure!(reports == 1, "one change is reported {reports} times");
    Ok(())
}

async fn a_watch_that_nobody_reads_holds_nobody_up(bench: &Bench<'_>) -> Outcome {
    let client = bench.client().await?;
    let (unread_prefix, read_prefix) = (bench.prefix("foo")?, bench.prefix("bar")?);
    let mut unread = bench.follow(&client, &unread_prefix).await?;
    let mut read = bench.follow(&client, &read_prefix).await?;
    let value = Bytes::from(vec![b'x'; 16 * 1024]);
    let mut keys = Vec::new();
    for n in 0..64 {
        let key = bench.key(&format!("foo/{n}"))?;
        bench.put(&key, value.clone()).await?;
        keys.push(key);
    }

    let key = bench.key("bar/a")?;
    bench.put(&key, "a").await?;
    read.until_seen(&key).await?;
    let listed = bench.list(&client, &unread_prefix).await?;
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

async fn a_watch_of_a_closed_client_ends(bench: &Bench<'_>) -> Outcome {
    let subject = bench.subject().await?;
    let Some(close) = subject.close else {
        return Err(Stop::NotRun("the harness's clients have no `close`".into()));
    };
    let mut follower = bench.follow(&subject.client, &bench.prefix("foo")?).await?;

    bench.within("end of close", close).await?;

    let waiting = bench.waiting(bench.patience());
    loop {
        match follower.next(waiting.left()).await {
            News::End => return Ok(()),
            News::Silence => return Err(Stop::Broken("it goes on in silence".into())),
            News::Gap(gap) => return Err(Stop::Broken(format!("a gap ({gap}) without cause"))),
            News::Batch | News::Disrupted | News::Interrupted => {}
        }
    }
}

async fn a_dropped_watch_leaves_no_watcher(bench: &Bench<'_>) -> Outcome {
    let client = bench.client().await?;
    let prefix = bench.prefix("foo")?;
    let before = bench.settled_watchers().await?;

    let mut follower = bench.follow(&client, &prefix).await?;
    bench.put(&bench.key("foo/a")?, "a").await?;
    follower.until_seen(&bench.key("foo/a")?).await?;
    let during = bench.watchers().await?;
    ensure!(
        during > before,
        "the registry counts {during} watchers while it is watched and {before} before"
    );
    drop(follower);
    let snapshot = bench.snapshot(&client, &prefix).await?;
    for patience in [0, 1, 2] {
        let starting = client.watch_prefix(&prefix, &snapshot.revision);
        let _ = timeout(Duration::from_millis(patience), starting).await;
    }
    let _ = client
        .watch_prefix(&prefix, &snapshot.revision)
        .now_or_never();
    // What was cancelled may still arrive at the registry.
    bench.while_quiet().await;

    let waiting = bench.waiting(bench.patience());
    loop {
        let after = bench.watchers().await?;
        if after <= before {
            return Ok(());
        }
        waiting
            .on(format!(
                "{after} watchers are left of {before} before and {during} in between"
            ))
            .await?;
    }
}
