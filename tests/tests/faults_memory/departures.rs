//! Deregistering at a bad moment, and being dropped at any moment.

use crate::*;
use futures::StreamExt;
use sd_core::{
    AttemptError, Client, Deregistered, EndpointSource, Endpointer, Instancer, Prefix, Registrar,
    RegistrarStatus, Retry, RoundRobin, factory_fn,
};
use sd_memory::ClientOptions;
use sd_tests::{PATIENCE, eventually};
use std::sync::Arc;
use tokio::{runtime::Handle, time::sleep};

/// A registrar's bound by default.
const BOUND: Duration = Duration::from_secs(5);

fn tasks() -> usize {
    Handle::current().metrics().num_alive_tasks()
}

/// Deregisters while the registry is away, for `away`; the key is gone as soon as it answers.
async fn deregisters_while(begin: impl Fn(&Registry), end: impl Fn(&Registry), away: Duration) {
    let registry = Registry::new();
    let (provider, other, consumer) = fleet(&registry).await;
    let before = registry.calls();

    let fault = async {
        begin(&registry);
        let start = Instant::now();
        let outcome = provider.registrar().deregister().await.unwrap();
        assert_eq!(outcome, Deregistered::Unconfirmed);
        assert_within(BOUND, start);
        let status = provider.registrar().status().borrow();
        assert!(
            matches!(
                *status,
                RegistrarStatus::Deregistered(Deregistered::Unconfirmed)
            ),
            "{status:?}"
        );
        assert!(registry.get(KEY).is_some(), "unconfirmed is what it is");
        sleep(away).await;
        let answers = Instant::now();
        end(&registry);
        // No lease needs to end for it: the client goes on trying.
        let gone = async {
            sleep(millis(1)).await;
            assert_eq!(registry.get(KEY), None);
        };
        let (live, ()) = tokio::join!(consumer.turns_live(), gone);
        assert!(live - answers <= LONGEST_PAUSE);
        consumer.loses_at(live + GRACE, ADDRESS).await;
        sleep(seconds(60)).await;
    };
    let look = async || consumer.view();
    let has_other = |view: &sd_tests::View| view.has(OTHER);
    sd_tests::throughout(fault, "the other to call", look, has_other).await;

    assert_eq!(registered(&registry), [OTHER]);
    assert_eq!(registry.leases(), [other.stands_in(&registry).await]);
    let asked = registry.calls();
    let others = u64::from(away > ttl().duration());
    assert_eq!(asked.registers, before.registers, "no put");
    assert!(asked.reclaims - before.reclaims <= others, "no put");
    assert_ne!(
        provider.registrar().deregister().await.unwrap(),
        Deregistered::Unconfirmed,
        "asked again, it knows"
    );
    consumer.settles_on(&[OTHER]).await;
}

/// faults row 12
#[tokio::test(start_paused = true)]
async fn deregistering_from_a_frozen_registry_is_bounded_and_comes_true_at_the_thaw() {
    deregisters_while(Registry::freeze, Registry::thaw, seconds(1)).await;
    deregisters_while(Registry::freeze, Registry::thaw, 2 * ttl().duration()).await;
}

/// faults row 12
#[tokio::test(start_paused = true)]
async fn deregistering_while_the_registry_is_down_is_bounded_and_comes_true_when_it_is_back() {
    deregisters_while(Registry::kill, Registry::restart, seconds(1)).await;
    deregisters_while(Registry::kill, Registry::restart, 2 * ttl().duration()).await;
}

/// faults row 12, with no client left that could try again.
#[tokio::test(start_paused = true)]
async fn what_could_not_be_deregistered_ends_with_its_lease() {
    for freeze in [true, false] {
        let registry = Registry::new();
        let (provider, other, consumer) = fleet(&registry).await;

        match freeze {
            true => registry.freeze(),
            false => registry.kill(),
        }
        let outcome = provider.registrar().deregister().await.unwrap();
        assert_eq!(outcome, Deregistered::Unconfirmed);
        drop(provider);
        sleep(seconds(1)).await;
        let answers = Instant::now();
        match freeze {
            true => registry.thaw(),
            false => registry.restart(),
        }
        let there = async || registry.get(KEY);
        let gone = eventually(PATIENCE, "the key gone", there, Option::is_none);
        consumer.never_empty(gone).await;
        assert_within(ttl().duration() + seconds(1), answers);
        assert_eq!(registry.leases(), [other.stands_in(&registry).await]);
        consumer.never_empty(consumer.settles_on(&[OTHER])).await;
    }
}

