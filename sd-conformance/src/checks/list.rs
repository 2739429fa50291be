//! What a list shows.

use crate::{
    check::{Check, check},
    clients::Entries,
    context::Context,
    error::{CheckError, CheckResult, ensure},
};
use bytes::Bytes;
use futures::FutureExt;
use sd_core::{Error, Invalid};
use std::time::Duration;
use tokio::time::timeout;

pub(super) const CHECKS: &[Check] = &[
    check!(
        a_list_shows_every_entry_under_the_prefix,
        "get_entries returns every entry below the path, however deep, with its value."
    ),
    check!(
        a_list_ends_at_the_path_boundary,
        "The entries of foobar are not among those of foo."
    ),
    check!(
        a_raw_prefix_ends_anywhere,
        "A raw prefix matches every key that begins with its text."
    ),
    check!(
        an_empty_prefix_lists_nothing,
        "A prefix without entries is an empty list with a revision to go on from, not an error."
    ),
    check!(
        many_entries_are_listed_completely,
        "get_entries returns every entry once, however many pages the registry needs for them."
    ),
    check!(
        a_list_is_read_at_one_revision,
        "What was changed at once is listed as it was before or after, even on different pages."
    ),
    check!(
        values_are_bytes,
        "Values come back as they were put: any bytes, or none at all."
    ),
    check!(
        a_big_value_comes_back_whole,
        "A value that the registry takes can be registered, listed and watched."
    ),
    check!(
        a_value_over_the_limit_is_refused_at_once,
        "A value that the registry would refuse is Error::Invalid, and nothing is sent."
    ),
    check!(
        a_key_that_is_not_text_is_skipped_and_counted,
        "Keys that are not UTF-8 are left out and counted; they hide nothing and fail nothing."
    ),
    check!(
        a_cancelled_list_does_no_harm,
        "Dropping get_entries before it resolves leaves the client as good as before."
    ),
];

async fn a_list_shows_every_entry_under_the_prefix(ctx: &Context<'_>) -> CheckResult {
    let client = ctx.client().await?;
    let mut expected = Entries::new();
    for path in ["foo/a", "foo/b", "foo/b/c", "foo/b/c/d"] {
        expected.insert(ctx.key(path)?, Bytes::from(path));
        ctx.put(&ctx.key(path)?, path).await?;
    }

    let found = ctx.list(&client, &ctx.prefix("foo")?).await?;

    ensure!(found == expected, "{found:?} instead of {expected:?}");
    Ok(())
}

async fn a_list_ends_at_the_path_boundary(ctx: &Context<'_>) -> CheckResult {
    let client = ctx.client().await?;
    for path in ["foo", "foo/a", "foobar", "foobar/a", "fo/a", "foo-/a"] {
        ctx.put(&ctx.key(path)?, path).await?;
    }

    let found = ctx.list(&client, &ctx.prefix("foo")?).await?;

    let keys: Vec<_> = found.into_keys().collect();
    ensure!(keys == [ctx.key("foo/a")?], "foo has {keys:?}");
    Ok(())
}

async fn a_raw_prefix_ends_anywhere(ctx: &Context<'_>) -> CheckResult {
    let client = ctx.client().await?;
    let paths = ["foo", "foo/a", "foobar"];
    for path in paths.iter().chain(&["fo", "fop"]) {
        ctx.put(&ctx.key(path)?, *path).await?;
    }

    let found = ctx.list(&client, &ctx.raw_prefix("foo")?).await?;

    for path in paths {
        let key = ctx.key(path)?;
        ensure!(found.contains_key(&key), "{key} is not listed");
    }
    ensure!(found.len() == 3, "too much is listed: {found:?}");
    Ok(())
}

async fn an_empty_prefix_lists_nothing(ctx: &Context<'_>) -> CheckResult {
    let client = ctx.client().await?;
    let prefix = ctx.prefix("foo")?;

    let snapshot = ctx.snapshot(&client, &prefix).await?;

    ensure!(snapshot.entries.is_empty(), "{:?}", snapshot.entries);
    let mut follower = ctx.follow_from(&client, &prefix, &snapshot).await?;
    ctx.put(&ctx.key("foo/a")?, "a").await?;
    follower.until_seen(&ctx.key("foo/a")?).await
}

async fn many_entries_are_listed_completely(ctx: &Context<'_>) -> CheckResult {
    let client = ctx.client().await?;
    let expected = many(ctx)?;
    ctx.put_all(&expected).await?;

    let found = ctx.list(&client, &ctx.prefix("foo")?).await?;

    ensure!(
        found == expected,
        "{} entries or other values instead of {}",
        found.len(),
        expected.len()
    );
    Ok(())
}

async fn a_list_is_read_at_one_revision(ctx: &Context<'_>) -> CheckResult {
    let client = ctx.client().await?;
    let (first, last) = (ctx.key("foo/0")?, ctx.key("foo/z")?);
    let both = |n: usize| [&first, &last].map(|key| (key.clone(), Bytes::from(n.to_string())));
    ctx.transact(&both(0), &[]).await?;
    ctx.put_all(&many(ctx)?).await?;
    let prefix = ctx.prefix("foo")?;

    for round in 0..3 {
        let writing = async {
            for n in 0..20 {
                ctx.transact(&both(round * 20 + n), &[]).await?;
                tokio::task::yield_now().await;
            }
            CheckResult::Ok(())
        };
        let ((), found) = futures::try_join!(writing, ctx.list(&client, &prefix))?;
        let (first, last) = (found.get(&first), found.get(&last));
        ensure!(
            first.is_some() && first == last,
            "two entries that always change at once are listed as {first:?} and {last:?}"
        );
    }
    Ok(())
}

