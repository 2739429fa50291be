//! How leases are shared, kept alive and given back.

use super::{
    Check,
    bench::Bench,
    check,
    stop::{Outcome, Stop, ensure},
};
use futures::future;
use sd_core::{Key, Lost, Registration, Service, Ttl};
use std::{collections::HashSet, time::Duration};
use tokio::time::{Instant, sleep, timeout};

pub(super) const CHECKS: &[Check] = &[
    check!(
        services_of_one_client_share_a_lease,
        "One lease per client and TTL serves any number of services, registered together or not."
    ),
    check!(
        another_client_has_another_lease,
        "Clients do not share leases, so that each can let go of its own."
    ),
    check!(
        another_ttl_is_another_lease,
        "Services of different TTLs hang on different leases; lease_id is the newest."
    ),
    check!(
        lease_id_is_there_while_something_is_registered,
        "lease_id is None before the first registration and after the last."
    ),
    check!(
        a_lease_outlives_its_ttl_while_it_is_used,
        "The client keeps the lease alive for as long as it has a service on it."
    ),
    check!(
        a_lease_stays_while_one_service_remains,
        "Deregistering one service leaves the lease to the others, and kept alive."
    ),
    check!(
        a_lease_goes_with_its_last_service,
        "The lease is revoked, not left to expire, when its last service is deregistered."
    ),
    check!(
        a_lost_lease_is_lost_for_all_its_services,
        "Every service on a lease hears of its end, and all are reclaimed on one new lease."
    ),
    check!(
        a_lease_suffixed_key_ends_in_its_lease,
        "The key of such a service is its stem followed by the id of its lease."
    ),
    check!(
        a_lease_suffixed_key_follows_its_lease,
        "Reclaimed on another lease, such a service stands under another key, and only there."
    ),
    check!(
        a_dropped_client_leaves_no_lease,
        "What hangs on a dropped client's leases is gone after the TTL, and so are they."
    ),
    check!(
        a_dropped_registration_leaves_no_lease,
        "The lease of the last dropped handle goes, also while its client lives on."
    ),
    check!(
        a_crashed_client_is_gone_after_its_ttl,
        "The entries of a client that fell silent stay for what its TTL says, and no longer."
    ),
    check!(
        alone a_cancelled_register_leaves_no_lease,
        "A lease that a dropped register future asked for goes too."
    ),
];

async fn services_of_one_client_share_a_lease(bench: &Bench<'_>) -> Outcome {
    let client = bench.client().await?;
    let services = (0..6)
        .map(|n| bench.service(&format!("foo/{n}"), "x"))
        .collect::<Outcome<Vec<Service>>>()?;

    let (together, later) = services.split_at(4);
    let together = together.iter().map(|s| bench.register(&client, s));
    let mut held = future::try_join_all(together).await?;
    for service in later {
        held.push(bench.register(&client, service).await?);
    }

    let leases: HashSet<_> = held.iter().map(Registration::lease_id).collect();
    ensure!(leases.len() == 1, "six services hang on {leases:?}");
    let newest = client.lease_id();
    ensure!(
        newest.as_ref() == Some(held[0].lease_id()),
        "lease_id is {newest:?}, that of the services {leases:?}"
    );
    Ok(())
}

async fn another_client_has_another_lease(bench: &Bench<'_>) -> Outcome {
    let (one, other) = (bench.client().await?, bench.client().await?);
    let first = bench.register(&one, &bench.service("foo/a", "a")?).await?;
    let second = bench
        .register(&other, &bench.service("foo/b", "b")?)
        .await?;
    ensure!(
        first.lease_id() != second.lease_id(),
        "two clients share {:?}",
        first.lease_id()
    );
    Ok(())
}

async fn another_ttl_is_another_lease(bench: &Bench<'_>) -> Outcome {
    let client = bench.client().await?;
    let longer = Ttl::from_secs(u64::from(bench.ttl()?.as_secs()) + 5)?;
    let first = bench
        .register(&client, &bench.service("foo/a", "a")?)
        .await?;
    let second = bench
        .register(&client, &bench.service("foo/b", "b")?.with_ttl(longer))
        .await?;

    ensure!(
        first.lease_id() != second.lease_id(),
        "two TTLs share {:?}",
        first.lease_id()
    );
    let newest = client.lease_id();
    ensure!(
        newest.as_ref() == Some(second.lease_id()),
        "lease_id is {newest:?}, the newest {:?}",
        second.lease_id()
    );
    Ok(())
}

