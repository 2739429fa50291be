//! The same with reqwest's requests.

use crate::{
    client::{in_time, instances, nobody},
    server::{Behaviour, Server},
};
use http::{Method, StatusCode};
use reqwest::{Request, Url};
use sd_core::{EndpointSource, RoundRobin};
use sd_tower::{
    ConnectError, ConnectErrorKind, HttpError, HttpErrorKind, ReqwestService, ReqwestServiceBuilder,
};
use std::time::Duration;

async fn ready(builder: ReqwestServiceBuilder, count: usize) -> ReqwestService {
    let service = builder.balancer(RoundRobin::new).build();
    let endpoints = service.endpoints();
    let mut versions = endpoints.versions();
    let ready = versions.wait_for(|_| endpoints.endpoints().len() == count);
    in_time(ready).await.unwrap();
    service
}

fn request(method: Method, path: &str) -> Request {
    let url: Url = format!("http://hello{path}").parse().unwrap();
    Request::new(method, url)
}

async fn text(service: &ReqwestService, request: Request) -> Result<String, HttpError> {
    let response = in_time(service.execute(request)).await?;
    Ok(in_time(response.text()).await.unwrap())
}

#[tokio::test]
async fn requests_are_shared_and_go_out_as_they_are() {
    let (first, second) = (Server::start().await, Server::start().await);
    let addresses = instances([first.address, second.address]);
    let builder =
        ReqwestService::builder(addresses).client(|client| client.user_agent("greetings"));
    let hello = ready(builder, 2).await;
    for _ in 0..2 {
        let client = reqwest::Client::new();
        let request = client
            .post("http://hello/a?b=c")
            .body("body")
            .build()
            .unwrap();
        let response = in_time(hello.execute(request)).await.unwrap();
        assert_eq!(response.url().as_str(), "http://hello/a?b=c");
        assert_eq!(response.status(), StatusCode::OK);
    }
    for server in [first, second] {
        let received = server.only();
        assert_eq!(received.host, "hello");
        assert_eq!(received.headers["user-agent"], "greetings");
        assert_eq!(received.headers["content-length"], "4");
        assert_eq!(received.body, "body");
    }
}

#[tokio::test]
async fn what_could_not_be_sent_is_sent_to_another_and_the_dead_get_no_more() {
    let server = Server::start().await;
    let dead = nobody().await;
    let addresses = instances([dead.clone(), server.address.to_string()]);
    let hello = ready(ReqwestService::builder(addresses), 2).await;
    for n in 0..10 {
        text(&hello, request(Method::POST, &format!("/{n}")))
            .await
            .unwrap();
    }
    assert_eq!(server.received().len(), 10);
    let endpoints = hello.endpoints();
    let mut versions = endpoints.versions();
    in_time(versions.wait_for(|_| endpoints.endpoints().len() == 1))
        .await
        .unwrap();

    let hello = ready(ReqwestService::builder(instances([dead])), 1).await;
    let error = text(&hello, request(Method::GET, "/a")).await.unwrap_err();
    assert_eq!(error.kind(), HttpErrorKind::Connection);
    assert!(sd_tower::nothing_executed(&error));
    let connect: &ConnectError = crate::client::source_of(&error).unwrap();
    assert_eq!(connect.kind(), ConnectErrorKind::Refused);
}

#[tokio::test]
async fn a_request_that_was_sent_is_repeated_only_if_it_may_be() {
    let (first, second) = (Server::start().await, Server::start().await);
    first.behave(Behaviour::Breaks);
    let addresses = instances([first.address, second.address]);
    let hello = ready(ReqwestService::builder(addresses), 2).await;
    for _ in 0..4 {
        text(&hello, request(Method::GET, "/get")).await.unwrap();
    }
    let mut failed = 0;
    for _ in 0..4 {
        let sent = text(&hello, request(Method::POST, "/post")).await;
        failed += usize::from(sent.is_err());
    }
    let posts = |server: &Server| {
        let paths = server.paths();
        paths.iter().filter(|path| *path == "/post").count()
    };
    assert_eq!(posts(&first), failed);
    assert_eq!(posts(&first) + posts(&second), 4);
}

#[tokio::test]
async fn the_timeout_of_a_request_is_for_all_of_the_call() {
    let server = Server::start().await;
    let hello = ready(ReqwestService::builder(instances([server.address])), 1).await;
    let mut endless = request(Method::GET, "/endless");
    *endless.timeout_mut() = Some(Duration::from_millis(50));
    let mut response = in_time(hello.execute(endless)).await.unwrap();
    assert_eq!(in_time(response.chunk()).await.unwrap().unwrap(), "first");
    let error = in_time(response.chunk()).await.unwrap_err();
    let error: &HttpError = crate::client::source_of(&error).unwrap();
    assert_eq!(error.kind(), HttpErrorKind::TimedOut);

    server.behave(Behaviour::NeverAnswers);
    let mut request = request(Method::GET, "/a");
    *request.timeout_mut() = Some(Duration::from_millis(50));
    let error = text(&hello, request).await.unwrap_err();
    assert_eq!(error.kind(), HttpErrorKind::TimedOut);
}

#[tokio::test]
async fn a_redirect_is_an_answer() {
    let server = Server::start().await;
    server.behave(Behaviour::Refuses(StatusCode::SEE_OTHER, None));
    let hello = ready(ReqwestService::builder(instances([server.address])), 1).await;
    let response = in_time(hello.execute(request(Method::POST, "/a")))
        .await
        .unwrap();
    assert_eq!(response.status(), StatusCode::SEE_OTHER);
    assert_eq!(server.received().len(), 1);
}

#[tokio::test]
async fn a_url_that_says_where_to_go_is_refused() {
    let hello = ReqwestService::new(instances(["127.0.0.1:1"]));
    for (url, why) in [
        ("http://127.0.0.1/", "an address instead of a name"),
        ("http://[::1]/", "an address instead of a name"),
        (
            "http://hello:8080/",
            "a port, which is for the endpoint to say",
        ),
        ("ftp://hello/", "neither http nor https"),
    ] {
        let request = Request::new(Method::GET, url.parse().unwrap());
        let error = hello.execute(request).await.unwrap_err();
        assert_eq!(error.kind(), HttpErrorKind::InvalidRequest);
        assert!(error.to_string().ends_with(why), "{error}");
    }
}
