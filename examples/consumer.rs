//! A consumer: finds the providers of a service in etcd, and calls them in turn.
//!
//! ```text
//! cargo run --bin consumer --features etcd
//! cargo run --bin consumer --features etcd -- --etcd http://10.0.0.1:2379 --name hello --count 20
//! ```
//!
//! Start it beside two or three of `provider`, in terminals of their own, and then: start another
//! provider, end one with Ctrl-C, kill one with `kill -9`, stop etcd, start it again.
//!
//! What to watch for:
//! - `+` and `-`: a provider has joined or left, at the moment it does.
//! - Calls to a killed provider fail until its lease expires. Each is repeated on another provider,
//!   which answers: `after ... failed`.
//! - `~ stale since`: etcd is down. The calls go on to the providers that were known last.
//! - `~ live again`: etcd is back. For 15 s, a provider that etcd no longer knows is held, `?`: it
//!   will probably register again.
//! - `RUST_LOG=debug` shows how it works.

mod console;
mod members;
mod process;

use axum::{body::HttpBody, http::Uri};
use futures::StreamExt;
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use lexopt::{
    Arg::{Long, Short},
    ValueExt,
};
use members::{ETCD, endpoints};
use process::{Diary, log, told_to_stop};
use sd_core::{
    BoxError, Bytes, Endpointer, Escaped, Event, Health, InstanceChange, InstanceKey, Instancer,
    Instances, Prefix, Retry, RoundRobin, Status, StopReason, Trouble, factory_fn,
};
use sd_etcd::EtcdClient;
use std::{
    error::Error as _,
    future, io,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::time::{MissedTickBehavior, interval, sleep};

#[tokio::main]
async fn main() -> ExitCode {
    log();
    console::end(run().await)
}

async fn run() -> Result<(), BoxError> {
    let Some(options) = Options::parse()? else {
        println!("{USAGE}");
        return Ok(());
    };
    let prefix = Prefix::new("/services")?.child(&options.name)?;
    let client = EtcdClient::connect(endpoints(&options.etcd))?;
    let diary = Diary::begin(format!("consumer of {prefix}"))?;

    let instancer = Arc::new(Instancer::new(client.clone(), prefix));
    let http = Client::builder(TokioExecutor::new()).build_http();
    let factory = factory_fn(move |instance| {
        Ok(Hello {
            uri: format!("http://{}/", instance.address()).parse()?,
            http: http.clone(),
        })
    });
    let endpointer = Endpointer::new(instancer.clone(), factory);
    let retry = Retry::builder(RoundRobin::new(endpointer))
        .per_try_timeout(Duration::from_secs(1))
        .retry_timeouts(true) // a greeting may be asked for twice
        .timeout(Duration::from_secs(3))
        .build();

    let calls = Calls::default();
    let ended: Result<(), BoxError> = tokio::select! {
        told = told_to_stop() => told.map_err(BoxError::from),
        unsaid = tell(&instancer, diary) => unsaid.map_err(BoxError::from),
        called = async {
            wait_until_ready(&instancer, diary).await?;
            retry.balancer().source().ready().await?;
            Ok(calls.make(&retry, options.count, diary).await?)
        } => called,
    };

    retry.balancer().source().stop().await;
    instancer.stop().await;
    client.close().await;
    ended?;
    let (made, answered) = (calls.made.into_inner(), calls.answered.into_inner());
    diary.note(format!("{answered} of {made} calls were answered"))?;
    Ok(())
}

/// A body without end is an error.
const LONGEST_ANSWER: usize = 4096;

/// The client that the factory makes for an instance.
struct Hello {
    uri: Uri,
    http: Client<HttpConnector, Empty<Bytes>>,
}

impl Hello {
    async fn call(&self) -> io::Result<String> {
        let answer = self.http.get(self.uri.clone()).await.map_err(reason)?;
        let status = answer.status();
        if !status.is_success() {
            return Err(io::Error::other(format!("HTTP status {status}")));
        }
        printable(answer.into_body()).await
    }
}

/// What a body says, in one line for a terminal, whoever wrote it.
async fn printable<B: HttpBody<Error: Into<BoxError>>>(body: B) -> io::Result<String> {
    let body = Limited::new(body, LONGEST_ANSWER).collect();
    let body = body.await.map_err(io::Error::other)?.to_bytes();
    let text = String::from_utf8_lossy(&body);
    Ok(Escaped(text.trim_end()).to_string())
}

/// The root cause of an error, such as a refused connection.
fn reason(error: hyper_util::client::legacy::Error) -> io::Error {
    let mut cause = error.source();
    while let Some(deeper) = cause.and_then(|cause| cause.source()) {
        cause = Some(deeper);
    }
    match cause {
        Some(cause) => io::Error::other(cause.to_string()),
        None => io::Error::other(error),
    }
}

/// The calls made so far.
#[derive(Default)]
struct Calls {
    made: AtomicU64,
    answered: AtomicU64,
}

impl Calls {
    /// Makes `count` calls, two a second.
    async fn make(
        &self,
        retry: &Retry<RoundRobin<Endpointer<Hello>>, io::Error>,
        count: u64,
        diary: Diary,
    ) -> io::Result<()> {
        let mut tick = interval(Duration::from_millis(500));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for _ in 0..count {
            tick.tick().await;
            let number = 1 + self.made.fetch_add(1, Ordering::Relaxed);
            let mut tried = Vec::new();
            let answer = retry
                .call(|hello| {
                    tried.push(hello.address().to_owned());
                    async move { hello.call().await }
                })
                .await;
            match answer {
                Ok(answer) => {
                    self.answered.fetch_add(1, Ordering::Relaxed);
                    tried.pop();
                    let failed = match &*tried {
                        [] => String::new(),
                        failed => format!(", after {} failed", failed.join(" and ")),
                    };
                    diary.note(format!("  call {number}: {answer}{failed}"))?;
                }
                Err(error) => {
                    // All attempts failed in the same way.
                    let same = (error.stop_reason() == StopReason::NoEndpoints)
                        .then(|| error.attempts().last())
                        .flatten();
                    let error = same.map_or_else(|| error.to_string(), ToString::to_string);
                    diary.note(format!("! call {number}: {error}"))?;
                }
            }
        }
        Ok(())
    }
}

/// Waits until the instances are known, however long etcd is down. Prints why it waits.
async fn wait_until_ready(instancer: &Instancer, diary: Diary) -> Result<(), BoxError> {
    loop {
        tokio::select! {
            ready = instancer.ready() => return Ok(ready?),
            () = sleep(Duration::from_secs(3)) => match instancer.trouble() {
                Some(trouble) => diary.note(format!("waiting for etcd: {}", whole(&trouble)))?,
                None => diary.note("waiting for etcd")?,
            },
        }
    }
}

// === Output ===

/// Prints what is new in each state. Ends only if stdout is closed.
async fn tell(instancer: &Instancer, diary: Diary) -> io::Result<()> {
    let mut events = instancer.subscribe();
    let mut previous = None;
    while let Some(event) = events.next().await {
        for line in news(previous.as_ref(), &event, diary) {
            diary.note(line)?;
        }
        previous = Some(event);
    }
    future::pending().await
}

/// What is new in `event`, compared with `previous`.
fn news(previous: Option<&Event>, event: &Event, diary: Diary) -> Vec<String> {
    let mut news = Vec::new();
    let none = Instances::default();
    let before = previous.map_or(&none, Event::instances);
    if previous.is_none() && event.instances().is_empty() {
        news.push("nobody provides this service yet".into());
    }
    for change in before.diff(event.instances()) {
        news.push(match change {
            InstanceChange::Added(new) => format!("+ {} joined", new.address()),
            InstanceChange::Removed(old) => format!("- {} left", old.address()),
            InstanceChange::Updated { new, .. } if new.status() == Status::Draining => {
                format!("~ {} is draining", new.address())
            }
            InstanceChange::Updated { new, .. } => format!("~ {} changed", new.address()),
        });
    }
    let was_held =
        |key: &InstanceKey| previous.is_some_and(|it| it.held().any(|(held, _)| held == key));
    for (key, held) in event.held().filter(|(key, _)| !was_held(key)) {
        let (key, why) = (Escaped(key), whole(&held.why));
        news.push(match held.why {
            Trouble::Unreadable => format!("? {key} held: {why}"),
            _ => format!("? {key} held: etcd does not know it any more, after: {why}"),
        });
    }
    // Every source begins with a state whose watch is not answered yet.
    let in_trouble = |health: &Health| match health {
        Health::Stale { why, .. } => !matches!(why, Trouble::Unanswered),
        Health::Live => false,
    };
    let was_in_trouble = previous.is_some_and(|it| in_trouble(it.health()));
    match event.health() {
        Health::Stale { since, why, .. } if !was_in_trouble && in_trouble(event.health()) => {
            let since = diary.at(*since);
            news.push(format!("~ stale since {since}: {}", whole(why)));
        }
        Health::Live if was_in_trouble => news.push("~ live again".into()),
        _ => {}
    }
    news
}

/// The trouble and its causes, in one line.
fn whole(trouble: &Trouble) -> String {
    match trouble.source() {
        Some(cause) => format!("{trouble}: {cause}"),
        None => trouble.to_string(),
    }
}

const USAGE: &str = "\
usage: consumer [--etcd URL[,URL]] [--name NAME] [--count N]

  --etcd URL[,URL]  members of an etcd cluster; http://127.0.0.1:2379
  --name NAME       which service to call, /services/NAME/; hello
  --count N         how many calls to make; for ever";

struct Options {
    etcd: String,
    name: String,
    count: u64,
}

impl Options {
    /// `None` if help was asked for.
    fn parse() -> Result<Option<Self>, BoxError> {
        let mut options = Self {
            etcd: ETCD.into(),
            name: "hello".into(),
            count: u64::MAX,
        };
        let mut arguments = lexopt::Parser::from_env();
        while let Some(argument) = arguments.next()? {
            match argument {
                Long("etcd") => options.etcd = arguments.value()?.string()?,
                Long("name") => options.name = arguments.value()?.string()?,
                Long("count") => options.count = arguments.value()?.parse()?,
                Long("help") | Short('h') => return Ok(None),
                other => return Err(format!("{}\n\n{USAGE}", other.unexpected()).into()),
            }
        }
        Ok(Some(options))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::Full;

    /// Hostile row 15: a body is one short line, and one without end is an error.
    #[tokio::test]
    async fn whatever_is_called_says_one_line() {
        let said = printable(Full::<Bytes>::from("hi\u{1b}[2J\nforged\n")).await;
        assert_eq!(said.expect("a body"), r"hi\u{1b}[2J\nforged");
        let endless = vec![b'x'; 10 * LONGEST_ANSWER];
        assert!(printable(Full::<Bytes>::from(endless)).await.is_err());
    }
}
