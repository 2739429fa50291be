//! Which calls are made again, and how.

use crate::{
    fleet::{Behaviour, TestServer, connected, fleet, greeter, named, register},
    raw_server::{
        Act::{Executes, Resets},
        RawServer,
    },
};
use sd_core::RoundRobin;
use sd_example_proto::GreetRequest;
use sd_memory::Registry;
use sd_tower::{CallPolicy, Channel};
use std::{collections::BTreeSet, time::Duration};
use tokio::net::TcpListener;
use tokio_stream::StreamExt;
use tonic::{Code, Status, codec::CompressionEncoding};

const INTERNAL_ERROR: u32 = 2;
const REFUSED_STREAM: u32 = 7;

/// A channel to so many endpoints in turn, without ejection.
async fn in_turn(registry: &Registry, servers: usize, policy: CallPolicy<Code>) -> Channel {
    connected(registry, servers, |channel| {
        channel.balancer(RoundRobin::new).policy(policy)
    })
    .await
}

fn reads() -> CallPolicy<Code> {
    CallPolicy::new().retry_on([Code::Unavailable])
}

fn unavailable() -> Behaviour {
    Behaviour::Fails(Status::unavailable("not now"))
}

/// How many attempts before it each request tells of.
fn previous_attempts(server: &TestServer) -> Vec<Option<String>> {
    let received = server.greeter.received();
    let header = received.iter().map(|one| {
        let header = one.metadata.get("grpc-previous-rpc-attempts")?;
        Some(header.to_str().unwrap().to_owned())
    });
    header.collect()
}

#[tokio::test]
async fn what_was_not_executed_is_made_again_without_being_asked_for() {
    let (registry, [server]) = fleet().await;
    let refuses = RawServer::start(100, |_| vec![Resets(REFUSED_STREAM)]).await;
    let _refuses = register(registry.client(), &refuses.address.to_string()).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let dead = listener.local_addr().unwrap();
    drop(listener);
    let channel = in_turn(&registry, 2, CallPolicy::new()).await;
    // Its endpoint is used at first.
    let _dead = register(registry.client(), &dead.to_string()).await;
    for number in 0..50 {
        let reply = greeter(&channel).greet(named(format!("{number}"))).await;
        assert_eq!(reply.unwrap().into_inner().from, server.greeter.from);
    }
    assert_eq!(server.greeter.names().len(), 50);
    let previous = previous_attempts(&server);
    assert_eq!(previous, vec![None; 50], "no server has seen an attempt");
}

#[tokio::test]
async fn what_may_have_been_executed_is_made_again_only_if_that_does_no_harm() {
    let (registry, [server]) = fleet().await;
    let breaks = RawServer::start(100, |_| vec![Executes, Resets(INTERNAL_ERROR)]).await;
    let _breaks = register(registry.client(), &breaks.address.to_string()).await;
    let channel = connected(&registry, 2, |channel| {
        let reads = CallPolicy::new().idempotent(true);
        channel
            .balancer(RoundRobin::new)
            .policy_of("/hello.v1.Greeter/GreetAll", reads)
    })
    .await;
    let mut greeter = greeter(&channel);
    let mut failed = BTreeSet::new();
    for number in 0..20 {
        let name = format!("once {number}");
        if let Err(status) = greeter.greet(named(&name)).await {
            assert_eq!(status.code(), Code::Internal);
            failed.insert(name);
        }
    }
    assert!(!failed.is_empty(), "the other server was called");
    assert_eq!(BTreeSet::from_iter(breaks.executed()), failed);
    let names = server.greeter.names();
    assert!(names.iter().all(|name| !failed.contains(name)), "{names:?}");

    for number in 0..20 {
        let name = named(format!("often {number}"));
        let reply = greeter.greet_all(tokio_stream::iter([name])).await;
        assert_eq!(reply.unwrap().into_inner().from, server.greeter.from);
    }
    assert!(breaks.executed().len() > failed.len());
    let previous = BTreeSet::from_iter(previous_attempts(&server));
    assert_eq!(previous, [None, Some("1".to_owned())].into());
}

#[tokio::test]
async fn answers_are_tried_again_if_the_policy_says_so() {
    let (registry, [fails, server]) = fleet().await;
    fails.greeter.behave(unavailable());
    let channel = in_turn(&registry, 2, reads()).await;
    for _ in 0..10 {
        let reply = greeter(&channel).greet(named("Ada")).await.unwrap();
        assert_eq!(reply.into_inner().from, server.greeter.from);
    }
    assert!(!fails.greeter.names().is_empty());
    assert!(previous_attempts(&server).contains(&Some("1".into())));

    let plain = in_turn(&registry, 2, CallPolicy::new()).await;
    let mut codes = BTreeSet::new();
    for _ in 0..10 {
        let reply = greeter(&plain).greet(named("Ada")).await;
        codes.insert(reply.map_or_else(|status| status.code() as i32, |_| 0));
    }
    assert_eq!(codes, [0, Code::Unavailable as i32].into());
}

