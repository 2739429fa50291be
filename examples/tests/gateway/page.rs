//! `/services`: the JSON, and the page in a real browser.

use crate::{
    client::Client,
    gateway::{Gateway, instances_of, register},
    upstream::Upstream,
};
use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use http::StatusCode;
use sd_tests::{Etcd, PATIENCE};
use serde_json::json;
use std::{path::PathBuf, process::Stdio, sync::Arc};
use tokio::{process::Command, sync::Mutex, time::timeout};

/// What browsers ask for.
const BROWSER: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";

#[tokio::test]
async fn browsers_get_a_page_and_others_json() {
    let gateway = Gateway::start(&["--fixed", "hello=127.0.0.1:1"]).await;
    let uri = gateway.uri("/services");
    for (accept, query, expected) in [
        (BROWSER, "", "text/html; charset=utf-8"),
        (BROWSER, "?format=json", "application/json"),
        ("*/*", "", "application/json"),
        ("application/json", "", "application/json"),
        (
            "application/json",
            "?format=html",
            "text/html; charset=utf-8",
        ),
    ] {
        let request = http::Request::get(format!("{uri}{query}")).header("accept", accept);
        let request = request.body(Body::empty()).expect("a request");
        let answer = Client::http1().answer(request).await;
        assert_eq!(answer.headers["content-type"], expected, "{accept} {query}");
        assert_eq!(answer.headers["cache-control"], "no-store");
    }
}

#[tokio::test]
async fn the_json_says_all_that_is_known_of_an_instance() {
    let etcd = Etcd::start().await;
    let gateway = Gateway::on(&etcd).await;
    let server =
        Upstream::start(Router::new().fallback(
            async |request: Request| match request.uri().path() {
                "/fail" => StatusCode::INTERNAL_SERVER_ERROR,
                _ => StatusCode::OK,
            },
        ))
        .await;
    let address = server.address();
    let value = json!({
        "address": address, "weight": 3, "zone": "north", "metadata": {"version": "v1"},
    });
    etcd.put("/services/hello/a", value.to_string()).await;
    etcd.put("/services/hello/unreadable", "{").await;
    gateway.knows("hello", 1).await;
    for path in ["/hello/", "/hello/", "/hello/fail"] {
        Client::http1().get(&gateway.uri(path)).await;
    }

    let has_ended = |status: &serde_json::Value| {
        let calls = &instances_of(status, "hello")[0]["calls"];
        let is_known = status["services"][0]["unreadable"] == 1;
        is_known && calls["in_flight"] == 0 && calls["failed"] == 1
    };
    let mut status = gateway.shows("the calls and all entries", has_ended).await;
    let latency = status["services"][0]["instances"][0]["calls"]["latency_ms"].take();
    assert!(latency.as_f64().is_some_and(|it| it > 0.0), "{latency}");
    let registry = json!({
        "state": "live", "prefix": "/services/", "reason": null, "stale_for": null,
    });
    assert_eq!(status["registry"], registry);
    let expected = json!([{
        "name": "hello",
        "unavailable": null,
        "unreadable": 1,
        "instances": [{
            "key": "/services/hello/a",
            "address": address,
            "zone": "north",
            "weight": 3,
            "status": "serving",
            "metadata": {"version": "v1"},
            "held": null,
            "health": {"state": "ok", "reason": null, "since": null, "returns_in": null},
            "calls": {
                "in_flight": 0, "succeeded": 2, "failed": 1, "overloaded": 0, "timed_out": 0,
                "cancelled": 0, "latency_ms": null,
            },
        }],
    }]);
    assert_eq!(status["services"], expected);
}

#[tokio::test]
async fn an_instance_whose_calls_fail_is_shown_as_ejected() {
    let failing =
        Upstream::start(Router::new().fallback(async || StatusCode::INTERNAL_SERVER_ERROR)).await;
    let well = Upstream::saying("hello").await;
    let fixed = format!("hello={},{}", failing.address(), well.address());
    let gateway = Gateway::start(&["--fixed", &fixed]).await;
    let client = Client::http1();
    let is_ejected = |status: &serde_json::Value| {
        let mut instances = instances_of(status, "hello").iter();
        instances.any(|it| it["health"]["state"] == "ejected")
    };
    let status = loop {
        client.get(&gateway.uri("/hello/")).await;
        let status = gateway.status().await;
        if is_ejected(&status) {
            break status;
        }
    };
    let mut instances = instances_of(&status, "hello").iter();
    let ejected = instances.find(|it| it["health"]["state"] == "ejected");
    let ejected = ejected.expect("an ejected one");
    assert_eq!(ejected["address"], *failing.address());
    assert_eq!(ejected["health"]["reason"], "5 calls in a row failed");
    assert!(
        ejected["health"]["returns_in"]
            .as_f64()
            .is_some_and(|it| it > 20.0)
    );
}

