//! What clients say when the registry is in trouble: never nothing.

use super::{
    Check,
    bench::Bench,
    check,
    follower::{Follower, News},
    harness::Counter,
    stop::{Outcome, Stop, ensure},
};
use sd_core::Deregistered;
use tokio::time::timeout;

pub(super) const CHECKS: &[Check] = &[
    check!(
        alone a_compacted_history_is_a_gap,
        "A watch from a revision whose history is forgotten is a gap, not silence."
    ),
    check!(
        alone an_interrupted_watch_goes_on_without_loss,
        "A watch from the last resume after an interruption misses and repeats nothing."
    ),
    check!(
        alone a_registry_that_stops_answering_is_reported,
        "A watch of a registry that does not answer says so, without a change to wait for."
    ),
    check!(
        alone a_disruption_that_passes_is_said_to_be_over,
        "After a disruption the watch says that the registry answers again, or ends."
    ),
    check!(
        alone an_outage_is_not_a_loss,
        "A registration is lost when the registry says so, not when it says nothing."
    ),
    check!(
        alone a_registration_that_was_given_up_undoes_no_later_one,
        "What a register that was given up in an outage has sent undoes none that came after it."
    ),
    check!(
        alone deregister_is_bounded_while_the_registry_does_not_answer,
        "deregister then resolves to Unconfirmed; the entry goes, and no put follows."
    ),
    check!(
        alone a_registration_is_gone_when_its_client_is_dropped_in_an_outage,
        "A client that is dropped while the registry does not answer leaves nothing for ever."
    ),
    check!(
        alone a_rebuilt_registry_is_a_gap,
        "A registry that started anew is a gap, before and after its counter caught up."
    ),
    check!(
        alone a_registry_rebuilt_past_the_watch_is_a_gap,
        "A registry that started anew is a gap even if its counter is past the resume point."
    ),
];

async fn a_compacted_history_is_a_gap(bench: &Bench<'_>) -> Outcome {
    let client = bench.client().await?;
    let prefix = bench.prefix("foo")?;
    let key = bench.key("foo/a")?;
    bench.put(&key, "0").await?;
    let snapshot = bench.snapshot(&client, &prefix).await?;

    for n in 1..4 {
        bench.put(&key, n.to_string()).await?;
    }
    bench.delete(&key).await?;
    bench.compact().await?;
    // A backend that knows the changes all the same has kept the promise too.
    Follower::gap_from(
        bench,
        &client,
        &prefix,
        &snapshot,
        "the history was compacted",
        |follower| follower.mirror.is_empty(),
    )
    .await?;

    let mut follower = bench.follow(&client, &prefix).await?;
    ensure!(follower.mirror.is_empty(), "the new list is an old one");
    bench.put(&key, "again").await?;
    follower.until_seen(&key).await
}

