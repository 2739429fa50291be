//! What a list shows.

use super::{
    Check,
    bench::{Bench, Listed},
    check,
    stop::{Outcome, ensure},
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
        "Values come back as they were put: any byte, and none at all."
    ),
    check!(
        a_big_value_comes_back_whole,
        "A value that the registry takes can be registered, listed and watched."
    ),
    check!(
        a_value_over_the_limit_is_refused_at_once,
        "What the registry would refuse is Error::Invalid, and nothing is sent."
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

async fn a_list_shows_every_entry_under_the_prefix(bench: &Bench<'_>) -> Outcome {
    let client = bench.client().await?;
    let mut expected = Listed::new();
    for path in ["foo/a", "foo/b", "foo/b/c", "foo/b/c/d"] {
        expected.insert(bench.key(path)?, Bytes::from(path));
        bench.put(&bench.key(path)?, path).await?;
    }

    let found = bench.list(&client, &bench.prefix("foo")?).await?;

    ensure!(found == expected, "{found:?} instead of {expected:?}");
    Ok(())
}

async fn a_list_ends_at_the_path_boundary(bench: &Bench<'_>) -> Outcome {
    let client = bench.client().await?;
    for path in ["foo", "foo/a", "foobar", "foobar/a", "fo/a", "foo-/a"] {
        bench.put(&bench.key(path)?, path).await?;
    }

    let found = bench.list(&client, &bench.prefix("foo")?).await?;

    let keys: Vec<_> = found.into_keys().collect();
    ensure!(keys == [bench.key("foo/a")?], "foo has {keys:?}");
    Ok(())
}

async fn a_raw_prefix_ends_anywhere(bench: &Bench<'_>) -> Outcome {
    let client = bench.client().await?;
    let paths = ["foo", "foo/a", "foobar"];
    for path in paths.iter().chain(&["fo", "fop"]) {
        bench.put(&bench.key(path)?, *path).await?;
    }

    let found = bench.list(&client, &bench.raw("foo")?).await?;

    for path in paths {
        let key = bench.key(path)?;
        ensure!(found.contains_key(&key), "{key} is not listed");
    }
    ensure!(found.len() == 3, "too much is listed: {found:?}");
    Ok(())
}

async fn an_empty_prefix_lists_nothing(bench: &Bench<'_>) -> Outcome {
    let client = bench.client().await?;
    let prefix = bench.prefix("foo")?;

    let snapshot = bench.snapshot(&client, &prefix).await?;

    ensure!(snapshot.entries.is_empty(), "{:?}", snapshot.entries);
    let mut follower = bench.follow_from(&client, &prefix, &snapshot).await?;
    bench.put(&bench.key("foo/a")?, "a").await?;
    follower.until_seen(&bench.key("foo/a")?).await
}

async fn many_entries_are_listed_completely(bench: &Bench<'_>) -> Outcome {
    let client = bench.client().await?;
    let expected = many(bench)?;
    bench.put_all(&expected).await?;

    let found = bench.list(&client, &bench.prefix("foo")?).await?;

    ensure!(
        found == expected,
        "{} entries or other values instead of {}",
        found.len(),
        expected.len()
    );
    Ok(())
}

async fn a_list_is_read_at_one_revision(bench: &Bench<'_>) -> Outcome {
    let client = bench.client().await?;
    let (first, last) = (bench.key("foo/0")?, bench.key("foo/z")?);
    let both = |n: usize| [&first, &last].map(|key| (key.clone(), Bytes::from(n.to_string())));
    bench.transact(&both(0), &[]).await?;
    bench.put_all(&many(bench)?).await?;
    let prefix = bench.prefix("foo")?;

    for round in 0..3 {
        let writing = async {
            for n in 0..20 {
                bench.transact(&both(round * 20 + n), &[]).await?;
                tokio::task::yield_now().await;
            }
            Outcome::Ok(())
        };
        let ((), found) = futures::try_join!(writing, bench.list(&client, &prefix))?;
        let (first, last) = (found.get(&first), found.get(&last));
        ensure!(
            first.is_some() && first == last,
            "two entries that always change at once are listed as {first:?} and {last:?}"
        );
    }
    Ok(())
}

fn many(bench: &Bench<'_>) -> Outcome<Listed> {
    (0..bench.harness().many())
        .map(|n| {
            Ok((
                bench.key(&format!("foo/k{n:06}"))?,
                Bytes::from(n.to_string()),
            ))
        })
        .collect()
}

async fn values_are_bytes(bench: &Bench<'_>) -> Outcome {
    let (provider, consumer) = (bench.client().await?, bench.client().await?);
    let mut follower = bench.follow(&consumer, &bench.prefix("foo")?).await?;
    let every: Bytes = (0..=u8::MAX).collect();
    let services = [
        bench.service("foo/every", every)?,
        bench.service("foo/none", Bytes::new())?,
    ];

    let mut held = Vec::new();
    for service in &services {
        held.push(bench.register(&provider, service).await?);
    }

    let listed = bench.list(&consumer, &bench.prefix("foo")?).await?;
    for (service, registration) in services.iter().zip(&held) {
        let (key, value) = (registration.key(), &service.value);
        follower.until_seen(key).await?;
        let (listed, watched) = (listed.get(key), follower.mirror.get(key));
        ensure!(listed == Some(value), "{key} is listed with {listed:?}");
        ensure!(watched == Some(value), "{key} is watched with {watched:?}");
    }
    Ok(())
}

async fn a_big_value_comes_back_whole(bench: &Bench<'_>) -> Outcome {
    let (provider, consumer) = (bench.client().await?, bench.client().await?);
    let mut follower = bench.follow(&consumer, &bench.prefix("foo")?).await?;
    let value: Bytes = (0..bench.harness().big())
        .map(|n| n.to_le_bytes()[0])
        .collect();
    let service = bench.service("foo/a", value.clone())?;

    let registration = bench.register(&provider, &service).await?;

    let key = registration.key();
    let listed = bench.list(&consumer, &bench.prefix("foo")?).await?;
    ensure!(listed.get(key) == Some(&value), "listed otherwise");
    follower.until_seen(key).await?;
    ensure!(
        follower.mirror.get(key) == Some(&value),
        "watched otherwise"
    );
    Ok(())
}

async fn a_value_over_the_limit_is_refused_at_once(bench: &Bench<'_>) -> Outcome {
    let Some(size) = bench.harness().too_big() else {
        return Err(super::Stop::NotRun(
            "the harness has no `too_big` value".into(),
        ));
    };
    let client = bench.client().await?;
    let service = bench.service("foo/a", vec![b'x'; size])?;

    let refused = bench.within("register", client.register(&service)).await?;

    ensure!(
        matches!(refused, Err(Error::Invalid(Invalid::TooLarge { .. }))),
        "{size} bytes are not refused as too large: {refused:?}"
    );
    bench.ensure_absent(&bench.key("foo/a")?).await
}

async fn a_key_that_is_not_text_is_skipped_and_counted(bench: &Bench<'_>) -> Outcome {
    let client = bench.client().await?;
    let prefix = bench.prefix("foo")?;
    let mut follower = bench.follow(&client, &prefix).await?;
    let unreadable = [prefix.as_str().as_bytes(), b"\xff\xfe"].concat();
    let (before, after) = (bench.key("foo/a")?, bench.key("foo/b")?);
    bench.put(&before, "a").await?;
    bench.put_raw(&unreadable, "?").await?;
    bench.put(&after, "b").await?;

    let snapshot = bench.snapshot(&client, &prefix).await?;
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

async fn a_cancelled_list_does_no_harm(bench: &Bench<'_>) -> Outcome {
    let client = bench.client().await?;
    let prefix = bench.prefix("foo")?;
    bench.put(&bench.key("foo/a")?, "a").await?;

    for patience in [0, 0, 1, 2] {
        let patience = Duration::from_millis(patience);
        let _ = timeout(patience, client.get_entries(&prefix)).await;
    }
    let _ = client.get_entries(&prefix).now_or_never();

    let found = bench.list(&client, &prefix).await?;
    ensure!(found.len() == 1, "{found:?} is listed afterwards");
    Ok(())
}
