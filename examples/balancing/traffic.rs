//! The calls: they come at random times, whether or not earlier ones were answered.

use crate::server::Server;
use sd_core::{Balancer, Outcome, PickContext};
use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub(crate) type Servers = Arc<dyn Balancer<Target = Arc<Server>>>;

/// How long a caller waits for an answer.
const PATIENCE: Duration = Duration::from_secs(1);
/// Callers beyond this number give up at once, so that a balancer that overloads its instances
/// does not exhaust the memory.
const MOST_CALLERS: usize = 20_000;
/// The time over which rates are shown.
const WINDOW: Duration = Duration::from_secs(1);

/// Makes calls until it is stopped.
pub(crate) struct Traffic {
    stats: Arc<Stats>,
    calls: TaskTracker,
    stop: CancellationToken,
}

impl Traffic {
    /// Starts to make `rate` calls a second.
    pub(crate) fn start(balancer: Servers, rate: f64) -> Self {
        let traffic = Self {
            stats: Arc::default(),
            calls: TaskTracker::new(),
            stop: CancellationToken::new(),
        };
        let (stats, calls) = (traffic.stats.clone(), traffic.calls.clone());
        let stopped = traffic.stop.clone();
        traffic.calls.spawn(async move {
            let generate = async {
                let mut tick = interval(Duration::from_millis(1));
                tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
                let mut made_until = Instant::now();
                loop {
                    tick.tick().await;
                    let now = Instant::now();
                    while made_until < now {
                        // The time between two calls of a Poisson process.
                        made_until += Duration::from_secs_f64(-(1.0 - fastrand::f64()).ln() / rate);
                        if calls.len() < MOST_CALLERS {
                            calls.spawn(call(balancer.clone(), stats.clone()));
                        } else {
                            stats.ended(None, Duration::ZERO, false);
                        }
                    }
                }
            };
            stopped.run_until_cancelled(generate).await;
        });
        traffic.calls.close();
        traffic
    }

    pub(crate) fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Makes no more calls, and waits until all were answered or given up.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.calls.wait().await;
    }
}

/// One call, of one of a thousand users.
async fn call(servers: Servers, stats: Arc<Stats>) {
    let user = fastrand::u16(..1000).to_be_bytes();
    let picked = servers.pick(&PickContext::new().with_hash_key(&user));
    let Ok(pick) = picked else {
        return stats.ended(None, Duration::ZERO, false);
    };
    let begun = Instant::now();
    let outcome = match timeout(PATIENCE, pick.target().call()).await {
        Ok(Ok(())) => Outcome::Success,
        Ok(Err(_)) => Outcome::Failure,
        Err(_) => Outcome::TimedOut,
    };
    pick.report(outcome);
    let succeeded = outcome == Outcome::Success;
    stats.ended(Some(pick.target().name()), begun.elapsed(), succeeded);
}

/// How the calls went.
#[derive(Debug, Default)]
pub(crate) struct Stats(Mutex<Ended>);

#[derive(Debug, Default)]
struct Ended {
    /// Those of the last second.
    recent: VecDeque<(Instant, Option<&'static str>)>,
    /// The latencies of all since the restart, in microseconds.
    latencies: Vec<u32>,
    failed: usize,
}

/// A summary of the calls of an act.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Summary {
    pub(crate) calls: usize,
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
    /// The part of the calls that failed, in percent.
    pub(crate) failed: f64,
}

impl Stats {
    fn ended(&self, server: Option<&'static str>, latency: Duration, succeeded: bool) {
        let now = Instant::now();
        let mut ended = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        ended.recent.push_back((now, server));
        while ended
            .recent
            .front()
            .is_some_and(|(at, _)| now - *at > WINDOW)
        {
            ended.recent.pop_front();
        }
        if succeeded {
            let micros = u32::try_from(latency.as_micros()).unwrap_or(u32::MAX);
            ended.latencies.push(micros);
        } else {
            ended.failed += 1;
        }
    }

    /// Forgets all calls that have ended.
    pub(crate) fn restart(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Ended::default();
    }

    /// The calls of the last second, by server.
    pub(crate) fn rates(&self) -> HashMap<&'static str, f64> {
        let ended = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((first, _)) = ended.recent.front() else {
            return HashMap::new();
        };
        let seconds = first.elapsed().clamp(WINDOW / 10, WINDOW).as_secs_f64();
        let mut rates = HashMap::new();
        for server in ended.recent.iter().filter_map(|(_, server)| *server) {
            *rates.entry(server).or_insert(0.0) += 1.0 / seconds;
        }
        rates
    }

    pub(crate) fn summary(&self) -> Summary {
        let ended = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut latencies, failed) = (ended.latencies.clone(), ended.failed);
        drop(ended);
        latencies.sort_unstable();
        let quantile = |part: f64| {
            let at = (latencies.len() as f64 * part) as usize;
            let micros = latencies.get(at).or(latencies.last()).copied();
            Duration::from_micros(micros.unwrap_or(0).into())
        };
        let calls = latencies.len() + failed;
        Summary {
            calls,
            p50: quantile(0.5),
            p99: quantile(0.99),
            failed: 100.0 * failed as f64 / calls.max(1) as f64,
        }
    }
}
