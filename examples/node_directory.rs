//! A directory of nodes, with a layout that many fleets on etcd have: a node puts
//! `{"Addr":"10.0.0.1:7000","Name":"chat","UniqueId":"c1"}` under
//! `discovery/chat/instance_id/c1`, and others look up a name and choose any of its nodes.
//!
//! Code for this that is written by hand often polls etcd, does not register again when its lease
//! is lost, and finds `chatter` when it looks for `chat`. Here the layout and the JSON are the
//! same, so both kinds of nodes can be mixed. It takes only a [`Codec`].
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

use futures::StreamExt;
use registry::Registry;
use sd_core::{
    BoxError, Bytes, Client, Codec, CodecError, Decoded, Entry, Escaped, Instance, Instancer,
    LeaseId, Prefix, Registrar, RegistrarStatus, Service, Ttl,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    io::{self, Write},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};
use tokio::time::timeout;

/// The path of all services. Below it is a path for each name.
const ROOT: &str = "discovery";

/// How long anything here may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// A node as it is written in the registry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Node {
    addr: String,
    name: String,
    unique_id: String,
}

impl Node {
    fn new(name: &str, id: &str, addr: &str) -> Self {
        Self {
            addr: addr.into(),
            name: name.into(),
            unique_id: id.into(),
        }
    }

    /// The service to register for this node.
    fn service(&self) -> Result<Service, BoxError> {
        let key = format!("{ROOT}/{}/instance_id/{}", self.name, self.unique_id);
        // A lost lease is noticed within a third of it.
        let ttl = Ttl::from_secs(3)?;
        Ok(Service::new(key, serde_json::to_vec(self)?)?.with_ttl(ttl))
    }
}

/// Reads nodes as instances, and writes instances as nodes.
struct NodeCodec;

const NAME: &str = "Name";
const UNIQUE_ID: &str = "UniqueId";

impl Codec for NodeCodec {
    fn decode(&self, entry: &Entry) -> Result<Decoded, CodecError> {
        let node: Node = serde_json::from_slice(&entry.value)
            .map_err(|error| CodecError::new("not a node").with_source(error))?;
        Ok(Instance::new(entry.key.clone(), node.addr)
            .with_metadata(NAME, node.name)
            .with_metadata(UNIQUE_ID, node.unique_id)
            .into())
    }

    fn encode(&self, instance: &Instance) -> Result<Bytes, CodecError> {
        let said = |name| {
            let said = instance.metadata(name).map(ToOwned::to_owned);
            said.ok_or_else(|| CodecError::new(format!("a node needs a {name}")))
        };
        let node = Node {
            addr: instance.address().into(),
            name: said(NAME)?,
            unique_id: said(UNIQUE_ID)?,
        };
        let json = serde_json::to_vec(&node)
            .map_err(|error| CodecError::new("the node cannot be written").with_source(error))?;
        Ok(json.into())
    }
}

/// All nodes of all services. One watch keeps it up to date.
struct Directory(Instancer);

impl Directory {
    async fn open(client: impl Client) -> Result<Self, BoxError> {
        let nodes = Instancer::builder(client, Prefix::new(ROOT)?).codec(NodeCodec);
        let nodes = nodes.build();
        nodes.ready_within(PATIENCE).await?;
        Ok(Self(nodes))
    }

    /// Every name, and the nodes that have it.
    fn names(&self) -> BTreeMap<String, Vec<Arc<Instance>>> {
        let mut names = BTreeMap::<_, Vec<_>>::new();
        let state = self.0.state();
        for node in state.iter().flat_map(|event| event.instances().iter()) {
            let name = node.metadata(NAME).unwrap_or_default();
            names.entry(name.to_owned()).or_default().push(node.clone());
        }
        names
    }

    /// Any node of this name.
    fn lookup(&self, name: &str) -> Option<Arc<Instance>> {
        let state = self.0.state()?;
        let named = |node: &&Arc<Instance>| node.metadata(NAME) == Some(name);
        let nodes: Vec<_> = state.instances().iter().filter(named).collect();
        fastrand::choice(nodes).cloned()
    }

