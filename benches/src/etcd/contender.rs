//! A contender as the measure sees it: a process that is told what to do, line by line.

use super::{Failure, PATIENCE, in_time};
use crate::usage::Usage;
use serde_json::Value;
use std::{
    env,
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, Command, Stdio},
    thread,
    time::{Duration, Instant},
};
use tokio::sync::mpsc;

/// What is measured in a process of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Toolkit,
    /// The least that does the same, on `etcd-client` alone.
    Floor,
}

pub(super) const SIDES: [Side; 2] = [Side::Toolkit, Side::Floor];

impl Side {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Toolkit => "toolkit",
            Self::Floor => "floor",
        }
    }
}

/// A process that follows or registers. Ends when this is dropped.
pub(super) struct Contender {
    process: Child,
    /// `None` once it has ended.
    input: Option<ChildStdin>,
    /// What it says, line by line. Few enough to be kept.
    output: mpsc::UnboundedReceiver<String>,
}

impl Contender {
    /// Starts this program as the contender of this name.
    pub(super) fn start(name: &str, arguments: &[String]) -> Result<Self, Failure> {
        let mut process = Command::new(env::current_exe()?)
            .args(["--contend", name])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdout = process.stdout.take().ok_or("a contender without output")?;
        let (sender, output) = mpsc::unbounded_channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Self {
            input: process.stdin.take(),
            process,
            output,
        })
    }

    /// Tells it something.
    fn tell(&mut self, what: &str) -> Result<(), Failure> {
        let input = self.input.as_mut().ok_or("it has ended")?;
        Ok(writeln!(input, "{what}")?)
    }

    /// Waits until it says `what`.
    pub(super) async fn said(&mut self, what: &str) -> Result<Value, Failure> {
        let said = async {
            while let Some(line) = self.output.recv().await {
                let line: Value = serde_json::from_str(&line)?;
                if line["said"] == what {
                    return Ok(line);
                }
            }
            Err(Failure::from("a contender has ended"))
        };
        in_time(what, said).await?
    }

    /// Waits until all that follows in it has seen this mark. Returns when that was.
    pub(super) async fn seen(&mut self, mark: u32) -> Result<Duration, Failure> {
        loop {
            let seen = self.said("seen").await?;
            if seen["mark"] == mark {
                let at = seen["at_nanos"].as_u64().ok_or("seen, but when?")?;
                return Ok(Duration::from_nanos(at));
            }
        }
    }

    /// Ends its input, so that it ends as well.
    pub(super) fn close(&mut self) {
        self.input = None;
    }

    /// Ends its input, and waits until it has ended.
    pub(super) async fn end(mut self) -> Result<(), Failure> {
        self.close();
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.process.try_wait()? {
                Some(ended) if ended.success() => return Ok(()),
                Some(ended) => return Err(format!("a contender ended with {ended}").into()),
                None if Instant::now() > deadline => return Err("a contender does not end".into()),
                None => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    }

    pub(super) async fn usage(&mut self) -> Result<Usage, Failure> {
        self.tell("usage")?;
        usage(&self.said("usage").await?)
    }
}

impl Drop for Contender {
    fn drop(&mut self) {
        // It may have ended by itself, and nothing is lost with it.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The usage in what a contender said.
pub(super) fn usage(said: &Value) -> Result<Usage, Failure> {
    Usage::parse(said).ok_or_else(|| format!("no usage in {said}").into())
}

/// The time in what a contender said.
pub(super) fn took(said: &Value) -> Result<Duration, Failure> {
    let nanos = said["took_nanos"].as_u64();
    Ok(Duration::from_nanos(nanos.ok_or("how long did it take?")?))
}
