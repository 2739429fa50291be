//! Limits: of time, of the number of retries, and of what a call takes from others.

use super::*;
use crate::calls::{budget::RetryBudget, endpoint_source::EndpointSource};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};

#[tokio::test(start_paused = true)]
async fn an_attempt_that_takes_too_long_is_dropped() {
    struct Open(Arc<AtomicUsize>);
    impl Drop for Open {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::Relaxed);
        }
    }
    let open = Arc::new(AtomicUsize::new(0));
    let retry = builder(["a", "b"])
        .per_try_timeout(Duration::from_secs(1))
        .retry_timeouts(true)
        .build();
    let begun = Instant::now();
    let error = retry
        .call(|_| {
            // Those before are gone.
            assert_eq!(open.fetch_add(1, Ordering::Relaxed), 0);
            let open = Open(open.clone());
            async move {
                let _open = open;
                std::future::pending::<Result<(), _>>().await
            }
        })
        .await
        .unwrap_err();
    assert_eq!(open.load(Ordering::Relaxed), 0);
    assert_eq!(error.attempts().len(), 3);
    let took = begun.elapsed();
    assert!(
        took >= Duration::from_secs(3) && took < Duration::from_millis(3200),
        "{took:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn all_attempts_together_end_in_time() {
    let timeout = Duration::from_secs(5);
    let retry = builder(["a"])
        .max_attempts(u32::MAX)
        .timeout(timeout)
        .per_try_timeout(Duration::from_secs(2))
        .retry_timeouts(true)
        .build();
    let begun = Instant::now();
    let error = retry
        .call(|_| std::future::pending::<Result<(), _>>())
        .await
        .unwrap_err();
    assert_eq!(
        (error.stop_reason(), error.attempts().len()),
        (StopReason::TimedOut, 3)
    );
    assert!(begun.elapsed() <= timeout + Duration::from_millis(1));

    // Errors that come at once: the last pause that would be too long is not begun.
    let begun = Instant::now();
    let error = retry
        .call(async |_| Err::<(), _>(refused()))
        .await
        .unwrap_err();
    assert_eq!(error.stop_reason(), StopReason::TimedOut);
    assert!(begun.elapsed() < timeout && error.attempts_made() > 5);
}

#[tokio::test(start_paused = true)]
async fn a_first_attempt_without_other_limits_has_the_overall_one() {
    let retry = builder(["a"]).timeout(Duration::from_secs(1)).build();
    let error = retry
        .call(|_| std::future::pending::<Result<(), _>>())
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "1 attempt failed (timed out): a:80: no answer within 1s"
    );
}

#[tokio::test(start_paused = true)]
async fn a_spent_budget_stops_retries_of_all_who_share_it() {
    let budget = Arc::new(RetryBudget::new(4, 0.5).with_min_retries_per_sec(0));
    let retry = || builder(["a"]).budget(budget.clone()).build();
    let fail = async |_| Err::<(), _>(refused());
    let error = retry().call(fail).await.unwrap_err();
    assert_eq!(
        (error.stop_reason(), error.attempts().len()),
        (StopReason::BudgetSpent, 2)
    );
    let error = retry().call(fail).await.unwrap_err();
    assert_eq!(
        (error.stop_reason(), error.attempts().len()),
        (StopReason::BudgetSpent, 1)
    );
    for _ in 0..6 {
        retry().call(async |_| Ok(())).await.unwrap();
    }
    assert!(budget.try_retry());
}

#[tokio::test(start_paused = true)]
async fn refusals_and_missing_endpoints_cost_no_budget() {
    let budget = Arc::new(RetryBudget::new(2, 0.5));
    let none = builder([]).budget(budget.clone()).build();
    let error = none.call(async |_| Ok(())).await.unwrap_err();
    assert_eq!(error.attempts().len(), 1);
    let refusing = builder(["a"])
        .budget(budget.clone())
        .retry_if(|_| false)
        .build();
    refusing
        .call(async |_| Err::<(), _>(refused()))
        .await
        .unwrap_err();
    assert_eq!(budget.tokens(), 2.0);
}

#[tokio::test(start_paused = true)]
async fn pauses_between_attempts_are_as_asked_for() {
    let retry = builder(["a"])
        .backoff(Duration::ZERO, Duration::ZERO)
        .build();
    let begun = Instant::now();
    let fail = async |_| Err::<(), _>(refused());
    retry.call(fail).await.unwrap_err();
    assert_eq!(begun.elapsed(), Duration::ZERO);

    let second = Duration::from_secs(1);
    let retry = builder(["a"])
        .backoff(second, second)
        .max_attempts(5)
        .build();
    retry.call(fail).await.unwrap_err();
    let took = begun.elapsed();
    assert!(took >= 2 * second && took <= 5 * second, "{took:?}");
}

