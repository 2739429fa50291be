//! `grpc`: the story in one process, and its halves as processes on etcd.

mod program;
mod shown;

use http_body_util::{BodyExt, Empty};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use program::Program;
use rustix::process::Signal;
use sd_core::Bytes;
use sd_tests::{Etcd, PATIENCE, eventually};
use serde_json::Value;
use shown::shown;
use std::process::Command;

const PROGRAM: &str = env!("CARGO_BIN_EXE_grpc");

/// The calls that somebody has answered in a step of the story.
fn answered(step: &str, name: &str) -> u64 {
    let line = step.lines().find(|line| line.trim().starts_with(name));
    let count = line.and_then(|line| line.split_whitespace().nth(1));
    count
        .and_then(|count| count.parse().ok())
        .unwrap_or_else(|| panic!("no line of {name} in\n{step}"))
}

/// `1725 of 1725 calls were answered.`
fn all_were_answered(line: &str) {
    let words: Vec<_> = line.split_whitespace().collect();
    let [
        ..,
        answered,
        "of",
        made,
        "calls",
        "were",
        "answered" | "answered.",
    ] = words[..]
    else {
        panic!("no sum: {line}");
    };
    assert_eq!(answered, made);
    assert_ne!(made, "0");
}

#[test]
fn shares_follow_the_weights() {
    let output = shown(PROGRAM, &[]);

    let steps: Vec<_> = output.split("\n\n").collect();
    let [_, first, heavier, refused, drained, sum] = steps[..] else {
        panic!("not four steps:\n{output}");
    };
    // The weighted balancer goes through whole rounds.
    for (step, anna, ben) in [
        (first, 100, 300),
        (heavier, 200, 200),
        (refused, 200, 200),
        (drained, 400, 0),
    ] {
        let counts = (answered(step, "anna "), answered(step, "ben  "));
        assert_eq!(counts, (anna, ben), "{output}");
    }
    assert!(heavier.contains("?value=3: weight 3\n"), "{output}");
    assert!(refused.contains("?value=-1: 400: "), "{output}");
    assert!(
        drained.contains("ben has ended, 0 connections cut"),
        "{output}"
    );
    all_were_answered(sum);
}

/// A server of the greeter in a process of its own.
struct Server {
    program: Program,
    address: String,
    admin: String,
    http: Client<HttpConnector, Empty<Bytes>>,
}

impl Server {
    /// Returns when it is registered.
    async fn start(etcd: &Etcd, weight: &str) -> Self {
        let registry = target(etcd);
        let arguments = ["server", "--registry", &registry, "--weight", weight];
        let program = Program::start("server", PROGRAM, &arguments);
        program.prints("registered as /services/hello/").await;
        let first = program.lines().swap_remove(0);
        let addresses = first
            .strip_prefix("greeter at ")
            .and_then(|rest| rest.strip_suffix("/info"))
            .and_then(|rest| rest.split_once(", for operators "));
        let (address, admin) = addresses.unwrap_or_else(|| panic!("no addresses: {first}"));
        Self {
            address: address.to_owned(),
            admin: admin.to_owned(),
            program,
            http: Client::builder(TokioExecutor::new()).build_http(),
        }
    }

    fn key(&self) -> String {
        format!("/services/hello/{}", self.address)
    }

    /// Makes a request for operators. Returns the status and the body.
    async fn ask(&self, method: &str, path: &str) -> (u16, String) {
        let request = axum::http::Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.admin))
            .body(Empty::new())
            .expect("a request");
        let answer = self.http.request(request).await.expect("an answer");
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.expect("a body");
        let body = String::from_utf8(body.to_bytes().to_vec()).expect("text");
        (status, body)
    }

    async fn info(&self) -> Value {
        let (status, body) = self.ask("GET", "/info").await;
        assert_eq!(status, 200, "{body}");
        serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error} in {body}"))
    }
}

fn target(etcd: &Etcd) -> String {
    format!("{}/hello", etcd.endpoint().replace("http://", "etcd://"))
}

fn client(etcd: &Etcd) -> Program {
    let service = format!("{}?balancer=weighted", target(etcd));
    Program::start("client", PROGRAM, &["client", &service, "--rate", "200"])
}

/// Waits until the client prints that `address` answers about so many percent of its calls: what it
/// counts begins and ends within a round of the balancer.
async fn has_share(client: &Program, address: &str, percent: u64) {
    let what = format!("{percent} % of {address}");
    let shares = async || {
        let lines = client.lines();
        let last = lines.iter().rev().find(|line| line.contains(" %"));
        last.cloned().unwrap_or_default()
    };
    let is_about = |line: &String| {
        let after = line.split_once(address).map(|(_, after)| after);
        let share = after.and_then(|after| after.split_whitespace().next());
        let share = share.and_then(|share| share.parse::<u64>().ok());
        share.is_some_and(|share| share.abs_diff(percent) <= 2)
    };
    eventually(PATIENCE, &what, shares, is_about).await;
}

