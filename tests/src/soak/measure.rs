//! Waiting until a check succeeds, and measurements of this process.

use std::{fs, time::Duration};
use tokio::{
    runtime::Handle,
    time::{Instant, sleep},
};

const PAUSE: Duration = Duration::from_millis(20);

/// Repeats a check until it succeeds, and returns how long that took. After `deadline`, returns the
/// check's last error.
pub(super) async fn settled<P: Future<Output = Result<(), String>>>(
    deadline: Duration,
    mut look: impl FnMut() -> P,
) -> Result<Duration, String> {
    let start = Instant::now();
    loop {
        match look().await {
            Ok(()) => return Ok(start.elapsed()),
            Err(why) if start.elapsed() > deadline => {
                return Err(format!("still after {deadline:?}: {why}"));
            }
            Err(_) => sleep(PAUSE).await,
        }
    }
}

/// The number of tasks in this process.
pub(super) fn tasks() -> usize {
    Handle::current().metrics().num_alive_tasks()
}

/// The resident memory of this process in bytes, if the system tells.
pub(super) fn resident() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib * 1024)
}
