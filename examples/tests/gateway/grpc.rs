//! gRPC through the gateway.

use crate::{
    client::Client,
    gateway::{Gateway, register},
    greeter::greeter,
    upstream::Upstream,
};
use axum::{
    Router,
    body::{Body, Bytes},
};
use futures::{StreamExt, stream};
use http::Request;
use http_body_util::BodyExt;
use sd_core::{FixedInstancer, Instance, Key};
use sd_example_proto::{GreetOftenRequest, GreetRequest, greeter_client::GreeterClient};
use sd_tests::{Etcd, PATIENCE};
use sd_tower::{Channel, Http2Options};
use tokio::{sync::mpsc, time::timeout};
use tonic::Code;

/// A greeter.
async fn anna() -> Upstream {
    let greeter = greeter("anna".into());
    Upstream::start(Router::new().fallback_service(greeter)).await
}

/// A client of the gateway that calls it by this name.
async fn client(gateway: &Gateway, authority: &str) -> GreeterClient<Channel> {
    let key = Key::new("gateway").expect("a key");
    let instances = FixedInstancer::new([Instance::new(key, gateway.address())]);
    let http2 = Http2Options::new().authority(authority.parse().expect("a host"));
    let channel = Channel::builder(instances).http2(http2).build();
    channel.ready().await.expect("the gateway");
    GreeterClient::new(channel)
}

fn named(name: &str) -> GreetRequest {
    GreetRequest { name: name.into() }
}

#[tokio::test]
async fn calls_of_every_kind_pass() {
    let server = anna().await;
    let gateway = Gateway::to(&server).await;
    // The service is the host of :authority.
    let mut greeter = client(&gateway, "hello:80").await;

    let reply = greeter
        .greet(named("you"))
        .await
        .expect("a reply")
        .into_inner();
    assert_eq!((&*reply.greeting, &*reply.from), ("Hello, you!", "anna"));

    let often = GreetOftenRequest {
        name: "you".into(),
        times: 100,
    };
    let replies = greeter
        .greet_often(often)
        .await
        .expect("a stream")
        .into_inner();
    let replies: Vec<_> = replies.collect().await;
    assert!(
        replies.len() == 100 && replies.iter().all(Result::is_ok),
        "{replies:?}"
    );

    let names = stream::iter(["a", "b", "c"].map(named));
    let reply = greeter
        .greet_all(names)
        .await
        .expect("a reply")
        .into_inner();
    assert_eq!(reply.greeting, "Hello, a and b and c!");

    let (names, requests) = mpsc::channel(1);
    let requests = stream::unfold(requests, async |mut it| Some((it.recv().await?, it)));
    let replies = greeter.greet_each(requests).await.expect("a stream");
    let mut replies = replies.into_inner();
    for name in ["a", "b", "c"] {
        // The next one is asked for only after this one has come.
        names.send(named(name)).await.expect("it is read");
        let reply = timeout(PATIENCE, replies.message()).await.expect("in time");
        let reply = reply.expect("a reply").expect("another one");
        assert_eq!(reply.greeting, format!("Hello, {name}!"));
    }
    drop(names);
    assert_eq!(replies.message().await.expect("a status"), None);
}

#[tokio::test]
async fn a_grpc_service_goes_to_the_service_that_an_option_names() {
    let server = anna().await;
    let fixed = format!("greeters={}", server.address());
    let options = ["--fixed", &fixed, "--grpc", "hello.v1.Greeter=greeters"];
    let gateway = Gateway::start(&options).await;
    let mut greeter = client(&gateway, "somewhere").await;
    let reply = greeter
        .greet(named("you"))
        .await
        .expect("a reply")
        .into_inner();
    assert_eq!(reply.from, "anna");
}

#[tokio::test]
async fn what_cannot_be_passed_on_has_a_status() {
    let etcd = Etcd::start().await;
    let gateway = Gateway::on(&etcd).await;
    let server = anna().await;
    let key = register(&etcd, "hello", &server).await;
    gateway.knows("hello", 1).await;

    let status = client(&gateway, "nobody")
        .await
        .greet(named("you"))
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
    assert_eq!(status.message(), "there is no service nobody");

    let mut greeter = client(&gateway, "hello").await;
    greeter.greet(named("you")).await.expect("a reply");
    etcd.delete(&*key).await;
    let status = loop {
        if let Err(status) = greeter.greet(named("you")).await {
            break status;
        }
    };
    assert_eq!(status.code(), Code::Unavailable);
    assert!(
        status.message().contains("no instance is registered"),
        "{status:?}"
    );
}

#[tokio::test]
async fn a_stream_whose_server_crashes_ends_with_a_status() {
    let server = anna().await;
    let fixed = format!("hello={}", server.address());
    let options = ["--fixed", &fixed, "--grpc", "hello.v1.Greeter=hello"];
    let gateway = Gateway::start(&options).await;
    // Without tonic, to see the trailers. The first request is for `a`; more may follow.
    let (mut names, requests) = http_body_util::Channel::<Bytes>::new(1);
    let request = Request::post(gateway.uri("/hello.v1.Greeter/GreetEach"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Body::new(requests));
    let request = request.expect("a request");
    names
        .send_data(Bytes::from_static(b"\0\0\0\0\x03\x0a\x01a"))
        .await
        .expect("it is read");
    let answer = Client::http2().send(request).await;
    assert!(!answer.headers().contains_key("grpc-status"), "{answer:?}");
    let mut body = answer.into_body();
    let first = timeout(PATIENCE, body.frame()).await.expect("in time");
    first.expect("a reply").expect("one");
    drop(server);
    let rest = timeout(PATIENCE, body.collect()).await.expect("in time");
    let rest = rest.expect("no stream that was reset");
    let trailers = rest.trailers().expect("trailers");
    assert_eq!(trailers["grpc-status"], "14", "{trailers:?}");
}

#[tokio::test]
async fn what_is_not_grpc_over_http2_goes_by_its_path() {
    let server = Upstream::saying("hello").await;
    let gateway = Gateway::to(&server).await;
    let request = Request::post(gateway.uri("/hello/"))
        .header("content-type", "application/grpc-web")
        .body(Body::empty());
    let answer = Client::http2().answer(request.expect("a request")).await;
    assert_eq!(answer.body, "hello");
}
