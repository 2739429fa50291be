//! How an entry comes, to whom it belongs, and how it goes.

use super::{
    Check,
    bench::{Bench, Outcome, Stop, ensure},
    check,
};
use crate::{Deregistered, Error, Lost, WatchError};
use std::time::Duration;
use tokio::time::timeout;

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
        an_old_owner_does_not_remove_its_successor,
        "deregister, or a dropped handle, removes nothing that somebody else has put since."
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
        a_service_can_come_back_after_deregister,
        "register after deregister on the same client puts the entry back."
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
    let lost = registration.is_lost();
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
    let lost = registration.is_lost();
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
    let taken = Lost::Taken {
        value: "new".into(),
    };
    ensure!(lost == taken, "the old owner hears {lost:?}");
    let lost = after.is_lost();
    ensure!(lost.is_none(), "the new owner hears {lost:?}");
    Ok(())
}

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
    let lost = after.is_lost();
    ensure!(lost.is_none(), "the successor hears {lost:?}");
    Ok(())
}

async fn the_same_value_from_somebody_else_is_not_ours(bench: &Bench<'_>) -> Outcome {
    let client = bench.client().await?;
    let service = bench.service("foo/a", "same")?;
    let mut registration = bench.register(&client, &service).await?;

    bench.put(registration.key(), "same").await?;

    let lost = bench.lost(&mut registration).await?;
    let taken = Lost::Taken {
        value: "same".into(),
    };
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
    let lost = after.is_lost();
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
    let lost = after.is_lost();
    ensure!(lost.is_none(), "the new handle hears {lost:?}");
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

async fn a_service_can_come_back_after_deregister(bench: &Bench<'_>) -> Outcome {
    let client = bench.client().await?;
    let service = bench.service("foo/a", "a")?;
    let first = bench.register(&client, &service).await?;
    bench.deregister(&client, &service).await?;

    let second = bench.register(&client, &service).await?;
    drop(first);
    bench.while_quiet().await;

    bench.ensure_stands(second.key(), "a").await?;
    let lost = second.is_lost();
    ensure!(lost.is_none(), "it is said to be lost: {lost:?}");
    Ok(())
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
    let lost = staying.is_lost();
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
