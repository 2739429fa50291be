//! What the observers of an endpoint hear of each attempt.

use super::*;
use crate::calls::{
    endpoint_source::EndpointSource,
    observer::{EndedCall, Observer},
};
use futures::FutureExt;
use std::pin::pin;

#[derive(Default)]
struct Observed {
    outcomes: Mutex<Vec<Outcome>>,
    answered: Mutex<u32>,
    contexts: Mutex<Vec<(Option<Vec<u8>>, usize)>>,
}

impl Observed {
    fn outcomes(&self) -> Vec<Outcome> {
        std::mem::take(&mut self.outcomes.lock().unwrap())
    }

    fn answered(&self) -> u32 {
        *self.answered.lock().unwrap()
    }
}

impl Observer for Observed {
    fn answered(&self, _: Duration) {
        *self.answered.lock().unwrap() += 1;
    }

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
        .retry_timeouts(true)
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

fn watching() -> (RetryBuilder<Watching, io::Error>, Arc<Observed>) {
    let observed = Arc::new(Observed::default());
    let retry = Retry::builder(Watching(fixed(["a"]), observed.clone()));
    (retry, observed)
}

#[tokio::test(start_paused = true)]
async fn an_error_of_the_application_is_not_the_endpoints_fault() {
    let (retry, observed) = watching();
    let retry = retry
        .retry_if(|error| error.kind() == io::ErrorKind::ConnectionRefused)
        .outcome(|error| match error.kind() {
            io::ErrorKind::NotFound => Outcome::Success,
            io::ErrorKind::ResourceBusy => Outcome::Overloaded,
            _ => Outcome::Failure,
        })
        .per_try_timeout(Duration::from_secs(1))
        .build();
    for (kind, outcome) in [
        (io::ErrorKind::NotFound, Outcome::Success),
        (io::ErrorKind::ResourceBusy, Outcome::Overloaded),
        (io::ErrorKind::BrokenPipe, Outcome::Failure),
    ] {
        let call = retry.call(async |_| Err::<(), _>(kind.into()));
        assert_eq!(call.await.unwrap_err().attempts_made(), 1);
        assert_eq!(observed.outcomes(), [outcome]);
    }
    let call = retry.call(async |_| Err::<(), _>(io::ErrorKind::ConnectionRefused.into()));
    assert_eq!(call.await.unwrap_err().attempts_made(), 3);
    assert_eq!(observed.outcomes(), [Outcome::Failure; 3]);
    let call = retry.call(|_| std::future::pending::<Result<(), _>>());
    call.await.unwrap_err();
    assert_eq!(observed.outcomes(), [Outcome::TimedOut]);
}

/// A call with a pick, and no context.
async fn with_pick<T, Fut: Future<Output = io::Result<T>>>(
    retry: &Retry<Watching, io::Error>,
    call: impl FnMut(Arc<Pick<()>>) -> Fut,
) -> Result<T, RetryError<io::Error>> {
    retry.call_with_pick(&PickContext::new(), call).await
}

#[tokio::test(start_paused = true)]
async fn a_call_goes_on_for_as_long_as_its_pick_is_kept() {
    let (retry, observed) = watching();
    let retry = retry.build();
    let stream = with_pick(&retry, async |pick| Ok(pick)).await.unwrap();
    // The limits of the call are not for what follows.
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!((observed.outcomes(), observed.answered()), (vec![], 1));
    stream.report(Outcome::Failure);
    assert_eq!(observed.outcomes(), [Outcome::Failure]);
    let dropped = with_pick(&retry, async |pick| Ok(pick)).await.unwrap();
    drop(dropped);
    assert_eq!(observed.outcomes(), [Outcome::Cancelled]);
    assert_eq!(observed.answered(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_call_whose_pick_is_not_kept_has_ended() {
    /// Holds its pick until it is dropped, not until it is ready.
    struct Holds(#[expect(dead_code)] Arc<Pick<()>>);
    impl Future for Holds {
        type Output = io::Result<()>;
        fn poll(
            self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<io::Result<()>> {
            std::task::Poll::Ready(Ok(()))
        }
    }
    let (retry, observed) = watching();
    let retry = retry.build();
    with_pick(&retry, Holds).await.unwrap();
    // Also in a task of its own.
    let call = async move { with_pick(&retry, async |_| Ok(())).await };
    tokio::spawn(call).await.unwrap().unwrap();
    assert_eq!(observed.outcomes(), [Outcome::Success; 2]);
    assert_eq!(observed.answered(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_call_may_judge_its_answer_by_itself() {
    let (retry, observed) = watching();
    let retry = retry.build();
    let status = with_pick(&retry, async |pick| {
        pick.report(Outcome::Failure);
        Ok(500)
    });
    assert_eq!(status.await.unwrap(), 500);
    assert_eq!(observed.outcomes(), [Outcome::Failure]);
}

#[tokio::test(start_paused = true)]
async fn failed_attempts_are_reported_though_somebody_keeps_their_pick() {
    let (retry, observed) = watching();
    let retry = retry
        .per_try_timeout(Duration::from_secs(1))
        .retry_timeouts(true)
        .build();
    let mut kept = Vec::new();
    let call = with_pick(&retry, |pick| {
        kept.push(pick);
        let attempt = kept.len();
        async move {
            match attempt {
                1 => Err(refused()),
                2 => std::future::pending().await,
                _ => Ok(()),
            }
        }
    });
    call.await.unwrap();
    assert_eq!(observed.outcomes(), [Outcome::Failure, Outcome::TimedOut]);
    drop(kept);
    assert_eq!(observed.outcomes(), [Outcome::Cancelled]);
}

#[tokio::test(start_paused = true)]
async fn nobody_holds_the_endpoint_during_a_pause() {
    let source = fixed(["a"]);
    let retry = Retry::<_, io::Error>::builder(RoundRobin::new(source.clone()))
        .backoff(Duration::from_secs(2), Duration::from_secs(2))
        .build();
    let held = Arc::downgrade(&source.endpoints()[0]);
    let mut call = pin!(retry.call(async |_| {
        source.set([]);
        Err::<(), _>(refused())
    }));
    assert!(call.as_mut().now_or_never().is_none());
    assert!(held.upgrade().is_none());
}

#[tokio::test(start_paused = true)]
async fn that_an_instance_was_removed_is_not_the_endpoints_doing() {
    let (retry, observed) = watching();
    let retry = retry.end_when_removed(true).build();
    let call = retry.call(async |endpoint| {
        endpoint.host().remove();
        std::future::pending::<io::Result<()>>().await
    });
    let error = call.await.unwrap_err();
    assert!(matches!(error.attempts()[0].error, AttemptError::Removed));
    assert_eq!(observed.outcomes(), [Outcome::Cancelled]);
}
