//! How the gateway ends, and what it does not start with.

use crate::{
    client::Client,
    gateway::Gateway,
    program::Program,
    upgrades::{echo_server, upgrade},
    upstream::Upstream,
};
use axum::Router;
use http::StatusCode;
use rustix::process::Signal;
use std::{process::Command, sync::Arc};
use tokio::{net::TcpStream, sync::Notify};

#[tokio::test]
async fn requests_under_way_finish_before_it_ends() {
    let (begun, finish) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (begins, finished) = (begun.clone(), finish.clone());
    let slow = Router::new().fallback(async move || {
        begins.notify_one();
        finished.notified().await;
        "finished"
    });
    let server = Upstream::start(slow).await;
    let gateway = Gateway::to(&server).await;
    let uri = gateway.uri("/hello/");
    let request = tokio::spawn(async move { Client::http1().get(&uri).await });
    begun.notified().await;
    let address = gateway.address().to_owned();

    let Gateway { program, .. } = gateway;
    let told = tokio::spawn(program.told(Signal::TERM));
    // It takes no more connections.
    while TcpStream::connect(&address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    finish.notify_one();
    let answer = request.await.expect("no panic");
    assert_eq!((answer.status, &*answer.body), (StatusCode::OK, "finished"));
    let (status, lines) = told.await.expect("no panic");
    assert!(status.success(), "{lines:#?}");
    assert!(
        !lines.iter().any(|line| line.contains("cut off")),
        "{lines:#?}"
    );
}

#[tokio::test]
async fn what_does_not_finish_is_cut_off() {
    let server = echo_server().await;
    let fixed = format!("hello={}", server.address());
    let gateway = Gateway::start(&["--fixed", &fixed, "--drain", "0.1"]).await;
    let silent = TcpStream::connect(gateway.address())
        .await
        .expect("a connection");
    let (open, head) = upgrade(&gateway, "echo").await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    let (status, lines) = gateway.program.told(Signal::INT).await;
    assert!(status.success(), "{lines:#?}");
    assert!(
        lines.iter().any(|line| line.contains("cut off 1 ")),
        "{lines:#?}"
    );
    drop((silent, open));
}

#[tokio::test]
async fn it_runs_alone() {
    let gateway = Gateway::start(&[]).await;
    let status = gateway.knows("hello", 3).await;
    assert_eq!(status["registry"]["state"], "live");
    gateway.knows("greeter", 2).await;
    let answer = Client::http1().get(&gateway.uri("/hello/")).await;
    assert!(answer.body.starts_with("hello from "), "{answer:?}");
    let (status, lines) = gateway.program.told(Signal::TERM).await;
    assert!(status.success(), "{lines:#?}");
}

#[tokio::test]
async fn a_wrong_option_is_an_error_that_says_what_is_right() {
    let taken = Gateway::start(&["--fixed", "hello=127.0.0.1:1"]).await;
    let listen = taken.address();
    for (arguments, expected) in [
        (vec!["--fixed", "hello"], "write it as --fixed NAME=ADDRESS"),
        (vec!["--grpc", "=hello"], "write it as --grpc SERVICE=NAME"),
        (vec!["--etcd", ","], "such as http://127.0.0.1:2379"),
        (
            vec!["--etcd", "x", "--fixed", "a=b:1"],
            "exclude each other",
        ),
        (vec!["--listen", listen], "--listen chooses another address"),
        (vec!["--drain", "-1"], "negative"),
        (vec!["--whatever"], "usage: gateway"),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_gateway"))
            .args(&arguments)
            .output();
        let output = output.expect("it can be run");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{arguments:?}");
        assert!(error.contains(expected), "{arguments:?}: {error}");
    }
    let help = Program::start("gateway", env!("CARGO_BIN_EXE_gateway"), &["--help"]);
    help.prints("usage: gateway").await;
}
