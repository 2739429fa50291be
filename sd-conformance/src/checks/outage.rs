//! What clients report when the registry is in trouble.

use crate::{
    check::{Check, check},
    clients::ensure_held,
    context::Context,
    deadline::Deadline,
    error::{CheckError, CheckResult, ensure},
    follower::{Follower, WatchItem},
    harness::NewRevision,
};
use futures::StreamExt;
use sd_core::Deregistered;
use tokio::{
    select,
    time::{sleep, timeout},
};

pub(super) const CHECKS: &[Check] = &[
    check!(
        exclusive a_compacted_history_is_a_gap,
        "A watch from a revision whose history is forgotten is a gap, not silence."
    ),
    check!(
        exclusive an_interrupted_watch_goes_on_without_loss,
        "A watch from the last resume after an interruption misses and repeats nothing."
    ),
    check!(
        exclusive a_registry_that_stops_answering_is_reported,
        "A watch of a registry that does not answer says so, without a change to wait for."
    ),
    check!(
        exclusive a_watch_that_nobody_answered_yields_no_batch,
        "A watch of a registry that froze after the list says nothing but that."
    ),
    check!(
        exclusive a_disruption_that_passes_is_said_to_be_over,
        "After a disruption the watch says that the registry answers again, or ends."
    ),
    check!(
        exclusive an_outage_is_not_a_loss,
        "A registration is lost when the registry says so, not when it says nothing."
    ),
    check!(
        exclusive a_claim_that_is_not_confirmed_is_unproven,
        "A registration is proven while keep-alives are confirmed, unproven a TTL after the last."
    ),
    check!(
        exclusive a_registration_that_was_given_up_undoes_no_later_one,
        "A register that was given up in an outage does not overwrite a later one."
    ),
    check!(
        exclusive deregister_is_bounded_while_the_registry_does_not_answer,
        "deregister then resolves to Unconfirmed; the entry goes, and no put follows."
    ),
    check!(
        exclusive a_registration_is_gone_when_its_client_is_dropped_in_an_outage,
        "A client that is dropped while the registry does not answer leaves nothing for ever."
    ),
    check!(
        exclusive a_rebuilt_registry_is_a_gap,
        "A registry that started anew is a gap, before and after its counter caught up."
    ),
    check!(
        exclusive a_registry_rebuilt_past_the_watch_is_a_gap,
        "A registry that started anew is a gap even if its counter is past the resume point."
    ),
];

async fn a_compacted_history_is_a_gap(ctx: &Context<'_>) -> CheckResult {
    let client = ctx.client().await?;
    let prefix = ctx.prefix("foo")?;
    let key = ctx.key("foo/a")?;
    ctx.put(&key, "0").await?;
    let snapshot = ctx.snapshot(&client, &prefix).await?;

    for n in 1..4 {
        ctx.put(&key, n.to_string()).await?;
    }
    ctx.delete(&key).await?;
    ctx.compact().await?;
    // A backend that still knows the changes keeps the promise too.
    Follower::gap_from(
        ctx,
        &client,
        &prefix,
        &snapshot,
        "the history was compacted",
        |follower| follower.mirror.is_empty(),
    )
    .await?;

    let mut follower = ctx.follow(&client, &prefix).await?;
    ensure!(follower.mirror.is_empty(), "the new list is an old one");
    ctx.put(&key, "again").await?;
    follower.until_seen(&key).await
}

async fn an_interrupted_watch_goes_on_without_loss(ctx: &Context<'_>) -> CheckResult {
    let client = ctx.client().await?;
    let mut follower = ctx.follow(&client, &ctx.prefix("foo")?).await?;
    let mut keys = Vec::new();

    for round in 0..3 {
        for n in 0..3 {
            let key = ctx.key(&format!("foo/{round}-{n}"))?;
            ctx.put(&key, "x").await?;
            if n == 0 {
                follower.until_seen(&key).await?;
                ctx.interrupt().await?;
            }
            keys.push(key);
        }
    }
    for key in &keys {
        follower.until_seen(key).await?;
    }

    for key in &keys {
        let reports = follower.reports_of(key);
        ensure!(reports == 1, "{key} is reported {reports} times");
    }
    Ok(())
}

