//! Retries on paused time.

use super::*;
use crate::{
    calls::{
        balancer::RoundRobin,
        budget::RetryBudget,
        endpoint_source::EndpointSource,
        endpointer::FixedEndpointer,
        factory::BoxError,
        no_endpoints::NoEndpoints,
        observer::{EndedCall, Observer},
        pick::Pick,
    },
    instances::Instance,
    registry::Key,
};
use std::{
    error::Error as StdError,
    io,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::time::{Instant, advance};

fn endpoint(name: &str) -> Endpoint<()> {
    Endpoint::new(
        Instance::new(Key::new(name).unwrap(), format!("{name}:80")),
        (),
    )
}

type Fixed = Arc<FixedEndpointer<()>>;

fn fixed<const N: usize>(names: [&str; N]) -> Fixed {
    Arc::new(FixedEndpointer::new(names.map(endpoint)))
}

fn builder<const N: usize>(names: [&str; N]) -> RetryBuilder<RoundRobin<Fixed>, io::Error> {
    Retry::builder(RoundRobin::new(fixed(names)))
}

fn refused() -> io::Error {
    io::Error::other("refused")
}

/// The addresses that were called.
#[derive(Clone, Default)]
struct Called(Arc<Mutex<Vec<String>>>);

impl Called {
    fn add(&self, endpoint: &Endpoint<()>) {
        self.0.lock().unwrap().push(endpoint.address().to_owned());
    }

    fn sorted(&self) -> Vec<String> {
        let mut called = self.0.lock().unwrap().clone();
        called.sort();
        called
    }

    fn count(&self) -> usize {
        self.0.lock().unwrap().len()
    }
}

#[tokio::test(start_paused = true)]
async fn a_failed_call_goes_to_endpoints_not_tried_yet() {
    for _ in 0..20 {
        let retry = builder(["a", "b", "c"]).build();
        let called = Called::default();
        let answer = retry
            .call(async |endpoint| {
                // Others take turns in between.
                drop(retry.balancer().endpoint().unwrap());
                called.add(&endpoint);
                if called.count() < 3 {
                    Err(refused())
                } else {
                    Ok(7)
                }
            })
            .await;
        assert_eq!(answer.unwrap(), 7);
        assert_eq!(called.sorted(), ["a:80", "b:80", "c:80"]);
    }
}

#[tokio::test(start_paused = true)]
async fn when_all_were_tried_another_round_begins() {
    let retry = builder(["a", "b"]).max_attempts(6).build();
    let called = Called::default();
    let result = retry
        .call(async |endpoint| {
            drop(retry.balancer().endpoint().unwrap());
            called.add(&endpoint);
            Err::<(), _>(refused())
        })
        .await;
    assert!(result.is_err());
    assert_eq!(
        called.sorted(),
        ["a:80", "a:80", "a:80", "b:80", "b:80", "b:80"]
    );
}

#[tokio::test(start_paused = true)]
async fn the_error_keeps_every_cause_in_order() {
    let retry = Retry::builder(RoundRobin::new(fixed(["a"])))
        .per_try_timeout(Duration::from_secs(1))
        .build();
    let mut attempt = 0;
    let error = retry
        .call(|_| {
            attempt += 1;
            let attempt = attempt;
            async move {
                match attempt {
                    2 => std::future::pending().await,
                    _ => Err::<(), _>(io::Error::other(format!("error {attempt}"))),
                }
            }
        })
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "3 attempts failed (attempts used up): \
         a:80: error 1; a:80: no answer within 1s; a:80: error 3"
    );
    assert_eq!(error.stopped(), Stopped::AttemptsUsedUp);
    assert_eq!(error.source().unwrap().to_string(), "error 3");
    let keys = error.attempts().iter().map(|one| one.instance.as_ref());
    assert!(
        keys.into_iter()
            .all(|one| one.unwrap().key().as_str() == "a")
    );
    assert_eq!(error.into_last().unwrap().to_string(), "error 3");
}

