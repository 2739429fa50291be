//! How long calls may take.

use crate::fleet::{
    Behaviour, ENDLESS, PATIENCE, TestGreeter, TestServer, connected, eventually, fleet, greeter,
    has_source, instancer, named, register,
};
use sd_core::{FixedInstancer, Instance, Key, NoEndpoints, RoundRobin};
use sd_example_proto::{GreetOftenRequest, GreetRequest, greeter_server::GreeterServer};
use sd_memory::Registry;
use sd_tower::{CallPolicy, Channel};
use std::time::Duration;
use tokio::{
    net::TcpListener,
    time::{Instant, timeout},
};
use tokio_stream::StreamExt;
use tonic::{Code, Request, Status};

/// A request whose call may take so long.
fn within<T>(limit: Duration, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(limit);
    request
}

const MOMENT: Duration = Duration::from_millis(100);

/// What `grpc-timeout` said in each request, in milliseconds.
fn timeouts(server: &TestServer) -> Vec<Option<u64>> {
    let received = server.greeter.received();
    let parse = received.iter().map(|one| {
        let header = one.metadata.get("grpc-timeout")?.to_str().unwrap();
        let (digits, unit) = header.split_at(header.len() - 1);
        let number: u64 = digits.parse().unwrap();
        Some(match unit {
            "m" => number,
            "u" => number / 1000,
            "n" => number / 1_000_000,
            other => panic!("{other}"),
        })
    });
    parse.collect()
}

#[tokio::test]
async fn servers_are_told_what_is_left_for_all_attempts() {
    let (registry, [server]) = fleet().await;
    let pause = Duration::from_millis(20);
    let policy = CallPolicy::new()
        .retry_on([Code::Unavailable])
        .per_try_timeout(Duration::from_secs(1))
        .backoff(pause, pause);
    let channel = connected(&registry, 1, |channel| channel.policy(policy)).await;
    let refuses = || Behaviour::Fails(Status::unavailable("not now"));
    server.greeter.behave(refuses());
    let request = within(Duration::from_secs(60), named("Ada"));
    greeter(&channel).greet(request).await.unwrap_err();
    let told = timeouts(&server);
    let [Some(first), Some(second), Some(third)] = told[..] else {
        panic!("{told:?}")
    };
    // A stream may last longer than an attempt that is not answered.
    assert!(50_000 < third && third < second && second < first && first <= 60_000);

    greeter(&channel).greet(named("Ada")).await.unwrap_err();
    assert_eq!(timeouts(&server)[3..], [None; 3], "it has no deadline");
}

#[tokio::test]
async fn a_deadline_that_passes_is_exceeded_and_the_call_reset() {
    let (registry, [server]) = fleet().await;
    server.greeter.behave(Behaviour::NeverAnswers);
    let policy = CallPolicy::new().timeout(MOMENT);
    let channel = connected(&registry, 1, |channel| {
        channel
            .policy_of("/hello.v1.Greeter/", policy)
            .balancer(RoundRobin::new)
    })
    .await;
    for number in 0..20 {
        let request = match number % 2 {
            0 => Request::new(named("the policy's")),
            _ => within(MOMENT, named("the caller's")),
        };
        let answer = timeout(PATIENCE, greeter(&channel).greet(request)).await;
        let status = answer.unwrap().unwrap_err();
        assert_eq!(status.code(), Code::DeadlineExceeded, "{status:?}");
    }
    eventually("the server has dropped them", || {
        server.greeter.under_way() == 0
    })
    .await;
    assert_eq!(server.greeter.names().len(), 20);

    // The caller's goes before the policy's.
    server.greeter.behave(Behaviour::AnswersAfter(3 * MOMENT));
    let request = within(PATIENCE, named("Ada"));
    greeter(&channel).greet(request).await.unwrap();
}

#[tokio::test]
async fn a_deadline_is_over_the_end_of_a_stream() {
    let (registry, [server]) = fleet().await;
    let channel = connected(&registry, 1, |channel| channel).await;
    // The server waits for the caller.
    let names = tokio_stream::once(named("Ada")).chain(tokio_stream::pending());
    let names = within(5 * MOMENT, names);
    let replies = greeter(&channel).greet_each(names).await;
    let mut replies = replies.unwrap().into_inner();
    replies.message().await.unwrap().unwrap();
    let status = timeout(PATIENCE, replies.message()).await.unwrap();
    assert_eq!(status.unwrap_err().code(), Code::DeadlineExceeded);
    eventually("the server has dropped it", || {
        server.greeter.under_way() == 0
    })
    .await;
}

