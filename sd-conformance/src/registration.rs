//! How an entry comes, and to whom it belongs.

use super::{
    Check,
    bench::Bench,
    check,
    stop::{Outcome, Stop, ensure},
};
use sd_core::{Deregistered, Error, Lost, WatchError};

pub(super) const CHECKS: &[Check] = &[
    check!(
        a_registered_service_is_seen_by_others,
        "When register resolves, the entry stands under its key for every client, and is held."
    ),
    check!(
        register_takes_a_strangers_key_over,
        "register wins against whoever holds the key, with or without a lease."
    ),
    check!(
        register_takes_another_clients_key_over,
        "The later of two clients holds the key, and the earlier hears who took it."
    ),
    check!(
        the_same_value_from_somebody_else_is_not_ours,
        "Whose an entry is does not depend on its value."
    ),
    check!(
        register_again_supersedes_the_registration_before,
        "A later register of a key on one client has the new value; the old handle hears of it."
    ),
    check!(
        a_superseded_handle_ends_nothing,
        "Dropping a handle that was superseded leaves the entry to its successor."
    ),
    check!(
        a_service_can_come_back_after_deregister,
        "register after deregister on the same client puts the entry back."
    ),
    check!(
        a_closed_client_says_closed,
        "After close, calls answer Closed, handles say Closed, and the entries are gone."
    ),
];

async fn a_registered_service_is_seen_by_others(bench: &Bench<'_>) -> Outcome {
    let (provider, consumer) = (bench.client().await?, bench.client().await?);
    let service = bench.service("foo/a", "10.0.0.1:80")?;

    let registration = bench.register(&provider, &service).await?;

    let key = bench.key("foo/a")?;
    let found = bench.list(&consumer, &bench.prefix("foo")?).await?;
    ensure!(
        found.len() == 1 && found.get(&key) == Some(&service.value),
        "another client sees {found:?}"
    );
    let named = registration.key();
    ensure!(*named == key, "the handle names the key {named}");
    let lost = registration.loss();
    ensure!(lost.is_none(), "it is said to be lost: {lost:?}");
    Ok(())
}

async fn register_takes_a_strangers_key_over(bench: &Bench<'_>) -> Outcome {
    let client = bench.client().await?;
    let service = bench.service("foo/a", "ours")?;
    let key = bench.key("foo/a")?;
    bench.put(&key, "theirs").await?;

    let registration = bench.register(&client, &service).await?;

    bench.ensure_stands(&key, "ours").await?;
    bench.while_quiet().await;
    let lost = registration.loss();
    ensure!(lost.is_none(), "it is said to be lost: {lost:?}");
    let removed = bench.deregister(&client, &service).await?;
    ensure!(
        removed == Deregistered::Removed,
        "then it says that it is {removed:?}"
    );
    bench.ensure_absent(&key).await
}

async fn register_takes_another_clients_key_over(bench: &Bench<'_>) -> Outcome {
    let (old, new) = (bench.client().await?, bench.client().await?);
    let key = bench.key("foo/a")?;
    let mut before = bench
        .register(&old, &bench.service("foo/a", "old")?)
        .await?;

    let after = bench
        .register(&new, &bench.service("foo/a", "new")?)
        .await?;

    bench.ensure_stands(&key, "new").await?;
    let lost = bench.lost(&mut before).await?;
    let taken = Lost::taken("new");
    ensure!(lost == taken, "the old owner hears {lost:?}");
    let lost = after.loss();
    ensure!(lost.is_none(), "the new owner hears {lost:?}");
    Ok(())
}