    /// Waits until there are `count` nodes.
    async fn holds(&self, count: usize) -> Result<(), BoxError> {
        let mut events = self.0.subscribe();
        let waiting = async {
            while let Some(event) = events.next().await {
                if event.instances().len() == count {
                    return Ok(());
                }
            }
            Err("the directory was closed")
        };
        timeout(PATIENCE, waiting)
            .await
            .map_err(|_| format!("waited in vain for {count} nodes; is {ROOT}/ in use?"))??;
        Ok(())
    }
}

/// The steps, the same on every registry.
async fn play(registry: &Registry) -> Result<(), BoxError> {
    say(format_args!("A directory of nodes, in {registry}\n"))?;
    let directory = Directory::open(registry.client()?).await?;
    let client = registry.client()?;

    say("Four nodes register, chat and chatter among the names.")?;
    let mut nodes = Vec::new();
    for node in [
        Node::new("chat", "c1", "10.0.0.1:7000"),
        Node::new("chat", "c2", "10.0.0.2:7000"),
        Node::new("chat", "c3", "10.0.0.3:7000"),
        Node::new("chatter", "x1", "10.0.0.9:7100"),
    ] {
        nodes.push(register(&client, node.service()?).await?);
    }
    directory.holds(4).await?;
    dump(&directory)?;
    pick(&directory, "chat")?;

    say("\nSomething registers that is no node, and a node of another name.")?;
    let junk = Service::new(format!("{ROOT}/chat/instance_id/junk"), "10.0.0.66:7000")?;
    let junk = Registrar::builder(client.clone(), junk)
        .without_codec()
        .build();
    junk.register_within(PATIENCE).await?;
    let mail = Node::new("mail", "m1", "10.0.0.5:2500").service()?;
    nodes.push(register(&client, mail).await?);
    directory.holds(5).await?;
    dump(&directory)?;
    let skipped = directory.0.skipped();
    say(format_args!("  {skipped} entry skipped"))?;

    say("\nchat/c1 leaves.")?;
    nodes.remove(0).deregister().await?;
    directory.holds(4).await?;
    pick(&directory, "chat")?;

    say("\nAn operator revokes the lease of all, and they put themselves back.")?;
    let lease = client.lease_id().ok_or("there is no lease")?;
    registry.revoke(&lease).await?;
    for node in &nodes {
        on_another_lease(node, &lease).await?;
    }
    directory.holds(4).await?;
    dump(&directory)?;

    say("\nNobody is called fax.")?;
    pick(&directory, "fax")?;

    for node in nodes.into_iter().chain([junk]) {
        node.deregister().await?;
    }
    directory.0.stop().await;
    Ok(())
}

async fn register(client: &Arc<dyn Client>, service: Service) -> Result<Registrar, BoxError> {
    let registrar = Registrar::builder(client.clone(), service)
        .codec(NodeCodec)
        .build();
    registrar.register_within(PATIENCE).await?;
    Ok(registrar)
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
    for (name, nodes) in directory.names() {
        let nodes: Vec<_> = nodes.iter().map(|node| node.address()).collect();
        let name = Escaped(name).to_string();
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

#[cfg(test)]
mod tests {
    use super::*;
    use sd_core::Key;

    #[test]
    fn a_node_is_the_json_that_others_write() {
        let node = Node::new("chat", "c1", "10.0.0.1:7000");
        let service = node.service().expect("a service");
        assert_eq!(
            service.value,
            r#"{"Addr":"10.0.0.1:7000","Name":"chat","UniqueId":"c1"}"#
        );

        let key = Key::new("discovery/chat/instance_id/c1").expect("a key");
        let instance = NodeCodec.decode(&Entry::new(key, service.value.clone()));
        let instance = instance.expect("a node").into_iter().next();
        let instance = instance.expect("one instance");
        assert_eq!(instance.address(), "10.0.0.1:7000");
        assert_eq!(NodeCodec.encode(&instance).ok(), Some(service.value));
    }

    #[test]
    fn what_is_no_node_is_an_error() {
        let key = Key::new("discovery/chat/instance_id/c1").expect("a key");
        for junk in ["", "10.0.0.1:80", "{}", r#"{"Addr":1}"#, "\u{0}"] {
            let decoded = NodeCodec.decode(&Entry::new(key.clone(), junk));
            assert!(decoded.is_err(), "{junk:?} is read as {decoded:?}");
        }
    }
}
