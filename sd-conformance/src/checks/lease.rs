//! How leases are shared, kept alive and given back.

use crate::{
    check::{Check, check},
    clients::ensure_held,
    context::Context,
    deadline::Deadline,
    error::{CheckError, CheckResult, ensure},
};
use futures::future;
use sd_core::{Change, Entry, Key, Lost, Registration, Service, Ttl};
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
        "Services of different TTLs have different leases; lease_id is the newest."
    ),
    check!(
        lease_id_is_there_while_something_is_registered,
        "lease_id is None before the first registration and after the last."
    ),
    check!(
        an_entry_names_its_lease_rightly_or_not_at_all,
        "In lists and watches, an entry names the lease of its registration, or none does."
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
        "When a lease ends, all its services are told, and are reclaimed on one new lease."
    ),
    check!(
        a_lease_suffixed_key_ends_in_its_lease,
        "The key of such a service is its stem followed by the id of its lease."
    ),
    check!(
        a_lease_suffixed_key_follows_its_lease,
        "Reclaimed on another lease, such a service moves to another key."
    ),
    check!(
        a_dropped_client_leaves_no_lease,
        "The leases of a dropped client are gone after the TTL, and their entries with them."
    ),
    check!(
        a_dropped_registration_leaves_no_lease,
        "When the last handle on a lease is dropped, the lease goes, also while its client lives on."
    ),
    check!(
        a_crashed_client_is_gone_after_its_ttl,
        "The entries of a client that crashed stay until its TTL is over, and no longer."
    ),
    check!(
        exclusive a_cancelled_register_leaves_no_lease,
        "A lease that a dropped register future asked for goes too."
    ),
];

