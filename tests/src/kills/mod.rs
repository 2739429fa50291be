//! Calls while providers are killed: what it costs callers when one process after the other
//! crashes.
//!
//! Providers of a gRPC service run in processes of their own, registered in a real etcd. One is
//! killed (SIGKILL) every two seconds, and started again on the same port a second later. Meanwhile
//! calls are made through a [`Channel`](sd_tower::Channel), half of them idempotent, and as many
//! through the balanced channel of tonic, which has the addresses of all providers.
//!
//! Each call has an id, and a provider writes down the id before it answers, so that it is known
//! afterwards which calls were executed, and how often. Calls of the channel that are idempotent
//! must not fail. Others may fail only if they may have been executed, and must not be executed
//! twice.
//!
//! ```no_run
//! # use sd_tests::{Etcd, kills::Kills};
//! # use std::time::Duration;
//! # #[tokio::main] async fn main() {
//! let program = std::env::current_exe().expect("it calls `provide` with the arguments `--provide ...`");
//! let summary = Kills::new(program).lasting(Duration::from_secs(60)).run(&Etcd::start().await).await;
//! println!("{summary}");
//! assert_eq!(summary.broken(), [""; 0]);
//! # }
//! ```

mod callers;
mod provider;
mod providers;
mod records;
mod summary;

pub use provider::{PROVIDE, provide};
pub use summary::{CallKind, Summary, Tally};

use crate::etcd::Etcd;
use callers::Load;
use providers::Providers;
use std::{path::PathBuf, time::Duration};
use tokio::time::{Instant, sleep_until};

/// The prefix of the providers.
const PREFIX: &str = "/services/hello/";
/// How many providers there are.
const PROVIDERS: usize = 10;
/// The time from one kill to the next, and from a kill to the new start.
const EVERY: Duration = Duration::from_secs(2);
const DOWN: Duration = Duration::from_secs(1);

/// The options of a run.
#[derive(Debug, Clone)]
pub struct Kills {
    program: PathBuf,
    lasting: Duration,
    rate: u32,
}

impl Kills {
    /// Of 10 providers, which are processes of `program` with the arguments for [`provide`]. For 20
    /// seconds, with 1,000 calls a second through either channel.
    pub fn new(program: impl Into<PathBuf>) -> Self {
        Self {
            program: program.into(),
            lasting: Duration::from_secs(20),
            rate: 1000,
        }
    }

    /// For how long.
    #[must_use]
    pub fn lasting(mut self, lasting: Duration) -> Self {
        self.lasting = lasting;
        self
    }

    /// How many calls a second each of the two channels is given. On a machine that is too busy it is
    /// less.
    #[must_use]
    pub fn rate(mut self, calls: u32) -> Self {
        self.rate = calls;
        self
    }

    /// Starts the providers and the callers, kills for the given time, and says what became of the
    /// calls.
    ///
    /// # Panics
    /// If a provider cannot be started.
    pub async fn run(&self, etcd: &Etcd) -> Summary {
        let mut providers = Providers::start(&self.program, etcd).await;
        let load = Load::start(etcd.endpoint(), &providers.addresses(), self.rate).await;
        let begin = Instant::now();
        let mut kills = 0;
        let mut next = begin + EVERY;
        while next < begin + self.lasting {
            sleep_until(next).await;
            let victim = kills % PROVIDERS;
            providers.kill(victim);
            kills += 1;
            sleep_until(next + DOWN).await;
            providers.start_again(victim);
            next += EVERY;
        }
        sleep_until(begin + self.lasting).await;
        let calls = load.stop().await;
        Summary::new(kills, begin.elapsed(), calls, &providers.records())
    }
}
