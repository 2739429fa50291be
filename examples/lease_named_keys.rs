//! Keys that end in the id of their lease: a provider of `Hello` has the key
//! `Hello7587849142468224212`, where the number is its lease.
//!
//! Some fleets name their keys like this: providers need no names, and two never have the same key.
//! But the key changes with the lease. So a provider must use another key after it has lost its
//! lease, and remove the right one when it leaves. And a consumer of `Hello` has to tell its
//! instances from those of `HelloWorld`, whose keys begin the same. [`LeaseNamed`] does both.
//!
//! ```text
//! cargo run --bin lease_named_keys
//! cargo run --bin lease_named_keys --features etcd -- --etcd http://127.0.0.1:2379
//! ```
//!
//! What to watch for: each time a lease is revoked, the key goes, and the provider registers under
//! another key, without any code of its own; the consumer sees one instance go and another come.
//! `HelloWorld` comes and goes, and the consumer of `Hello` does not notice.

mod console;
mod registry;

use futures::StreamExt;
use registry::Registry;
use sd_core::{
    Advert, BoxError, Escaped, Events, InstanceChange, Instancer, Instances, Key, LeaseId,
    Registrar, RegistrarStatus, Ttl,
};
use sd_formats::LeaseNamed;
use std::{
    fmt,
    io::{self, Write},
    process::ExitCode,
    time::Duration,
};
use tokio::time::timeout;

/// How long anything here may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// The steps, the same on every registry.
async fn play(registry: &Registry) -> Result<(), BoxError> {
    say(format_args!(
        "Keys that end in their lease, in {registry}\n"
    ))?;
    let format = LeaseNamed::default();
    let consumer = Instancer::of(registry.client()?, &format, "Hello")?;
    consumer.ready_within(PATIENCE).await?;
    let mut view = View::new(consumer.subscribe());

    // A lost lease is noticed within a third of it.
    let advert = Advert::new("10.0.0.1:8080").ttl(Ttl::from_secs(3)?);
    let provider = Registrar::of(registry.client()?, &format, "Hello", &advert)?;
    provider.register_within(PATIENCE).await?;
    let (mut key, mut lease) = registered(&provider, None).await?;
    say(format_args!(
        "The provider registers, and has lease {lease}."
    ))?;
    view.until(|all| all.get(&key).is_some()).await?;

    for round in ["An operator revokes the lease", "And once more"] {
        registry.revoke(&lease).await?;
        let before = key;
        (key, lease) = registered(&provider, Some(&lease)).await?;
        say(format_args!("\n{round}; now it is {lease}."))?;
        let moved = |all: &Instances| all.get(&key).is_some() && all.get(&before).is_none();
        view.until(moved).await?;
    }

    say("\nAnother service registers, by the name of HelloWorld, and so does another Hello.")?;
    let advert = Advert::new("10.0.0.9:80");
    let other = Registrar::of(registry.client()?, &format, "HelloWorld", &advert)?;
    other.register_within(PATIENCE).await?;
    let advert = Advert::new("10.0.0.2:8080");
    let second = Registrar::of(registry.client()?, &format, "Hello", &advert)?;
    second.register_within(PATIENCE).await?;
    view.until(|all| all.len() == 2).await?;

    say("\nAll leave.")?;
    other.deregister().await?;
    second.deregister().await?;
    provider.deregister().await?;
    view.until(Instances::is_empty).await?;
    consumer.stop().await;
    Ok(())
}

/// Waits until the provider is registered on a lease other than `but`.
async fn registered(
    provider: &Registrar,
    but: Option<&LeaseId>,
) -> Result<(Key, LeaseId), BoxError> {
    let mut status = provider.status();
    let settled = status.wait_for(
        |status| matches!(status, RegistrarStatus::Registered { lease, .. } if Some(lease) != but),
    );
    let status = timeout(PATIENCE, settled).await??;
    match &*status {
        RegistrarStatus::Registered { key, lease, .. } => Ok((key.clone(), lease.clone())),
        other => Err(format!("not registered but {other:?}").into()),
    }
}

/// Prints what the consumer sees, change by change.
struct View {
    events: Events,
    seen: Instances,
}

impl View {
    fn new(events: Events) -> Self {
        Self {
            events,
            seen: Instances::default(),
        }
    }

    /// Prints the changes until the instances are as `expected`.
    async fn until(&mut self, expected: impl Fn(&Instances) -> bool) -> Result<(), BoxError> {
        let waiting = async {
            while !expected(&self.seen) {
                let event = self.events.next().await.ok_or("the consumer was stopped")?;
                for change in self.seen.diff(event.instances()) {
                    match change {
                        InstanceChange::Added(it) => {
                            say(format_args!("  + {}  {}", Escaped(it.key()), it.address()))?;
                        }
                        InstanceChange::Removed(it) => {
                            say(format_args!("  - {}", Escaped(it.key())))?
                        }
                        InstanceChange::Updated { new, .. } => {
                            say(format_args!(
                                "  ~ {}  {}",
                                Escaped(new.key()),
                                new.address()
                            ))?;
                        }
                    }
                }
                self.seen = event.instances().clone();
            }
            Ok::<_, BoxError>(())
        };
        timeout(PATIENCE, waiting).await?
    }
}

fn say(what: impl fmt::Display) -> io::Result<()> {
    writeln!(io::stdout(), "{what}")
}

#[tokio::main]
async fn main() -> ExitCode {
    console::end(run().await)
}

async fn run() -> Result<(), BoxError> {
    match Registry::chosen("lease_named_keys")? {
        Some(registry) => play(&registry).await,
        None => Ok(()),
    }
}