#[tokio::test]
async fn a_deadline_ends_a_stream_for_which_its_reader_never_waits() {
    let greeter = TestGreeter::new("here");
    let service = GreeterServer::new(greeter.clone());
    let instance = Instance::new(Key::new("/a").unwrap(), "in the process");
    let channel = Channel::builder(FixedInstancer::new([instance]))
        .in_process(move |_| Ok(service.clone()))
        .build();
    channel.ready().await.unwrap();
    let often = GreetOftenRequest {
        name: "Ada".into(),
        times: ENDLESS,
    };
    let begun = Instant::now();
    let mut client = crate::fleet::greeter(&channel);
    let replies = client.greet_often(within(MOMENT, often)).await;
    let mut replies = replies.unwrap().into_inner();
    let status = loop {
        match replies.message().await {
            Ok(_) => assert!(begun.elapsed() < PATIENCE, "it goes on"),
            Err(status) => break status,
        }
    };
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert_eq!(greeter.under_way(), 0);
}

#[tokio::test]
async fn a_deadline_that_has_passed_sends_nothing() {
    let (registry, [server]) = fleet().await;
    let channel = connected(&registry, 1, |channel| channel).await;
    let late = within(Duration::ZERO, named("late"));
    let status = greeter(&channel).greet(late).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    greeter(&channel).greet(named("Ada")).await.unwrap();
    assert_eq!(server.greeter.names(), ["Ada"]);
}

/// Accepts connections and says nothing.
async fn silent(registry: &Registry) -> (TcpListener, sd_core::Registrar) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, register(registry.client(), &address).await)
}

#[tokio::test]
async fn a_deadline_is_over_connecting_and_waiting_for_endpoints() {
    let registry = Registry::new();
    let policy = CallPolicy::new().wait_for_endpoints(PATIENCE);
    let channel = Channel::builder(instancer(&registry))
        .policy(policy)
        .build();
    let call = async || greeter(&channel).greet(within(MOMENT, named("Ada"))).await;
    let status = call().await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status:?}");
    assert!(has_source::<NoEndpoints>(&status), "{status:?}");

    let _silent = silent(&registry).await;
    channel.ready().await.unwrap();
    assert_eq!(call().await.unwrap_err().code(), Code::DeadlineExceeded);
}

#[tokio::test]
async fn without_a_deadline_an_answer_has_to_begin_in_time() {
    let (registry, [server]) = fleet().await;
    let policy = CallPolicy::new().answer_timeout(MOMENT);
    let channel = connected(&registry, 1, |channel| channel.policy(policy)).await;
    server.greeter.behave(Behaviour::NeverAnswers);
    let answer = timeout(PATIENCE, greeter(&channel).greet(named("Ada"))).await;
    let status = answer.unwrap().unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert!(
        status.message().contains("no answer within 100ms"),
        "{status:?}"
    );
    eventually("the server has dropped it", || {
        server.greeter.under_way() == 0
    })
    .await;

    // A caller that still sends is not answered late, and a stream may last.
    server.greeter.behave(Behaviour::Greets);
    let slow = |names: &'static [&'static str]| {
        let slowly = tokio_stream::iter(names).then(async |name| {
            tokio::time::sleep(2 * MOMENT).await;
            named(*name)
        });
        Box::pin(slowly) as std::pin::Pin<Box<dyn futures::Stream<Item = GreetRequest> + Send>>
    };
    let names = slow(&["Ada", "Grace"]);
    let reply = greeter(&channel).greet_all(names).await.unwrap();
    assert_eq!(reply.into_inner().greeting, "Hello, Ada and Grace");
    let replies = greeter(&channel).greet_each(slow(&["Ada", "Grace"])).await;
    let replies: Vec<_> = replies.unwrap().into_inner().collect().await;
    assert_eq!(replies.len(), 2);
}

#[tokio::test]
async fn an_attempt_that_takes_too_long_is_made_again_if_that_does_no_harm() {
    let (registry, [hangs, server]) = fleet().await;
    hangs.greeter.behave(Behaviour::NeverAnswers);
    let policy = CallPolicy::new().per_try_timeout(MOMENT);
    let channel = connected(&registry, 2, |channel| {
        channel.balancer(RoundRobin::new).policy(policy.clone())
    })
    .await;
    let mut hung = 0;
    for _ in 0..4 {
        if let Err(status) = greeter(&channel).greet(named("once")).await {
            assert_eq!(status.code(), Code::DeadlineExceeded);
            hung += 1;
        }
    }
    assert_eq!(hung, 2, "every other call");
    for _ in 0..4 {
        let mut request = Request::new(named("often"));
        request
            .extensions_mut()
            .insert(policy.clone().idempotent(true));
        let reply = greeter(&channel).greet(request).await.unwrap();
        assert_eq!(reply.into_inner().from, server.greeter.from);
    }
    assert!(hangs.greeter.names().contains(&"often".into()));
}
