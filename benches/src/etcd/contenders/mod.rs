//! What runs in the process of a contender: it says what happens as lines of JSON, and is told what to do as
//! lines on its standard input. It ends with its input.

mod follow;
mod register;

use super::{Failure, block_on};
use crate::usage::Usage;
use serde_json::{Map, Value};
use std::{
    io::{self, BufRead, Write},
    time::Duration,
};
use tokio::sync::mpsc;

/// Runs the contender of this name until its standard input ends.
///
/// # Errors
/// There is none of this name, or it cannot do its work.
pub fn contend(name: &str, arguments: &[String]) -> Result<(), Failure> {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    block_on(async {
        match (name, &arguments[..]) {
            ("follow-toolkit", [etcd, clients, services, subscribers, registers]) => {
                let shape = follow::Shape {
                    clients: clients.parse()?,
                    services: services.parse()?,
                    subscribers: subscribers.parse()?,
                    registers: registers.parse()?,
                };
                follow::toolkit(etcd, shape).await
            }
            ("follow-floor", [etcd, ..]) => follow::floor(etcd).await,
            ("register-toolkit", [etcd, directory, count]) => {
                register::toolkit(etcd, directory, count.parse()?).await
            }
            ("register-floor", [etcd, directory, count]) => {
                register::floor(etcd, directory, count.parse()?).await
            }
            _ => Err(format!("no contender {name:?} with {arguments:?}").into()),
        }
    })
}

/// Says something, with what there is to say about it.
fn say(what: &str, about: impl IntoIterator<Item = (&'static str, Value)>) -> io::Result<()> {
    let mut line: Map<String, Value> = [("said".to_owned(), what.into())].into_iter().collect();
    line.extend(
        about
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value)),
    );
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{}", Value::Object(line))?;
    stdout.flush()
}

/// Says what this process has used so far, and how long what it did took.
fn say_usage(what: &str, took: Duration) -> Result<(), Failure> {
    let Value::Object(mut about) = Usage::own()?.json() else {
        return Err("a usage is an object".into());
    };
    about.insert("took_nanos".to_owned(), nanos(took));
    about.insert("said".to_owned(), what.into());
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{}", Value::Object(about))?;
    Ok(stdout.flush()?)
}

fn nanos(time: Duration) -> Value {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX).into()
}

/// The lines that it is told.
fn told() -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel(1);
    std::thread::spawn(move || {
        for line in io::stdin().lock().lines().map_while(Result::ok) {
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    });
    receiver
}
