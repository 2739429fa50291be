//! A directory of nodes, with a layout that many fleets on etcd have: a node puts
//! `{"Addr":"10.0.0.1:7000","Name":"chat","UniqueId":"c1"}` under
//! `discovery/chat/instance_id/c1`, and others look up a name and choose any of its nodes.
//!
//! Code for this that is written by hand often polls etcd, does not register again when its lease
//! is lost, and finds `chatter` when it looks for `chat`. Here the layout and the JSON are the
//! same, so both kinds of nodes can be mixed. It takes only a format: [`NodeDirectory`].
//!
//! ```text
//! cargo run --bin node_directory
//! cargo run --bin node_directory --features etcd -- --etcd http://127.0.0.1:2379
//! ```
//!
//! What to watch for: the picks are about even, and follow the nodes as they come and go; an entry
//! that is not a node does no harm; a lost lease is replaced; lookups are answered from memory,
//! without a request to the registry.

mod console;
mod registry;

use registry::Registry;
use sd_core::{
    Advert, BoxError, Client, Instance, Instancer, LeaseId, Registrar, RegistrarStatus, Service,
    Source, Ttl,
};
use sd_formats::NodeDirectory;
use std::{
    collections::BTreeMap,
    io::{self, Write},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};
use tokio::time::timeout;

/// The names that this program looks up.
const NAMES: [&str; 3] = ["chat", "chatter", "mail"];

/// How long anything here may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// The nodes of each name. One stream keeps them all up to date.
struct Directory(BTreeMap<&'static str, Instancer>);

impl Directory {
    async fn open(client: &Arc<dyn Client>) -> Result<Self, BoxError> {
        let mut names = BTreeMap::new();
        for name in NAMES {
            let nodes = Instancer::of(client.clone(), &NodeDirectory::default(), name)?;
            nodes.ready_within(PATIENCE).await?;
            names.insert(name, nodes);
        }
        Ok(Self(names))
    }

    /// The nodes of this name.
    fn nodes(&self, name: &str) -> Vec<Arc<Instance>> {
        let state = self.0.get(name).and_then(Instancer::state);
        let nodes = state.iter().flat_map(|event| event.instances().iter());
        nodes.cloned().collect()
    }

    /// Any node of this name.
    fn lookup(&self, name: &str) -> Option<Arc<Instance>> {
        fastrand::choice(self.nodes(name))
    }

    /// Waits until there are so many nodes of each name, and so many entries that are none.
    async fn holds(&self, counts: [usize; 3], junk: usize) -> Result<(), BoxError> {
        for (name, count) in NAMES.into_iter().zip(counts) {
            let junk = if name == "chat" { junk } else { 0 };
            let holds = self.0[name]
                .until(|event| event.instances().len() == count && event.unreadable() == junk);
            timeout(PATIENCE, holds).await.map_err(|_| {
                format!("waited in vain for {count} nodes of {name}; is discovery/ in use?")
            })??;
        }
        Ok(())
    }
}

/// The steps, the same on every registry.
async fn play(registry: &Registry) -> Result<(), BoxError> {
    say(format_args!("A directory of nodes, in {registry}\n"))?;
    let client = registry.client()?;
    let directory = Directory::open(&registry.client()?).await?;

    say("Four nodes register, chat and chatter among the names.")?;
    let mut nodes = Vec::new();
    for (name, id, address) in [
        ("chat", "c1", "10.0.0.1:7000"),
        ("chat", "c2", "10.0.0.2:7000"),
        ("chat", "c3", "10.0.0.3:7000"),
        ("chatter", "x1", "10.0.0.9:7100"),
    ] {
        nodes.push(register(&client, name, id, address).await?);
    }
    directory.holds([3, 1, 0], 0).await?;
    dump(&directory)?;
    pick(&directory, "chat")?;

    say("\nSomething registers that is no node, and a node of another name.")?;
    let junk = Service::new("discovery/chat/instance_id/junk", "10.0.0.66:7000")?;
    let junk = Registrar::builder(client.clone(), junk)
        .without_codec()
        .build();
    junk.register_within(PATIENCE).await?;
    nodes.push(register(&client, "mail", "m1", "10.0.0.5:2500").await?);
    directory.holds([3, 1, 1], 1).await?;
    dump(&directory)?;
    let skipped: u64 = directory.0.values().map(Instancer::skipped).sum();
    say(format_args!("  {skipped} entry skipped"))?;

    say("\nchat/c1 leaves.")?;
    nodes.remove(0).deregister().await?;
    directory.holds([2, 1, 1], 1).await?;
    pick(&directory, "chat")?;

    say("\nAn operator revokes the lease of all, and they put themselves back.")?;
    let lease = client.lease_id().ok_or("there is no lease")?;
    registry.revoke(&lease).await?;
    for node in &nodes {
        on_another_lease(node, &lease).await?;
    }
    directory.holds([2, 1, 1], 1).await?;
    dump(&directory)?;

    say("\nNobody is called fax.")?;
    pick(&directory, "fax")?;

    for node in nodes.into_iter().chain([junk]) {
        node.deregister().await?;
    }
    for nodes in directory.0.values() {
        nodes.stop().await;
    }
    Ok(())
}

async fn register(
    client: &Arc<dyn Client>,
    name: &str,
    id: &str,
    address: &str,
) -> Result<Registrar, BoxError> {
    // A lost lease is noticed within a third of it.
    let advert = Advert::new(address).id(id).ttl(Ttl::from_secs(3)?);
    let node = Registrar::of(client.clone(), &NodeDirectory::default(), name, &advert)?;
    node.register_within(PATIENCE).await?;
    Ok(node)
}

async fn on_another_lease(node: &Registrar, but: &LeaseId) -> Result<(), BoxError> {
    let mut status = node.status();
    let back = status.wait_for(
        |status| matches!(status, RegistrarStatus::Registered { lease, .. } if lease != but),
    );
    timeout(PATIENCE, back).await??;
    Ok(())
}

fn dump(directory: &Directory) -> io::Result<()> {
    for name in NAMES {
        let nodes = directory.nodes(name);
        let nodes: Vec<_> = nodes.iter().map(|node| node.address()).collect();
        say(format_args!("  {name:<8} {}", nodes.join("  ")))?;
    }
    Ok(())
}

/// Looks a name up many times, and prints how often each node was picked.
fn pick(directory: &Directory, name: &str) -> io::Result<()> {
    const LOOKUPS: usize = 3_000;
    let mut picks = BTreeMap::<_, usize>::new();
    for node in (0..LOOKUPS).filter_map(|_| directory.lookup(name)) {
        *picks.entry(node.address().to_owned()).or_default() += 1;
    }
    if picks.is_empty() {
        return say(format_args!("  lookup of {name}: no such node"));
    }
    say(format_args!("  {LOOKUPS} lookups of {name}:"))?;
    for (address, count) in picks {
        let bar = "#".repeat(count / 50);
        say(format_args!("    {address:<14} {count:>5} {bar}"))?;
    }
    Ok(())
}

fn say(what: impl std::fmt::Display) -> io::Result<()> {
    writeln!(io::stdout(), "{what}")
}

#[tokio::main]
async fn main() -> ExitCode {
    console::end(run().await)
}

async fn run() -> Result<(), BoxError> {
    match Registry::chosen("node_directory")? {
        Some(registry) => play(&registry).await,
        None => Ok(()),
    }
}
