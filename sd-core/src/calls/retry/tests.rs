//! Retries on paused time.

mod limits;
mod outcomes;
mod waiting;

use super::*;
use crate::{
    calls::{balancer::RoundRobin, endpointer::FixedEndpointer, factory::BoxError},
    instances::Instance,
    registry::Key,
};
use std::{error::Error as StdError, io, sync::Mutex, time::Duration};
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
        .retry_timeouts(true)
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
    assert_eq!(error.stop_reason(), StopReason::AttemptsUsedUp);
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
        (error.stop_reason(), called.count()),
        (StopReason::NotRetryable, 1)
    );

    let retry = builder(["a", "b"])
        .per_try_timeout(Duration::from_secs(1))
        .build();
    let error = retry
        .call(|_| std::future::pending::<Result<(), _>>())
        .await
        .unwrap_err();
    assert_eq!(
        (error.stop_reason(), error.attempts().len()),
        (StopReason::NotRetryable, 1)
    );
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

#[tokio::test(start_paused = true)]
async fn a_call_tried_very_often_keeps_the_number_of_its_attempts_and_a_few_errors() {
    let retry = builder(["a", "b"]).max_attempts(10_000).without_timeout();
    let retry = retry
        .without_budget()
        .backoff(Duration::ZERO, Duration::ZERO);
    let error = retry
        .build()
        .call(async |_| Err::<(), _>(refused()))
        .await
        .unwrap_err();
    assert_eq!((error.attempts_made(), error.attempts().len()), (10_000, 8));
    let numbers = error.attempts().iter().map(|one| one.number);
    assert_eq!(
        numbers.collect::<Vec<_>>(),
        [1, 2, 3, 9_996, 9_997, 9_998, 9_999, 10_000]
    );
    let text = error.to_string();
    assert!(text.starts_with("10000 attempts failed (attempts used up): "));
    assert!(text.contains("; 9992 more; "), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_pick_avoids_a_bounded_number_of_instances() {
    /// Picks a new address each time, and keeps how many were tried.
    struct Endless(Mutex<Vec<usize>>);
    impl Balancer for Endless {
        type Target = ();
        fn pick(&self, context: &PickContext<'_>) -> Result<Pick<()>, NoEndpoints> {
            let mut tried = self.0.lock().unwrap();
            tried.push(context.tried.len());
            let endpoint = endpoint(&format!("e{}", tried.len()));
            assert!(!context.has_tried(&endpoint));
            Ok(Pick::new(Arc::new(endpoint)))
        }
        fn versions(&self) -> tokio::sync::watch::Receiver<u64> {
            tokio::sync::watch::channel(0).1
        }
    }
    let retry = Retry::builder(Endless(Mutex::default()))
        .max_attempts(40)
        .without_budget()
        .without_timeout()
        .build();
    let before: Vec<_> = (0..20).map(|n| endpoint(&format!("z{n}"))).collect();
    let before: Vec<_> = before.iter().map(|one| one.instance().clone()).collect();
    let context = PickContext::new().with_tried(&before);
    let call = retry.call_with(&context, async |_| Err::<(), _>(refused()));
    assert_eq!(call.await.unwrap_err().attempts_made(), 40);
    let tried = retry.balancer().0.lock().unwrap();
    assert_eq!(tried[0], 20);
    assert!(tried[1..].iter().all(|tried| *tried == 16), "{tried:?}");
}