#[tokio::test(start_paused = true)]
async fn what_is_the_same_is_not_said_again_and_again() {
    let retry = builder([]).max_attempts(3).build();
    let error = retry.call(async |_| Err::<(), _>(refused())).await;
    assert_eq!(
        error.unwrap_err().to_string(),
        "3 attempts failed: no endpoints: no instance is registered"
    );

    let retry = builder(["a"]).max_attempts(3).build();
    let mut attempt = 0;
    let error = retry.call(|_| {
        attempt += 1;
        let text = if attempt < 3 { "down" } else { "full" };
        async move { Err::<(), _>(io::Error::other(text)) }
    });
    assert_eq!(
        error.await.unwrap_err().to_string(),
        "3 attempts failed (attempts used up): a:80: down (2 times); a:80: full"
    );
}

#[tokio::test(start_paused = true)]
async fn a_call_with_any_error_has_an_error_to_pass_on() {
    let retry: Retry<_, BoxError> = Retry::new(RoundRobin::new(fixed(["a"])));
    let call = async || -> Result<(), BoxError> {
        let answer = retry.call(async |_| Err(BoxError::from(refused()))).await;
        answer.map_err(RetryError::into_boxed)
    };
    let error = call().await.unwrap_err();
    assert!(
        error.to_string().starts_with("3 attempts failed"),
        "{error}"
    );
    let source = error.source().map(ToString::to_string);
    assert_eq!(source, Some(refused().to_string()));
}

