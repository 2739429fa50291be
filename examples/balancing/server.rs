//! A simulated instance: so many calls at once, so long for each.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    time::Duration,
};
use tokio::{sync::Semaphore, time::sleep};

/// The time that an instance of ordinary speed works on a call.
pub(crate) const ORDINARY: Duration = Duration::from_millis(20);

/// A server of some size and speed. Calls that find no free worker wait in its queue.
#[derive(Debug)]
pub(crate) struct Server {
    name: &'static str,
    weight: u32,
    /// Its workers' time for a call.
    takes: Duration,
    workers: Semaphore,
    /// What was done to its speed: so many times slower.
    slowness: AtomicU64,
    is_failing: AtomicBool,
    in_flight: AtomicUsize,
}

/// A server's answer when it fails.
#[derive(Debug)]
pub(crate) struct Failed;

impl Server {
    /// A server whose size is in proportion to its weight. `speed` 1.0 is ordinary.
    pub(crate) fn new(name: &'static str, weight: u32, speed: f64) -> Self {
        Self {
            name,
            weight,
            takes: ORDINARY.div_f64(speed),
            workers: Semaphore::new(2 * weight as usize),
            slowness: AtomicU64::new(1),
            is_failing: false.into(),
            in_flight: AtomicUsize::new(0),
        }
    }

    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    pub(crate) fn weight(&self) -> u32 {
        self.weight
    }

    /// How many calls a second it can answer.
    pub(crate) fn capacity(&self) -> f64 {
        f64::from(2 * self.weight) / self.takes.as_secs_f64()
    }

    pub(crate) fn is_slow(&self) -> bool {
        self.slowness.load(Ordering::Relaxed) > 1
    }

    pub(crate) fn is_failing(&self) -> bool {
        self.is_failing.load(Ordering::Relaxed)
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    pub(crate) fn slow_down(&self, times: u64) {
        self.slowness.store(times, Ordering::Relaxed);
    }

    pub(crate) fn fail(&self, fail: bool) {
        self.is_failing.store(fail, Ordering::Relaxed);
    }

    /// Answers a call.
    pub(crate) async fn call(&self) -> Result<(), Failed> {
        if self.is_failing() {
            return Err(Failed);
        }
        let _counted = InFlight::begin(&self.in_flight);
        let _worker = self.workers.acquire().await.map_err(|_| Failed)?;
        let slowness = self.slowness.load(Ordering::Relaxed) as f64;
        // No two calls are the same work: between half and one and a half times the usual.
        sleep(self.takes.mul_f64(slowness * (0.5 + fastrand::f64()))).await;
        Ok(())
    }
}

/// Counts a call for as long as it lasts, however it ends.
struct InFlight<'a>(&'a AtomicUsize);

impl<'a> InFlight<'a> {
    fn begin(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
