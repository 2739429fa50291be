//! Calls that begin before there is an endpoint.

use super::*;
use crate::instances::Trouble;
use std::sync::atomic::{AtomicU32, Ordering};

const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test(start_paused = true)]
async fn a_call_without_endpoints_fails_at_once() {
    let retry = builder([]).max_attempts(u32::MAX).build();
    let begun = Instant::now();
    let error = retry.call(async |_| Ok(())).await.unwrap_err();
    assert_eq!(begun.elapsed(), Duration::ZERO);
    assert_eq!(error.stop_reason(), StopReason::NoEndpoints);
    assert_eq!(error.attempts_made(), 1);
    let source = error.source().unwrap().downcast_ref::<NoEndpoints>();
    assert!(matches!(source, Some(NoEndpoints::Empty)));
    assert!(error.into_last().is_none());
}

/// Counts the picks.
struct Counted(RoundRobin<Fixed>, AtomicU32);

impl Balancer for Counted {
    type Target = ();

    fn pick(&self, context: &PickContext<'_>) -> Result<Pick<()>, NoEndpoints> {
        self.1.fetch_add(1, Ordering::Relaxed);
        self.0.pick(context)
    }

    fn versions(&self) -> tokio::sync::watch::Receiver<u64> {
        self.0.versions()
    }
}

/// A retry that waits for endpoints, and the source of its endpoints.
fn waiting() -> (RetryBuilder<Arc<Counted>, io::Error>, Fixed, Arc<Counted>) {
    let source = fixed([]);
    let counted = Counted(RoundRobin::new(source.clone()), AtomicU32::new(0));
    let balancer = Arc::new(counted);
    let retry = Retry::builder(balancer.clone()).wait_for_endpoints(Duration::MAX);
    (retry, source, balancer)
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waits_for_endpoints_is_made_as_soon_as_there_is_one() {
    let (retry, source, balancer) = waiting();
    let retry = retry.max_attempts(1).without_timeout().build();
    let call = tokio::spawn(async move { retry.call(async |_| Ok(7)).await });
    tokio::time::sleep(HOUR).await;
    assert!(!call.is_finished());
    source.set_none(NoEndpoints::Empty);
    tokio::time::sleep(HOUR).await;
    assert!(!call.is_finished());
    // One pick, one after the subscription, and one for each change.
    assert_eq!(balancer.1.load(Ordering::Relaxed), 3);
    let begun = Instant::now();
    source.set([endpoint("a")]);
    assert_eq!(call.await.unwrap().unwrap(), 7);
    assert_eq!(begun.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_wait_for_endpoints_ends_with_the_time_of_the_call() {
    let (retry, ..) = waiting();
    let retry = retry.timeout(Duration::from_secs(3)).build();
    let begun = Instant::now();
    let call = tokio::time::timeout(HOUR, retry.call(async |_| Ok(())));
    let error = call.await.unwrap().unwrap_err();
    assert_eq!(begun.elapsed().as_secs(), 3);
    assert_eq!(
        error.to_string(),
        "1 attempt failed: no endpoints: no instance is registered"
    );
    assert_eq!(error.stop_reason(), StopReason::NoEndpoints);
}

#[tokio::test(start_paused = true)]
async fn what_is_tried_again_waits_as_well() {
    let (retry, source, balancer) = waiting();
    source.set([endpoint("a")]);
    let retry = retry.max_attempts(2).build();
    let call = tokio::spawn(async move {
        let mut attempt = 0;
        let call = retry.call(|called| {
            attempt += 1;
            let answer = if attempt == 1 {
                balancer.0.source().set([]);
                Err(refused())
            } else {
                Ok(called.address().to_owned())
            };
            async { answer }
        });
        call.await
    });
    tokio::time::sleep(Duration::from_secs(5)).await;
    source.set([endpoint("b")]);
    assert_eq!(call.await.unwrap().unwrap(), "b:80");
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_endpoints_that_will_never_come() {
    let (retry, source, _) = waiting();
    let retry = retry.without_timeout().build();
    let call = tokio::spawn(async move { retry.call(async |_| Ok(())).await });
    tokio::time::sleep(Duration::from_secs(5)).await;
    source.set_none(NoEndpoints::Ended {
        why: Arc::new(Trouble::Stopped),
    });
    let call = tokio::time::timeout(HOUR, call);
    let error = call.await.unwrap().unwrap().unwrap_err();
    assert_eq!(error.stop_reason(), StopReason::NoEndpoints);
    assert_eq!(error.attempts_made(), 1);

    /// Its source is gone.
    struct Closed;
    impl Balancer for Closed {
        type Target = ();
        fn pick(&self, _: &PickContext<'_>) -> Result<Pick<()>, NoEndpoints> {
            Err(NoEndpoints::Empty)
        }
        fn versions(&self) -> tokio::sync::watch::Receiver<u64> {
            tokio::sync::watch::channel(0).1
        }
    }
    let retry = Retry::<_, io::Error>::builder(Closed)
        .wait_for_endpoints(Duration::MAX)
        .without_timeout();
    let error = retry.build().call(async |_| Ok(())).await.unwrap_err();
    assert_eq!(error.attempts_made(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_waits_of_a_call_have_one_limit() {
    let (retry, source, _) = waiting();
    let retry = retry.wait_for_endpoints(Duration::from_secs(4)).build();
    let begun = Instant::now();
    let appears = async {
        tokio::time::sleep(Duration::from_secs(3)).await;
        source.set([endpoint("a")]);
    };
    let call = retry.call(async |_| {
        source.set([]);
        Err::<(), _>(refused())
    });
    let error = tokio::join!(appears, call).1.unwrap_err();
    assert_eq!(error.stop_reason(), StopReason::NoEndpoints);
    assert_eq!(error.attempts_made(), 2);
    assert_eq!(begun.elapsed().as_secs(), 4);
}
