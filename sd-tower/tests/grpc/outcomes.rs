//! What calls say about their endpoints.

use crate::{
    fleet::{Behaviour, ENDLESS, TestServer, connected, eventually, fleet, greeter, named},
    observed::Outcomes,
};
use sd_core::Outcome::{Cancelled, Failure, Overloaded, Success, TimedOut};
use sd_example_proto::{GreetOftenRequest, GreetRequest};
use sd_memory::Registry;
use sd_tower::Channel;
use tokio_stream::{StreamExt, wrappers::UnboundedReceiverStream};
use tonic::{Code, Request, Status, service::Routes};

async fn observed<const N: usize>(registry: &Registry) -> (Channel, Outcomes) {
    let outcomes = Outcomes::default();
    let channel = connected(registry, N, |channel| outcomes.observe(channel)).await;
    outcomes.forget();
    (channel, outcomes)
}

fn often(times: u32) -> GreetOftenRequest {
    GreetOftenRequest {
        name: "Ada".into(),
        times,
    }
}

#[tokio::test]
async fn a_call_lasts_until_the_end_of_its_body() {
    let (registry, [_server]) = fleet().await;
    let (channel, outcomes) = observed::<1>(&registry).await;
    greeter(&channel).greet(named("Ada")).await.unwrap();
    assert_eq!(outcomes.so_far(), [Success]);

    let (names, queue) = tokio::sync::mpsc::unbounded_channel();
    let queue = UnboundedReceiverStream::new(queue);
    let mut replies = greeter(&channel)
        .greet_each(queue)
        .await
        .unwrap()
        .into_inner();
    for _ in 0..3 {
        names.send(named("Ada")).unwrap();
        replies.message().await.unwrap().unwrap();
        assert_eq!(outcomes.so_far(), [Success], "it goes on");
    }
    drop(names);
    assert_eq!(replies.message().await.unwrap(), None);
    assert_eq!(outcomes.so_far(), [Success, Success]);
}

#[tokio::test]
async fn the_status_of_a_stream_is_that_of_its_trailers() {
    let (registry, [server]) = fleet().await;
    let (channel, outcomes) = observed::<1>(&registry).await;
    let mut expected = Vec::new();
    for (code, outcome) in [
        (Code::Internal, Failure),
        (Code::NotFound, Success),
        (Code::ResourceExhausted, Overloaded),
        (Code::DeadlineExceeded, TimedOut),
    ] {
        server
            .greeter
            .behave(Behaviour::Fails(Status::new(code, "no")));
        let status = greeter(&channel).greet(named("Ada")).await.unwrap_err();
        assert_eq!(status.code(), code);
        let replies = greeter(&channel).greet_often(often(2)).await.unwrap();
        let replies: Vec<_> = replies.into_inner().collect().await;
        assert_eq!(replies.len(), 3);
        assert_eq!(replies[2].as_ref().unwrap_err().code(), code);
        expected.extend([outcome; 2]);
        assert_eq!(outcomes.so_far(), expected, "{code:?}");
    }
}

#[tokio::test]
async fn a_call_that_its_caller_drops_is_cancelled_and_reset() {
    let (registry, [server]) = fleet().await;
    let (channel, outcomes) = observed::<1>(&registry).await;
    let under_way = |calls: usize| {
        let greeter = server.greeter.clone();
        eventually("the server has begun and dropped them", move || {
            greeter.under_way() == calls
        })
    };
    // Before the answer.
    server.greeter.behave(Behaviour::NeverAnswers);
    let mut client = greeter(&channel);
    let call = tokio::spawn(async move { client.greet(named("Ada")).await });
    under_way(1).await;
    call.abort();
    call.await.unwrap_err();
    under_way(0).await;
    assert_eq!(outcomes.so_far(), [Cancelled]);

    // A stream under way, of both kinds.
    server.greeter.behave(Behaviour::Greets);
    let replies = greeter(&channel).greet_often(often(ENDLESS)).await;
    let mut replies = replies.unwrap().into_inner();
    replies.message().await.unwrap().unwrap();
    let names = tokio_stream::once(named("Ada")).chain(tokio_stream::pending());
    let each = greeter(&channel).greet_each(names).await;
    let mut each = each.unwrap().into_inner();
    each.message().await.unwrap().unwrap();
    assert_eq!(server.greeter.under_way(), 2);
    drop((replies, each));
    under_way(0).await;
    assert_eq!(outcomes.so_far(), [Cancelled; 3]);
}

