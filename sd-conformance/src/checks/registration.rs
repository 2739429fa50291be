//! How an entry is registered, and who owns it.

use crate::{
    check::{Check, check},
    clients::ensure_held,
    context::Context,
    error::{CheckError, CheckResult, ensure},
};
use sd_core::{Deregistered, Error, Generation, Lost, WatchError};

pub(super) const CHECKS: &[Check] = &[
    check!(
        a_registered_service_is_seen_by_others,
        "When register resolves, every client sees the entry, and it is held."
    ),
    check!(
        register_takes_a_strangers_key_over,
        "register wins against whoever holds the key, with or without a lease."
    ),
    check!(
        register_takes_another_clients_key_over,
        "The later of two clients holds the key, and the earlier is told who took it."
    ),
    check!(
        the_same_value_from_somebody_else_is_not_ours,
        "The owner of an entry does not depend on its value."
    ),
    check!(
        register_again_supersedes_the_registration_before,
        "A later register of a key on one client has the new value; the old handle is told."
    ),
    check!(
        a_register_of_an_older_generation_is_superseded,
        "register puts nothing over a newer generation on the same client, whatever the TTLs."
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

async fn a_registered_service_is_seen_by_others(ctx: &Context<'_>) -> CheckResult {
    let (provider, consumer) = (ctx.client().await?, ctx.client().await?);
    let service = ctx.service("foo/a", "10.0.0.1:80")?;

    let registration = ctx.register(&provider, &service).await?;

    let key = ctx.key("foo/a")?;
    let found = ctx.list(&consumer, &ctx.prefix("foo")?).await?;
    ensure!(
        found.len() == 1 && found.get(&key) == Some(&service.value),
        "another client sees {found:?}"
    );
    let named = registration.key();
    ensure!(*named == key, "the handle names the key {named}");
    ensure_held(&registration, "the registration")
}

async fn register_takes_a_strangers_key_over(ctx: &Context<'_>) -> CheckResult {
    let client = ctx.client().await?;
    let service = ctx.service("foo/a", "ours")?;
    let key = ctx.key("foo/a")?;
    ctx.put(&key, "theirs").await?;

    let registration = ctx.register(&client, &service).await?;

    ctx.ensure_value(&key, "ours").await?;
    ctx.wait_quiet_period().await;
    ensure_held(&registration, "the registration")?;
    let removed = ctx.deregister(&client, &service).await?;
    ensure!(
        removed == Deregistered::Removed,
        "then it says that it is {removed:?}"
    );
    ctx.ensure_absent(&key).await
}

async fn register_takes_another_clients_key_over(ctx: &Context<'_>) -> CheckResult {
    let (old, new) = (ctx.client().await?, ctx.client().await?);
    let key = ctx.key("foo/a")?;
    let mut before = ctx.register(&old, &ctx.service("foo/a", "old")?).await?;

    let after = ctx.register(&new, &ctx.service("foo/a", "new")?).await?;

    ctx.ensure_value(&key, "new").await?;
    let lost = ctx.lost(&mut before).await?;
    let taken = Lost::taken("new");
    ensure!(lost == taken, "the old owner reports {lost:?}");
    ensure_held(&after, "the new owner")
}

async fn the_same_value_from_somebody_else_is_not_ours(ctx: &Context<'_>) -> CheckResult {
    let client = ctx.client().await?;
    let service = ctx.service("foo/a", "same")?;
    let mut registration = ctx.register(&client, &service).await?;

    ctx.put(registration.key(), "same").await?;

    let lost = ctx.lost(&mut registration).await?;
    let taken = Lost::taken("same");
    ensure!(lost == taken, "it reports {lost:?}");
    let removed = ctx.deregister(&client, &service).await?;
    ensure!(
        removed == Deregistered::NotOurs,
        "then it is told {removed:?}"
    );
    ctx.ensure_value(registration.key(), "same").await
}

async fn register_again_supersedes_the_registration_before(ctx: &Context<'_>) -> CheckResult {
    let client = ctx.client().await?;
    let service = ctx.service("foo/a", "1")?;
    let mut before = ctx.register(&client, &service).await?;

    let after = ctx
        .register(&client, &service.clone().with_value("2"))
        .await?;

    let lost = ctx.lost(&mut before).await?;
    ensure!(lost == Lost::Superseded, "the old handle reports {lost:?}");
    ctx.wait_quiet_period().await;
    ensure_held(&after, "the new handle")?;
    let found = ctx.list(&client, &ctx.prefix("foo")?).await?;
    ensure!(
        found.len() == 1 && found.values().all(|value| value == "2"),
        "the registry holds {found:?}"
    );
    Ok(())
}

async fn a_register_of_an_older_generation_is_superseded(ctx: &Context<'_>) -> CheckResult {
    let client = ctx.client().await?;
    for (path, ttl) in [("foo/a", ctx.ttl()?), ("foo/b", ctx.long_ttl()?)] {
        let service = ctx.service(path, "old")?;
        let old = service.clone().with_generation(Generation::new());
        let new = service.with_value("new").with_generation(Generation::new());
        let after = ctx.register(&client, &new).await?;

        let again = old.with_ttl(ttl);
        let refused = ctx.within("register", client.register(&again)).await?;

        ensure!(
            matches!(refused, Err(Error::Superseded)),
            "the older one is told {refused:?}"
        );
        ctx.wait_quiet_period().await;
        ctx.ensure_value(after.key(), "new").await?;
        ensure_held(&after, "the newer registration")?;
        // Asked for again, it is the newest.
        let newest = again.with_generation(Generation::new());
        let newest = ctx.register(&client, &newest).await?;
        ctx.ensure_value(newest.key(), "old").await?;
    }
    Ok(())
}

async fn a_superseded_handle_ends_nothing(ctx: &Context<'_>) -> CheckResult {
    let client = ctx.client().await?;
    let service = ctx.service("foo/a", "1")?.with_ttl(ctx.min_ttl());
    let before = ctx.register(&client, &service).await?;
    let after = ctx.register(&client, &service.with_value("2")).await?;

    drop(before);
    ctx.wait_quiet_period().await;

    ctx.ensure_value(after.key(), "2").await?;
    ensure_held(&after, "the new handle")
}

async fn a_service_can_come_back_after_deregister(ctx: &Context<'_>) -> CheckResult {
    let client = ctx.client().await?;
    let service = ctx.service("foo/a", "a")?;
    let first = ctx.register(&client, &service).await?;
    ctx.deregister(&client, &service).await?;

    let second = ctx.register(&client, &service).await?;
    drop(first);
    ctx.wait_quiet_period().await;

    ctx.ensure_value(second.key(), "a").await?;
    ensure_held(&second, "the registration")
}

async fn a_closed_client_says_closed(ctx: &Context<'_>) -> CheckResult {
    let test_client = ctx.test_client().await?;
    let Some(close) = test_client.close else {
        return Err(CheckError::NotRun(
            "the harness's clients have no `close`".into(),
        ));
    };
    let client = test_client.client;
    let prefix = ctx.prefix("foo")?;
    let service = ctx.service("foo/a", "a")?.with_ttl(ctx.min_ttl());
    let snapshot = ctx.snapshot(&client, &prefix).await?;
    let mut registration = ctx.register(&client, &service).await?;

    ctx.within("end of close", close).await?;

    let lost = ctx.lost(&mut registration).await?;
    ensure!(lost == Lost::Closed, "the handle reports {lost:?}");
    let listed = ctx.within("get_entries", client.get_entries(&prefix));
    let listed = listed.await?;
    ensure!(
        matches!(listed, Err(Error::Closed)),
        "get_entries answers {listed:?}"
    );
    let watched = client.watch_prefix(&prefix, &snapshot.revision);
    let watched = ctx.within("watch_prefix", watched).await?;
    ensure!(
        matches!(watched, Err(WatchError::Interrupted(Error::Closed))),
        "watch_prefix answers {watched:?}"
    );
    let registered = ctx.within("register", client.register(&service)).await?;
    ensure!(
        matches!(registered, Err(Error::Closed)),
        "register answers {registered:?}"
    );
    let removed = ctx.within("deregister", client.deregister(&service));
    let removed = removed.await?;
    ensure!(
        matches!(removed, Err(Error::Closed)),
        "deregister answers {removed:?}"
    );
    ctx.until_absent(registration.key()).await
}