#[tokio::test]
async fn a_client_follows_a_weight_that_an_operator_sets() {
    let etcd = Etcd::start().await;
    let one = Server::start(&etcd, "1").await;
    let other = Server::start(&etcd, "3").await;
    let client = client(&etcd);
    has_share(&client, &one.address, 25).await;
    has_share(&client, &other.address, 75).await;

    let answer = one.ask("PUT", "/weight?value=9").await;

    assert_eq!(answer, (200, "weight 9\n".into()));
    has_share(&client, &one.address, 75).await;
    has_share(&client, &other.address, 25).await;

    let (status, lines) = client.told(Signal::INT).await;
    assert!(status.success(), "{lines:#?}");
    all_were_answered(lines.last().expect("a sum"));
}

#[tokio::test]
async fn what_is_registered_is_shown() {
    let etcd = Etcd::start().await;
    let server = Server::start(&etcd, "3").await;

    let info = server.info().await;

    let entry = etcd.entry(server.key()).await.expect("it is registered");
    let value: Value = serde_json::from_slice(entry.value()).expect("JSON");
    assert_eq!(info["entry"]["key"], server.key());
    assert_eq!(info["entry"]["value"], value);
    assert_eq!(info["entry"]["value"]["address"], server.address);
    assert_eq!(info["entry"]["value"]["weight"], 3);
    let status = info["status"].as_str().unwrap_or_default();
    assert!(status.starts_with("registered as "), "{status}");

    // Also what somebody else has made of it.
    etcd.delete(server.key()).await;
    let shown = async || server.info().await["entry"].clone();
    eventually(PATIENCE, "the entry to be back", shown, Value::is_object).await;
}

#[tokio::test]
async fn a_weight_that_is_none_is_refused_and_changes_nothing() {
    let etcd = Etcd::start().await;
    let server = Server::start(&etcd, "3").await;
    let before = etcd.entry(server.key()).await.expect("it is registered");
    let info = server.info().await;

    for query in [
        "",
        "?",
        "?value",
        "?value=",
        "?weight=5",
        "?value=-1",
        "?value=heavy",
        "?value=1.5",
        "?value=4294967296",
        "?value=5&value=6",
    ] {
        let (status, why) = server.ask("PUT", &format!("/weight{query}")).await;
        assert_eq!(status, 400, "{query}: {why}");
        assert!(why.contains("weight"), "{query}: {why}");
    }

    let after = etcd.entry(server.key()).await.expect("it is registered");
    assert_eq!(after.mod_revision(), before.mod_revision());
    assert_eq!(server.info().await, info);
    assert_eq!(server.ask("PUT", "/weight?value=0").await.0, 200);
    let after = etcd.entry(server.key()).await.expect("it is registered");
    assert_ne!(after.mod_revision(), before.mod_revision());
}

#[tokio::test]
async fn a_server_that_is_told_to_end_under_calls_loses_none() {
    let etcd = Etcd::start().await;
    let one = Server::start(&etcd, "1").await;
    let other = Server::start(&etcd, "1").await;
    let client = client(&etcd);
    has_share(&client, &one.address, 50).await;
    let (key, address) = (one.key(), other.address.clone());

    let (status, lines) = one.program.told(Signal::TERM).await;

    assert!(status.success(), "{lines:#?}");
    let last = lines.last().expect("an end");
    assert!(
        last.ends_with("ended: [Removed], 0 connections cut"),
        "{last}"
    );
    assert_eq!(etcd.get(key).await, None);
    has_share(&client, &address, 100).await;
    let (status, lines) = client.told(Signal::INT).await;
    assert!(status.success(), "{lines:#?}");
    all_were_answered(lines.last().expect("a sum"));
    let (status, lines) = other.program.told(Signal::INT).await;
    assert!(status.success(), "{lines:#?}");
    assert_eq!(etcd.leases().await, [0; 0]);
}

#[tokio::test]
async fn a_server_that_is_killed_under_calls_loses_no_greeting() {
    let etcd = Etcd::start().await;
    let one = Server::start(&etcd, "1").await;
    let other = Server::start(&etcd, "1").await;
    let client = client(&etcd);
    has_share(&client, &one.address, 50).await;

    one.program.kill().await;

    has_share(&client, &other.address, 100).await;
    let (status, lines) = client.told(Signal::INT).await;
    assert!(status.success(), "{lines:#?}");
    all_were_answered(lines.last().expect("a sum"));
}

#[test]
fn what_is_wrong_with_a_target_is_pointed_at() {
    for (arguments, pointed) in [
        (
            &["client", "etcd://10.0.0.1:99999/hello"][..],
            "\n  etcd://10.0.0.1:99999/hello\n                  ^^^^^\n",
        ),
        (
            &["server", "--registry", "etcd://10.0.0.1/hello?weight=3"],
            "^^^^^^\n",
        ),
    ] {
        let output = Command::new(PROGRAM).args(arguments).output();
        let output = output.expect("the program runs");
        assert_eq!(output.status.code(), Some(2));
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(error.starts_with("error: invalid target: "), "{error}");
        assert!(error.contains(pointed), "{error}");
    }
}
