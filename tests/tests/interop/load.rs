//! Servers, and calls to what consumers show.

use crate::history::History;
use futures::{FutureExt, future::BoxFuture};
use sd_core::{Endpointer, Retry, RoundRobin};
use sd_tests::{PATIENCE, eventually};
use std::{
    future, io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
    time::sleep,
};
use tokio_util::sync::CancellationToken;

const CALLERS: usize = 4;
/// From the end of a caller's call to its next.
const PAUSE: Duration = Duration::from_millis(1);

/// A server on a port of its own, which answers each connection with a byte. Ends when it is dropped.
pub(crate) struct Server {
    address: String,
    task: JoinHandle<()>,
}

impl Server {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let task = tokio::spawn(async move {
            while let Ok((mut connection, _)) = listener.accept().await {
                // Fails only if the caller has gone.
                let _ = connection.write_all(&[1]).await;
            }
        });
        Self { address, task }
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A few callers, each of which makes one call after the other, until they are ended.
pub(crate) struct Load {
    end: CancellationToken,
    callers: JoinSet<Vec<String>>,
    calls: Arc<AtomicUsize>,
}

type Call = BoxFuture<'static, Result<(), String>>;

impl Load {
    /// Calls what a consumer in Go shows, in turns, as a client in Go would.
    pub(crate) fn on_shown_by(history: &History) -> Self {
        let history = history.clone();
        Self::of(move |turn| call_one(history.clone(), turn).boxed())
    }

    /// Calls through a balancer of ours.
    pub(crate) fn through(endpointer: &Arc<Endpointer<String>>) -> Self {
        let retry = Arc::new(Retry::new(RoundRobin::new(endpointer.clone())));
        Self::of(move |_| {
            let retry = retry.clone();
            async move {
                let call = retry.call(async |endpoint| ask(endpoint.target()).await);
                call.await.map(drop).map_err(|error| error.to_string())
            }
            .boxed()
        })
    }

    fn of(call: impl Fn(usize) -> Call + Clone + Send + 'static) -> Self {
        let mut load = Self {
            end: CancellationToken::new(),
            callers: JoinSet::new(),
            calls: Arc::default(),
        };
        for first in 0..CALLERS {
            let (end, calls, call) = (load.end.clone(), load.calls.clone(), call.clone());
            load.callers.spawn(async move {
                let mut failures = Vec::new();
                for turn in first.. {
                    failures.extend(call(turn).await.err());
                    calls.fetch_add(1, Ordering::Relaxed);
                    let pause = end.run_until_cancelled(sleep(PAUSE));
                    if pause.await.is_none() {
                        break;
                    }
                }
                failures
            });
        }
        load
    }

    /// Waits for so many calls that are made from now on.
    pub(crate) async fn until_more(&self, more: usize) {
        let before = self.calls.load(Ordering::Relaxed);
        let made = || future::ready(self.calls.load(Ordering::Relaxed) - before);
        eventually(PATIENCE, "calls", made, |made| *made >= more).await;
    }

    /// Ends it, and checks that no call has failed.
    pub(crate) async fn assert_none_failed(self, whose: &str) {
        self.end.cancel();
        let failures = self.callers.join_all().await.concat();
        let calls = self.calls.load(Ordering::Relaxed);
        println!("{whose}: {calls} calls, {} failed", failures.len());
        assert!(calls > 0);
        assert!(failures.is_empty(), "{whose}: {failures:?}");
    }
}

async fn call_one(history: History, turn: usize) -> Result<(), String> {
    loop {
        let addresses = history.last().unwrap_or_default().addresses;
        if addresses.is_empty() {
            return Err("there is nobody to call".to_owned());
        }
        let address = &addresses[turn % addresses.len()];
        let Err(error) = ask(address).await else {
            return Ok(());
        };
        // One that has left meanwhile is not called again.
        if history.last().is_some_and(|view| view.shows(address)) {
            return Err(format!("{address}: {error}"));
        }
    }
}

async fn ask(address: &str) -> io::Result<u8> {
    TcpStream::connect(address).await?.read_u8().await
}