/// faults row 12, at every moment of putting a lost entry back.
#[tokio::test(start_paused = true)]
async fn deregistering_while_re_registering_wins() {
    let mut under_way = 0;
    for after in (0..400).step_by(5) {
        let registry = Registry::new();
        let (provider, other, consumer) = fleet(&registry).await;
        let lease = provider.stands_in(&registry).await;
        registry.delay(millis(200));
        assert!(registry.expire_lease(&lease));
        sleep(millis(after)).await;
        let status = provider.registrar().status().borrow();
        under_way += usize::from(matches!(*status, RegistrarStatus::Reclaiming { .. }));

        let start = Instant::now();
        let outcome = consumer
            .never_empty(provider.registrar().deregister())
            .await;
        assert_within(BOUND, start);
        assert_ne!(
            outcome.unwrap(),
            Deregistered::Unconfirmed,
            "after {after} ms"
        );
        assert_eq!(registry.get(KEY), None, "after {after} ms");
        let revision = registry.revision();
        sleep(3 * ttl().duration()).await;
        assert_eq!(registry.revision(), revision, "put after {after} ms");
        assert_eq!(registry.leases(), [other.stands_in(&registry).await]);
        consumer.settles_on(&[OTHER]).await;
    }
    assert!(
        (20..80).contains(&under_way),
        "{under_way} met the re-registering"
    );
}

/// faults row 12, if the registry stops answering while a lost entry is put back.
#[tokio::test(start_paused = true)]
async fn deregistering_while_re_registering_with_a_silent_registry_wins() {
    for after in (0..300).step_by(10) {
        let registry = Registry::new();
        let (provider, other, consumer) = fleet(&registry).await;
        let lease = provider.stands_in(&registry).await;
        registry.delay(millis(100));
        assert!(registry.expire_lease(&lease));
        sleep(millis(after)).await;
        registry.freeze();
        sleep(millis(50)).await;

        let start = Instant::now();
        let outcome = provider.registrar().deregister().await;
        assert!(outcome.is_ok(), "{outcome:?}");
        assert_within(BOUND, start);
        registry.thaw();
        registry.delay(Duration::ZERO);
        sleep(seconds(1)).await;
        assert_eq!(registry.get(KEY), None, "after {after} ms");
        let revision = registry.revision();
        sleep(3 * ttl().duration()).await;
        assert_eq!(registry.revision(), revision, "put after {after} ms");
        assert_eq!(registry.leases(), [other.stands_in(&registry).await]);
        consumer.never_empty(consumer.settles_on(&[OTHER])).await;
    }
}

/// A process with one of everything: a registrar, an instancer, an endpointer and subscriptions.
async fn process(registry: Registry) {
    let client = registry.client();
    let registrar = Registrar::new(client.clone(), service(KEY, ADDRESS));
    registrar.register().await.unwrap();
    let instancer = Arc::new(Instancer::new(client, Prefix::new(PREFIX).unwrap()));
    let addresses = factory_fn(|instance| Ok(instance.address().to_owned()));
    let endpointer = Endpointer::new(instancer.clone(), addresses);
    endpointer.ready().await.unwrap();
    let mut events = instancer.subscribe();
    while events.next().await.is_some() {
        assert!(endpointer.endpoints().len() <= 2);
    }
}

/// faults row 27
#[tokio::test(start_paused = true)]
async fn a_process_that_is_aborted_leaves_nothing_behind() {
    // From before its first call to after its second keep-alive.
    for after in (0..40).map(|n| n * 20).chain([3000, 4000, 7000]) {
        let registry = Registry::new();
        let (other, consumer) = (other(&registry).await, consumer(&registry).await);
        consumer.settles_on(&[OTHER]).await;
        let lease = other.stands_in(&registry).await;
        // Waits for the ends of what the last round began.
        sleep(seconds(20)).await;
        let before = (tasks(), registry.watchers(), registry.entries());

        registry.delay(millis(100));
        let process = tokio::spawn(process(registry.clone()));
        sleep(millis(after)).await;
        process.abort();
        assert!(process.await.unwrap_err().is_cancelled());

        let left = async || (tasks(), registry.watchers(), registry.entries());
        let what = format!("what was before, aborted after {after} ms: {before:?}");
        let nothing = eventually(PATIENCE, &what, left, |left| *left == before);
        consumer.never_empty(nothing).await;
        assert_eq!(registry.leases(), [lease], "aborted after {after} ms");
        consumer.settles_on(&[OTHER]).await;
    }
}

