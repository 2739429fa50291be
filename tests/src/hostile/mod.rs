//! A fleet with hostile neighbours: honest providers and consumers on a real etcd, and writers that do
//! all at once what `docs/hostile.md` says that somebody who may write can do.
//!
//! 1,000 instances of four services are registered by one process, and followed by two others. 50
//! hostile writers, one for each 20 instances, write under the same prefixes and on the same leases. One
//! of the consumers loses its connection again and again meanwhile, and etcd's history is compacted while
//! it is away. Throughout, every consumer has to show every honest instance and have an endpoint for it,
//! every registration has to stand as it was made, and the memory and the log of each process have to be
//! bounded.
//!
//! The honest processes are processes of their own so that their memory and their log can be told
//! from those of the attack. They write their log, and beside it what they see, to a file.
//!
//! ```no_run
//! # use sd_tests::{Etcd, hostile::Hostile};
//! # use std::time::Duration;
//! # #[tokio::main] async fn main() {
//! let program = std::env::current_exe().expect("it calls `consume` and `provide` as the arguments say");
//! let summary = Hostile::new(program, 7).lasting(Duration::from_secs(60)).run(&Etcd::start().await).await;
//! println!("{summary}");
//! assert_eq!(summary.broken(), [""; 0]);
//! # }
//! ```
//!
//! How near the bound for memory is does not say how much an attack costs: [`Summary`] has what each process
//! took before and after.
//!
//! The same seed makes the same writers draw the same numbers. How far each gets depends on the machine.

mod attack;
mod consumer;
mod log;
mod names;
mod process;
mod provider;
mod summary;
mod writer;

pub use attack::Attack;
pub use consumer::{CONSUME, LIMITS, consume, memory_limit};
pub use provider::{PROVIDE, provide};
pub use summary::Summary;

use crate::{Etcd, Proxy};
use attack::Target;
use names::{HONEST, SERVICES, prefix};
use process::HonestProcess;
use std::{collections::BTreeMap, path::PathBuf, time::Duration};
use tokio::time::{Instant, sleep, sleep_until};
use writer::Writers;

/// How many hostile writers there are: 5 % of all.
const WRITERS: usize = HONEST / 20;
/// The time between two interruptions of a consumer, and how long each lasts.
const EVERY: Duration = Duration::from_secs(6);
const AWAY: Duration = Duration::from_millis(1500);
/// How often the registrations are looked at in etcd.
const LOOK: Duration = Duration::from_secs(1);

/// The options of a run.
#[derive(Debug, Clone)]
pub struct Hostile {
    program: PathBuf,
    seed: u64,
    lasting: Duration,
    only: Vec<Attack>,
}

impl Hostile {
    /// All attacks for 10 seconds. The honest processes are processes of `program` with the arguments
    /// for [`consume`] and [`provide`].
    pub fn new(program: impl Into<PathBuf>, seed: u64) -> Self {
        Self {
            program: program.into(),
            seed,
            lasting: Duration::from_secs(10),
            only: Attack::ALL.to_vec(),
        }
    }

    /// For how long.
    #[must_use]
    pub fn lasting(mut self, lasting: Duration) -> Self {
        self.lasting = lasting;
        self
    }

    /// Only these attacks, by as many writers.
    #[must_use]
    pub fn only(mut self, attacks: impl IntoIterator<Item = Attack>) -> Self {
        self.only = attacks.into_iter().collect();
        self
    }

    /// Registers the fleet, attacks it, and says what became of it.
    ///
    /// # Panics
    /// If the fleet is not complete before the attack, or etcd does not answer to the test itself.
    pub async fn run(&self, etcd: &Etcd) -> Summary {
        let proxies = [
            Proxy::to(etcd.address()).await,
            Proxy::to(etcd.address()).await,
        ];
        let provider = HonestProcess::start(&self.program, PROVIDE, &etcd.endpoint());
        provider.until_complete().await;
        let consumers = proxies
            .each_ref()
            .map(|proxy| HonestProcess::start(&self.program, CONSUME, &proxy.endpoint()));
        for consumer in &consumers {
            consumer.until_complete().await;
        }
        let registered = Registrations::read(etcd).await;
        assert_eq!(registered.0.len(), HONEST, "all are registered");

        let mut summary = Summary::new(
            self.seed,
            self.lasting,
            [&provider, &consumers[0], &consumers[1]],
        );
        let targets = Target::all(registered.0.values().map(|(lease, _)| *lease));
        let writers = Writers::start(etcd, self.seed, &self.only, &targets, WRITERS).await;
        let end = Instant::now() + self.lasting;
        tokio::join!(
            interrupt(etcd, &proxies[1], end, &mut summary.interruptions),
            registered.stand(etcd, end, &mut summary.fallen),
        );
        summary.written = writers.stop().await;
        // What was written last arrives too.
        sleep(LOOK).await;
        summary.look([&provider, &consumers[0], &consumers[1]]);
        summary
    }
}

/// Takes the connection of a consumer away again and again. Every other time etcd's history is compacted
/// meanwhile, so that it has to list.
async fn interrupt(etcd: &Etcd, proxy: &Proxy, end: Instant, interruptions: &mut usize) {
    let mut next = Instant::now() + AWAY;
    while next + AWAY < end {
        sleep_until(next).await;
        proxy.refuse().await;
        proxy.drop_connections();
        sleep(AWAY).await;
        if interruptions.is_multiple_of(2) {
            etcd.compact().await;
        }
        proxy.resume();
        *interruptions += 1;
        next += EVERY;
    }
    sleep_until(end).await;
}

/// The lease and the modification of each honest key.
struct Registrations(BTreeMap<Vec<u8>, (i64, i64)>);

impl Registrations {
    async fn read(etcd: &Etcd) -> Self {
        let mut keys = BTreeMap::new();
        for service in 0..SERVICES {
            let honest = format!("{}honest-", prefix(service));
            for entry in etcd.entries(honest).await {
                let found = (entry.lease(), entry.mod_revision());
                keys.insert(entry.key().to_vec(), found);
            }
        }
        Self(keys)
    }

    /// Looks until `end` whether all stand as they were made. Adds those that do not to `fallen`.
    async fn stand(&self, etcd: &Etcd, end: Instant, fallen: &mut BTreeMap<String, String>) {
        while Instant::now() < end {
            sleep_until(end.min(Instant::now() + LOOK)).await;
            let now = Self::read(etcd).await;
            for (key, made) in &self.0 {
                let found = now.0.get(key);
                if found != Some(made) {
                    let key = String::from_utf8_lossy(key).into_owned();
                    fallen.insert(key, format!("{made:?} became {found:?}"));
                }
            }
        }
    }
}
