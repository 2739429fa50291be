//! How a registration is lost, and put back.

use crate::{
    check::{Check, check},
    clients::ensure_held,
    context::Context,
    error::{CheckResult, ensure},
};
use sd_core::{Deregistered, Error, Lost, Reclaimed};

pub(super) const CHECKS: &[Check] = &[
    check!(
        a_lost_lease_is_said_and_the_entry_reclaimed,
        "A lease that ended is LeaseExpired; reclaim puts the entry back on a new one."
    ),
    check!(
        a_deleted_key_is_said_and_the_entry_reclaimed,
        "A key that somebody deleted is KeyDeleted; reclaim puts the entry back."
    ),
    check!(
        a_reclaimed_registration_is_held,
        "A reclaimed registration is kept alive, can be lost, reclaimed again, and deregistered."
    ),
    check!(
        a_taken_key_is_not_reclaimed,
        "reclaim of a key that somebody took answers with the new owner's value, and writes nothing."
    ),
    check!(
        a_key_taken_after_the_lease_was_lost_is_not_reclaimed,
        "reclaim respects a successor that came while the key was absent."
    ),
    check!(
        a_superseded_registration_is_not_reclaimed,
        "reclaim of a registration that a later one of the client has superseded is Superseded."
    ),
    check!(
        reclaim_changes_the_value_of_what_is_held,
        "reclaim of a registration that is held puts the new value on the same lease."
    ),
    check!(
        a_reclaimed_handle_may_be_dropped,
        "Dropping a handle after it was reclaimed leaves the entry to the one that follows it."
    ),
];

async fn a_lost_lease_is_said_and_the_entry_reclaimed(ctx: &Context<'_>) -> CheckResult {
    let client = ctx.client().await?;
    let mut before = ctx.register(&client, &ctx.service("foo/a", "1")?).await?;

    ctx.expire(before.lease_id()).await?;
    let lost = ctx.lost(&mut before).await?;
    ensure!(lost == Lost::LeaseExpired, "it reports {lost:?}");
    let after = ctx.reclaim_held(&before, "2").await?;

    ctx.ensure_value(after.key(), "2").await?;
    ensure!(
        after.lease_id() != before.lease_id(),
        "it is said to hang on the lease that ended"
    );
    let newest = client.lease_id();
    ensure!(
        newest.as_ref() == Some(after.lease_id()),
        "the client's lease is {newest:?}, the handle's {:?}",
        after.lease_id()
    );
    Ok(())
}

async fn a_deleted_key_is_said_and_the_entry_reclaimed(ctx: &Context<'_>) -> CheckResult {
    let client = ctx.client().await?;
    let mut before = ctx.register(&client, &ctx.service("foo/a", "1")?).await?;

    ctx.delete(before.key()).await?;
    let lost = ctx.lost(&mut before).await?;
    ensure!(lost == Lost::KeyDeleted, "it reports {lost:?}");
    let after = ctx.reclaim_held(&before, "2").await?;

    ctx.ensure_value(after.key(), "2").await?;
    ctx.wait_quiet_period().await;
    ensure_held(&after, "the reclaimed registration")
}

async fn a_reclaimed_registration_is_held(ctx: &Context<'_>) -> CheckResult {
    let client = ctx.client().await?;
    let service = ctx.service("foo/a", "1")?.with_ttl(ctx.min_ttl());
    let mut first = ctx.register(&client, &service).await?;
    ctx.expire(first.lease_id()).await?;
    ctx.lost(&mut first).await?;
    let mut second = ctx.reclaim_held(&first, "2").await?;
    drop(first);

    tokio::time::sleep(ctx.min_ttl().duration() * 2).await;
    ensure_held(&second, "the reclaimed registration")?;
    ctx.ensure_value(second.key(), "2").await?;

    ctx.delete(second.key()).await?;
    let lost = ctx.lost(&mut second).await?;
    ensure!(
        lost == Lost::KeyDeleted,
        "the second time it reports {lost:?}"
    );
    let third = ctx.reclaim_held(&second, "3").await?;
    drop(second);
    ctx.ensure_value(third.key(), "3").await?;
    let removed = ctx.deregister(&client, &service).await?;
    ensure!(
        removed == Deregistered::Removed,
        "deregister says {removed:?}"
    );
    ctx.ensure_absent(third.key()).await
}