async fn a_registry_that_stops_answering_is_reported(ctx: &Context<'_>) -> CheckResult {
    let client = ctx.client().await?;
    let mut follower = ctx.follow(&client, &ctx.prefix("foo")?).await?;

    ctx.disrupt().await?;
    let deadline = Deadline::after(ctx.timeout());
    let has_ended = loop {
        match follower.next(deadline.left()).await {
            WatchItem::Batch => {}
            WatchItem::Disrupted => break false,
            WatchItem::Interrupted => break true,
            news => return Err(CheckError::Failed(format!("of an outage it says {news:?}"))),
        }
    };
    ctx.restore().await?;
    if has_ended {
        let gap = follower.resume(&Deadline::after(ctx.timeout())).await?;
        ensure!(gap.is_none(), "a gap ({gap:?}) without cause");
    }

    let key = ctx.key("foo/a")?;
    ctx.put(&key, "a").await?;
    follower.until_seen(&key).await
}

async fn a_watch_that_nobody_answered_yields_no_batch(ctx: &Context<'_>) -> CheckResult {
    let client = ctx.client().await?;
    let prefix = ctx.prefix("foo")?;
    ctx.put(&ctx.key("foo/a")?, "a").await?;
    let snapshot = ctx.snapshot(&client, &prefix).await?;

    ctx.disrupt().await?;
    let first = async {
        let watch = client.watch_prefix(&prefix, &snapshot.revision);
        watch.await.ok()?.next().await
    };
    let first = timeout(ctx.timeout() / 2, first).await;
    ctx.restore().await?;

    match first {
        Ok(Some(Ok(batch))) => Err(CheckError::Failed(format!(
            "it says {batch:?} while the registry says nothing"
        ))),
        _ => Ok(()),
    }
}

async fn a_disruption_that_passes_is_said_to_be_over(ctx: &Context<'_>) -> CheckResult {
    let client = ctx.client().await?;
    let mut follower = ctx.follow(&client, &ctx.prefix("foo")?).await?;

    ctx.disrupt().await?;
    let deadline = Deadline::after(ctx.timeout());
    while !matches!(
        follower.next(deadline.left()).await,
        WatchItem::Disrupted | WatchItem::Interrupted | WatchItem::Ended | WatchItem::TimedOut
    ) {}
    ctx.restore().await?;

    // There is no change, so progress or the end of the watch must show it.
    let deadline = Deadline::after(ctx.timeout());
    loop {
        match follower.next(deadline.left()).await {
            WatchItem::Batch | WatchItem::Interrupted | WatchItem::Ended => return Ok(()),
            WatchItem::Disrupted => {}
            WatchItem::Gap(gap) => {
                return Err(CheckError::Failed(format!("a gap ({gap}) without cause")));
            }
            WatchItem::TimedOut => {
                return Err(CheckError::Failed("the watch does not say so".into()));
            }
        }
    }
}

async fn an_outage_is_not_a_loss(ctx: &Context<'_>) -> CheckResult {
    let client = ctx.client().await?;
    let service = ctx.service("foo/a", "a")?.with_ttl(ctx.long_ttl()?);
    let registration = ctx.register(&client, &service).await?;

    ctx.disrupt().await?;
    ctx.wait_quiet_period().await;
    let during = registration.loss();
    ctx.restore().await?;
    ctx.wait_quiet_period().await;

    ensure!(during.is_none(), "silence is taken for a loss: {during:?}");
    ensure_held(&registration, "after the outage, the registration")?;
    ctx.ensure_value(registration.key(), "a").await
}

async fn a_claim_that_is_not_confirmed_is_unproven(ctx: &Context<'_>) -> CheckResult {
    let client = ctx.client().await?;
    let service = ctx.service("foo/a", "a")?.with_ttl(ctx.min_ttl());
    let mut registration = ctx.register(&client, &service).await?;
    let proof = registration.proof().clone();
    let Some(ttl) = proof.ttl() else {
        let reason = "its entries need no keep-alives".into();
        return Err(CheckError::NotRun(reason));
    };

    sleep(ttl * 2).await;
    let unproven = proof.unproven();
    ensure!(unproven.is_none(), "kept alive, but {unproven:?}");

    ctx.disrupt().await?;
    let limit = ttl + ctx.timeout();
    let unproven = timeout(limit, proof.until_unproven()).await;
    let during = registration.loss();
    ctx.restore().await?;
    ensure!(unproven.is_ok(), "still proven {limit:?} into an outage");
    ensure!(during.is_none(), "silence is taken for a loss: {during:?}");

    // The lease may have ended meanwhile.
    let answered = async {
        select! {
            () = proof.until_proven() => {}
            _ = registration.lost() => {}
        }
    };
    ctx.within("proof or loss after the outage", answered).await
}

