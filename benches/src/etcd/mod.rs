//! Measures on a real etcd, which each of them starts for itself.
//!
//! `server` is that etcd and what fills it. A *contender* is what is measured, the toolkit or its floor: a
//! process of its own (`contender` starts it, `contenders` is what runs in it), so that its processor time and
//! its memory are nobody else's. Only what is compared change by change runs in one process, that of the measure.

mod burst;
mod contender;
mod contenders;
mod entries;
mod first_change;
mod growth;
mod put;
mod reconnect;
mod register;
mod resources;
mod sdctl;
mod server;

pub(crate) use burst::run as burst;
pub use contenders::contend;
pub(crate) use first_change::run as first_change;
pub(crate) use growth::run as growth;
pub(crate) use put::run as put;
pub(crate) use reconnect::run as reconnect;
pub(crate) use register::run as register;
pub(crate) use sdctl::run as sdctl;

use std::{error::Error, io, time::Duration};

/// An error of a measure.
type Failure = Box<dyn Error>;

/// How long anything may take. Longer is an error, so that no run hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs a measure, or a contender.
fn block_on<T>(future: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    runtime()?.block_on(future)
}

fn runtime() -> io::Result<tokio::runtime::Runtime> {
    (tokio::runtime::Builder::new_multi_thread().worker_threads(2))
        .enable_all()
        .build()
}

/// Waits for `future`, but not for ever.
async fn in_time<T>(what: &str, future: impl Future<Output = T>) -> Result<T, Failure> {
    let done = tokio::time::timeout(PATIENCE, future).await;
    done.map_err(|_| format!("{what}: nothing for {PATIENCE:?}").into())
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