/// Makes `calls` calls that fail at once, one after the other with `pause` between them. Returns
/// how many requests were sent.
async fn requests<B: Balancer>(retry: &Retry<B, io::Error>, calls: u32, pause: Duration) -> u32 {
    let sent = AtomicU32::new(0);
    for _ in 0..calls {
        let call = retry.call(async |_| {
            sent.fetch_add(1, Ordering::Relaxed);
            Err::<(), _>(refused())
        });
        call.await.unwrap_err();
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
    }
    sent.into_inner()
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_not_multiplied_by_retries() {
    let hosts = ["a", "b", "c", "d", "e"];
    let retry = Retry::new(RoundRobin::new(fixed(hosts)));
    let sent = requests(&retry, 1000, Duration::ZERO).await;
    assert!((1001..=1200).contains(&sent), "{sent} requests");

    // Also over time: 1,000 calls in more than 10 s. Fifty retries come from the tokens, and 10 a
    // second from the floor.
    let begun = Instant::now();
    let retry = Retry::new(RoundRobin::new(fixed(hosts)));
    let sent = requests(&retry, 1000, Duration::from_millis(10)).await;
    let floor = 10 * (begun.elapsed().as_secs() as u32 + 2);
    assert!(sent <= 1000 + 50 + floor, "{sent} requests, floor {floor}");

    let retry = builder(hosts).without_budget().build();
    assert_eq!(requests(&retry, 1000, Duration::ZERO).await, 3000);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_calls_seldom_may_always_retry() {
    let retry = Retry::new(RoundRobin::new(fixed(["a", "b"])));
    let sent = requests(&retry, 1000, Duration::from_secs(1)).await;
    assert_eq!(sent, 3000);
}

#[tokio::test(start_paused = true)]
async fn clones_share_the_budget_and_others_do_not() {
    let balancer = Arc::new(RoundRobin::new(fixed(["a"])));
    let retry = Retry::new(balancer.clone());
    assert!(requests(&retry, 1000, Duration::ZERO).await < 1200);
    assert_eq!(requests(&retry.clone(), 1, Duration::ZERO).await, 1);
    assert_eq!(requests(&Retry::new(balancer), 1, Duration::ZERO).await, 3);
}

#[tokio::test(start_paused = true)]
async fn every_call_ends_unless_that_is_turned_off() {
    let retry = builder(["a"]).build();
    let hang = |_| std::future::pending::<Result<(), _>>();
    let year = Duration::from_secs(365 * 24 * 60 * 60);
    let within_a_year = async |retry: &Retry<RoundRobin<Fixed>, io::Error>| {
        tokio::time::timeout(year, retry.call(hang)).await
    };
    let ended = within_a_year(&retry).await.unwrap();
    assert_eq!(
        ended.unwrap_err().to_string(),
        "1 attempt failed (timed out): a:80: no answer within 10s"
    );
    let retry = builder(["a"]).without_timeout().build();
    assert!(within_a_year(&retry).await.is_err());
}

#[tokio::test]
async fn without_a_pause_others_get_their_turn_all_the_same() {
    let retry = builder(["a"])
        .max_attempts(10_000)
        .without_budget()
        .backoff(Duration::ZERO, Duration::ZERO)
        .build();
    let up = Arc::new(AtomicBool::new(false));
    tokio::spawn({
        let up = up.clone();
        async move { up.store(true, Ordering::Relaxed) }
    });
    let call = retry.call(async |_| up.load(Ordering::Relaxed).then_some(()).ok_or(refused()));
    call.await.unwrap();
}

/// Makes a call that only "b" answers. The instance of "a" is removed after 3 s.
async fn call_while_a_is_removed(
    retry: RetryBuilder<RoundRobin<Fixed>, io::Error>,
) -> Result<String, RetryError<io::Error>> {
    let retry = retry.build();
    // "a" is picked first.
    while retry.balancer().endpoint().unwrap().address() == "a:80" {}
    let a = retry.balancer().source().endpoints()[0].clone();
    let remove = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(3)).await;
        a.host().remove();
    });
    let answer = retry.call(async |endpoint| {
        if endpoint.address() == "a:80" {
            std::future::pending::<()>().await;
        }
        Ok(endpoint.address().to_owned())
    });
    let answer = answer.await;
    remove.await.unwrap();
    answer
}