async fn a_taken_key_is_not_reclaimed(ctx: &Context<'_>) -> CheckResult {
    let client = ctx.client().await?;
    let mut registration = ctx
        .register(&client, &ctx.service("foo/a", "ours")?)
        .await?;
    let taken = Lost::taken("theirs");

    ctx.put(registration.key(), "theirs").await?;
    let lost = ctx.lost(&mut registration).await?;
    ensure!(lost == taken, "it reports {lost:?}");
    let reclaimed = ctx.reclaim(&registration, "ours again").await?;

    ensure!(
        matches!(&reclaimed, Reclaimed::Taken { value, .. } if value == "theirs"),
        "reclaim answers {reclaimed:?}"
    );
    ctx.wait_quiet_period().await;
    ctx.ensure_value(registration.key(), "theirs").await
}

async fn a_key_taken_after_the_lease_was_lost_is_not_reclaimed(ctx: &Context<'_>) -> CheckResult {
    let (old, new) = (ctx.client().await?, ctx.client().await?);
    let mut before = ctx.register(&old, &ctx.service("foo/a", "old")?).await?;

    ctx.expire(before.lease_id()).await?;
    let after = ctx.register(&new, &ctx.service("foo/a", "new")?).await?;
    ctx.lost(&mut before).await?;
    let reclaimed = ctx.reclaim(&before, "old again").await?;

    ensure!(
        matches!(&reclaimed, Reclaimed::Taken { value, .. } if value == "new"),
        "reclaim answers {reclaimed:?}"
    );
    ctx.wait_quiet_period().await;
    ctx.ensure_value(after.key(), "new").await?;
    ensure_held(&after, "the successor")
}

async fn a_superseded_registration_is_not_reclaimed(ctx: &Context<'_>) -> CheckResult {
    let client = ctx.client().await?;
    for (path, ttl) in [("foo/a", ctx.ttl()?), ("foo/b", ctx.long_ttl()?)] {
        let service = ctx.service(path, "old")?;
        let before = ctx.register(&client, &service).await?;
        let successor = service.with_value("new").with_ttl(ttl);
        let after = ctx.register(&client, &successor).await?;

        let reclaimed = ctx.within("reclaim", before.reclaim("old")).await?;

        ensure!(
            matches!(reclaimed, Err(Error::Superseded)),
            "reclaim answers {reclaimed:?}"
        );
        ctx.wait_quiet_period().await;
        ctx.ensure_value(after.key(), "new").await?;
        ensure_held(&after, "the successor")?;
    }
    Ok(())
}

async fn reclaim_changes_the_value_of_what_is_held(ctx: &Context<'_>) -> CheckResult {
    let client = ctx.client().await?;
    let before = ctx.register(&client, &ctx.service("foo/a", "1")?).await?;
    let mut follower = ctx.follow(&client, &ctx.prefix("foo")?).await?;

    let after = ctx.reclaim_held(&before, "2").await?;

    ctx.ensure_value(after.key(), "2").await?;
    let leases = (before.lease_id(), after.lease_id());
    ensure!(leases.0 == leases.1, "the lease changed: {leases:?}");
    let key = after.key();
    follower
        .until("a new value", |follower| {
            follower.mirror.get(key).is_some_and(|value| value == "2")
        })
        .await?;
    let reports = follower.reports_of(key);
    ensure!(reports == 1, "one new value is reported {reports} times");
    ensure_held(&after, "the reclaimed registration")
}

async fn a_reclaimed_handle_may_be_dropped(ctx: &Context<'_>) -> CheckResult {
    let client = ctx.client().await?;
    let service = ctx.service("foo/a", "1")?.with_ttl(ctx.min_ttl());
    let before = ctx.register(&client, &service).await?;
    let after = ctx.reclaim_held(&before, "2").await?;

    drop(before);
    ctx.wait_quiet_period().await;

    ctx.ensure_value(after.key(), "2").await?;
    ensure_held(&after, "the reclaimed registration")
}
