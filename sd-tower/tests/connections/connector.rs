//! The connector under a client of hyper-util.

use super::*;
use http_body_util::Empty;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use sd_core::{BoxError, Connectable, Connectivity};
use sd_tower::{ConnectErrorKind, ConnectOptions, Connector, Tls, nothing_executed};
use server::Protocol;
use std::time::Duration;
use tokio::time::timeout;

type Pool = Client<Connector, Body>;

fn client(connector: &Connector) -> Pool {
    Client::builder(TokioExecutor::new()).build(connector.clone())
}

async fn get(client: &Pool, uri: &str) -> Result<String, BoxError> {
    let request = http::Request::get(uri).body(Empty::new()).unwrap();
    read(in_time(client.request(request)).await?).await
}

fn connector(server: &Server, options: ConnectOptions) -> Connector {
    Connector::new(&server.address.to_string(), options).unwrap()
}

/// The kind of the error under that of the client.
fn kind_of(error: &BoxError) -> ConnectErrorKind {
    let error = error
        .source()
        .and_then(|it| it.downcast_ref::<sd_tower::ConnectError>());
    error.expect("a ConnectError").kind()
}

#[tokio::test]
async fn the_address_is_fixed_and_the_request_is_not_touched() {
    let server = Server::speaking(Protocol::Http1).await;
    let connector = connector(&server, once());
    let client = client(&connector);
    assert!(matches!(
        *connector.connectivity().borrow(),
        Connectivity::Idle
    ));
    assert_eq!(get(&client, "http://hello/a").await.unwrap(), "- hello /a");
    ready(&connector).await;
}

#[tokio::test]
async fn a_server_with_tls_may_choose_http2() {
    let ca = tls::Ca::new();
    let acceptor = ca.acceptor("hello", &[b"h2"], None);
    let server = Server::speaking(Protocol::Tls(acceptor)).await;
    let tls = Tls::builder()
        .ca(ca.pem())
        .server_name("hello")
        .build()
        .unwrap();
    let client = client(&connector(&server, once().tls(tls)));
    assert_eq!(get(&client, "https://any/a").await.unwrap(), "https any /a");
    assert_eq!(get(&client, "https://any/b").await.unwrap(), "https any /b");
    assert_eq!(server.accepted(), 1);
}

#[tokio::test]
async fn https_without_tls_is_an_error_and_not_plain_text() {
    let server = Server::speaking(Protocol::Http1).await;
    let client = client(&connector(&server, once()));
    let error = get(&client, "https://hello/").await.unwrap_err();
    assert_eq!(kind_of(&error), ConnectErrorKind::Tls);
}

#[tokio::test]
async fn a_failure_is_shared_for_the_pause_and_no_call_is_spent_on_trying() {
    let server = Server::start().await;
    let connector = connector(&server, once());
    let address = server.kill().await;
    let client = client(&connector);
    let calls = (0..5).map(|_| get(&client, "http://hello/"));
    for answer in futures::future::join_all(calls).await {
        assert_eq!(kind_of(&answer.unwrap_err()), ConnectErrorKind::Refused);
    }
    assert_eq!(failing(&connector).await.kind(), ConnectErrorKind::Refused);
    let server = Server::at(address).await;
    for _ in 0..100 {
        let error = get(&client, "http://hello/").await.unwrap_err();
        assert_eq!(kind_of(&error), ConnectErrorKind::Refused);
    }
    assert_eq!(server.accepted(), 0);
}

#[tokio::test]
async fn a_host_that_is_back_is_ready_without_a_call() {
    let server = Server::start().await;
    let connector = connector(&server, soon());
    let address = server.kill().await;
    let client = client(&connector);
    get(&client, "http://hello/").await.unwrap_err();
    failing(&connector).await;
    let server = Server::at(address).await;
    ready(&connector).await;
    // What the task has opened is closed.
    server.open(0).await;
    assert_eq!(server.accepted(), 1);
}

#[tokio::test]
async fn many_connections_are_opened_at_once() {
    let server = Server::speaking(Protocol::Http1).await;
    let client = client(&connector(&server, once()));
    let calls: Vec<_> = (0..10)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { get(&client, "http://hello/wait").await })
        })
        .collect();
    server.waiting(10).await;
    assert_eq!(server.accepted(), 10);
    server.go_on();
    for call in calls {
        in_time(call).await.unwrap().unwrap();
    }
    drop(client);
    server.open(0).await;
}

#[tokio::test]
async fn the_task_ends_with_the_last_clone() {
    let address = Server::start().await.kill().await;
    let options = soon().timeout(Duration::from_secs(1));
    let connector = Connector::new(&address.to_string(), options).unwrap();
    let client = client(&connector);
    get(&client, "http://hello/").await.unwrap_err();
    let mut states = connector.connectivity();
    drop(connector);
    failing(&Following(states.clone())).await;
    drop(client);
    while in_time(states.changed()).await.is_ok() {}
}

/// A state without its target.
struct Following(tokio::sync::watch::Receiver<Connectivity>);

impl sd_core::Connectable for Following {
    fn connectivity(&self) -> tokio::sync::watch::Receiver<Connectivity> {
        self.0.clone()
    }
}

/// hyper reports a GOAWAY also for requests that were sent just before it arrived.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_proved_not_to_be_executed_was_not_while_a_server_drains() {
    let server = Server::start().await;
    let pool = Client::builder(TokioExecutor::new())
        .http2_only(true)
        .build(connector(&server, soon()));
    let callers = (0..8).map(|caller| {
        let pool: Pool = pool.clone();
        tokio::spawn(async move {
            let mut failed = Vec::new();
            for n in 0..500 {
                let path = format!("/{caller}/{n}");
                let request = http::Request::get(format!("http://hello{path}"));
                let response = pool.request(request.body(Empty::new()).unwrap());
                // A call that is queued while its connection closes may wait for ever: the pool
                // holds the sender, and hyper gives the request back when that is dropped.
                match timeout(Duration::from_secs(2), response).await {
                    Ok(Ok(response)) => drop(read(response).await),
                    Ok(Err(error)) => failed.push((path, error)),
                    Err(_) => {}
                }
            }
            failed
        })
    });
    let callers: Vec<_> = callers.collect();
    for hundred in 1..30 {
        server.answered(hundred * 100).await;
        server.drain();
    }
    for caller in callers {
        for (path, error) in in_time(caller).await.unwrap() {
            let was_executed = server.requests(&path) > 0;
            assert!(
                !(was_executed && nothing_executed(&error)),
                "{path}: {error:?}"
            );
        }
    }
}
