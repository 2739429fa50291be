//! Calls that begin before there is an endpoint.

use super::*;
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
    assert_eq!(error.stop_reason(), StopReason::NoEndpoints);
    let source = error.source().unwrap().downcast_ref::<NoEndpoints>();
    assert!(matches!(source, Some(NoEndpoints::Empty)));
    assert!(error.into_last().is_none());
}

#[tokio::test(start_paused = true)]
async fn that_there_never_were_endpoints_is_the_reason_when_time_is_over_too() {
    let retry = builder([]).max_attempts(u32::MAX).build();
    let error = retry.call(async |_| Ok(())).await.unwrap_err();
    assert_eq!(error.stop_reason(), StopReason::NoEndpoints);
}
