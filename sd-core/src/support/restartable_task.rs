//! Background tasks that end when there is nothing to do, and can be started again.

use super::{background_task::Work, panics::catch_async};
use crate::registry::ErrorChain;
use std::{
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::runtime::{Handle, TryCurrentError};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

/// Work that is kept between its runs. It can be started again, however the last run ended.
pub(crate) trait RestartableWork: Work {
    /// Called if the runtime ends before the run does. Publishes that, and answers all waiting
    /// calls.
    fn runtime_ended(&mut self);
}

/// Owns work that runs in a background task from [`start`](Self::start) until it is done, and then
/// rests until the next `start`.
///
/// Dropping the owner cancels its stop token. The work watches that token, does what is left to do,
/// and is dropped when its run ends.
#[derive(Debug)]
pub(crate) struct RestartableTask<W> {
    slot: Arc<Mutex<Slot<W>>>,
    running: TaskTracker,
    _stop_on_drop: DropGuard,
}

/// Where the work is: at rest, or in a task. In a box, so that there is room for it only once.
#[derive(Debug)]
enum Slot<W> {
    Resting(Box<W>),
    /// In its task. The task runs it once more if it was started again during the run.
    Running {
        started_again: bool,
    },
}

impl<W: RestartableWork> RestartableTask<W> {
    /// Takes `work`, which rests until it is started. Needs no runtime.
    pub(crate) fn new(work: W, stop: CancellationToken) -> Self {
        let running = TaskTracker::new();
        running.close();
        Self {
            slot: Arc::new(Mutex::new(Slot::Resting(Box::new(work)))),
            running,
            _stop_on_drop: stop.drop_guard(),
        }
    }

    /// Runs the work on the current runtime. If it runs already, it runs once more after that, so
    /// that it sees all requests made before this call.
    ///
    /// # Errors
    /// Outside of a tokio runtime.
    pub(crate) fn start(&self) -> Result<(), TryCurrentError> {
        let runtime = Handle::try_current()?;
        if let Some(work) = self.take_or_start_again() {
            let run = Run {
                work: Some(work),
                slot: self.slot.clone(),
            };
            self.running.spawn_on(run.run(), &runtime);
        }
        Ok(())
    }

    /// Like [`start`](Self::start), but only if the work runs already. Returns whether it does.
    pub(crate) fn start_again_if_running(&self) -> bool {
        match &mut *lock(&self.slot) {
            Slot::Resting(_) => false,
            Slot::Running { started_again } => {
                *started_again = true;
                true
            }
        }
    }

    /// Waits until the work rests.
    pub(crate) async fn ended(&self) {
        self.running.wait().await;
    }

    /// Takes the work if it rests. Otherwise has its task run it once more.
    fn take_or_start_again(&self) -> Option<Box<W>> {
        let mut slot = lock(&self.slot);
        let running = |started_again| Slot::Running { started_again };
        match mem::replace(&mut *slot, running(false)) {
            Slot::Resting(work) => Some(work),
            Slot::Running { .. } => {
                *slot = running(true);
                None
            }
        }
    }
}

/// The work during a run.
struct Run<W: RestartableWork> {
    /// `None` once it rests.
    work: Option<Box<W>>,
    slot: Arc<Mutex<Slot<W>>>,
}

impl<W: RestartableWork> Run<W> {
    async fn run(mut self) {
        while let Some(work) = &mut self.work {
            if let Err(why) = catch_async(work.run()).await {
                tracing::error!(task = W::NAME, why = %ErrorChain(&why), "a background task has ended");
                work.panicked(why);
            }
            self.rest();
        }
    }

    /// Puts the work to rest, unless it was started again.
    fn rest(&mut self) {
        let mut slot = lock(&self.slot);
        if let Slot::Running { started_again } = &mut *slot
            && mem::take(started_again)
        {
            return;
        }
        if let Some(work) = self.work.take() {
            *slot = Slot::Resting(work);
        }
    }
}

impl<W: RestartableWork> Drop for Run<W> {
    fn drop(&mut self) {
        while let Some(work) = &mut self.work {
            work.runtime_ended();
            self.rest();
        }
    }
}

fn lock<W>(slot: &Mutex<Slot<W>>) -> MutexGuard<'_, Slot<W>> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::support::{Log, Panicked};
    use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

    /// Does what it is sent, one message per run, and reports how each run ends.
    struct Witness {
        orders: UnboundedReceiver<&'static str>,
        reports: UnboundedSender<String>,
        stop: CancellationToken,
    }

    impl Witness {
        fn report(&self, report: impl Into<String>) {
            let _ = self.reports.send(report.into());
        }
    }

    impl Work for Witness {
        const NAME: &'static str = "witness";

        async fn run(&mut self) {
            tokio::select! {
                biased;
                order = self.orders.recv() => match order {
                    Some("panic") => panic!("oh"),
                    Some(order) => self.report(order),
                    None => {}
                },
                () = self.stop.cancelled() => self.report("stopped"),
            }
        }

        fn panicked(&mut self, why: Panicked) {
            self.report(why.to_string());
        }
    }

    impl RestartableWork for Witness {
        fn runtime_ended(&mut self) {
            self.report("runtime ended");
        }
    }

    impl Drop for Witness {
        fn drop(&mut self) {
            self.report("dropped");
        }
    }

    struct Fixture {
        task: RestartableTask<Witness>,
        orders: UnboundedSender<&'static str>,
        reports: UnboundedReceiver<String>,
    }

    fn fixture() -> Fixture {
        let (orders, received) = unbounded_channel();
        let (sent, reports) = unbounded_channel();
        let stop = CancellationToken::new();
        let witness = Witness {
            orders: received,
            reports: sent,
            stop: stop.clone(),
        };
        Fixture {
            task: RestartableTask::new(witness, stop),
            orders,
            reports,
        }
    }

    impl Fixture {
        fn order(&self, order: &'static str) {
            self.orders.send(order).unwrap();
            self.task.start().unwrap();
        }

        fn reports(&mut self) -> Vec<String> {
            std::iter::from_fn(|| self.reports.try_recv().ok()).collect()
        }
    }

    #[tokio::test]
    async fn it_ends_when_it_is_done_and_is_started_again() {
        let mut it = fixture();
        assert!(!it.task.start_again_if_running());
        for order in ["a", "b"] {
            it.order(order);
            assert!(it.task.start_again_if_running());
            it.orders.send("asked for meanwhile").unwrap();
            it.task.ended().await;
            assert_eq!(it.reports(), [order, "asked for meanwhile"]);
        }
    }

    #[tokio::test]
    async fn a_panic_is_told_and_the_next_start_runs_it_again() {
        let log = Log::capture();
        let mut it = fixture();
        it.order("panic");
        it.task.ended().await;
        it.order("a");
        it.task.ended().await;
        assert_eq!(it.reports(), ["panicked: oh", "a"]);
        assert_eq!(
            log.text(),
            ["ERROR a background task has ended task=\"witness\" why=panicked: oh"]
        );
    }

    #[tokio::test]
    async fn a_start_during_a_run_that_panics_is_not_lost() {
        let mut it = fixture();
        it.order("panic");
        it.order("a");
        it.task.ended().await;
        assert_eq!(it.reports(), ["panicked: oh", "a"]);
    }

    #[tokio::test]
    async fn dropping_the_owner_stops_the_work_and_then_drops_it() {
        let mut it = fixture();
        it.task.start().unwrap();
        tokio::task::yield_now().await;
        drop(it.task);
        let mut reports = Vec::new();
        while let Some(report) = it.reports.recv().await {
            reports.push(report);
        }
        assert_eq!(reports, ["stopped", "dropped"]);
    }

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap()
    }

    #[test]
    fn the_end_of_its_runtime_is_told_and_the_next_start_takes_another() {
        let mut it = fixture();
        let old = runtime();
        old.block_on(async {
            it.task.start().unwrap();
            tokio::task::yield_now().await;
            assert!(it.task.start_again_if_running());
        });
        drop(old);
        // Once for the run, and once for the start during it.
        assert_eq!(it.reports(), ["runtime ended", "runtime ended"]);
        assert!(it.task.start().is_err());
        runtime().block_on(async {
            it.order("a");
            it.task.ended().await;
        });
        assert_eq!(it.reports(), ["a"]);
    }
}