#[tokio::test]
async fn a_server_that_fails_fast_attracts_nothing_and_is_ejected() {
    let (registry, [fails, _one, _other]) = fleet().await;
    let failure = Status::internal("broken");
    fails.greeter.behave(Behaviour::Fails(failure));
    // The default options.
    let channel = connected(&registry, 3, |channel| channel).await;
    for _ in 0..300 {
        let _ = greeter(&channel).greet(named("Ada")).await;
    }
    let calls = fails.greeter.names().len();
    assert!((1..=20).contains(&calls), "{calls} of 300");
}

#[tokio::test]
async fn a_server_that_does_not_have_a_method_which_others_have_is_failing() {
    let (registry, [server]) = fleet().await;
    let old = TestServer::start_routes(&registry, Routes::default()).await;
    let (channel, outcomes) = observed::<2>(&registry).await;
    for _ in 0..10 {
        let _ = greeter(&channel).greet(named("Ada")).await;
    }
    let of_old = outcomes.of(&old.address.to_string());
    // Until another server has shown that it has it, the caller may be wrong.
    assert_eq!(of_old.len(), 5);
    assert_eq!(of_old[2..], [Failure; 3], "{of_old:?}");
    assert_eq!(outcomes.of(&server.address.to_string()), [Success; 5]);

    let (channel, outcomes) = observed::<2>(&registry).await;
    let path = || "/hello.v1.Greeter/Nonsense".parse().unwrap();
    for _ in 0..10 {
        let mut grpc = tonic::client::Grpc::new(channel.clone());
        let codec = tonic_prost::ProstCodec::<_, sd_example_proto::GreetReply>::default();
        let answer = grpc.unary(Request::new(named("Ada")), path(), codec).await;
        assert_eq!(answer.unwrap_err().code(), Code::Unimplemented);
    }
    assert_eq!(outcomes.so_far(), [Success; 10], "nobody has it");
}

#[tokio::test]
async fn a_request_that_fails_or_panics_says_nothing_about_the_endpoint() {
    let (registry, [server]) = fleet().await;
    let (channel, outcomes) = observed::<1>(&registry).await;
    let mut limited = greeter(&channel).max_encoding_message_size(10);
    let status = limited.greet(named("a name that is too long")).await;
    let status = status.unwrap_err();
    assert_eq!(status.code(), Code::OutOfRange, "{status:?}");
    assert!(
        status
            .message()
            .contains("the body of the request has failed")
    );

    let (names, queue) = tokio::sync::mpsc::unbounded_channel();
    names.send(named("Ada")).unwrap();
    names.send(named("")).unwrap();
    let panics = |queue| {
        UnboundedReceiverStream::new(queue).map(|request: GreetRequest| {
            assert!(!request.name.is_empty(), "no name");
            request
        })
    };
    let status = greeter(&channel).greet_all(panics(queue)).await;
    let status = status.unwrap_err();
    assert_eq!(status.code(), Code::Unknown);
    assert!(
        status.message().contains("it panicked: no name"),
        "{status:?}"
    );
    // After the answer has begun.
    let (names, queue) = tokio::sync::mpsc::unbounded_channel();
    names.send(named("Ada")).unwrap();
    let replies = greeter(&channel).greet_each(panics(queue)).await;
    let mut replies = replies.unwrap().into_inner();
    replies.message().await.unwrap().unwrap();
    names.send(named("")).unwrap();
    let status = replies.message().await.unwrap_err();
    assert!(
        status.message().contains("it panicked: no name"),
        "{status:?}"
    );

    assert_eq!(outcomes.so_far(), [Cancelled; 3]);
    greeter(&channel).greet(named("Ada")).await.unwrap();
    eventually("the server has dropped them", || {
        server.greeter.under_way() == 0
    })
    .await;
}

#[tokio::test]
async fn the_caller_may_judge_the_answers_otherwise() {
    let (registry, [server]) = fleet().await;
    let outcomes = Outcomes::default();
    let channel = connected(&registry, 1, |channel| {
        outcomes.observe(channel).outcome(|code| match code {
            Code::NotFound => Failure,
            _ => Success,
        })
    });
    let channel = channel.await;
    outcomes.forget();
    for code in [Code::NotFound, Code::Internal] {
        server
            .greeter
            .behave(Behaviour::Fails(Status::new(code, "no")));
        greeter(&channel).greet(named("Ada")).await.unwrap_err();
    }
    assert_eq!(outcomes.so_far(), [Failure, Success]);
    // Also in trailers.
    server.greeter.behave(Behaviour::Greets);
    let replies = greeter(&channel).greet_often(often(2)).await.unwrap();
    let replies: Vec<_> = replies.into_inner().collect().await;
    assert_eq!(replies.len(), 2);
    assert_eq!(outcomes.so_far(), [Failure, Success, Success]);
}