async fn the_same_value_from_somebody_else_is_not_ours(bench: &Bench<'_>) -> Outcome {
    let client = bench.client().await?;
    let service = bench.service("foo/a", "same")?;
    let mut registration = bench.register(&client, &service).await?;

    bench.put(registration.key(), "same").await?;

    let lost = bench.lost(&mut registration).await?;
    let taken = Lost::taken("same");
    ensure!(lost == taken, "it hears {lost:?}");
    let removed = bench.deregister(&client, &service).await?;
    ensure!(
        removed == Deregistered::NotOurs,
        "then it is told {removed:?}"
    );
    bench.ensure_stands(registration.key(), "same").await
}

async fn register_again_supersedes_the_registration_before(bench: &Bench<'_>) -> Outcome {
    let client = bench.client().await?;
    let service = bench.service("foo/a", "1")?;
    let mut before = bench.register(&client, &service).await?;

    let after = bench
        .register(&client, &service.clone().with_value("2"))
        .await?;

    let lost = bench.lost(&mut before).await?;
    ensure!(lost == Lost::Superseded, "the old handle hears {lost:?}");
    bench.while_quiet().await;
    let lost = after.loss();
    ensure!(lost.is_none(), "the new handle hears {lost:?}");
    let found = bench.list(&client, &bench.prefix("foo")?).await?;
    ensure!(
        found.len() == 1 && found.values().all(|value| value == "2"),
        "the registry holds {found:?}"
    );
    Ok(())
}

async fn a_superseded_handle_ends_nothing(bench: &Bench<'_>) -> Outcome {
    let client = bench.client().await?;
    let service = bench.service("foo/a", "1")?.with_ttl(bench.short());
    let before = bench.register(&client, &service).await?;
    let after = bench.register(&client, &service.with_value("2")).await?;

    drop(before);
    bench.while_quiet().await;

    bench.ensure_stands(after.key(), "2").await?;
    let lost = after.loss();
    ensure!(lost.is_none(), "the new handle hears {lost:?}");
    Ok(())
}

async fn a_service_can_come_back_after_deregister(bench: &Bench<'_>) -> Outcome {
    let client = bench.client().await?;
    let service = bench.service("foo/a", "a")?;
    let first = bench.register(&client, &service).await?;
    bench.deregister(&client, &service).await?;

    let second = bench.register(&client, &service).await?;
    drop(first);
    bench.while_quiet().await;

    bench.ensure_stands(second.key(), "a").await?;
    let lost = second.loss();
    ensure!(lost.is_none(), "it is said to be lost: {lost:?}");
    Ok(())
}

async fn a_closed_client_says_closed(bench: &Bench<'_>) -> Outcome {
    let subject = bench.subject().await?;
    let Some(close) = subject.close else {
        return Err(Stop::NotRun("the harness's clients have no `close`".into()));
    };
    let client = subject.client;
    let prefix = bench.prefix("foo")?;
    let service = bench.service("foo/a", "a")?.with_ttl(bench.short());
    let snapshot = bench.snapshot(&client, &prefix).await?;
    let mut registration = bench.register(&client, &service).await?;

    bench.within("end of close", close).await?;

    let lost = bench.lost(&mut registration).await?;
    ensure!(lost == Lost::Closed, "the handle hears {lost:?}");
    let listed = bench.within("get_entries", client.get_entries(&prefix));
    let listed = listed.await?;
    ensure!(
        matches!(listed, Err(Error::Closed)),
        "get_entries answers {listed:?}"
    );
    let watched = client.watch_prefix(&prefix, &snapshot.revision);
    let watched = bench.within("watch_prefix", watched).await?;
    ensure!(
        matches!(watched, Err(WatchError::Interrupted(Error::Closed))),
        "watch_prefix answers {watched:?}"
    );
    let registered = bench.within("register", client.register(&service)).await?;
    ensure!(
        matches!(registered, Err(Error::Closed)),
        "register answers {registered:?}"
    );
    let removed = bench.within("deregister", client.deregister(&service));
    let removed = removed.await?;
    ensure!(
        matches!(removed, Err(Error::Closed)),
        "deregister answers {removed:?}"
    );
    bench.until_absent(registration.key()).await
}
