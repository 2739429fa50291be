//! Virtual time: the paused clock of a tokio runtime.

use super::{
    contender::Contender,
    history::History,
    scenario::Scenario,
    simulator::{Simulator, endpoint},
};
use sd_core::FixedEndpointer;
use std::{sync::Arc, time::Duration};
use tokio::{
    runtime::{self, Runtime},
    time::{Instant, advance},
};

/// Virtual time, in which simulations run one after the other.
pub(super) struct VirtualTime {
    runtime: Runtime,
    began: Instant,
}

impl VirtualTime {
    pub(super) fn new() -> Self {
        let runtime = runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build();
        let runtime = runtime.expect("a runtime without I/O can be built");
        let began = runtime.block_on(async {
            // All `LeastLoaded` count milliseconds from when the first of them has read the clock:
            // now, if this is the first one.
            let source = Arc::new(FixedEndpointer::unknown());
            source.set_shared([0, 1].map(endpoint));
            drop(Contender::PEAK_EWMA.balancer(source).endpoint());
            Instant::now()
        });
        Self { runtime, began }
    }

    /// Runs a scenario with a balancer. The same seed gives the same history, in the same virtual
    /// time and on the same thread: where a round robin begins depends on the thread.
    pub(super) fn simulate(
        &mut self,
        scenario: &Scenario,
        contender: &Contender,
        seed: u64,
    ) -> History {
        self.runtime.block_on(async {
            advance(next_day(self.began.elapsed())).await;
            fastrand::seed(seed);
            let mut simulator = Simulator::new(*scenario, contender, seed);
            simulator.run().await;
            simulator.history()
        })
    }
}

/// The time until a whole number of days, more than none, has passed. Then all that rounds times,
/// such as tokio's timers, does so as it does on all other days.
fn next_day(passed: Duration) -> Duration {
    const DAY: u64 = 24 * 60 * 60;
    Duration::from_secs((passed.as_secs() / DAY + 1) * DAY) - passed
}