#[tokio::test(start_paused = true)]
async fn a_call_ends_with_its_instance_on_request() {
    let begun = Instant::now();
    let retry = builder(["a", "b"]).end_when_removed(true);
    let error = call_while_a_is_removed(retry).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "1 attempt failed (not to be retried): a:80: its instance was removed"
    );
    assert_eq!(begun.elapsed().as_secs(), 3);

    // It may have been executed, so that it is repeated on request only.
    let retry = builder(["a", "b"]).end_when_removed(true);
    let answer = call_while_a_is_removed(retry.retry_timeouts(true)).await;
    assert_eq!(answer.unwrap(), "b:80");

    let error = call_while_a_is_removed(builder(["a", "b"])).await;
    assert_eq!(
        error.unwrap_err().to_string(),
        "1 attempt failed (timed out): a:80: no answer within 10s"
    );
}

#[tokio::test(start_paused = true)]
async fn a_call_has_the_deadline_of_its_caller() {
    let retry = builder(["a"]).timeout(Duration::from_secs(9)).build();
    let begun = Instant::now();
    let retry = retry.until(begun + Duration::from_secs(2));
    let call = retry.call(async |_| std::future::pending::<Result<(), _>>().await);
    let error = call.await.unwrap_err();
    assert_eq!(begun.elapsed(), Duration::from_secs(2));
    assert_eq!(error.stop_reason(), StopReason::TimedOut);
    let late = retry.call(async |_| std::future::pending::<Result<(), _>>().await);
    let error = late.await.unwrap_err();
    assert_eq!(begun.elapsed(), Duration::from_secs(2));
    assert_eq!(error.stop_reason(), StopReason::TimedOut);
}

#[tokio::test(start_paused = true)]
async fn what_was_not_sent_goes_to_another_endpoint_at_once_and_costs_nothing() {
    let names: Vec<_> = (0..12).map(|n| format!("e{n}")).collect();
    let source = Arc::new(FixedEndpointer::new(
        names.iter().map(|name| endpoint(name)),
    ));
    let budget = Arc::new(RetryBudget::new(1, 0.0).with_min_retries_per_sec(0));
    let retry = Retry::builder(RoundRobin::new(source))
        .max_attempts(1)
        .budget(budget.clone())
        .retry_if(|_| false)
        .not_sent(|_: &io::Error| true)
        .build();
    let called = Called::default();
    let begun = Instant::now();
    let answer = retry.call(async |endpoint| {
        called.add(&endpoint);
        if called.count() < 12 {
            Err(refused())
        } else {
            Ok(7)
        }
    });
    assert_eq!(answer.await.unwrap(), 7);
    assert_eq!(begun.elapsed(), Duration::ZERO);
    assert_eq!(budget.tokens(), 1.0);
}

#[tokio::test(start_paused = true)]
async fn when_nobody_is_reached_each_round_counts_as_an_attempt() {
    let retry = builder(["a", "b", "c"]).max_attempts(3).without_budget();
    let retry = retry.not_sent(|_| true).build();
    let begun = Instant::now();
    let error = retry.call(async |_| Err::<(), _>(refused())).await;
    let error = error.unwrap_err();
    assert_eq!(error.stop_reason(), StopReason::AttemptsUsedUp);
    // A pause is made before each further round.
    assert_eq!(error.attempts_made(), 3 * 3 + 1);
    let pauses = Duration::from_millis(12 + 25)..=Duration::from_millis(25 + 50 + 2);
    assert!(pauses.contains(&begun.elapsed()), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn an_error_may_say_when_to_try_again() {
    let retry = builder(["a"]).retry_after(|_| Some(Duration::from_secs(3)));
    let retry = retry.build();
    let begun = Instant::now();
    let error = retry.call(async |_| Err::<(), _>(refused())).await;
    assert_eq!(begun.elapsed().as_secs(), 6);
    assert_eq!(error.unwrap_err().stop_reason(), StopReason::AttemptsUsedUp);

    // After the deadline is never.
    let begun = Instant::now();
    let in_time = retry.until(begun + Duration::from_secs(2));
    let error = in_time.call(async |_| Err::<(), _>(refused())).await;
    assert_eq!(begun.elapsed(), Duration::ZERO);
    assert_eq!(error.unwrap_err().stop_reason(), StopReason::TimedOut);
}