/// faults row 27, in every kind of outage.
#[tokio::test(start_paused = true)]
async fn a_process_that_is_aborted_in_an_outage_leaves_its_lease_to_run_out_and_no_more() {
    type Change = fn(&Registry);
    let outages: [(Change, Change); 3] = [
        (Registry::freeze, Registry::thaw),
        (Registry::kill, Registry::restart),
        (
            |registry| registry.refuse(sd_core::Error::unavailable("no route")),
            Registry::accept,
        ),
    ];
    for (begin, end) in outages {
        for after in [0, 1, 5, 20, 60] {
            let registry = Registry::new();
            let before = tasks();
            let process = tokio::spawn(process(registry.clone()));
            sleep(seconds(1)).await;
            assert_eq!((registry.watchers(), registry.leases().len()), (1, 1));
            begin(&registry);
            sleep(seconds(after)).await;
            process.abort();
            assert!(process.await.unwrap_err().is_cancelled());
            // A deregistration in the background is bounded, too.
            sleep(BOUND).await;
            assert_eq!(registry.watchers(), 0);
            end(&registry);
            sleep(ttl().duration() + seconds(1)).await;
            assert!(registry.entries().is_empty() && registry.leases().is_empty());
            assert_eq!(tasks(), before, "after {after} s");
        }
    }
}

/// faults row 27, one at a time.
#[tokio::test(start_paused = true)]
async fn whatever_is_dropped_ends_what_it_began() {
    let registry = Registry::new();
    let before = tasks();
    let (provider, other, consumer) = fleet(&registry).await;
    let all = tasks();

    let (subscription, late) = (
        consumer.instancer().subscribe(),
        consumer.instancer().subscribe(),
    );
    drop(subscription);
    assert_eq!((tasks(), registry.watchers()), (all, 1), "they have none");

    drop(provider);
    consumer.settles_on(&[OTHER]).await;
    assert_eq!(registered(&registry), [OTHER]);
    assert_eq!(registry.leases(), [other.stands_in(&registry).await]);

    // The watch ends with the instancer, not with the client.
    let _client = consumer.client().clone();
    drop(consumer);
    let watchers = async || registry.watchers();
    eventually(PATIENCE, "no watch", watchers, |n| *n == 0).await;
    let last: Vec<_> = late.collect().await;
    assert!(!last.last().unwrap().health().is_live(), "its end is told");

    drop(other);
    let left = async || (tasks(), registry.entries().len(), registry.leases().len());
    eventually(PATIENCE, "nothing", left, |left| *left == (before, 0, 0)).await;
    // No more calls are made.
    let asked = registry.calls();
    sleep(seconds(600)).await;
    assert_eq!(registry.calls(), asked);
}

/// faults row 12: the registrar's bound holds even if the client's is longer.
#[tokio::test(start_paused = true)]
async fn the_bound_of_a_deregistration_is_the_registrars() {
    let registry = Registry::new();
    let patient = ClientOptions::default().with_deregister_timeout(seconds(60));
    let client = registry.client_with(patient);
    let registrar = Registrar::new(client.clone(), service(KEY, ADDRESS));
    registrar.register().await.unwrap();
    registry.freeze();
    let start = Instant::now();
    let outcome = registrar.deregister().await.unwrap();
    assert_eq!(outcome, Deregistered::Unconfirmed);
    assert_within(BOUND, start);
    registry.thaw();
    sleep(millis(1)).await;
    assert!(registry.entries().is_empty() && registry.leases().is_empty());
    assert_eq!(client.lease_id(), None);
}

/// A process that is gone for good, as after a loss of power: nobody resets its connections.
#[tokio::test(start_paused = true)]
async fn a_call_to_an_instance_that_is_gone_ends_in_time_or_with_its_registration() {
    for end_when_removed in [false, true] {
        let registry = Registry::new();
        registry.put(KEY, ADDRESS).unwrap();
        let instancer = Instancer::new(registry.client(), Prefix::new(PREFIX).unwrap());
        let addresses = factory_fn(|instance| Ok(instance.address().to_owned()));
        let endpointer = Endpointer::new(instancer, addresses);
        endpointer.ready().await.unwrap();
        let retry = Retry::<_, std::io::Error>::builder(RoundRobin::new(endpointer))
            .end_when_removed(end_when_removed)
            .build();

        let start = Instant::now();
        let call = retry.call(|_| std::future::pending::<Result<(), _>>());
        let removed = async {
            sleep(seconds(3)).await;
            assert!(registry.delete(KEY));
        };
        let (answer, ()) = tokio::join!(call, removed);

        let error = answer.unwrap_err();
        let took = start.elapsed().as_secs();
        match &error.attempts()[0].error {
            AttemptError::Removed => assert_eq!((end_when_removed, took), (true, 3)),
            AttemptError::TimedOut { .. } => assert_eq!((end_when_removed, took), (false, 10)),
            other => panic!("{other}"),
        }
    }
}
