//! How an entry is removed, and what must remain.

use crate::{
    check::{Check, check},
    clients::ensure_held,
    context::Context,
    error::{CheckResult, ensure},
};
use sd_core::{Deregistered, Lost, Owner};
use std::time::Duration;
use tokio::time::timeout;

pub(super) const CHECKS: &[Check] = &[
    check!(
        an_old_owner_does_not_remove_its_successor,
        "deregister, or a dropped handle, removes nothing that somebody else has put since."
    ),
    check!(
        deregister_removes_the_entry,
        "When deregister says Removed, the entry is gone, stays so, and its handle says so."
    ),
    check!(
        deregister_of_the_unknown_removes_nothing,
        "A key that this client did not register is NotOurs and stays."
    ),
    check!(
        a_second_deregister_finds_nothing_of_ours,
        "After Removed comes NotOurs."
    ),
    check!(
        deregister_of_a_deleted_key_finds_nothing_of_ours,
        "A key that somebody else has deleted is NotOurs."
    ),
    check!(
        a_dropped_registration_goes,
        "The entry of a dropped handle is removed, or expires, while its client lives on."
    ),
    check!(
        a_dropped_registration_leaves_the_others,
        "Dropping one handle leaves the client's other services alone."
    ),
    check!(
        a_cancelled_register_leaves_no_entry,
        "An entry that a dropped register future wrote is removed again, or expires."
    ),
    check!(
        a_dropped_deregister_goes_on,
        "The entry is removed also when the deregister future is dropped."
    ),
    check!(
        an_owner_removes_only_what_it_registered,
        "deregister of a service whose owner was superseded on the same client is NotOurs."
    ),
    check!(
        a_deregistration_beside_its_successors_register_leaves_it_alone,
        "Neither keeps the successor's register from succeeding nor removes what that puts."
    ),
    check!(
        a_cancelled_register_withdraws_only_its_own,
        "What is left of a dropped register future does not touch a successor's entry."
    ),
    check!(
        a_service_without_an_owner_is_removed_whoever_registered_it,
        "deregister without an owner removes what the client holds under the key."
    ),
];

async fn an_old_owner_does_not_remove_its_successor(ctx: &Context<'_>) -> CheckResult {
    let (old, new) = (ctx.client().await?, ctx.client().await?);
    let key = ctx.key("foo/a")?;
    let service = ctx.service("foo/a", "old")?;
    let before = ctx.register(&old, &service).await?;
    let after = ctx.register(&new, &ctx.service("foo/a", "new")?).await?;

    let removed = ctx.deregister(&old, &service).await?;
    ctx.ensure_value(&key, "new").await?;
    drop((before, old));
    ctx.wait_quiet_period().await;
    ctx.ensure_value(&key, "new").await?;

    ensure!(
        removed == Deregistered::NotOurs,
        "the old owner is told {removed:?}"
    );
    ensure_held(&after, "the successor")
}

async fn deregister_removes_the_entry(ctx: &Context<'_>) -> CheckResult {
    let client = ctx.client().await?;
    let service = ctx.service("foo/a", "a")?;
    let mut registration = ctx.register(&client, &service).await?;

    let removed = ctx.deregister(&client, &service).await?;

    ensure!(removed == Deregistered::Removed, "it says {removed:?}");
    ctx.ensure_absent(registration.key()).await?;
    let lost = ctx.lost(&mut registration).await?;
    ensure!(lost == Lost::Deregistered, "the handle reports {lost:?}");
    ctx.wait_quiet_period().await;
    ctx.ensure_absent(registration.key()).await
}

async fn deregister_of_the_unknown_removes_nothing(ctx: &Context<'_>) -> CheckResult {
    let client = ctx.client().await?;
    let service = ctx.service("foo/a", "a")?;
    let key = ctx.key("foo/a")?;
    ctx.put(&key, "a").await?;

    let removed = ctx.deregister(&client, &service).await?;

    ensure!(removed == Deregistered::NotOurs, "it says {removed:?}");
    ctx.ensure_value(&key, "a").await
}

async fn a_second_deregister_finds_nothing_of_ours(ctx: &Context<'_>) -> CheckResult {
    let client = ctx.client().await?;
    let service = ctx.service("foo/a", "a")?;
    let _registration = ctx.register(&client, &service).await?;

    let first = ctx.deregister(&client, &service).await?;
    let second = ctx.deregister(&client, &service).await?;

    let both = (first, second);
    ensure!(
        both == (Deregistered::Removed, Deregistered::NotOurs),
        "it says {both:?}"
    );
    Ok(())
}

async fn deregister_of_a_deleted_key_finds_nothing_of_ours(ctx: &Context<'_>) -> CheckResult {
    let client = ctx.client().await?;
    let service = ctx.service("foo/a", "a")?;
    let registration = ctx.register(&client, &service).await?;

    ctx.delete(registration.key()).await?;
    let removed = ctx.deregister(&client, &service).await?;

    ensure!(removed == Deregistered::NotOurs, "it says {removed:?}");
    ctx.wait_quiet_period().await;
    ctx.ensure_absent(registration.key()).await
}

async fn a_dropped_registration_goes(ctx: &Context<'_>) -> CheckResult {
    let client = ctx.client().await?;
    let service = ctx.service("foo/a", "a")?.with_ttl(ctx.min_ttl());
    let registration = ctx.register(&client, &service).await?;
    let key = registration.key().clone();

    drop(registration);

    ctx.until_absent(&key).await
}

