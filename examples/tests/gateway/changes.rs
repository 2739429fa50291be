//! Services and instances that come, go and crash.

use crate::{
    client::Client,
    gateway::{Gateway, instances_of, register},
    upstream::Upstream,
};
use axum::Router;
use http::StatusCode;
use sd_tests::{Etcd, PATIENCE, eventually};
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
};
use tokio::{sync::Notify, task::JoinSet};

#[tokio::test]
async fn services_appear_and_vanish_while_the_gateway_runs() {
    let etcd = Etcd::start().await;
    let gateway = Gateway::on(&etcd).await;
    let client = Client::http1();
    gateway
        .shows("the registry", |it| it["registry"]["state"] == "live")
        .await;
    let answer = client.get(&gateway.uri("/hello/")).await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);

    let server = Upstream::saying("hello").await;
    let key = register(&etcd, "hello", &server).await;
    let uri = gateway.uri("/hello/");
    let get = || client.get(&uri);
    let status = |expected| move |answer: &crate::client::Answer| answer.status == expected;
    eventually(PATIENCE, "the service", get, status(StatusCode::OK)).await;
    gateway.program.prints("+ service hello").await;

    etcd.delete(&*key).await;
    let gone = status(StatusCode::SERVICE_UNAVAILABLE);
    eventually(PATIENCE, "its end", get, gone).await;
    register(&etcd, "hello", &server).await;
    eventually(PATIENCE, "its return", get, status(StatusCode::OK)).await;
}

/// Sends requests all the time, until it is stopped.
struct Load {
    clients: JoinSet<BTreeMap<String, u64>>,
    answered: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
}

impl Load {
    fn start(uri: &str) -> Self {
        let (answered, stop) = (Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
        let mut clients = JoinSet::new();
        for _ in 0..4 {
            let (answered, stop, uri) = (answered.clone(), stop.clone(), uri.to_owned());
            clients.spawn(async move {
                let client = Client::http1();
                let mut answers = BTreeMap::new();
                while !stop.load(Relaxed) {
                    let answer = client.get(&uri).await;
                    let answer = format!("{}: {}", answer.status.as_u16(), answer.body);
                    *answers.entry(answer).or_default() += 1;
                    answered.fetch_add(1, Relaxed);
                }
                answers
            });
        }
        Self {
            clients,
            answered,
            stop,
        }
    }

    /// Waits until so many more were answered.
    async fn answers(&self, count: u64) {
        let until = self.answered.load(Relaxed) + count;
        let answered = async || self.answered.load(Relaxed);
        eventually(PATIENCE, "answers", answered, |it| *it >= until).await;
    }

    /// All answers, and how often each came.
    async fn stop(self) -> BTreeMap<String, u64> {
        self.stop.store(true, Relaxed);
        let mut all = BTreeMap::new();
        for answers in self.clients.join_all().await {
            for (answer, count) in answers {
                *all.entry(answer).or_default() += count;
            }
        }
        all
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crashed_instance_costs_no_request_that_can_be_repeated() {
    let etcd = Etcd::start().await;
    let gateway = Gateway::on(&etcd).await;
    let (anna, clara) = (
        Upstream::saying("anna").await,
        Upstream::saying("clara").await,
    );
    // Answers at first, and then holds what it gets.
    let (holds, held) = (Arc::<AtomicBool>::default(), Arc::new(Notify::new()));
    let (is_holding, holding) = (holds.clone(), held.clone());
    let ben = Upstream::start(Router::new().fallback(async move || {
        if is_holding.load(Relaxed) {
            holding.notify_one();
            std::future::pending::<()>().await;
        }
        "ben"
    }))
    .await;
    for server in [&anna, &ben, &clara] {
        register(&etcd, "hello", server).await;
    }
    gateway.knows("hello", 3).await;

    let load = Load::start(&gateway.uri("/hello/"));
    load.answers(300).await;
    holds.store(true, Relaxed);
    held.notified().await;
    // It crashes with a request that has no answer yet.
    let address = ben.address();
    drop(ben);
    load.answers(1000).await;
    // It is known to be down, without its lease having ended.
    let is_down = |status: &serde_json::Value| {
        let mut instances = instances_of(status, "hello").iter();
        instances.any(|it| it["address"] == *address && it["health"]["state"] == "unreachable")
    };
    let status = gateway.shows("the instance that is down", is_down).await;
    let reasons = instances_of(&status, "hello").iter();
    let mut reasons = reasons.filter_map(|it| it["health"]["reason"].as_str());
    assert!(reasons.any(|reason| reason.contains("refused")), "{status}");
    load.answers(300).await;

    let answers = load.stop().await;
    let expected = ["200: anna", "200: ben", "200: clara"];
    assert!(answers.keys().eq(expected), "{answers:?}");
}

#[tokio::test]
async fn calls_go_on_while_the_registry_is_down() {
    let etcd = Etcd::start().await;
    let gateway = Gateway::on(&etcd).await;
    let server = Upstream::saying("hello").await;
    register(&etcd, "hello", &server).await;
    gateway.knows("hello", 1).await;
    etcd.kill();
    let is_stale = |status: &serde_json::Value| status["registry"]["state"] == "stale";
    let status = gateway.shows("the outage", is_stale).await;
    assert!(status["registry"]["reason"].is_string(), "{status}");
    let answer = Client::http1().get(&gateway.uri("/hello/")).await;
    assert_eq!((answer.status, &*answer.body), (StatusCode::OK, "hello"));
}