async fn an_interrupted_watch_goes_on_without_loss(bench: &Bench<'_>) -> Outcome {
    let client = bench.client().await?;
    let mut follower = bench.follow(&client, &bench.prefix("foo")?).await?;
    let mut keys = Vec::new();

    for round in 0..3 {
        for n in 0..3 {
            let key = bench.key(&format!("foo/{round}-{n}"))?;
            bench.put(&key, "x").await?;
            if n == 0 {
                follower.until_seen(&key).await?;
                bench.interrupt().await?;
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

async fn a_registry_that_stops_answering_is_reported(bench: &Bench<'_>) -> Outcome {
    let client = bench.client().await?;
    let mut follower = bench.follow(&client, &bench.prefix("foo")?).await?;

    bench.disrupt().await?;
    let waiting = bench.waiting(bench.patience());
    loop {
        match follower.next(waiting.left()).await {
            News::Batch => {}
            News::Disrupted | News::Interrupted => break,
            news => return Err(Stop::Broken(format!("of an outage it says {news:?}"))),
        }
    }
    bench.restore().await?;

    let key = bench.key("foo/a")?;
    bench.put(&key, "a").await?;
    follower.until_seen(&key).await
}

async fn a_disruption_that_passes_is_said_to_be_over(bench: &Bench<'_>) -> Outcome {
    let client = bench.client().await?;
    let mut follower = bench.follow(&client, &bench.prefix("foo")?).await?;

    bench.disrupt().await?;
    let waiting = bench.waiting(bench.patience());
    while !matches!(
        follower.next(waiting.left()).await,
        News::Disrupted | News::Interrupted | News::End | News::Silence
    ) {}
    bench.restore().await?;

    // No change comes: progress has to say it, or the end of the watch.
    let waiting = bench.waiting(bench.patience());
    loop {
        match follower.next(waiting.left()).await {
            News::Batch | News::Interrupted | News::End => return Ok(()),
            News::Disrupted => {}
            News::Gap(gap) => return Err(Stop::Broken(format!("a gap ({gap}) without cause"))),
            News::Silence => return Err(Stop::Broken("the watch does not say so".into())),
        }
    }
}

async fn an_outage_is_not_a_loss(bench: &Bench<'_>) -> Outcome {
    let client = bench.client().await?;
    let service = bench.service("foo/a", "a")?.with_ttl(bench.long()?);
    let registration = bench.register(&client, &service).await?;

    bench.disrupt().await?;
    bench.while_quiet().await;
    let during = registration.loss();
    bench.restore().await?;
    bench.while_quiet().await;

    ensure!(during.is_none(), "silence is taken for a loss: {during:?}");
    let after = registration.loss();
    ensure!(after.is_none(), "an outage is taken for a loss: {after:?}");
    bench.ensure_stands(registration.key(), "a").await
}

async fn a_registration_that_was_given_up_undoes_no_later_one(bench: &Bench<'_>) -> Outcome {
    let client = bench.client().await?;
    let old = bench.service("foo/a", "old")?.with_ttl(bench.long()?);
    let new = old.clone().with_value("new");
    // Keeps the lease in use, if there is one for both.
    let other = bench.service("foo/b", "b")?.with_ttl(bench.long()?);
    let _other = bench.register(&client, &other).await?;

    bench.disrupt().await?;
    let given_up = timeout(bench.patience() / 2, client.register(&old)).await;
    let is_registered = matches!(given_up, Ok(Ok(_)));
    drop(given_up);
    bench.restore().await?;
    ensure!(!is_registered, "it registers what nobody has confirmed");
    let registration = bench.register(&client, &new).await?;

    bench.while_quiet().await;
    bench.ensure_stands(registration.key(), "new").await?;
    let lost = registration.loss();
    ensure!(lost.is_none(), "the later one is lost: {lost:?}");
    Ok(())
}

async fn deregister_is_bounded_while_the_registry_does_not_answer(bench: &Bench<'_>) -> Outcome {
    let client = bench.client().await?;
    let service = bench.service("foo/a", "a")?.with_ttl(bench.short());
    let registration = bench.register(&client, &service).await?;

    bench.disrupt().await?;
    let outcome = bench.deregister(&client, &service).await;
    bench.restore().await?;

    let outcome = outcome?;
    ensure!(
        outcome == Deregistered::Unconfirmed,
        "without an answer it says {outcome:?}"
    );
    bench.until_absent(registration.key()).await?;
    bench.while_quiet().await;
    bench.ensure_absent(registration.key()).await
}

async fn a_registration_is_gone_when_its_client_is_dropped_in_an_outage(
    bench: &Bench<'_>,
) -> Outcome {
    let client = bench.client().await?;
    let service = bench.service("foo/a", "a")?.with_ttl(bench.short());
    let registration = bench.register(&client, &service).await?;
    let key = registration.key().clone();

    bench.disrupt().await?;
    drop((client, registration));
    bench.while_quiet().await;
    bench.restore().await?;

    bench.until_absent(&key).await
}

async fn a_rebuilt_registry_is_a_gap(bench: &Bench<'_>) -> Outcome {
    rebuilt(bench, Counter::Behind).await
}

async fn a_registry_rebuilt_past_the_watch_is_a_gap(bench: &Bench<'_>) -> Outcome {
    rebuilt(bench, Counter::Ahead).await
}

async fn rebuilt(bench: &Bench<'_>, counter: Counter) -> Outcome {
    let client = bench.client().await?;
    let prefix = bench.prefix("foo")?;
    let (old, new) = (bench.key("foo/old")?, bench.key("foo/new")?);
    bench.put(&old, "old").await?;
    let mut running = bench.follow(&client, &prefix).await?;
    let snapshot = bench.snapshot(&client, &prefix).await?;

    bench.rebuild(counter).await?;
    bench.put(&new, "new").await?;

    let gap = running.until_gap_or("rebuilt under a watch", |_| false);
    ensure!(gap.await?.is_some(), "no gap");
    let what = "rebuilt between two watches";
    let gap = Follower::gap_from(bench, &client, &prefix, &snapshot, what, |_| false);
    ensure!(gap.await?.is_some(), "no gap");

    let found = bench.list(&client, &prefix).await?;
    let keys: Vec<_> = found.into_keys().collect();
    ensure!(keys == [new], "the new registry is said to hold {keys:?}");
    Ok(())
}
