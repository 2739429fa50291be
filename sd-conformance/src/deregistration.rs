//! How an entry goes, and what stays.

use super::{
    Check,
    bench::Bench,
    check,
    stop::{Outcome, ensure},
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
        "What this client did not register is NotOurs and stays."
    ),
    check!(
        a_second_deregister_finds_nothing_of_ours,
        "After Removed comes NotOurs."
    ),
    check!(
        deregister_of_a_deleted_key_finds_nothing_of_ours,
        "What somebody deleted before is NotOurs."
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
        "What a dropped register future sent is removed again, or expires."
    ),
    check!(
        a_dropped_deregister_goes_on,
        "The entry goes also when the deregister future is dropped."
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

async fn an_old_owner_does_not_remove_its_successor(bench: &Bench<'_>) -> Outcome {
    let (old, new) = (bench.client().await?, bench.client().await?);
    let key = bench.key("foo/a")?;
    let service = bench.service("foo/a", "old")?;
    let before = bench.register(&old, &service).await?;
    let after = bench
        .register(&new, &bench.service("foo/a", "new")?)
        .await?;

    let removed = bench.deregister(&old, &service).await?;
    bench.ensure_stands(&key, "new").await?;
    drop((before, old));
    bench.while_quiet().await;
    bench.ensure_stands(&key, "new").await?;

    ensure!(
        removed == Deregistered::NotOurs,
        "the old owner is told {removed:?}"
    );
    let lost = after.loss();
    ensure!(lost.is_none(), "the successor hears {lost:?}");
    Ok(())
}

async fn deregister_removes_the_entry(bench: &Bench<'_>) -> Outcome {
    let client = bench.client().await?;
    let service = bench.service("foo/a", "a")?;
    let mut registration = bench.register(&client, &service).await?;

    let removed = bench.deregister(&client, &service).await?;

    ensure!(removed == Deregistered::Removed, "it says {removed:?}");
    bench.ensure_absent(registration.key()).await?;
    let lost = bench.lost(&mut registration).await?;
    ensure!(lost == Lost::Deregistered, "the handle hears {lost:?}");
    bench.while_quiet().await;
    bench.ensure_absent(registration.key()).await
}

async fn deregister_of_the_unknown_removes_nothing(bench: &Bench<'_>) -> Outcome {
    let client = bench.client().await?;
    let service = bench.service("foo/a", "a")?;
    let key = bench.key("foo/a")?;
    bench.put(&key, "a").await?;

    let removed = bench.deregister(&client, &service).await?;

    ensure!(removed == Deregistered::NotOurs, "it says {removed:?}");
    bench.ensure_stands(&key, "a").await
}

async fn a_second_deregister_finds_nothing_of_ours(bench: &Bench<'_>) -> Outcome {
    let client = bench.client().await?;
    let service = bench.service("foo/a", "a")?;
    let _registration = bench.register(&client, &service).await?;

    let first = bench.deregister(&client, &service).await?;
    let second = bench.deregister(&client, &service).await?;

    let both = (first, second);
    ensure!(
        both == (Deregistered::Removed, Deregistered::NotOurs),
        "it says {both:?}"
    );
    Ok(())
}

async fn deregister_of_a_deleted_key_finds_nothing_of_ours(bench: &Bench<'_>) -> Outcome {
    let client = bench.client().await?;
    let service = bench.service("foo/a", "a")?;
    let registration = bench.register(&client, &service).await?;

    bench.delete(registration.key()).await?;
    let removed = bench.deregister(&client, &service).await?;

    ensure!(removed == Deregistered::NotOurs, "it says {removed:?}");
    bench.while_quiet().await;
    bench.ensure_absent(registration.key()).await
}

async fn a_dropped_registration_goes(bench: &Bench<'_>) -> Outcome {
    let client = bench.client().await?;
    let service = bench.service("foo/a", "a")?.with_ttl(bench.short());
    let registration = bench.register(&client, &service).await?;
    let key = registration.key().clone();

    drop(registration);

    bench.until_absent(&key).await
}

async fn a_dropped_registration_leaves_the_others(bench: &Bench<'_>) -> Outcome {
    let client = bench.client().await?;
    let [going, staying] = [bench.service("foo/a", "a")?, bench.service("foo/b", "b")?]
        .map(|service| service.with_ttl(bench.short()));
    let going = bench.register(&client, &going).await?;
    let staying = bench.register(&client, &staying).await?;

    drop(going);
    tokio::time::sleep(bench.short().duration() * 3 / 2).await;

    bench.ensure_stands(staying.key(), "b").await?;
    let lost = staying.loss();
    ensure!(lost.is_none(), "another service is lost: {lost:?}");
    Ok(())
}

async fn a_cancelled_register_leaves_no_entry(bench: &Bench<'_>) -> Outcome {
    let client = bench.client().await?;
    let mut keys = Vec::new();
    for patience in [0, 1, 2, 5] {
        let service = bench
            .service(&format!("foo/{patience}"), "a")?
            .with_ttl(bench.short());
        keys.push(service.key.stem().clone());
        let patience = Duration::from_millis(patience);
        let _ = timeout(patience, client.register(&service)).await;
    }

    bench.while_quiet().await;
    for key in &keys {
        bench.until_absent(key).await?;
    }
    bench.while_quiet().await;
    for key in &keys {
        bench.ensure_absent(key).await?;
    }
    Ok(())
}

async fn a_dropped_deregister_goes_on(bench: &Bench<'_>) -> Outcome {
    let client = bench.client().await?;
    let mut held = Vec::new();
    for patience in [0, 1, 2] {
        let service = bench
            .service(&format!("foo/{patience}"), "a")?
            .with_ttl(bench.short());
        held.push(bench.register(&client, &service).await?);
        let patience = Duration::from_millis(patience);
        let _ = timeout(patience, client.deregister(&service)).await;
    }

    // The handles are held: nothing but the dropped calls can remove the entries.
    for registration in &held {
        bench.until_absent(registration.key()).await?;
    }
    Ok(())
}

async fn an_owner_removes_only_what_it_registered(bench: &Bench<'_>) -> Outcome {
    let client = bench.client().await?;
    let old = bench.service("foo/a", "old")?.owned_by(Owner::new());
    let new = bench.service("foo/a", "new")?.owned_by(Owner::new());
    let before = bench.register(&client, &old).await?;
    let after = bench.register(&client, &new).await?;

    let removed = bench.deregister(&client, &old).await?;
    drop(before);
    bench.while_quiet().await;

    ensure!(
        removed == Deregistered::NotOurs,
        "the old owner is told {removed:?}"
    );
    bench.ensure_stands(after.key(), "new").await?;
    let lost = after.loss();
    ensure!(lost.is_none(), "the successor hears {lost:?}");
    let removed = bench.deregister(&client, &new).await?;
    ensure!(
        removed == Deregistered::Removed,
        "the successor is told {removed:?}"
    );
    bench.ensure_absent(after.key()).await
}

async fn a_deregistration_beside_its_successors_register_leaves_it_alone(
    bench: &Bench<'_>,
) -> Outcome {
    let client = bench.client().await?;
    for round in 0..6 {
        let path = format!("foo/{round}");
        let old = bench.service(&path, "old")?.owned_by(Owner::new());
        let new = bench.service(&path, "new")?.owned_by(Owner::new());
        let _before = bench.register(&client, &old).await?;

        // One begins first, and then the other.
        let (registering, removing) = (
            bench.register(&client, &new),
            bench.deregister(&client, &old),
        );
        let (after, removed) = match round % 2 {
            0 => tokio::join!(registering, removing),
            _ => {
                let (removed, after) = tokio::join!(removing, registering);
                (after, removed)
            }
        };
        let (after, removed) = (after?, removed?);
        bench.while_quiet().await;

        bench.ensure_stands(after.key(), "new").await?;
        let lost = after.loss();
        ensure!(
            lost.is_none(),
            "the successor hears {lost:?}, the old owner is told {removed:?}"
        );
    }
    Ok(())
}

async fn a_cancelled_register_withdraws_only_its_own(bench: &Bench<'_>) -> Outcome {
    let client = bench.client().await?;
    let mut held = Vec::new();
    for patience in [0, 1, 2, 5] {
        let path = format!("foo/{patience}");
        let old = bench.service(&path, "old")?.owned_by(Owner::new());
        let new = bench.service(&path, "new")?.owned_by(Owner::new());
        let patience = Duration::from_millis(patience);
        let _ = timeout(patience, client.register(&old)).await;
        let after = bench.register(&client, &new).await?;
        let removed = bench.deregister(&client, &old).await?;
        ensure!(
            removed == Deregistered::NotOurs,
            "who gave up is told {removed:?}"
        );
        held.push(after);
    }

    bench.while_quiet().await;

    for after in &held {
        bench.ensure_stands(after.key(), "new").await?;
        let lost = after.loss();
        ensure!(lost.is_none(), "the successor hears {lost:?}");
    }
    Ok(())
}

async fn a_service_without_an_owner_is_removed_whoever_registered_it(bench: &Bench<'_>) -> Outcome {
    let client = bench.client().await?;
    let service = bench.service("foo/a", "a")?;
    let owned = service.clone().owned_by(Owner::new());
    let mut registration = bench.register(&client, &owned).await?;

    let removed = bench.deregister(&client, &service).await?;

    ensure!(removed == Deregistered::Removed, "it says {removed:?}");
    bench.ensure_absent(registration.key()).await?;
    let lost = bench.lost(&mut registration).await?;
    ensure!(lost == Lost::Deregistered, "the handle hears {lost:?}");
    Ok(())
}