async fn a_registration_that_was_given_up_undoes_no_later_one(ctx: &Context<'_>) -> CheckResult {
    let client = ctx.client().await?;
    let old = ctx.service("foo/a", "old")?.with_ttl(ctx.long_ttl()?);
    let new = old.clone().with_value("new");
    // Keeps the lease in use, if there is one for both.
    let other = ctx.service("foo/b", "b")?.with_ttl(ctx.long_ttl()?);
    let _other = ctx.register(&client, &other).await?;

    ctx.disrupt().await?;
    let given_up = timeout(ctx.timeout() / 2, client.register(&old)).await;
    let is_registered = matches!(given_up, Ok(Ok(_)));
    drop(given_up);
    ctx.restore().await?;
    ensure!(!is_registered, "it registers what nobody has confirmed");
    let registration = ctx.register(&client, &new).await?;

    ctx.wait_quiet_period().await;
    ctx.ensure_value(registration.key(), "new").await?;
    ensure_held(&registration, "the later one")
}

async fn deregister_is_bounded_while_the_registry_does_not_answer(
    ctx: &Context<'_>,
) -> CheckResult {
    let client = ctx.client().await?;
    let service = ctx.service("foo/a", "a")?.with_ttl(ctx.min_ttl());
    let registration = ctx.register(&client, &service).await?;

    ctx.disrupt().await?;
    let outcome = ctx.deregister(&client, &service).await;
    ctx.restore().await?;

    let outcome = outcome?;
    ensure!(
        outcome == Deregistered::Unconfirmed,
        "without an answer it says {outcome:?}"
    );
    ctx.until_absent(registration.key()).await?;
    ctx.wait_quiet_period().await;
    ctx.ensure_absent(registration.key()).await
}

async fn a_registration_is_gone_when_its_client_is_dropped_in_an_outage(
    ctx: &Context<'_>,
) -> CheckResult {
    let client = ctx.client().await?;
    let service = ctx.service("foo/a", "a")?.with_ttl(ctx.min_ttl());
    let registration = ctx.register(&client, &service).await?;
    let key = registration.key().clone();

    ctx.disrupt().await?;
    drop((client, registration));
    ctx.wait_quiet_period().await;
    ctx.restore().await?;

    ctx.until_absent(&key).await
}

async fn a_rebuilt_registry_is_a_gap(ctx: &Context<'_>) -> CheckResult {
    rebuilt(ctx, NewRevision::Lower).await
}

async fn a_registry_rebuilt_past_the_watch_is_a_gap(ctx: &Context<'_>) -> CheckResult {
    rebuilt(ctx, NewRevision::Higher).await
}

async fn rebuilt(ctx: &Context<'_>, revision: NewRevision) -> CheckResult {
    let client = ctx.client().await?;
    let prefix = ctx.prefix("foo")?;
    let (old, new) = (ctx.key("foo/old")?, ctx.key("foo/new")?);
    ctx.put(&old, "old").await?;
    let mut running = ctx.follow(&client, &prefix).await?;
    let snapshot = ctx.snapshot(&client, &prefix).await?;

    ctx.rebuild(revision).await?;
    ctx.put(&new, "new").await?;

    let gap = running.until_gap_or("rebuilt under a watch", |_| false);
    ensure!(gap.await?.is_some(), "no gap");
    let what = "rebuilt between two watches";
    let gap = Follower::gap_from(ctx, &client, &prefix, &snapshot, what, |_| false);
    ensure!(gap.await?.is_some(), "no gap");

    let found = ctx.list(&client, &prefix).await?;
    let keys: Vec<_> = found.into_keys().collect();
    ensure!(keys == [new], "the new registry is said to hold {keys:?}");
    Ok(())
}
