//! What proves that a request was not executed: what the function says, beside what the servers saw.

use crate::fleet::PATIENCE;
use crate::raw_server::{
    Act::{self, Answers, Breaks, Closes, Executes, GoesAway, Resets},
    RawRequest, RawServer,
};
use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use sd_core::{Backoff, BoxError, Connectable};
use sd_tower::{ConnectOptions, Connection, Http2Options, Tls, nothing_executed};
use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};
use tokio::{net::TcpListener, task::JoinSet, time::timeout};
use tokio_util::task::AbortOnDropHandle;
use tower::ServiceExt;

const NO_ERROR: u32 = 0;
const INTERNAL_ERROR: u32 = 2;
const REFUSED_STREAM: u32 = 7;
const CANCEL: u32 = 8;
const ENHANCE_YOUR_CALM: u32 = 11;

/// Connects quickly or not at all.
fn options() -> ConnectOptions {
    ConnectOptions::new().timeout(Duration::from_millis(500))
}

fn connect(address: SocketAddr, options: ConnectOptions) -> Connection<Full<Bytes>> {
    Connection::new(&address.to_string(), options, Http2Options::new()).unwrap()
}

/// Sends a request with this id, without any attempt but the first.
async fn send(connection: &Connection<Full<Bytes>>, id: &str) -> Result<(), BoxError> {
    let request = Request::post("/").body(Full::from(id.to_owned())).unwrap();
    connection.clone().oneshot(request).await.map(drop)
}

/// What an error says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    NotExecuted,
    Unknown,
}

fn verdict(error: &BoxError) -> Verdict {
    match nothing_executed(&**error) {
        true => Verdict::NotExecuted,
        false => Verdict::Unknown,
    }
}

/// The verdict about a request that a server treats so, which must not contradict what it did.
async fn verdict_of(acts: impl Fn(u32) -> Vec<Act> + Send + Sync + 'static) -> Verdict {
    let server = RawServer::start(100, move |request| acts(request.stream)).await;
    let connection = connect(server.address, options());
    let error = send(&connection, "it").await.unwrap_err();
    let verdict = verdict(&error);
    let was_executed = !server.executed().is_empty();
    assert!(!was_executed || verdict == Verdict::Unknown, "{error:?}");
    verdict
}

#[tokio::test]
async fn without_a_connection_nothing_was_executed() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let refusing = closed.local_addr().unwrap();
    drop(closed);
    // Accepts, and then says nothing.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = listener.local_addr().unwrap();
    // Speaks no TLS.
    let plain = RawServer::start(100, |_| vec![Executes, Answers]).await;
    let ca = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let tls = Tls::builder().ca(ca.cert.pem()).build().unwrap();
    for (address, options) in [
        (refusing, options()),
        (silent, options()),
        (plain.address, options().tls(tls)),
    ] {
        let error = send(&connect(address, options), "it").await.unwrap_err();
        assert_eq!(verdict(&error), Verdict::NotExecuted, "{error:?}");
    }
    assert!(plain.executed().is_empty());
}

#[tokio::test]
async fn a_server_that_says_so_has_executed_nothing() {
    let refused = verdict_of(|_| vec![Resets(REFUSED_STREAM)]).await;
    assert_eq!(refused, Verdict::NotExecuted);
    for code in [NO_ERROR, INTERNAL_ERROR, ENHANCE_YOUR_CALM] {
        for end in [Closes, Breaks] {
            let acts = move |stream| vec![GoesAway(stream - 1, code), end.clone()];
            assert_eq!(verdict_of(acts).await, Verdict::NotExecuted, "{code}");
        }
    }
}

#[tokio::test]
async fn a_server_that_does_not_say_so_may_have_executed_it() {
    for code in [NO_ERROR, INTERNAL_ERROR, CANCEL, ENHANCE_YOUR_CALM] {
        let reset = verdict_of(move |_| vec![Executes, Resets(code)]).await;
        assert_eq!(reset, Verdict::Unknown, "reset {code}");
        // The last stream that it looks at is this one.
        for end in [Closes, Breaks] {
            let acts = move |stream| vec![Executes, GoesAway(stream, code), end.clone()];
            assert_eq!(verdict_of(acts).await, Verdict::Unknown, "goaway {code}");
        }
    }
    for end in [Closes, Breaks] {
        let ended = verdict_of(move |_| vec![Executes, end.clone()]).await;
        assert_eq!(ended, Verdict::Unknown);
    }
}

#[tokio::test]
async fn what_waits_for_a_closing_connection_was_not_executed() {
    // One stream at once: the first request has it, and the others wait. When as many as there are
    // have been sent, the connection breaks.
    let connections = Arc::new(AtomicU32::new(0));
    let script = move |_: &RawRequest| match connections.fetch_add(1, Ordering::Relaxed) {
        0 => vec![Executes, Breaks],
        _ => vec![Executes, Answers],
    };
    let server = RawServer::start(1, script).await;
    let connection = connect(server.address, options());
    let mut calls = JoinSet::new();
    for number in 0..10 {
        let connection = connection.clone();
        calls.spawn(async move { send(&connection, &format!("{number}")).await });
    }
    let results = calls.join_all().await;
    let verdicts = results.iter().filter_map(|result| result.as_ref().err());
    let verdicts: Vec<_> = verdicts.map(verdict).collect();
    // Of the one that waits for a free stream, hyper does not tell whether it was sent.
    assert!(verdicts.len() <= 2, "{results:?}");
    assert!(verdicts.contains(&Verdict::Unknown), "{results:?}");
    assert!(server.executed().len() >= 9, "the others were sent again");
}

