//! Where a watch begins: right after the list or batch whose revision it is given.

use crate::{
    check::{Check, check},
    clients::Entries,
    context::Context,
    error::{CheckError, CheckResult, ensure},
    follower::{Follower, WatchItem, apply},
};
use sd_core::{Change, Gap, Key, Revision, WatchError};

pub(super) const CHECKS: &[Check] = &[
    check!(
        a_change_between_list_and_watch_is_not_lost,
        "A watch reports what changed after the revision it is given, before it was started too."
    ),
    check!(
        a_batch_leads_to_the_state_of_the_registry_at_its_resume,
        "Applying a batch gives what the registry held at its resume, from where a watch can go on."
    ),
    check!(
        a_watch_resumed_from_a_batch_misses_and_repeats_nothing,
        "A watch from a batch's resume reports what came after the batch, all of it and no more."
    ),
    check!(
        a_resume_token_is_good_for_another_client,
        "A revision that one client read can be watched from by another of the same registry."
    ),
    check!(
        a_token_of_another_backend_is_a_gap,
        "A resume token that the backend did not make is a gap, and the watch ends with it."
    ),
];

async fn a_change_between_list_and_watch_is_not_lost(ctx: &Context<'_>) -> CheckResult {
    let client = ctx.client().await?;
    let prefix = ctx.prefix("foo")?;
    let [kept, changed, deleted, new] = ["kept", "changed", "deleted", "new"];
    for path in [kept, changed, deleted] {
        ctx.put(&ctx.key(&format!("foo/{path}"))?, "old").await?;
    }
    let key = |path: &str| ctx.key(&format!("foo/{path}"));
    let snapshot = ctx.snapshot(&client, &prefix).await?;

    ctx.put(&key(changed)?, "new").await?;
    ctx.put(&key(new)?, "new").await?;
    ctx.delete(&key(deleted)?).await?;
    let mut follower = ctx.follow_from(&client, &prefix, &snapshot).await?;

    let (changed, new, deleted) = (key(changed)?, key(new)?, key(deleted)?);
    follower
        .until("changes between list and watch", |follower| {
            follower.mirror.get(&changed).is_some_and(|v| v == "new")
                && follower.mirror.contains_key(&new)
                && !follower.mirror.contains_key(&deleted)
        })
        .await?;
    let unchanged = follower.reports_of(&key(kept)?);
    ensure!(unchanged == 0, "what was listed is reported again");
    Ok(())
}

async fn a_batch_leads_to_the_state_of_the_registry_at_its_resume(
    ctx: &Context<'_>,
) -> CheckResult {
    let client = ctx.client().await?;
    let prefix = ctx.prefix("foo")?;
    let mut follower = ctx.follow(&client, &prefix).await?;
    let last = ctx.key("foo/last")?;
    let writing = async {
        let mut draws = fastrand::Rng::with_seed(7);
        for n in 0..60 {
            let key = ctx.key(&format!("foo/{}", draws.u8(..6)))?;
            if draws.u8(..3) == 0 {
                ctx.delete(&key).await?;
            } else {
                ctx.put(&key, format!("{n}")).await?;
            }
            if n % 6 == 0 {
                tokio::task::yield_now().await;
            }
        }
        ctx.put(&last, "last").await
    };

    futures::try_join!(writing, follower.until_seen(&last))?;

    let expected = ctx.list(&client, &prefix).await?;
    ensure!(
        follower.mirror == expected,
        "the mirror holds {:?}, the registry {expected:?}",
        follower.mirror
    );
    // A new watch from every few batches must lead to the same state.
    let mut mirror = Entries::new();
    for (n, batch) in follower.batches.iter().enumerate() {
        apply(&mut mirror, batch);
        if n % 6 == 4 {
            let mirror = mirror.clone();
            let mut later = Follower::start(ctx, &client, &prefix, mirror, &batch.resume).await?;
            later.until_seen(&last).await?;
            ensure!(
                later.mirror == expected,
                "resumed after {n} batches, the mirror holds {:?}, the registry {expected:?}",
                later.mirror
            );
        }
    }
    Ok(())
}

async fn a_watch_resumed_from_a_batch_misses_and_repeats_nothing(ctx: &Context<'_>) -> CheckResult {
    let client = ctx.client().await?;
    let prefix = ctx.prefix("foo")?;
    let mut follower = ctx.follow(&client, &prefix).await?;
    let keys = (0..5)
        .map(|n| ctx.key(&format!("foo/{n}")))
        .collect::<CheckResult<Vec<Key>>>()?;
    let mut points = Vec::new();
    for key in &keys {
        ctx.put(key, "x").await?;
        follower.until_seen(key).await?;
        points.push(follower.resume.clone());
    }
    let last = keys.last().ok_or(CheckError::Failed("no keys".into()))?;

    for (n, point) in points.iter().enumerate().take(keys.len() - 1) {
        let mut later = Follower::start(ctx, &client, &prefix, Entries::new(), point).await?;
        later.until_seen(last).await?;
        let reported: Vec<_> = later.changes().map(Change::key).collect();
        let expected: Vec<_> = keys[n + 1..].iter().collect();
        ensure!(
            reported == expected,
            "after {n} it reports {reported:?} instead of {expected:?}"
        );
    }
    let newest = Follower::start(ctx, &client, &prefix, Entries::new(), &follower.resume);
    newest.await?.ensure_quiet().await
}

async fn a_resume_token_is_good_for_another_client(ctx: &Context<'_>) -> CheckResult {
    let (first, second) = (ctx.client().await?, ctx.client().await?);
    let prefix = ctx.prefix("foo")?;
    let [a, b, c] = [ctx.key("foo/a")?, ctx.key("foo/b")?, ctx.key("foo/c")?];
    ctx.put(&a, "a").await?;
    let snapshot = ctx.snapshot(&first, &prefix).await?;
    drop(first);

    ctx.put(&b, "b").await?;
    let mut follower = ctx.follow_from(&second, &prefix, &snapshot).await?;
    follower.until_seen(&b).await?;
    let third = ctx.client().await?;
    ctx.put(&c, "c").await?;
    let mirror = follower.mirror.clone();
    let resume = follower.resume.clone();
    drop((follower, second));
    let mut follower = Follower::start(ctx, &third, &prefix, mirror, &resume).await?;
    follower.until_seen(&c).await?;
    let again = follower.reports_of(&b);
    ensure!(again == 0, "it reports again what the token's batch held");
    Ok(())
}

async fn a_token_of_another_backend_is_a_gap(ctx: &Context<'_>) -> CheckResult {
    #[derive(Debug, PartialEq, Eq)]
    struct Stranger;

    let client = ctx.client().await?;
    let prefix = ctx.prefix("foo")?;
    let stranger = Revision::new(Stranger);
    let watch = ctx
        .within("watch_prefix", client.watch_prefix(&prefix, &stranger))
        .await?;
    let gap = match watch {
        Err(WatchError::Gap(gap)) => gap,
        Err(error) => return Err(error.into()),
        Ok(_) => {
            let mut follower =
                Follower::start(ctx, &client, &prefix, Entries::new(), &stranger).await?;
            match follower.next(ctx.timeout()).await {
                WatchItem::Gap(gap) => match follower.next(ctx.timeout()).await {
                    WatchItem::Ended => gap,
                    news => {
                        return Err(CheckError::Failed(format!("after the gap comes {news:?}")));
                    }
                },
                news => return Err(CheckError::Failed(format!("{news:?} instead of a gap"))),
            }
        }
    };
    ensure!(gap == Gap::ForeignToken, "the gap is said to be: {gap}");
    Ok(())
}