// === In a browser ===

/// A browser that can be run without a screen.
fn browser() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let paths = std::env::split_paths(&path);
    let mut found = paths.flat_map(|path| names.map(|name| path.join(name)));
    found.find(|path| path.is_file())
}

/// Stands between the browser and the gateway: lets something happen between two readings of the page.
struct Between {
    etcd: Etcd,
    gateway: Option<Gateway>,
    clara: Upstream,
    readings: usize,
}

impl Between {
    async fn answer(&mut self, request: Request) -> Response {
        if request.uri().query() == Some("format=json") {
            self.readings += 1;
            match self.readings {
                // The page has shown what there was.
                2 => {
                    register(&self.etcd, "hello", &self.clara).await;
                    self.gateway().knows("hello", 3).await;
                }
                4 => self.gateway.take().expect("a gateway").program.kill().await,
                _ => {}
            }
        }
        let Some(gateway) = &self.gateway else {
            return StatusCode::BAD_GATEWAY.into_response();
        };
        let (head, body) = request.into_parts();
        let path = head.uri.path_and_query().expect("a path").as_str();
        let passed = http::Request::get(gateway.uri(path))
            .body(body)
            .expect("a request");
        let (mut passed, body) = passed.into_parts();
        passed.headers = head.headers;
        let answer = Client::http1()
            .send(Request::from_parts(passed, body))
            .await;
        answer.map(Body::new)
    }

    fn gateway(&self) -> &Gateway {
        self.gateway.as_ref().expect("a gateway")
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_follows_what_happens() {
    let Some(browser) = browser() else {
        eprintln!("SKIPPED: there is neither chromium nor google-chrome in the PATH");
        return;
    };
    let etcd = Etcd::start().await;
    let gateway = Gateway::on(&etcd).await;
    let [anna, ben, clara] = [
        Upstream::saying("anna").await,
        Upstream::saying("ben").await,
        Upstream::saying("clara").await,
    ];
    register(&etcd, "hello", &anna).await;
    register(&etcd, "hello", &ben).await;
    gateway.knows("hello", 2).await;
    Client::http1().get(&gateway.uri("/hello/")).await;

    let addresses = [&anna, &ben, &clara].map(Upstream::address);
    let between = Between {
        etcd,
        gateway: Some(gateway),
        clara,
        readings: 0,
    };
    let between = Arc::new(Mutex::new(between));
    let answer = async |State(between): State<Arc<Mutex<Between>>>, request: Request| {
        between.lock().await.answer(request).await
    };
    let front = Upstream::start(Router::new().fallback(answer).with_state(between.clone())).await;

    let profile = tempfile::tempdir().expect("a directory");
    let output = Command::new(browser)
        .args([
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--dump-dom",
        ])
        // Its clock runs fast, but not while something is read.
        .arg("--virtual-time-budget=8000")
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(format!("http://{}/services", front.address()))
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = timeout(2 * PATIENCE, output).await.expect("it ends");
    let output = output.expect("the browser can be run");
    let page = String::from_utf8_lossy(&output.stdout);
    assert!(
        between.lock().await.readings > 4,
        "the page has not read on:\n{page}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );

    // A table of the service with a row for each instance, also the one that came later.
    assert!(page.contains("<h2>hello</h2>"), "{page}");
    assert!(page.contains("<caption>3 instances</caption>"), "{page}");
    for address in addresses {
        assert!(
            page.contains(&format!("<th scope=\"row\">{address}</th>")),
            "{page}"
        );
    }
    assert_eq!(
        page.matches("<td class=\"ok\">ok</td>").count(),
        3,
        "{page}"
    );
    assert!(page.contains("The registry is live, /services/"), "{page}");
    // The gateway is gone, and what is shown is known to be old.
    assert!(
        page.contains("The gateway does not answer since "),
        "{page}"
    );
}