fn many(ctx: &Context<'_>) -> CheckResult<Entries> {
    (0..ctx.harness().many_entries())
        .map(|n| {
            Ok((
                ctx.key(&format!("foo/k{n:06}"))?,
                Bytes::from(n.to_string()),
            ))
        })
        .collect()
}

async fn values_are_bytes(ctx: &Context<'_>) -> CheckResult {
    let (provider, consumer) = (ctx.client().await?, ctx.client().await?);
    let mut follower = ctx.follow(&consumer, &ctx.prefix("foo")?).await?;
    let every: Bytes = (0..=u8::MAX).collect();
    let services = [
        ctx.service("foo/every", every)?,
        ctx.service("foo/none", Bytes::new())?,
    ];

    let mut held = Vec::new();
    for service in &services {
        held.push(ctx.register(&provider, service).await?);
    }

    let listed = ctx.list(&consumer, &ctx.prefix("foo")?).await?;
    for (service, registration) in services.iter().zip(&held) {
        let (key, value) = (registration.key(), &service.value);
        follower.until_seen(key).await?;
        let (listed, watched) = (listed.get(key), follower.mirror.get(key));
        ensure!(listed == Some(value), "{key} is listed with {listed:?}");
        ensure!(watched == Some(value), "{key} is watched with {watched:?}");
    }
    Ok(())
}

async fn a_big_value_comes_back_whole(ctx: &Context<'_>) -> CheckResult {
    let (provider, consumer) = (ctx.client().await?, ctx.client().await?);
    let mut follower = ctx.follow(&consumer, &ctx.prefix("foo")?).await?;
    let value: Bytes = (0..ctx.harness().large_value_len())
        .map(|n| n.to_le_bytes()[0])
        .collect();
    let service = ctx.service("foo/a", value.clone())?;

    let registration = ctx.register(&provider, &service).await?;

    let key = registration.key();
    let listed = ctx.list(&consumer, &ctx.prefix("foo")?).await?;
    ensure!(listed.get(key) == Some(&value), "listed otherwise");
    follower.until_seen(key).await?;
    ensure!(
        follower.mirror.get(key) == Some(&value),
        "watched otherwise"
    );
    Ok(())
}

async fn a_value_over_the_limit_is_refused_at_once(ctx: &Context<'_>) -> CheckResult {
    let Some(size) = ctx.harness().too_large_value_len() else {
        return Err(CheckError::NotRun(
            "the harness has no `too_large_value_len`".into(),
        ));
    };
    let client = ctx.client().await?;
    let service = ctx.service("foo/a", vec![b'x'; size])?;

    let refused = ctx.within("register", client.register(&service)).await?;

    ensure!(
        matches!(refused, Err(Error::Invalid(Invalid::TooLarge { .. }))),
        "{size} bytes are not refused as too large: {refused:?}"
    );
    ctx.ensure_absent(&ctx.key("foo/a")?).await
}

async fn a_key_that_is_not_text_is_skipped_and_counted(ctx: &Context<'_>) -> CheckResult {
    let client = ctx.client().await?;
    let prefix = ctx.prefix("foo")?;
    let mut follower = ctx.follow(&client, &prefix).await?;
    let unreadable = [prefix.as_str().as_bytes(), b"\xff\xfe"].concat();
    let (before, after) = (ctx.key("foo/a")?, ctx.key("foo/b")?);
    ctx.put(&before, "a").await?;
    ctx.put_raw(&unreadable, "?").await?;
    ctx.put(&after, "b").await?;

    let snapshot = ctx.snapshot(&client, &prefix).await?;
    follower.until_seen(&after).await?;

    let listed = snapshot.entries.len();
    ensure!(listed == 2, "{listed} entries are listed instead of 2");
    let listed = snapshot.skipped;
    ensure!(listed == 1, "{listed} entries are counted, not 1");
    let watched: u64 = follower.batches.iter().map(|batch| batch.skipped).sum();
    ensure!(watched == 1, "{watched} changes are counted, not 1");
    ensure!(
        follower.mirror.len() == 2,
        "the watch shows {:?}",
        follower.mirror
    );
    Ok(())
}

async fn a_cancelled_list_does_no_harm(ctx: &Context<'_>) -> CheckResult {
    let client = ctx.client().await?;
    let prefix = ctx.prefix("foo")?;
    ctx.put(&ctx.key("foo/a")?, "a").await?;

    for millis in [0, 0, 1, 2] {
        let limit = Duration::from_millis(millis);
        let _ = timeout(limit, client.get_entries(&prefix)).await;
    }
    let _ = client.get_entries(&prefix).now_or_never();

    let found = ctx.list(&client, &prefix).await?;
    ensure!(found.len() == 1, "{found:?} is listed afterwards");
    Ok(())
}
