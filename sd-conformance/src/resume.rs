//! Where a watch begins: after what the list or the last batch said, and nowhere else.

use super::{
    Check,
    bench::{Bench, Listed},
    check,
    follower::{Follower, News, apply},
    stop::{Outcome, Stop, ensure},
};
use sd_core::{Change, Gap, Key, Revision, WatchError};

pub(super) const CHECKS: &[Check] = &[
    check!(
        a_change_between_list_and_watch_is_not_lost,
        "A watch reports what changed after the revision it is given, before it was started too."
    ),
    check!(
        a_batch_leads_to_the_state_of_the_registry_at_its_resume,
        "Whoever applies a batch holds what the registry held at its resume, and can go on from it."
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

async fn a_change_between_list_and_watch_is_not_lost(bench: &Bench<'_>) -> Outcome {
    let client = bench.client().await?;
    let prefix = bench.prefix("foo")?;
    let [kept, changed, deleted, new] = ["kept", "changed", "deleted", "new"];
    for path in [kept, changed, deleted] {
        bench
            .put(&bench.key(&format!("foo/{path}"))?, "old")
            .await?;
    }
    let key = |path: &str| bench.key(&format!("foo/{path}"));
    let snapshot = bench.snapshot(&client, &prefix).await?;

    bench.put(&key(changed)?, "new").await?;
    bench.put(&key(new)?, "new").await?;
    bench.delete(&key(deleted)?).await?;
    let mut follower = bench.follow_from(&client, &prefix, &snapshot).await?;

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

async fn a_batch_leads_to_the_state_of_the_registry_at_its_resume(bench: &Bench<'_>) -> Outcome {
    let client = bench.client().await?;
    let prefix = bench.prefix("foo")?;
    let mut follower = bench.follow(&client, &prefix).await?;
    let last = bench.key("foo/last")?;
    let writing = async {
        let mut draws = fastrand::Rng::with_seed(7);
        for n in 0..60 {
            let key = bench.key(&format!("foo/{}", draws.u8(..6)))?;
            if draws.u8(..3) == 0 {
                bench.delete(&key).await?;
            } else {
                bench.put(&key, format!("{n}")).await?;
            }
            if n % 6 == 0 {
                tokio::task::yield_now().await;
            }
        }
        bench.put(&last, "last").await
    };

    futures::try_join!(writing, follower.until_seen(&last))?;

    let expected = bench.list(&client, &prefix).await?;
    ensure!(
        follower.mirror == expected,
        "the mirror holds {:?}, the registry {expected:?}",
        follower.mirror
    );
    // From every few batches on, a watch of its own must lead to the same.
    let mut mirror = Listed::new();
    for (n, batch) in follower.batches.iter().enumerate() {
        apply(&mut mirror, batch);
        if n % 12 == 3 {
            let mirror = mirror.clone();
            let mut later = Follower::start(bench, &client, &prefix, mirror, &batch.resume).await?;
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

async fn a_watch_resumed_from_a_batch_misses_and_repeats_nothing(bench: &Bench<'_>) -> Outcome {
    let client = bench.client().await?;
    let prefix = bench.prefix("foo")?;
    let mut follower = bench.follow(&client, &prefix).await?;
    let keys = (0..5)
        .map(|n| bench.key(&format!("foo/{n}")))
        .collect::<Outcome<Vec<Key>>>()?;
    let mut points = Vec::new();
    for key in &keys {
        bench.put(key, "x").await?;
        follower.until_seen(key).await?;
        points.push(follower.resume.clone());
    }
    let last = keys.last().ok_or(Stop::Broken("no keys".into()))?;

    for (n, point) in points.iter().enumerate().take(keys.len() - 1) {
        let mut later = Follower::start(bench, &client, &prefix, Listed::new(), point).await?;
        later.until_seen(last).await?;
        let reported: Vec<_> = later.changes().map(Change::key).collect();
        let expected: Vec<_> = keys[n + 1..].iter().collect();
        ensure!(
            reported == expected,
            "after {n} it reports {reported:?} instead of {expected:?}"
        );
    }
    let newest = Follower::start(bench, &client, &prefix, Listed::new(), &follower.resume);
    newest.await?.ensure_quiet().await
}

async fn a_resume_token_is_good_for_another_client(bench: &Bench<'_>) -> Outcome {
    let (first, second) = (bench.client().await?, bench.client().await?);
    let prefix = bench.prefix("foo")?;
    let [a, b, c] = [
        bench.key("foo/a")?,
        bench.key("foo/b")?,
        bench.key("foo/c")?,
    ];
    bench.put(&a, "a").await?;
    let snapshot = bench.snapshot(&first, &prefix).await?;
    drop(first);

    bench.put(&b, "b").await?;
    let mut follower = bench.follow_from(&second, &prefix, &snapshot).await?;
    follower.until_seen(&b).await?;
    let third = bench.client().await?;
    bench.put(&c, "c").await?;
    let mirror = follower.mirror.clone();
    let resume = follower.resume.clone();
    drop((follower, second));
    let mut follower = Follower::start(bench, &third, &prefix, mirror, &resume).await?;
    follower.until_seen(&c).await?;
    let again = follower.reports_of(&b);
    ensure!(again == 0, "it reports again what the token's batch held");
    Ok(())
}

async fn a_token_of_another_backend_is_a_gap(bench: &Bench<'_>) -> Outcome {
    #[derive(Debug, PartialEq, Eq)]
    struct Stranger;

    let client = bench.client().await?;
    let prefix = bench.prefix("foo")?;
    let stranger = Revision::new(Stranger);
    let watch = bench
        .within("watch_prefix", client.watch_prefix(&prefix, &stranger))
        .await?;
    let gap = match watch {
        Err(WatchError::Gap(gap)) => gap,
        Err(error) => return Err(error.into()),
        Ok(_) => {
            let mut follower =
                Follower::start(bench, &client, &prefix, Listed::new(), &stranger).await?;
            match follower.next(bench.patience()).await {
                News::Gap(gap) => match follower.next(bench.patience()).await {
                    News::End => gap,
                    news => return Err(Stop::Broken(format!("after the gap comes {news:?}"))),
                },
                news => return Err(Stop::Broken(format!("{news:?} instead of a gap"))),
            }
        }
    };
    ensure!(gap == Gap::ForeignToken, "the gap is said to be: {gap}");
    Ok(())
}
