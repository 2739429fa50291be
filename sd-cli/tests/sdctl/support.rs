//! Runs the program beside a test.

use rustix::process::{Pid, Signal, kill_process};
use sd_core::{Advert, Registrar};
use sd_etcd::EtcdClient;
use sd_tests::{Etcd, PATIENCE, eventually};
use serde_json::Value;
use std::{
    process::{ExitStatus, Output, Stdio},
    sync::{Arc, Mutex, PoisonError},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, BufReader},
    process::{Child, Command},
    task::JoinHandle,
    time::timeout,
};

pub(crate) const SDCTL: &str = env!("CARGO_BIN_EXE_sdctl");

/// The program, with nothing of the environment of the test that it would read.
pub(crate) fn sdctl(arguments: &[&str]) -> Command {
    let mut command = Command::new(SDCTL);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("SDCTL_")) {
        command.env_remove(name);
    }
    command
        .args(arguments)
        .env("XDG_CONFIG_HOME", "/nonexistent")
        .env_remove("RUST_LOG")
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

/// What it has printed, and how it has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).expect("it prints text");
        Self {
            status: output.status,
            out: text(output.stdout),
            err: text(output.stderr),
        }
    }
}

impl Ended {
    /// Its output as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    #[track_caller]
    pub(crate) fn succeeded(self) -> Self {
        assert!(self.status.success(), "{self:#?}");
        self
    }

    #[track_caller]
    pub(crate) fn failed(self) -> Self {
        assert!(!self.status.success(), "{self:#?}");
        self
    }

    /// The line of its output that has `text`.
    #[track_caller]
    pub(crate) fn line(&self, text: &str) -> &str {
        self.out
            .lines()
            .find(|line| line.contains(text))
            .unwrap_or_else(|| panic!("no {text:?}: {self:#?}"))
    }
}

/// Runs a command to its end.
pub(crate) async fn run(mut command: Command) -> Ended {
    let output = timeout(PATIENCE, command.output()).await;
    output.expect("it ends").expect("it can be run").into()
}

/// Runs `sdctl --etcd ...` to its end.
pub(crate) async fn on(etcd: &Etcd, arguments: &[&str]) -> Ended {
    let endpoint = etcd.endpoint();
    run(sdctl(&[&["--etcd", &endpoint], arguments].concat())).await
}

/// A running program, and what it prints. Killed when dropped.
pub(crate) struct Running {
    child: Child,
    out: Lines,
    err: Lines,
}

struct Lines {
    lines: Arc<Mutex<Vec<String>>>,
    reader: JoinHandle<()>,
}

impl Lines {
    fn of(from: impl AsyncRead + Unpin + Send + 'static) -> Self {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let kept = lines.clone();
        let reader = tokio::spawn(async move {
            let mut printed = BufReader::new(from).lines();
            while let Ok(Some(line)) = printed.next_line().await {
                kept.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(line);
            }
        });
        Self { lines, reader }
    }

    fn get(&self) -> Vec<String> {
        self.lines
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Running {
    pub(crate) fn start(mut command: Command) -> Self {
        let spawned = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let mut child = spawned.expect("it can be run");
        let out = Lines::of(child.stdout.take().expect("it has a pipe"));
        let err = Lines::of(child.stderr.take().expect("it has a pipe"));
        Self { child, out, err }
    }

    /// `sdctl --etcd ...`.
    pub(crate) fn on(etcd: &Etcd, arguments: &[&str]) -> Self {
        let endpoint = etcd.endpoint();
        Self::start(sdctl(&[&["--etcd", &endpoint], arguments].concat()))
    }

    pub(crate) fn out(&self) -> Vec<String> {
        self.out.get()
    }

    pub(crate) fn err(&self) -> Vec<String> {
        self.err.get()
    }

    /// Waits for a line on stdout with `text` in it.
    pub(crate) async fn prints(&self, text: &str) {
        let lines = async || (self.out(), self.err());
        let is_there =
            |(out, _): &(Vec<String>, Vec<String>)| out.iter().any(|it| it.contains(text));
        eventually(PATIENCE, &format!("{text:?} on stdout"), lines, is_there).await;
    }

    /// The same on stderr.
    pub(crate) async fn says(&self, text: &str) {
        let lines = async || (self.out(), self.err());
        let is_there =
            |(_, err): &(Vec<String>, Vec<String>)| err.iter().any(|it| it.contains(text));
        eventually(PATIENCE, &format!("{text:?} on stderr"), lines, is_there).await;
    }

    pub(crate) fn pid(&self) -> Pid {
        let id = self.child.id().expect("it runs");
        Pid::from_raw(id.try_into().unwrap()).expect("it has an id")
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("a signal can be sent");
    }

    /// Waits for its end.
    pub(crate) async fn ended(mut self) -> Ended {
        let status = timeout(PATIENCE, self.child.wait()).await;
        let Ok(status) = status else {
            panic!("it does not end: {:#?} {:#?}", self.out(), self.err());
        };
        self.out.reader.await.expect("it is read to the end");
        self.err.reader.await.expect("it is read to the end");
        let text = |lines: &Arc<Mutex<Vec<String>>>| {
            lines
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .join("\n")
        };
        Ended {
            status: status.expect("it can be waited for"),
            out: text(&self.out.lines),
            err: text(&self.err.lines),
        }
    }

    /// Sends a signal, and waits for the end.
    pub(crate) async fn told(self, signal: Signal) -> Ended {
        self.signal(signal);
        self.ended().await
    }
}

/// A provider in this process, as a service in Rust would be one.
pub(crate) struct Provider {
    pub(crate) client: EtcdClient,
    pub(crate) registrar: Registrar,
}

impl Provider {
    pub(crate) async fn register(etcd: &Etcd, format: &str, service: &str, advert: Advert) -> Self {
        let client = EtcdClient::connect([etcd.endpoint()]).unwrap();
        let format = sd_formats::by_name(format).unwrap();
        let registrar = Registrar::of(client.clone(), &format, service, &advert).unwrap();
        registrar.register().await.unwrap();
        Self { client, registrar }
    }
}
