//! Your own backend: here the registry is a directory, shared by processes of one machine.
//!
//! Shows how to support another registry than etcd. [`directory.rs`](directory) is the registry,
//! [`backend.rs`](backend) its [`Client`](sd_core::Client), and `backend/conformance.rs` runs the
//! conformance suite against it.
//!
//! ```text
//! cargo run --bin custom_backend
//! cargo test --bin custom_backend
//! ```
//!
//! The first command starts two more processes of itself as providers. What to watch for: the files
//! of the registry; the entry of a killed provider, which stays until its lease expires; the entry
//! of a provider that deregisters, which goes at once; and an entry that is a file written by hand.

mod backend;
#[path = "../console.rs"]
mod console;
mod directory;

use backend::DirectoryClient;
use directory::file_name;
use futures::StreamExt;
use sd_core::{BoxError, Escaped, Event, Events, Instancer, Key, Prefix, Registrar, Service, Ttl};
use std::{
    env, fmt, fs,
    io::{self, Write},
    path::Path,
    process::{ExitCode, Stdio},
    sync::Arc,
    time::Duration,
};
use tokio::{
    io::AsyncReadExt,
    process::{Child, Command},
    time::timeout,
};

const HELLO: &str = "/services/hello";

#[tokio::main]
async fn main() -> ExitCode {
    let args: Vec<_> = env::args().skip(1).collect();
    let args: Vec<_> = args.iter().map(String::as_str).collect();
    console::end(match args[..] {
        [] => show().await,
        ["provide", root, address] => provide(Path::new(root), address).await,
        _ => Err("usage: custom_backend".into()),
    })
}

/// A provider: stays registered until its input ends.
async fn provide(root: &Path, address: &str) -> Result<(), BoxError> {
    let client = Arc::new(DirectoryClient::new(root));
    let service = Service::new(format!("{HELLO}/{address}"), address.to_owned())?;
    let registrar = Registrar::new(client.clone(), service.with_ttl(Ttl::MIN));
    registrar.register().await?;
    tokio::io::stdin().read_to_end(&mut Vec::new()).await?;
    registrar.deregister().await?;
    client.close().await;
    Ok(())
}

/// Starts a consumer and providers, and prints what the consumer sees.
async fn show() -> Result<(), BoxError> {
    let root = tempfile::tempdir()?;
    let root = root.path();
    say(format_args!(
        "The registry is the directory {}.",
        root.display()
    ))?;
    let client = Arc::new(DirectoryClient::new(root));
    let hello = Instancer::new(client.clone(), Prefix::new(HELLO)?);
    let mut events = hello.subscribe();
    seen(&mut events, "nobody", &[]).await?;

    let mut one = spawn(root, "127.0.0.1:4001")?;
    seen(&mut events, "a provider started", &["127.0.0.1:4001"]).await?;
    let mut other = spawn(root, "127.0.0.1:4002")?;
    let both = ["127.0.0.1:4001", "127.0.0.1:4002"];
    seen(&mut events, "another started", &both).await?;
    list(root)?;

    one.kill().await?;
    say(format_args!(
        "\nThe first is killed. Its entry stays for as long as its lease: {}.",
        Ttl::MIN
    ))?;
    seen(&mut events, "the lease has run out", &["127.0.0.1:4002"]).await?;

    say("\nAn operator writes a file.")?;
    let key = Key::new(format!("{HELLO}/by-hand"))?;
    fs::write(root.join(file_name(&key)), "127.0.0.1:4003")?;
    let both = ["127.0.0.1:4002", "127.0.0.1:4003"];
    seen(&mut events, "there is one more", &both).await?;

    drop(other.stdin.take());
    say("\nThe second is told to stop, and says goodbye.")?;
    seen(&mut events, "it is gone at once", &["127.0.0.1:4003"]).await?;
    other.wait().await?;
    list(root)?;

    hello.stop().await;
    client.close().await;
    Ok(())
}

/// A provider in a process of its own.
fn spawn(root: &Path, address: &str) -> io::Result<Child> {
    Command::new(env::current_exe()?)
        .arg("provide")
        .arg(root)
        .arg(address)
        .stdin(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
}

/// Waits until the consumer sees these addresses, and prints them.
async fn seen(events: &mut Events, when: &str, addresses: &[&str]) -> Result<(), BoxError> {
    let waiting = async {
        while let Some(event) = events.next().await {
            if known(&event) == addresses {
                say(format_args!("  {when:<24} consumer sees {addresses:?}"))?;
                return Ok(());
            }
        }
        Err("the consumer was stopped".into())
    };
    timeout(Duration::from_secs(30), waiting).await?
}

fn known(event: &Event) -> Vec<&str> {
    let instances = event.instances().iter();
    let mut addresses: Vec<_> = instances.map(|instance| instance.address()).collect();
    addresses.sort_unstable();
    addresses
}

/// Prints what an operator sees.
fn list(root: &Path) -> Result<(), BoxError> {
    say("\n$ head *")?;
    let mut files = fs::read_dir(root)?.collect::<io::Result<Vec<_>>>()?;
    files.sort_by_key(fs::DirEntry::file_name);
    for file in files {
        let name = file.file_name().to_string_lossy().into_owned();
        // Not what a link leads to, and a FIFO would be waited for.
        if !name.starts_with('.') && file.file_type()?.is_file() {
            let content = String::from_utf8_lossy(&fs::read(file.path())?).into_owned();
            let since_kept = file.metadata()?.modified()?.elapsed();
            let over = content.starts_with("lease ") && since_kept.is_ok();
            let over = if over {
                " (over, and removed in a minute)"
            } else {
                ""
            };
            say(format_args!("==> {} <=={over}", Escaped(name)))?;
            for line in content.lines().take(10) {
                say(Escaped(line))?;
            }
        }
    }
    Ok(())
}

fn say(what: impl fmt::Display) -> io::Result<()> {
    writeln!(io::stdout(), "{what}")
}