/// So many at once.
const CALLERS: u32 = 12;

/// What a server does with a request, most of the time what it should.
fn any_acts(random: &mut fastrand::Rng, stream: u32) -> Vec<Act> {
    let end = if random.bool() { Closes } else { Breaks };
    let code = [NO_ERROR, INTERNAL_ERROR, ENHANCE_YOUR_CALM][random.usize(..3)];
    match random.u32(..150) {
        0 => vec![Resets(REFUSED_STREAM)],
        1 => vec![Executes, Resets(CANCEL)],
        2 => vec![GoesAway(stream - 1, code), end],
        3 => vec![Executes, GoesAway(stream, code), end],
        4 => vec![Executes, end],
        5 => vec![end],
        6 => vec![Executes, Answers, end],
        _ => vec![Executes, Answers],
    }
}

/// Whatever servers do: each call has an end, and none is said to be unexecuted that a server has
/// executed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_counts_as_not_executed_was_seen_by_no_server() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let random = Mutex::new(fastrand::Rng::with_seed(seed));
    let script = move |request: &RawRequest| {
        let mut random = random.lock().unwrap();
        any_acts(&mut random, request.stream)
    };
    // Fewer streams than callers, so that calls wait for one.
    let server = RawServer::start(4, script).await;
    let failed = call_often(server.address, 1000, |id| {
        Request::post("/").body(Full::from(id))
    })
    .await;
    let executed = server.executed();
    assert_unexecuted(&failed, &executed);
    let proven = failed.iter().filter(|(_, error)| is_proven(error)).count();
    let run = failed
        .iter()
        .filter(|(id, _)| executed.contains(id))
        .count();
    assert!(proven > 20 && run > 20, "{proven} proven, {run} executed");
}

type Failed = Vec<(String, BoxError)>;

/// Has each caller make so many calls, each with an id of its own.
async fn call_often<F>(address: SocketAddr, calls: u32, request: F) -> Failed
where
    F: Fn(String) -> http::Result<Request<Full<Bytes>>> + Copy + Send + 'static,
{
    let backoff = Backoff::new(Duration::from_millis(1), Duration::from_millis(1));
    let connection = connect(address, options().backoff(backoff));
    let mut callers = JoinSet::new();
    for caller in 0..CALLERS {
        let connection = connection.clone();
        callers.spawn(async move {
            let mut failed = Vec::new();
            for call in 0..calls {
                // Else most calls would fail during the pauses between connections.
                let mut state = connection.connectivity();
                let _ = state.wait_for(|state| !state.is_failing()).await;
                let id = format!("/{caller}.{call}");
                let request = request(id.clone()).unwrap();
                let answered = timeout(PATIENCE, connection.clone().oneshot(request)).await;
                if let Err(error) = answered.expect("each call has an end") {
                    failed.push((id, error));
                }
            }
            failed
        });
    }
    callers.join_all().await.into_iter().flatten().collect()
}

fn is_proven(error: &BoxError) -> bool {
    verdict(error) == Verdict::NotExecuted
}

fn assert_unexecuted(failed: &Failed, executed: &[String]) {
    let is_wrong =
        |failed: &&(String, BoxError)| is_proven(&failed.1) && executed.contains(&failed.0);
    let wrong: Vec<_> = failed.iter().filter(is_wrong).collect();
    assert!(
        wrong.is_empty(),
        "{} of {}: {wrong:#?}",
        wrong.len(),
        failed.len()
    );
}

/// A server that executes requests as soon as their heads have come, one at once, and breaks off
/// after so many.
async fn serve_and_break(listener: TcpListener, most: usize, executed: Arc<Mutex<Vec<String>>>) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let mut builder = h2::server::Builder::new();
        builder.max_concurrent_streams(1);
        let Ok(mut connection) = builder.handshake::<_, Bytes>(stream).await else {
            continue;
        };
        for number in 0..most {
            let Some(Ok((request, mut respond))) = connection.accept().await else {
                break;
            };
            executed
                .lock()
                .unwrap()
                .push(request.uri().path().to_owned());
            if number + 1 < most {
                let _ = respond.send_response(http::Response::new(()), true);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_had_waited_for_its_stream_may_have_been_executed() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let executed = Arc::new(Mutex::new(Vec::new()));
    let server = serve_and_break(listener, 2, executed.clone());
    let _server = AbortOnDropHandle::new(tokio::spawn(server));
    let failed = call_often(address, 500, |id| Request::get(id).body(Full::default())).await;
    assert_unexecuted(&failed, &executed.lock().unwrap());
}