async fn lease_id_is_there_while_something_is_registered(bench: &Bench<'_>) -> Outcome {
    let client = bench.client().await?;
    let service = bench.service("foo/a", "a")?;

    let before = client.lease_id();
    let registration = bench.register(&client, &service).await?;
    let during = client.lease_id();
    bench.deregister(&client, &service).await?;
    let after = client.lease_id();

    ensure!(before.is_none(), "before registration it is {before:?}");
    ensure!(
        during.as_ref() == Some(registration.lease_id()),
        "while registered it is {during:?}"
    );
    ensure!(after.is_none(), "after deregistration it is {after:?}");
    Ok(())
}

async fn a_lease_outlives_its_ttl_while_it_is_used(bench: &Bench<'_>) -> Outcome {
    let client = bench.client().await?;
    let service = bench.service("foo/a", "a")?.with_ttl(bench.short());
    let registration = bench.register(&client, &service).await?;

    sleep(bench.short().duration() * 5 / 2).await;

    bench.ensure_stands(registration.key(), "a").await?;
    let lost = registration.loss();
    ensure!(lost.is_none(), "it is said to be lost: {lost:?}");
    let lease = client.lease_id();
    ensure!(
        lease.as_ref() == Some(registration.lease_id()),
        "the lease is another: {lease:?}"
    );
    Ok(())
}

async fn a_lease_stays_while_one_service_remains(bench: &Bench<'_>) -> Outcome {
    let client = bench.client().await?;
    let [going, staying] = [bench.service("foo/a", "a")?, bench.service("foo/b", "b")?]
        .map(|service| service.with_ttl(bench.short()));
    let _going = bench.register(&client, &going).await?;
    let registration = bench.register(&client, &staying).await?;

    bench.deregister(&client, &going).await?;
    sleep(bench.short().duration() * 2).await;

    bench.ensure_stands(registration.key(), "b").await?;
    let lost = registration.loss();
    ensure!(lost.is_none(), "the other service is lost: {lost:?}");
    Ok(())
}

async fn a_lease_goes_with_its_last_service(bench: &Bench<'_>) -> Outcome {
    let client = bench.client().await?;
    let long = bench.long()?;
    let [first, last] = [bench.service("foo/a", "a")?, bench.service("foo/b", "b")?]
        .map(|service| service.with_ttl(long));
    let registration = bench.register(&client, &first).await?;
    let lease = registration.lease_id().clone();
    let _last = bench.register(&client, &last).await?;
    let leases = bench.leases().await?;
    ensure!(leases.contains(&lease), "{lease} is not among {leases:?}");

    bench.deregister(&client, &first).await?;
    bench.deregister(&client, &last).await?;

    bench.until_no_lease(&lease, bench.patience()).await
}

async fn a_lost_lease_is_lost_for_all_its_services(bench: &Bench<'_>) -> Outcome {
    let client = bench.client().await?;
    let mut held = Vec::new();
    for n in 0..3 {
        let service = bench.service(&format!("foo/{n}"), "x")?;
        held.push(bench.register(&client, &service).await?);
    }

    bench.expire(held[0].lease_id()).await?;
    for registration in &mut held {
        let lost = bench.lost(registration).await?;
        ensure!(
            lost == Lost::LeaseExpired,
            "{} hears {lost:?}",
            registration.key()
        );
    }
    let reclaims = held.iter().map(|lost| bench.reclaim_held(lost, "y"));
    let again = future::try_join_all(reclaims).await?;

    let leases: HashSet<_> = again.iter().map(Registration::lease_id).collect();
    ensure!(leases.len() == 1, "three services came back on {leases:?}");
    for registration in &again {
        bench.ensure_stands(registration.key(), "y").await?;
    }
    Ok(())
}

