//! Servers that go, and others that come.

use crate::fleet::{
    TestServer, connected, eventually, fleet, greeter, named, wait_until_connected,
};
use sd_core::EndpointSource;
use sd_tower::{CallPolicy, Channel};
use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request, Status};

/// So many calls are under way at once.
const CALLERS: usize = 8;

/// Callers that call for as long as the test runs.
struct Load {
    callers: JoinSet<Vec<(String, Status)>>,
    stop: CancellationToken,
    calls: Arc<AtomicUsize>,
}

impl Load {
    fn start(channel: &Channel, policy: &CallPolicy<Code>) -> Self {
        let stop = CancellationToken::new();
        let calls = Arc::new(AtomicUsize::new(0));
        let mut callers = JoinSet::new();
        for caller in 0..CALLERS {
            let (mut greeter, policy) = (greeter(channel), policy.clone());
            let (stop, calls) = (stop.clone(), calls.clone());
            callers.spawn(async move {
                let mut failed = Vec::new();
                let mut number = 0;
                while !stop.is_cancelled() {
                    let name = format!("{caller}.{number}");
                    let mut request = Request::new(named(&name));
                    request.extensions_mut().insert(policy.clone());
                    if let Err(status) = greeter.greet(request).await {
                        failed.push((name, status));
                    }
                    number += 1;
                    calls.fetch_add(1, Ordering::Relaxed);
                }
                failed
            });
        }
        Self {
            callers,
            stop,
            calls,
        }
    }

    /// Waits for so many further calls.
    async fn go_on(&self, calls: usize) {
        let until = self.calls.load(Ordering::Relaxed) + calls;
        eventually("calls go on", || {
            self.calls.load(Ordering::Relaxed) >= until
        })
        .await;
    }

    /// The calls that have failed.
    async fn stop(self) -> Vec<(String, Status)> {
        self.stop.cancel();
        self.callers.join_all().await.concat()
    }
}

#[tokio::test]
async fn a_server_that_shuts_down_gracefully_fails_no_call() {
    let (registry, [mut leaving, _stays]) = fleet().await;
    let channel = connected(&registry, 2, |channel| channel).await;
    let load = Load::start(&channel, &CallPolicy::new());
    load.go_on(200).await;
    // It is still registered.
    leaving.shut_down().await;
    let served = leaving.greeter.names().len();
    load.go_on(200).await;
    let failed = load.stop().await;
    assert!(failed.is_empty(), "{failed:?}");
    assert_eq!(leaving.greeter.names().len(), served);
}

#[tokio::test]
async fn a_stream_outlives_the_registration_and_the_graceful_end_of_its_server() {
    let (registry, [mut server, _other]) = fleet().await;
    let channel = connected(&registry, 2, |channel| channel).await;
    let mut streams = Vec::new();
    for _ in 0..8 {
        let (names, queue) = tokio::sync::mpsc::unbounded_channel();
        let queue = tokio_stream::wrappers::UnboundedReceiverStream::new(queue);
        let replies = greeter(&channel).greet_each(queue).await.unwrap();
        streams.push((names, replies.into_inner()));
    }
    let mut greet = async |times: usize| {
        let mut from = BTreeSet::new();
        for (names, replies) in &mut streams {
            for _ in 0..times {
                names.send(named("Ada")).unwrap();
                from.insert(replies.message().await.unwrap().unwrap().from);
            }
        }
        from
    };
    assert_eq!(greet(2).await.len(), 2, "both servers have streams");
    server.registrar.deregister().await.unwrap();
    wait_until_connected(&channel, 1).await;
    assert_eq!(greet(2).await.len(), 2);

    let address = server.greeter.from.clone();
    let ended = tokio::spawn(async move { server.shut_down().await });
    for _ in 0..3 {
        assert!(greet(2).await.contains(&address));
        tokio::task::yield_now().await;
    }
    assert!(!ended.is_finished(), "it waits for its streams");
    for (names, mut replies) in streams {
        drop(names);
        assert_eq!(replies.message().await.unwrap(), None);
    }
    ended.await.unwrap();
}

#[tokio::test]
async fn of_a_crash_only_calls_under_way_fail_and_none_that_may_be_repeated() {
    for is_idempotent in [false, true] {
        let (registry, [mut crashes, _one, _other]) = fleet().await;
        let channel = connected(&registry, 3, |channel| channel).await;
        let load = Load::start(&channel, &CallPolicy::new().idempotent(is_idempotent));
        load.go_on(200).await;
        crashes.crash();
        load.go_on(500).await;
        let failed = load.stop().await;
        let most = if is_idempotent { 0 } else { CALLERS };
        assert!(failed.len() <= most, "{failed:?}");
        for (_, status) in &failed {
            assert_eq!(status.code(), Code::Unavailable, "{status:?}");
        }
        let endpoints = channel.endpoints().endpoints();
        assert_eq!(endpoints.len(), 2, "it is still registered");
    }
}

#[tokio::test]
async fn a_rolling_restart_fails_no_call() {
    let (registry, servers) = fleet::<3>().await;
    let channel = connected(&registry, 3, |channel| channel).await;
    let load = Load::start(&channel, &CallPolicy::new());
    let mut new = Vec::new();
    for mut server in servers {
        load.go_on(100).await;
        new.push(TestServer::start(&registry).await);
        wait_until_connected(&channel, 4).await;
        server.registrar.deregister().await.unwrap();
        wait_until_connected(&channel, 3).await;
        server.shut_down().await;
    }
    load.go_on(100).await;
    let failed = load.stop().await;
    assert!(failed.is_empty(), "{failed:?}");
    assert!(new.iter().all(|server| !server.greeter.names().is_empty()));
}
