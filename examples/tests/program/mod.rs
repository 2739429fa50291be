//! Programs that run beside a test.

use rustix::process::{Pid, Signal, kill_process};
use sd_tests::{PATIENCE, eventually};
use std::{
    process::{ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    task::JoinHandle,
    time::timeout,
};

/// A running program, and what it has printed. Killed when dropped.
pub(crate) struct Program {
    name: &'static str,
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
    /// Ends with the program.
    reader: JoinHandle<()>,
}

impl Program {
    pub(crate) fn start(name: &'static str, binary: &str, arguments: &[&str]) -> Self {
        let mut child = Command::new(binary)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the program can be run");
        let printed = child.stdout.take().expect("it has a pipe");
        let lines = Arc::new(Mutex::new(Vec::new()));
        let kept = lines.clone();
        let reader = tokio::spawn(async move {
            let mut printed = BufReader::new(printed).lines();
            while let Ok(Some(line)) = printed.next_line().await {
                kept.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(line);
            }
        });
        Self {
            name,
            child,
            lines,
            reader,
        }
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        let lines = self.lines.lock();
        lines.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits for a line with `text` in it.
    pub(crate) async fn prints(&self, text: &str) {
        self.prints_after(0, text).await;
    }

    /// Waits for a line with `text` in it that is not one of the first `seen`.
    pub(crate) async fn prints_after(&self, seen: usize, text: &str) {
        let what = format!("the {} to print {text:?}", self.name);
        let lines = async || self.lines();
        let printed = |lines: &Vec<String>| lines.iter().skip(seen).any(|it| it.contains(text));
        eventually(PATIENCE, &what, lines, printed).await;
    }

    pub(crate) async fn kill(mut self) {
        self.child.kill().await.expect("it can be killed");
    }

    /// Sends the signal and waits for the end. Returns all that was printed.
    pub(crate) async fn told(mut self, signal: Signal) -> (ExitStatus, Vec<String>) {
        let id = self.child.id().expect("it runs");
        let id = i32::try_from(id).ok().and_then(Pid::from_raw);
        kill_process(id.expect("it has an id"), signal).expect("a signal can be sent");
        let status = timeout(PATIENCE, self.child.wait()).await;
        let status = status.expect("it ends").expect("it can be waited for");
        self.reader.await.expect("it reads to the end");
        let lines = self.lines.lock();
        (
            status,
            lines.unwrap_or_else(PoisonError::into_inner).clone(),
        )
    }
}