async fn a_dropped_registration_leaves_the_others(ctx: &Context<'_>) -> CheckResult {
    let client = ctx.client().await?;
    let [going, staying] = [ctx.service("foo/a", "a")?, ctx.service("foo/b", "b")?]
        .map(|service| service.with_ttl(ctx.min_ttl()));
    let going = ctx.register(&client, &going).await?;
    let staying = ctx.register(&client, &staying).await?;

    drop(going);
    tokio::time::sleep(ctx.min_ttl().duration() * 3 / 2).await;

    ctx.ensure_value(staying.key(), "b").await?;
    ensure_held(&staying, "another service")
}

async fn a_cancelled_register_leaves_no_entry(ctx: &Context<'_>) -> CheckResult {
    let client = ctx.client().await?;
    let mut keys = Vec::new();
    for millis in [0, 1, 2, 5] {
        let service = ctx
            .service(&format!("foo/{millis}"), "a")?
            .with_ttl(ctx.min_ttl());
        keys.push(service.key.stem().clone());
        let limit = Duration::from_millis(millis);
        let _ = timeout(limit, client.register(&service)).await;
    }

    ctx.wait_quiet_period().await;
    for key in &keys {
        ctx.until_absent(key).await?;
    }
    ctx.wait_quiet_period().await;
    for key in &keys {
        ctx.ensure_absent(key).await?;
    }
    Ok(())
}

async fn a_dropped_deregister_goes_on(ctx: &Context<'_>) -> CheckResult {
    let client = ctx.client().await?;
    let mut held = Vec::new();
    for millis in [0, 1, 2] {
        let service = ctx
            .service(&format!("foo/{millis}"), "a")?
            .with_ttl(ctx.min_ttl());
        held.push(ctx.register(&client, &service).await?);
        let limit = Duration::from_millis(millis);
        let _ = timeout(limit, client.deregister(&service)).await;
    }

    // The handles are held: nothing but the dropped calls can remove the entries.
    for registration in &held {
        ctx.until_absent(registration.key()).await?;
    }
    Ok(())
}

async fn an_owner_removes_only_what_it_registered(ctx: &Context<'_>) -> CheckResult {
    let client = ctx.client().await?;
    let old = ctx.service("foo/a", "old")?.owned_by(Owner::new());
    let new = ctx.service("foo/a", "new")?.owned_by(Owner::new());
    let before = ctx.register(&client, &old).await?;
    let after = ctx.register(&client, &new).await?;

    let removed = ctx.deregister(&client, &old).await?;
    drop(before);
    ctx.wait_quiet_period().await;

    ensure!(
        removed == Deregistered::NotOurs,
        "the old owner is told {removed:?}"
    );
    ctx.ensure_value(after.key(), "new").await?;
    ensure_held(&after, "the successor")?;
    let removed = ctx.deregister(&client, &new).await?;
    ensure!(
        removed == Deregistered::Removed,
        "the successor is told {removed:?}"
    );
    ctx.ensure_absent(after.key()).await
}

async fn a_deregistration_beside_its_successors_register_leaves_it_alone(
    ctx: &Context<'_>,
) -> CheckResult {
    let client = ctx.client().await?;
    for round in 0..6 {
        let path = format!("foo/{round}");
        let old = ctx.service(&path, "old")?.owned_by(Owner::new());
        let new = ctx.service(&path, "new")?.owned_by(Owner::new());
        let _before = ctx.register(&client, &old).await?;

        // They take turns in beginning first.
        let (registering, removing) = (ctx.register(&client, &new), ctx.deregister(&client, &old));
        let (after, removed) = match round % 2 {
            0 => tokio::join!(registering, removing),
            _ => {
                let (removed, after) = tokio::join!(removing, registering);
                (after, removed)
            }
        };
        let (after, removed) = (after?, removed?);
        ctx.wait_quiet_period().await;

        ctx.ensure_value(after.key(), "new").await?;
        let lost = after.loss();
        ensure!(
            lost.is_none(),
            "the successor reports {lost:?}, the old owner is told {removed:?}"
        );
    }
    Ok(())
}

async fn a_cancelled_register_withdraws_only_its_own(ctx: &Context<'_>) -> CheckResult {
    let client = ctx.client().await?;
    let mut held = Vec::new();
    for millis in [0, 1, 2, 5] {
        let path = format!("foo/{millis}");
        let old = ctx.service(&path, "old")?.owned_by(Owner::new());
        let new = ctx.service(&path, "new")?.owned_by(Owner::new());
        let limit = Duration::from_millis(millis);
        let _ = timeout(limit, client.register(&old)).await;
        let after = ctx.register(&client, &new).await?;
        let removed = ctx.deregister(&client, &old).await?;
        ensure!(
            removed == Deregistered::NotOurs,
            "who gave up is told {removed:?}"
        );
        held.push(after);
    }

    ctx.wait_quiet_period().await;

    for after in &held {
        ctx.ensure_value(after.key(), "new").await?;
        ensure_held(after, "the successor")?;
    }
    Ok(())
}

async fn a_service_without_an_owner_is_removed_whoever_registered_it(
    ctx: &Context<'_>,
) -> CheckResult {
    let client = ctx.client().await?;
    let service = ctx.service("foo/a", "a")?;
    let owned = service.clone().owned_by(Owner::new());
    let mut registration = ctx.register(&client, &owned).await?;

    let removed = ctx.deregister(&client, &service).await?;

    ensure!(removed == Deregistered::Removed, "it says {removed:?}");
    ctx.ensure_absent(registration.key()).await?;
    let lost = ctx.lost(&mut registration).await?;
    ensure!(lost == Lost::Deregistered, "the handle reports {lost:?}");
    Ok(())
}
