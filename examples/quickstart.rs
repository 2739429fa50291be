//! The whole chain in one program: providers come and go, and a consumer keeps calling them.
//!
//! Two providers register under `/services/hello/`, and a consumer finds them and calls them in
//! turn. A third one joins, one deregisters, and one crashes and its lease expires. They answer
//! real calls, over TCP.
//!
//! ```text
//! cargo run --bin quickstart
//! cargo run --bin quickstart --features etcd -- --etcd http://127.0.0.1:2379
//! ```
//!
//! The first command needs nothing but Rust: the registry is in the process. The second runs the
//! same steps ([`play`]) on etcd, with each provider in its own process; building it needs
//! `protoc`.
//!
//! What to watch for: after each step, the consumer's view is printed, with one line per provider
//! and one mark per call. The providers are called in turn, and a new one gets its share at once.
//! When a provider crashes, no call fails: calls that it refuses are repeated on another provider,
//! until its lease has expired and the consumer has removed it.

mod console;
#[path = "quickstart/consumer.rs"]
mod consumer;
#[cfg(feature = "etcd")]
#[path = "quickstart/etcd.rs"]
mod etcd;
#[path = "quickstart/provider.rs"]
mod provider;
#[path = "quickstart/report.rs"]
mod report;
#[path = "quickstart/stage.rs"]
mod stage;

use consumer::Consumer;
use lexopt::{
    Arg::{Long, Short},
    ValueExt,
};
use report::Report;
use sd_core::BoxError;
use stage::{InMemory, Provider, Stage};
use std::process::ExitCode;

/// Where the providers register.
const SERVICE: &str = "/services/hello/";
/// The TTL of the providers, in seconds: how long a crashed one stays in the registry.
const TTL: u64 = 3;

/// The steps, the same on every registry.
async fn play(stage: &impl Stage) -> Result<(), BoxError> {
    let mut report = Report::begin(stage.name())?;
    let consumer = Consumer::start(stage.client()?).await?;

    report.step("anna and ben register")?;
    let anna = stage.start("anna")?;
    let ben = stage.start("ben")?;
    consumer.waits_until_it_sees(&["anna", "ben"]).await?;
    report.after(&consumer, consumer.calls(6).await)?;

    report.step("clara joins")?;
    let clara = stage.start("clara")?;
    consumer
        .waits_until_it_sees(&["anna", "ben", "clara"])
        .await?;
    report.after(&consumer, consumer.calls(6).await)?;

    report.step("anna deregisters")?;
    anna.leave().await?;
    consumer.waits_until_it_sees(&["ben", "clara"]).await?;
    report.after(&consumer, consumer.calls(6).await)?;

    report.step("ben crashes, and nobody tells the registry")?;
    ben.crash().await?;
    report.after(&consumer, consumer.calls(6).await)?;

    report.step("ben's lease runs out")?;
    let gone = consumer.waits_until_it_sees(&["clara"]);
    report.after(&consumer, consumer.calls_until(gone).await?)?;

    report.end()?;
    clara.leave().await?;
    consumer.stop().await;
    Ok(())
}

const USAGE: &str = "\
usage: quickstart [--etcd URL]

  --etcd URL  play on an etcd, such as http://127.0.0.1:2379, instead of in memory";

#[tokio::main]
async fn main() -> ExitCode {
    console::end(run().await)
}

async fn run() -> Result<(), BoxError> {
    let (mut etcd, mut provide) = (None, None);
    let mut arguments = lexopt::Parser::from_env();
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("etcd") => etcd = Some(arguments.value()?.string()?),
            // For the providers on etcd, which are processes of this program.
            Long("provide") => provide = Some(arguments.value()?.string()?),
            Long("help") | Short('h') => {
                println!("{USAGE}");
                return Ok(());
            }
            other => return Err(format!("{}\n\n{USAGE}", other.unexpected()).into()),
        }
    }
    match (etcd, provide) {
        (None, _) => play(&InMemory::default()).await,
        (Some(url), None) => on_etcd(url).await,
        (Some(url), Some(name)) => provide_on_etcd(&url, &name).await,
    }
}

#[cfg(feature = "etcd")]
async fn on_etcd(url: String) -> Result<(), BoxError> {
    use sd_core::Error;
    let played = play(&etcd::OnEtcd::new(url.clone())).await;
    played.map_err(|error| match error.downcast::<Error>() {
        Ok(error) if error.is_transient() => Box::new(Error::Unavailable {
            message: format!("is an etcd running at {url}?"),
            source: Some(std::sync::Arc::new(*error)),
        }),
        Ok(error) => error,
        Err(error) => error,
    })
}

#[cfg(feature = "etcd")]
use etcd::provide as provide_on_etcd;

#[cfg(not(feature = "etcd"))]
async fn on_etcd(url: String) -> Result<(), BoxError> {
    Err(format!(
        "this quickstart was built without etcd. With it (building needs `protoc`):\n\n    \
         cargo run --bin quickstart --features etcd -- --etcd {url}"
    )
    .into())
}

#[cfg(not(feature = "etcd"))]
async fn provide_on_etcd(url: &str, _name: &str) -> Result<(), BoxError> {
    on_etcd(url.into()).await
}