async fn a_lease_suffixed_key_ends_in_its_lease(bench: &Bench<'_>) -> Outcome {
    let client = bench.client().await?;
    let stem = bench.key("Hello")?;
    let service = Service::new(Key::lease_suffixed(&stem)?, "a")?.with_ttl(bench.ttl()?);

    let registration = bench.register(&client, &service).await?;

    let expected = Key::new(format!("{stem}{}", registration.lease_id()))?;
    let (found, named) = (
        bench.list(&client, &bench.raw("Hello")?).await?,
        registration.key(),
    );
    ensure!(
        found.len() == 1 && found.contains_key(&expected),
        "{found:?} stands instead of {expected}"
    );
    ensure!(*named == expected, "the handle names the key {named}");
    bench.deregister(&client, &service).await?;
    bench.ensure_absent(&expected).await
}

async fn a_lease_suffixed_key_follows_its_lease(bench: &Bench<'_>) -> Outcome {
    let client = bench.client().await?;
    let stem = bench.key("Hello")?;
    let service = Service::new(Key::lease_suffixed(&stem)?, "a")?.with_ttl(bench.ttl()?);
    let mut before = bench.register(&client, &service).await?;

    bench.expire(before.lease_id()).await?;
    bench.lost(&mut before).await?;
    let after = bench.reclaim_held(&before, "b").await?;

    let expected = Key::new(format!("{stem}{}", after.lease_id()))?;
    ensure!(
        *after.key() == expected && after.key() != before.key(),
        "on {} the handle names {}",
        after.lease_id(),
        after.key()
    );
    let found = bench.list(&client, &bench.raw("Hello")?).await?;
    ensure!(
        found.len() == 1 && found.contains_key(&expected),
        "{found:?} stands instead of {expected}"
    );
    bench.deregister(&client, &service).await?;
    bench.ensure_absent(&expected).await
}

async fn a_dropped_client_leaves_no_lease(bench: &Bench<'_>) -> Outcome {
    let client = bench.client().await?;
    let service = bench.service("foo/a", "a")?.with_ttl(bench.short());
    let registration = bench.register(&client, &service).await?;
    let (key, lease) = (registration.key().clone(), registration.lease_id().clone());
    let leases = bench.leases().await?;
    ensure!(leases.contains(&lease), "{lease} is not among {leases:?}");

    drop((client, registration));

    bench.until_absent(&key).await?;
    let limit = bench.short().duration() + bench.patience();
    bench.until_no_lease(&lease, limit).await
}

async fn a_dropped_registration_leaves_no_lease(bench: &Bench<'_>) -> Outcome {
    let client = bench.client().await?;
    let service = bench.service("foo/a", "a")?.with_ttl(bench.short());
    let registration = bench.register(&client, &service).await?;
    let lease = registration.lease_id().clone();

    drop(registration);

    let limit = bench.short().duration() + bench.patience();
    bench.until_no_lease(&lease, limit).await
}

async fn a_crashed_client_is_gone_after_its_ttl(bench: &Bench<'_>) -> Outcome {
    let subject = bench.subject().await?;
    let Some(crash) = subject.crash else {
        return Err(Stop::NotRun("the harness's clients do not `crash`".into()));
    };
    let ttl = bench.short();
    let service = bench.service("foo/a", "a")?.with_ttl(ttl);
    let registration = bench.register(&subject.client, &service).await?;

    let silent = Instant::now();
    bench.within("end of crash", crash).await?;
    // At worst a third of the TTL has gone by since the last keep-alive.
    sleep(ttl.duration().mul_f32(0.5).saturating_sub(silent.elapsed())).await;
    bench.ensure_stands(registration.key(), "a").await?;

    bench.until_absent(registration.key()).await
}

async fn a_cancelled_register_leaves_no_lease(bench: &Bench<'_>) -> Outcome {
    let client = bench.client().await?;
    // What earlier clients leave behind may still be on its way out.
    bench.while_quiet().await;
    let before = bench.leases().await?;

    for patience in [0, 1, 2, 5] {
        let service = bench
            .service(&format!("foo/{patience}"), "a")?
            .with_ttl(bench.short());
        let patience = Duration::from_millis(patience);
        let _ = timeout(patience, client.register(&service)).await;
    }
    bench.while_quiet().await;

    let waiting = bench.waiting(bench.short().duration() + bench.patience());
    loop {
        let mut leases = bench.leases().await?;
        leases.retain(|lease| !before.contains(lease));
        if leases.is_empty() {
            return Ok(());
        }
        waiting.on(format!("{leases:?} still live")).await?;
    }
}
