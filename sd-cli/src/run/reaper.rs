//! Processes: starting them, and taking in the ends of all, also of those that lost their parents.
//!
//! A program may fork and go on in a child, or leave children behind. In a container this program may be the first
//! process, which inherits them. So it takes in whatever ends, and keeps the status of those that it started itself.

use rustix::process::{
    Pid, Signal, WaitOptions, WaitStatus, kill_process, kill_process_group, wait,
};
use std::{
    collections::HashMap,
    io,
    os::unix::process::CommandExt,
    process::Command,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::oneshot,
};
use tokio_util::task::AbortOnDropHandle;

const SIGNALLED: i32 = 128;

/// Starts processes and takes in their ends. No other part of the program may wait for a process.
pub(crate) struct Reaper {
    running: Arc<Running>,
    _task: AbortOnDropHandle<()>,
}

/// Who waits for the processes that run.
type Running = Mutex<HashMap<Pid, oneshot::Sender<i32>>>;

impl Reaper {
    pub(crate) fn start() -> io::Result<Self> {
        // Where that is not possible, orphans go to the first process.
        #[cfg(target_os = "linux")]
        let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
        let mut ended = signal(SignalKind::child())?;
        let running = Arc::<Running>::default();
        let of_task = running.clone();
        let task = tokio::spawn(async move {
            while ended.recv().await.is_some() {
                reap(&of_task);
            }
        });
        Ok(Self {
            running,
            _task: AbortOnDropHandle::new(task),
        })
    }

    /// Starts a process, in a group of its own.
    pub(crate) fn spawn(&self, command: &mut Command) -> io::Result<Process> {
        // Locked until it is known, so that its end cannot come before.
        let mut running = lock(&self.running);
        let child = command.process_group(0).spawn()?;
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| io::Error::other("the process has no id"))?;
        let (tell, ended) = oneshot::channel();
        running.insert(pid, tell);
        Ok(Process {
            pid,
            ended,
            running: self.running.clone(),
        })
    }
}

/// Takes in all that has ended.
fn reap(running: &Running) {
    let mut running = lock(running);
    while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
        if let Some(status) = exit_status(status)
            && let Some(tell) = running.remove(&pid)
        {
            // Nobody may wait for it any more.
            let _ = tell.send(status);
        }
    }
}

/// As shells have it. `None` if it has not ended.
fn exit_status(status: WaitStatus) -> Option<i32> {
    let signal = status.terminating_signal();
    status
        .exit_status()
        .or(signal.map(|signal| SIGNALLED + signal))
}

fn lock(running: &Running) -> MutexGuard<'_, HashMap<Pid, oneshot::Sender<i32>>> {
    running.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A process that was started. Goes on when this is dropped.
pub(crate) struct Process {
    pid: Pid,
    ended: oneshot::Receiver<i32>,
    running: Arc<Running>,
}

impl Process {
    pub(crate) fn pid(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// Waits for its end, and gives its exit status: 128 and the signal if it was killed. Cancellation safe.
    pub(crate) async fn ended(&mut self) -> i32 {
        // The reaper lives as long.
        (&mut self.ended).await.unwrap_or(SIGNALLED)
    }

    /// Sends it a signal, if it has not ended.
    pub(crate) fn signal(&self, signal: Signal) {
        // While it is in the table, its id is nobody else's.
        if lock(&self.running).contains_key(&self.pid) {
            let _ = kill_process(self.pid, signal);
        }
    }

    /// Sends a signal to it and to what it has started, unless that has left its group. Whether there is anybody.
    pub(crate) fn signal_group(&self, signal: Signal) -> bool {
        kill_process_group(self.pid, signal).is_ok()
    }
}
