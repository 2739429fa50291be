//! A program in Go.

use crate::{
    SERVICE,
    framework::Framework,
    history::{History, View},
};
use rustix::process::{Pid, Signal, kill_process};
use sd_tests::{Etcd, PATIENCE, eventually};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    env,
    fs::File,
    io::{BufRead, BufReader, Read, Seek},
    path::PathBuf,
    process::{Child, ChildStdout, Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread::{self, JoinHandle},
};

/// A running program in Go; killed when dropped. When a test panics, its log is printed.
pub(crate) struct Peer {
    name: String,
    child: Child,
    log: File,
    reader: Option<JoinHandle<()>>,
    history: History,
    /// The events that it has printed.
    events: Arc<Mutex<Vec<String>>>,
}

impl Peer {
    /// A consumer.
    pub(crate) fn discover(framework: &Framework, etcd: &Etcd) -> Self {
        Self::start(framework, "discover", etcd, framework.discover)
    }

    /// A provider at `address`, with more flags. Returns when it says that it is registered.
    pub(crate) async fn register(
        framework: &Framework,
        etcd: &Etcd,
        address: &str,
        more: &[&str],
    ) -> Self {
        let flags = [framework.register, &["--addr", address], more].concat();
        let peer = Self::start(framework, "register", etcd, &flags);
        peer.until("registered").await;
        peer
    }

    fn start(framework: &Framework, command: &str, etcd: &Etcd, flags: &[&str]) -> Self {
        let folder = env::var_os("INTEROP_PEERS")
            .expect("INTEROP_PEERS names the programs in Go; `./run interop` builds them");
        let program = PathBuf::from(folder).join(framework.program);
        let log = tempfile::tempfile().expect("a log can be made");
        let mut child = Command::new(&program)
            .arg(command)
            .args(["--etcd", &etcd.address().to_string(), "--service", SERVICE])
            .args(flags)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log.try_clone().expect("a log can be shared"))
            .spawn()
            .unwrap_or_else(|error| panic!("cannot run {}: {error}", program.display()));
        let (history, events) = (History::default(), Arc::default());
        let reader = Reader {
            lines: BufReader::new(child.stdout.take().expect("it has an output")),
            history: history.clone(),
            events: Arc::clone(&events),
        };
        Self {
            name: format!("{} {command} {flags:?}", framework.name),
            child,
            log,
            reader: Some(thread::spawn(|| reader.read())),
            history,
            events,
        }
    }

    /// What it has shown.
    pub(crate) fn history(&self) -> &History {
        &self.history
    }

    /// Waits until it has printed this event.
    async fn until(&self, event: &str) {
        let what = format!("{} to be {event}", self.name);
        let events = || async {
            self.events
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone()
        };
        eventually(PATIENCE, &what, events, |events| {
            events.iter().any(|it| it == event)
        })
        .await;
    }

    /// Tells it to end (SIGTERM), upon which it deregisters, and waits for that.
    pub(crate) async fn leave(mut self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).expect("it runs");
        let what = format!("{} to end", self.name);
        eventually(
            PATIENCE,
            &what,
            || std::future::ready(!self.is_running()),
            |ended| *ended,
        )
        .await;
    }

    /// Kills it (SIGKILL): it deregisters nothing.
    pub(crate) fn kill(self) {
        drop(self);
    }

    pub(crate) fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // Fails only if it has ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
        if thread::panicking() {
            let mut log = String::new();
            let _ = self.log.rewind();
            let _ = self.log.read_to_string(&mut log);
            let lines: Vec<_> = log.lines().collect();
            let end = lines[lines.len().saturating_sub(10)..].join("\n");
            eprintln!("{} saw {:?}; its log ends:\n{end}", self.name, self.history);
        }
    }
}

/// Reads what the program prints: an event in JSON in each line.
struct Reader {
    lines: BufReader<ChildStdout>,
    history: History,
    events: Arc<Mutex<Vec<String>>>,
}

impl Reader {
    fn read(self) {
        // grpc-go tells the weights of the entries that have changed.
        let mut weights = BTreeMap::new();
        for line in self.lines.lines() {
            let line = line.expect("text");
            let Ok(event) = serde_json::from_str::<Value>(&line) else {
                self.history.failed(line);
                continue;
            };
            if let Some(error) = event["error"].as_str() {
                self.history.failed(error.to_owned());
            }
            let name = event["event"].as_str().unwrap_or_default().to_owned();
            if name == "view" {
                self.history.saw(view(&event, &mut weights));
            }
            let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
            events.push(name);
        }
    }
}

fn view(event: &Value, weights: &mut BTreeMap<String, i64>) -> View {
    let number = |value: &Value| match value {
        Value::String(text) => text.parse().ok(),
        other => other.as_i64(),
    };
    let addresses = event["addrs"].as_array().into_iter().flatten();
    let addresses = addresses.filter_map(Value::as_str).map(str::to_owned);
    let mut addresses: Vec<_> = addresses.collect();
    addresses.sort_unstable();
    for (address, weight) in event["weights"].as_object().into_iter().flatten() {
        weights.extend(number(weight).map(|weight| (address.clone(), weight)));
    }
    for (key, metadata) in event["metadata"].as_object().into_iter().flatten() {
        let address = key.rsplit('/').next().unwrap_or(key);
        weights.extend(number(&metadata["weight"]).map(|weight| (address.to_owned(), weight)));
    }
    weights.retain(|address, _| addresses.contains(address));
    let weights = weights.clone();
    View { addresses, weights }
}