async fn services_of_one_client_share_a_lease(ctx: &Context<'_>) -> CheckResult {
    let client = ctx.client().await?;
    let services = (0..6)
        .map(|n| ctx.service(&format!("foo/{n}"), "x"))
        .collect::<CheckResult<Vec<Service>>>()?;

    let (together, later) = services.split_at(4);
    let together = together.iter().map(|s| ctx.register(&client, s));
    let mut held = future::try_join_all(together).await?;
    for service in later {
        held.push(ctx.register(&client, service).await?);
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

async fn another_client_has_another_lease(ctx: &Context<'_>) -> CheckResult {
    let (one, other) = (ctx.client().await?, ctx.client().await?);
    let first = ctx.register(&one, &ctx.service("foo/a", "a")?).await?;
    let second = ctx.register(&other, &ctx.service("foo/b", "b")?).await?;
    ensure!(
        first.lease_id() != second.lease_id(),
        "two clients share {:?}",
        first.lease_id()
    );
    Ok(())
}

async fn another_ttl_is_another_lease(ctx: &Context<'_>) -> CheckResult {
    let client = ctx.client().await?;
    let longer = Ttl::from_secs(u64::from(ctx.ttl()?.as_secs()) + 5)?;
    let first = ctx.register(&client, &ctx.service("foo/a", "a")?).await?;
    let second = ctx
        .register(&client, &ctx.service("foo/b", "b")?.with_ttl(longer))
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

async fn lease_id_is_there_while_something_is_registered(ctx: &Context<'_>) -> CheckResult {
    let client = ctx.client().await?;
    let service = ctx.service("foo/a", "a")?;

    let before = client.lease_id();
    let registration = ctx.register(&client, &service).await?;
    let during = client.lease_id();
    ctx.deregister(&client, &service).await?;
    let after = client.lease_id();

    ensure!(before.is_none(), "before registration it is {before:?}");
    ensure!(
        during.as_ref() == Some(registration.lease_id()),
        "while registered it is {during:?}"
    );
    ensure!(after.is_none(), "after deregistration it is {after:?}");
    Ok(())
}

async fn an_entry_names_its_lease_rightly_or_not_at_all(ctx: &Context<'_>) -> CheckResult {
    let (provider, consumer) = (ctx.client().await?, ctx.client().await?);
    let prefix = ctx.prefix("foo")?;
    let mut follower = ctx.follow(&consumer, &prefix).await?;
    let registration = ctx
        .register(&provider, &ctx.service("foo/a", "ours")?)
        .await?;
    let (ours, foreign) = (registration.key(), ctx.key("foo/b")?);
    ctx.put(&foreign, "theirs").await?;
    follower.until_seen(ours).await?;
    follower.until_seen(&foreign).await?;

    let listed = ctx.snapshot(&consumer, &prefix).await?.entries;
    let watched: Vec<Entry> = follower
        .changes()
        .filter_map(|change| match change {
            Change::Put(entry) => Some(entry.clone()),
            _ => None,
        })
        .collect();
    let lease = |entries: &[Entry], key: &Key| {
        let mut entries = entries.iter().rev();
        entries.find(|entry| entry.key == *key)?.lease.clone()
    };
    let (in_list, in_watch) = (lease(&listed, ours), lease(&watched, ours));
    ensure!(
        in_list == in_watch,
        "the lease is {in_list:?} in a list and {in_watch:?} in a watch"
    );
    let right = registration.lease_id();
    ensure!(
        in_list.as_ref().is_none_or(|lease| lease == right),
        "the entry names {in_list:?}, its registration {right:?}"
    );
    let foreign = [lease(&listed, &foreign), lease(&watched, &foreign)];
    ensure!(
        foreign == [None, None],
        "an entry without a lease names {foreign:?}"
    );
    Ok(())
}

async fn a_lease_outlives_its_ttl_while_it_is_used(ctx: &Context<'_>) -> CheckResult {
    let client = ctx.client().await?;
    let service = ctx.service("foo/a", "a")?.with_ttl(ctx.min_ttl());
    let registration = ctx.register(&client, &service).await?;

    sleep(ctx.min_ttl().duration() * 5 / 2).await;

    ctx.ensure_value(registration.key(), "a").await?;
    ensure_held(&registration, "the registration")?;
    let lease = client.lease_id();
    ensure!(
        lease.as_ref() == Some(registration.lease_id()),
        "the lease is another: {lease:?}"
    );
    Ok(())
}

async fn a_lease_stays_while_one_service_remains(ctx: &Context<'_>) -> CheckResult {
    let client = ctx.client().await?;
    let [going, staying] = [ctx.service("foo/a", "a")?, ctx.service("foo/b", "b")?]
        .map(|service| service.with_ttl(ctx.min_ttl()));
    let _going = ctx.register(&client, &going).await?;
    let registration = ctx.register(&client, &staying).await?;

    ctx.deregister(&client, &going).await?;
    sleep(ctx.min_ttl().duration() * 2).await;

    ctx.ensure_value(registration.key(), "b").await?;
    ensure_held(&registration, "the other service")
}

async fn a_lease_goes_with_its_last_service(ctx: &Context<'_>) -> CheckResult {
    let client = ctx.client().await?;
    let long = ctx.long_ttl()?;
    let [first, last] = [ctx.service("foo/a", "a")?, ctx.service("foo/b", "b")?]
        .map(|service| service.with_ttl(long));
    let registration = ctx.register(&client, &first).await?;
    let lease = registration.lease_id().clone();
    let _last = ctx.register(&client, &last).await?;
    let leases = ctx.leases().await?;
    ensure!(leases.contains(&lease), "{lease} is not among {leases:?}");

    ctx.deregister(&client, &first).await?;
    ctx.deregister(&client, &last).await?;

    ctx.until_no_lease(&lease, ctx.timeout()).await
}

async fn a_lost_lease_is_lost_for_all_its_services(ctx: &Context<'_>) -> CheckResult {
    let client = ctx.client().await?;
    let mut held = Vec::new();
    for n in 0..3 {
        let service = ctx.service(&format!("foo/{n}"), "x")?;
        held.push(ctx.register(&client, &service).await?);
    }

    ctx.expire(held[0].lease_id()).await?;
    for registration in &mut held {
        let lost = ctx.lost(registration).await?;
        ensure!(
            lost == Lost::LeaseExpired,
            "{} reports {lost:?}",
            registration.key()
        );
    }
    let reclaims = held.iter().map(|lost| ctx.reclaim_held(lost, "y"));
    let again = future::try_join_all(reclaims).await?;

    let leases: HashSet<_> = again.iter().map(Registration::lease_id).collect();
    ensure!(leases.len() == 1, "three services came back on {leases:?}");
    for registration in &again {
        ctx.ensure_value(registration.key(), "y").await?;
    }
    Ok(())
}

async fn a_lease_suffixed_key_ends_in_its_lease(ctx: &Context<'_>) -> CheckResult {
    let client = ctx.client().await?;
    let stem = ctx.key("Hello")?;
    let service = Service::new(Key::lease_suffixed(&stem)?, "a")?.with_ttl(ctx.ttl()?);

    let registration = ctx.register(&client, &service).await?;

    let expected = Key::new(format!("{stem}{}", registration.lease_id()))?;
    let (found, named) = (
        ctx.list(&client, &ctx.raw_prefix("Hello")?).await?,
        registration.key(),
    );
    ensure!(
        found.len() == 1 && found.contains_key(&expected),
        "found {found:?} instead of {expected}"
    );
    ensure!(*named == expected, "the handle names the key {named}");
    ctx.deregister(&client, &service).await?;
    ctx.ensure_absent(&expected).await
}

async fn a_lease_suffixed_key_follows_its_lease(ctx: &Context<'_>) -> CheckResult {
    let client = ctx.client().await?;
    let stem = ctx.key("Hello")?;
    let service = Service::new(Key::lease_suffixed(&stem)?, "a")?.with_ttl(ctx.ttl()?);
    let mut before = ctx.register(&client, &service).await?;

    ctx.expire(before.lease_id()).await?;
    ctx.lost(&mut before).await?;
    let after = ctx.reclaim_held(&before, "b").await?;

    let expected = Key::new(format!("{stem}{}", after.lease_id()))?;
    ensure!(
        *after.key() == expected && after.key() != before.key(),
        "on {} the handle names {}",
        after.lease_id(),
        after.key()
    );
    let found = ctx.list(&client, &ctx.raw_prefix("Hello")?).await?;
    ensure!(
        found.len() == 1 && found.contains_key(&expected),
        "found {found:?} instead of {expected}"
    );
    ctx.deregister(&client, &service).await?;
    ctx.ensure_absent(&expected).await
}

async fn a_dropped_client_leaves_no_lease(ctx: &Context<'_>) -> CheckResult {
    let client = ctx.client().await?;
    let service = ctx.service("foo/a", "a")?.with_ttl(ctx.min_ttl());
    let registration = ctx.register(&client, &service).await?;
    let (key, lease) = (registration.key().clone(), registration.lease_id().clone());
    let leases = ctx.leases().await?;
    ensure!(leases.contains(&lease), "{lease} is not among {leases:?}");

    drop((client, registration));

    ctx.until_absent(&key).await?;
    let limit = ctx.min_ttl().duration() + ctx.timeout();
    ctx.until_no_lease(&lease, limit).await
}

async fn a_dropped_registration_leaves_no_lease(ctx: &Context<'_>) -> CheckResult {
    let client = ctx.client().await?;
    let service = ctx.service("foo/a", "a")?.with_ttl(ctx.min_ttl());
    let registration = ctx.register(&client, &service).await?;
    let lease = registration.lease_id().clone();

    drop(registration);

    let limit = ctx.min_ttl().duration() + ctx.timeout();
    ctx.until_no_lease(&lease, limit).await
}

async fn a_crashed_client_is_gone_after_its_ttl(ctx: &Context<'_>) -> CheckResult {
    let test_client = ctx.test_client().await?;
    let Some(crash) = test_client.crash else {
        return Err(CheckError::NotRun(
            "the harness's clients do not `crash`".into(),
        ));
    };
    let ttl = ctx.min_ttl();
    let service = ctx.service("foo/a", "a")?.with_ttl(ttl);
    let registration = ctx.register(&test_client.client, &service).await?;

    let silent = Instant::now();
    ctx.within("end of crash", crash).await?;
    // At most a third of the TTL has passed since the last keep-alive.
    sleep(ttl.duration().mul_f32(0.5).saturating_sub(silent.elapsed())).await;
    ctx.ensure_value(registration.key(), "a").await?;

    ctx.until_absent(registration.key()).await
}

async fn a_cancelled_register_leaves_no_lease(ctx: &Context<'_>) -> CheckResult {
    let client = ctx.client().await?;
    // Leases of earlier clients may still be in the process of ending.
    ctx.wait_quiet_period().await;
    let before = ctx.leases().await?;

    for millis in [0, 1, 2, 5] {
        let service = ctx
            .service(&format!("foo/{millis}"), "a")?
            .with_ttl(ctx.min_ttl());
        let limit = Duration::from_millis(millis);
        let _ = timeout(limit, client.register(&service)).await;
    }
    ctx.wait_quiet_period().await;

    let deadline = Deadline::after(ctx.min_ttl().duration() + ctx.timeout());
    loop {
        let mut leases = ctx.leases().await?;
        leases.retain(|lease| !before.contains(lease));
        if leases.is_empty() {
            return Ok(());
        }
        deadline.retry(format!("{leases:?} still live")).await?;
    }
}
