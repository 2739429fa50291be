//! How a registration is lost, and put back.

use super::{
    Check,
    bench::Bench,
    check,
    stop::{Outcome, ensure},
};
use sd_core::{Deregistered, Lost, Reclaimed};

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
        "What was reclaimed is kept alive, can be lost, reclaimed again, and deregistered."
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
        reclaim_changes_the_value_of_what_is_held,
        "reclaim of a registration that is held puts the new value on the same lease."
    ),
    check!(
        a_reclaimed_handle_may_be_dropped,
        "Dropping a handle after it was reclaimed leaves the entry to the one that follows it."
    ),
];

async fn a_lost_lease_is_said_and_the_entry_reclaimed(bench: &Bench<'_>) -> Outcome {
    let client = bench.client().await?;
    let mut before = bench
        .register(&client, &bench.service("foo/a", "1")?)
        .await?;

    bench.expire(before.lease_id()).await?;
    let lost = bench.lost(&mut before).await?;
    ensure!(lost == Lost::LeaseExpired, "it hears {lost:?}");
    let after = bench.reclaim_held(&before, "2").await?;

    bench.ensure_stands(after.key(), "2").await?;
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

async fn a_deleted_key_is_said_and_the_entry_reclaimed(bench: &Bench<'_>) -> Outcome {
    let client = bench.client().await?;
    let mut before = bench
        .register(&client, &bench.service("foo/a", "1")?)
        .await?;

    bench.delete(before.key()).await?;
    let lost = bench.lost(&mut before).await?;
    ensure!(lost == Lost::KeyDeleted, "it hears {lost:?}");
    let after = bench.reclaim_held(&before, "2").await?;

    bench.ensure_stands(after.key(), "2").await?;
    bench.while_quiet().await;
    let lost = after.loss();
    ensure!(lost.is_none(), "it is said to be lost again: {lost:?}");
    Ok(())
}

async fn a_reclaimed_registration_is_held(bench: &Bench<'_>) -> Outcome {
    let client = bench.client().await?;
    let service = bench.service("foo/a", "1")?.with_ttl(bench.short());
    let mut first = bench.register(&client, &service).await?;
    bench.expire(first.lease_id()).await?;
    bench.lost(&mut first).await?;
    let mut second = bench.reclaim_held(&first, "2").await?;
    drop(first);

    tokio::time::sleep(bench.short().duration() * 2).await;
    let lost = second.loss();
    ensure!(lost.is_none(), "it is not kept alive: {lost:?}");
    bench.ensure_stands(second.key(), "2").await?;

    bench.delete(second.key()).await?;
    let lost = bench.lost(&mut second).await?;
    ensure!(
        lost == Lost::KeyDeleted,
        "the second time it hears {lost:?}"
    );
    let third = bench.reclaim_held(&second, "3").await?;
    drop(second);
    bench.ensure_stands(third.key(), "3").await?;
    let removed = bench.deregister(&client, &service).await?;
    ensure!(
        removed == Deregistered::Removed,
        "deregister says {removed:?}"
    );
    bench.ensure_absent(third.key()).await
}

async fn a_taken_key_is_not_reclaimed(bench: &Bench<'_>) -> Outcome {
    let client = bench.client().await?;
    let mut registration = bench
        .register(&client, &bench.service("foo/a", "ours")?)
        .await?;
    let taken = Lost::taken("theirs");

    bench.put(registration.key(), "theirs").await?;
    let lost = bench.lost(&mut registration).await?;
    ensure!(lost == taken, "it hears {lost:?}");
    let reclaimed = bench.reclaim(&registration, "ours again").await?;

    ensure!(
        matches!(&reclaimed, Reclaimed::Taken { value, .. } if value == "theirs"),
        "reclaim answers {reclaimed:?}"
    );
    bench.while_quiet().await;
    bench.ensure_stands(registration.key(), "theirs").await
}

async fn a_key_taken_after_the_lease_was_lost_is_not_reclaimed(bench: &Bench<'_>) -> Outcome {
    let (old, new) = (bench.client().await?, bench.client().await?);
    let mut before = bench
        .register(&old, &bench.service("foo/a", "old")?)
        .await?;

    bench.expire(before.lease_id()).await?;
    let after = bench
        .register(&new, &bench.service("foo/a", "new")?)
        .await?;
    bench.lost(&mut before).await?;
    let reclaimed = bench.reclaim(&before, "old again").await?;

    ensure!(
        matches!(&reclaimed, Reclaimed::Taken { value, .. } if value == "new"),
        "reclaim answers {reclaimed:?}"
    );
    bench.while_quiet().await;
    bench.ensure_stands(after.key(), "new").await?;
    let lost = after.loss();
    ensure!(lost.is_none(), "the successor hears {lost:?}");
    Ok(())
}

async fn reclaim_changes_the_value_of_what_is_held(bench: &Bench<'_>) -> Outcome {
    let client = bench.client().await?;
    let before = bench
        .register(&client, &bench.service("foo/a", "1")?)
        .await?;
    let mut follower = bench.follow(&client, &bench.prefix("foo")?).await?;

    let after = bench.reclaim_held(&before, "2").await?;

    bench.ensure_stands(after.key(), "2").await?;
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
    let lost = after.loss();
    ensure!(lost.is_none(), "it is said to be lost: {lost:?}");
    Ok(())
}

async fn a_reclaimed_handle_may_be_dropped(bench: &Bench<'_>) -> Outcome {
    let client = bench.client().await?;
    let service = bench.service("foo/a", "1")?.with_ttl(bench.short());
    let before = bench.register(&client, &service).await?;
    let after = bench.reclaim_held(&before, "2").await?;

    drop(before);
    bench.while_quiet().await;

    bench.ensure_stands(after.key(), "2").await?;
    let lost = after.loss();
    ensure!(lost.is_none(), "it is said to be lost: {lost:?}");
    Ok(())
}