#[tokio::test(start_paused = true)]
async fn what_is_not_to_be_retried_is_not() {
    let retry = builder(["a", "b"])
        .retry_if(|error: &io::Error| error.kind() == io::ErrorKind::ConnectionRefused)
        .build();
    let called = Called::default();
    let error = retry
        .call(async |endpoint| {
            called.add(&endpoint);
            Err::<(), _>(io::Error::other("sold out"))
        })
        .await
        .unwrap_err();
    assert_eq!(
        (error.stopped(), called.count()),
        (Stopped::NotRetryable, 1)
    );

    let retry = builder(["a", "b"])
        .per_try_timeout(Duration::from_secs(1))
        .retry_timeouts(false)
        .build();
    let error = retry
        .call(|_| std::future::pending::<Result<(), _>>())
        .await
        .unwrap_err();
    assert_eq!(
        (error.stopped(), error.attempts().len()),
        (Stopped::NotRetryable, 1)
    );
}

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
        .build();
    let begun = Instant::now();
    let error = retry
        .call(|_| std::future::pending::<Result<(), _>>())
        .await
        .unwrap_err();
    assert_eq!(
        (error.stopped(), error.attempts().len()),
        (Stopped::TimedOut, 3)
    );
    assert!(begun.elapsed() <= timeout + Duration::from_millis(1));

    // Errors that come at once: the last pause that would be too long is not begun.
    let begun = Instant::now();
    let error = retry
        .call(async |_| Err::<(), _>(refused()))
        .await
        .unwrap_err();
    assert_eq!(error.stopped(), Stopped::TimedOut);
    assert!(begun.elapsed() < timeout && error.attempts().len() > 5);
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
        (error.stopped(), error.attempts().len()),
        (Stopped::BudgetSpent, 2)
    );
    let error = retry().call(fail).await.unwrap_err();
    assert_eq!(
        (error.stopped(), error.attempts().len()),
        (Stopped::BudgetSpent, 1)
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
    assert_eq!(error.attempts().len(), 3);
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
async fn endpoints_that_come_in_time_are_called() {
    let source = fixed([]);
    let retry = Retry::<_, io::Error>::builder(RoundRobin::new(source.clone()))
        .max_attempts(u32::MAX)
        .timeout(Duration::from_secs(30))
        .build();
    let call = tokio::spawn(async move { retry.call(async |_| Ok(7)).await });
    tokio::time::sleep(Duration::from_secs(10)).await;
    source.set([endpoint("a")]);
    assert_eq!(call.await.unwrap().unwrap(), 7);
}

#[tokio::test(start_paused = true)]
async fn no_endpoints_is_the_reason_if_there_never_were_any() {
    let retry = builder([]).build();
    let error = retry.call(async |_| Ok(())).await.unwrap_err();
    assert_eq!(error.stopped(), Stopped::NoEndpoints);
    let source = error.source().unwrap().downcast_ref::<NoEndpoints>();
    assert!(matches!(source, Some(NoEndpoints::Empty)));
    assert!(error.into_last().is_none());
}

#[tokio::test(start_paused = true)]
async fn cancelled_means_that_nothing_more_is_sent() {
    let retry = builder(["a"])
        .max_attempts(u32::MAX)
        .backoff(Duration::from_secs(1), Duration::from_secs(1))
        .build();
    let called = Called::default();
    let call = tokio::spawn({
        let called = called.clone();
        async move {
            retry
                .call(async |endpoint| {
                    called.add(&endpoint);
                    Err::<(), _>(refused())
                })
                .await
        }
    });
    while called.count() < 2 {
        tokio::task::yield_now().await;
        advance(Duration::from_millis(100)).await;
    }
    call.abort();
    let before = called.count();
    tokio::time::sleep(Duration::from_secs(100)).await;
    assert_eq!(called.count(), before);
}

#[derive(Default)]
struct Observed {
    outcomes: Mutex<Vec<Outcome>>,
    contexts: Mutex<Vec<(Option<Vec<u8>>, usize)>>,
}

impl Observer for Observed {
    fn ended(&self, call: &EndedCall) {
        self.outcomes.lock().unwrap().push(call.outcome);
    }
}

/// Observes its picks.
struct Watching(Fixed, Arc<Observed>);

impl Balancer for Watching {
    type Target = ();

    fn pick(&self, context: &PickContext<'_>) -> Result<Pick<()>, NoEndpoints> {
        let known = (context.hash_key.map(<[u8]>::to_vec), context.tried.len());
        self.1.contexts.lock().unwrap().push(known);
        let endpoint = self.0.endpoints()[0].observed_by(self.1.clone());
        Ok(Pick::new(Arc::new(endpoint)))
    }

    fn versions(&self) -> tokio::sync::watch::Receiver<u64> {
        self.0.versions()
    }
}

#[tokio::test(start_paused = true)]
async fn the_balancer_hears_the_outcome_of_every_attempt() {
    let observed = Arc::new(Observed::default());
    let retry = Retry::builder(Watching(fixed(["a"]), observed.clone()))
        .per_try_timeout(Duration::from_secs(1))
        .build();
    let mut attempt = 0;
    let call = |_: Arc<Endpoint<()>>| {
        attempt += 1;
        let attempt = attempt;
        async move {
            match attempt {
                1 => Err(refused()),
                2 => std::future::pending().await,
                _ => Ok(()),
            }
        }
    };
    let tried = [endpoint("z").instance().clone()];
    let context = PickContext::new().with_hash_key(b"user").with_tried(&tried);
    retry.call_with(&context, call).await.unwrap();
    {
        let outcomes = observed.outcomes.lock().unwrap();
        assert_eq!(
            *outcomes,
            [Outcome::Failure, Outcome::TimedOut, Outcome::Success]
        );
        let contexts = observed.contexts.lock().unwrap();
        let user = Some(b"user".to_vec());
        // In the third, "a" was tried twice: a new round without "z".
        assert_eq!(*contexts, [(user.clone(), 1), (user.clone(), 2), (user, 1)]);
    }
    let call = retry.call(|_| std::future::pending::<Result<(), _>>());
    drop(tokio::time::timeout(Duration::from_millis(1), call).await);
    let outcomes = observed.outcomes.lock().unwrap();
    assert_eq!(outcomes.last(), Some(&Outcome::Cancelled));
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