#[tokio::test]
async fn if_all_answers_are_refusals_the_last_one_is_handed_on() {
    let (registry, [server]) = fleet().await;
    let mut status = Status::unavailable("not now");
    status.metadata_mut().insert("why", "busy".parse().unwrap());
    server.greeter.behave(Behaviour::Fails(status));
    let channel = in_turn(&registry, 1, reads().max_attempts(2)).await;
    let status = greeter(&channel).greet(named("Ada")).await.unwrap_err();
    assert_eq!(
        (status.code(), status.message()),
        (Code::Unavailable, "not now")
    );
    assert_eq!(status.metadata().get("why").unwrap(), "busy");
    assert_eq!(previous_attempts(&server), [None, Some("1".into())]);
}

/// A refusal that says when to call again.
fn pushback(millis: &str) -> Behaviour {
    let mut status = Status::unavailable("not now");
    let millis = millis.parse().unwrap();
    status
        .metadata_mut()
        .insert("grpc-retry-pushback-ms", millis);
    Behaviour::Fails(status)
}

#[tokio::test]
async fn a_server_says_when_it_is_called_again() {
    let (registry, [server]) = fleet().await;
    let hour = Duration::from_secs(3600);
    let pause = |pause| reads().backoff(pause, pause).timeout(hour / 2);
    let channel = in_turn(&registry, 1, CallPolicy::new()).await;
    let attempts = async |behaviour, policy| {
        server.greeter.behave(behaviour);
        let before = server.greeter.received().len();
        let mut request = tonic::Request::new(named("Ada"));
        request.extensions_mut().insert::<CallPolicy<Code>>(policy);
        let status = greeter(&channel).greet(request).await.unwrap_err();
        assert_eq!(status.message(), "not now");
        server.greeter.received().len() - before
    };
    let none = Duration::ZERO;
    assert_eq!(attempts(pushback("1"), pause(hour)).await, 3, "soon");
    assert_eq!(attempts(pushback("-1"), pause(none)).await, 1, "never");
    assert_eq!(attempts(pushback("soon"), pause(none)).await, 1, "never");
    let late = attempts(pushback("3000000"), pause(none)).await;
    assert_eq!(late, 1, "after the deadline");
    assert_eq!(attempts(unavailable(), pause(none)).await, 3);
    assert_eq!(attempts(unavailable(), pause(hour)).await, 1);
}

/// Messages that come one after the other, so that each is a frame.
fn one_by_one(names: &'static [&'static str]) -> impl tokio_stream::Stream<Item = GreetRequest> {
    tokio_stream::iter(names).then(async |name| {
        tokio::task::yield_now().await;
        named(*name)
    })
}

#[tokio::test]
async fn requests_of_several_frames_are_sent_again_from_their_start() {
    let registry = Registry::new();
    let start = || {
        TestServer::start_with(&registry, |greeter| {
            let service = sd_example_proto::greeter_server::GreeterServer::new(greeter);
            let service = service.accept_compressed(CompressionEncoding::Gzip);
            tonic::transport::Server::builder().add_service(service)
        })
    };
    let (fails, server) = tokio::join!(start(), start());
    fails.greeter.behave(unavailable());
    let channel = in_turn(&registry, 2, reads()).await;
    for greeter in [
        greeter(&channel),
        greeter(&channel).send_compressed(CompressionEncoding::Gzip),
    ] {
        for _ in 0..4 {
            let names = one_by_one(&["Ada", "Grace", "Edsger"]);
            let reply = greeter.clone().greet_all(names).await.unwrap().into_inner();
            assert_eq!(reply.greeting, "Hello, Ada and Grace and Edsger");
            assert_eq!(reply.from, server.greeter.from);
        }
    }
    let names = fails.greeter.names();
    assert!(names.len() >= 2, "both kinds were sent to it: {names:?}");
    assert!(
        names
            .iter()
            .all(|names| names == "Ada and Grace and Edsger")
    );
}

#[tokio::test]
async fn a_request_over_the_limit_is_sent_once() {
    let (registry, [server]) = fleet().await;
    server.greeter.behave(unavailable());
    let channel = in_turn(&registry, 1, reads().max_attempts(2)).await;
    let attempts = async |bytes: usize, policy: Option<CallPolicy<Code>>| {
        let before = server.greeter.received().len();
        let mut request = tonic::Request::new(named("x".repeat(bytes)));
        if let Some(policy) = policy {
            request.extensions_mut().insert(policy);
        }
        let status = greeter(&channel).greet(request).await.unwrap_err();
        assert_eq!(status.message(), "not now");
        server.greeter.received().len() - before
    };
    assert_eq!(attempts(64_000, None).await, 2);
    assert_eq!(attempts(66_000, None).await, 1);
    let more = reads().max_attempts(2).replay_limit(70_000);
    assert_eq!(attempts(66_000, Some(more)).await, 2);
}
