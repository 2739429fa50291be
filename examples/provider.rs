//! A provider: serves HTTP, and is registered in etcd while it does.
//!
//! ```text
//! cargo run --bin provider --features etcd
//! cargo run --bin provider --features etcd -- --etcd http://10.0.0.1:2379,http://10.0.0.2:2379 \
//!     --listen 0.0.0.0:8080 --advertise 10.0.0.9:8080 --name hello
//! ```
//!
//! Start two or three of them beside a `consumer`, and look at what they register:
//!
//! ```text
//! etcdctl get --prefix /services/hello/
//! ```
//!
//! What to watch for:
//! - Ctrl-C or SIGTERM: it announces draining, removes its key, and only then stops serving. None
//!   of the consumer's calls fail.
//! - `kill -9`: its key stays until its lease expires. Meanwhile the consumer's calls go to others.
//! - Stop etcd and start it again, with or without its data: it is registered as soon as etcd is
//!   back. Delete its key, or revoke its lease: it registers again within seconds.
//! - `RUST_LOG=debug` shows how it works.

mod console;
mod members;
mod process;

use axum::{Router, routing::get};
use lexopt::{
    Arg::{Long, Short},
    ValueExt,
};
use members::{ETCD, endpoints};
use process::{Diary, log, told_to_stop};
use sd_core::{
    BoxError, Codec, DefaultCodec, Instance, Key, Registrar, RegistrarStatus, Service,
    StatusReceiver, Ttl,
};
use sd_etcd::EtcdClient;
use std::{future, io, net::SocketAddr, process::ExitCode, time::Duration};
use tokio::{net::TcpListener, sync::oneshot, time::timeout};

/// How long it announces draining before it deregisters: time for consumers to notice.
const DRAIN: Duration = Duration::from_millis(500);
/// How long to wait for calls in flight at the end.
const LAST_CALLS: Duration = Duration::from_secs(5);

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
    let listener = TcpListener::bind(&options.listen)
        .await
        .map_err(|error| format!("cannot listen on {}: {error}", options.listen))?;
    let address = options.address(listener.local_addr()?)?;

    let client = EtcdClient::connect(endpoints(&options.etcd))?;
    let registrar = Registrar::builder(client.clone(), options.service(&address)?)
        .drain(DRAIN)
        .build();

    // It serves before it registers.
    let hello = format!("hello from {address}\n");
    let app = Router::new().route("/", get(async || hello));
    let (stop_serving, stopped) = oneshot::channel::<()>();
    let server = axum::serve(listener, app).with_graceful_shutdown(async {
        let _ = stopped.await;
    });
    let server = tokio::spawn(server.into_future());
    let diary = Diary::begin(format!("provider at http://{address}/"))?;

    let ended: Result<(), BoxError> = tokio::select! {
        refused = keep_registered(&registrar) => refused,
        unsaid = tell(registrar.status(), diary) => unsaid.map_err(BoxError::from),
        told = told_to_stop() => told.map_err(BoxError::from),
    };

    let deregistered = registrar.deregister().await;
    client.close().await;
    drop(stop_serving);
    // After that, calls in flight are aborted.
    let _ = timeout(LAST_CALLS, server).await;
    ended?;
    diary.note(format!("deregistered: {:?}", deregistered?))?;
    Ok(())
}

/// Ends only if the registry refuses for good.
async fn keep_registered(registrar: &Registrar) -> Result<(), BoxError> {
    registrar.register().await?;
    future::pending().await
}

/// Prints the status of the registrar until it ends.
async fn tell(mut status: StatusReceiver<RegistrarStatus>, diary: Diary) -> io::Result<()> {
    while status.changed().await.is_ok() {
        match &*status.borrow_and_update() {
            RegistrarStatus::Registering { error: None, .. } => diary.note("registering"),
            RegistrarStatus::Registering {
                error: Some(error), ..
            } => diary.note(format!("not registered yet: {error}")),
            RegistrarStatus::Registered { key, lease, .. } => {
                diary.note(format!("registered as {key} on lease {lease}"))
            }
            RegistrarStatus::Reclaiming {
                lost, error: None, ..
            } => diary.note(format!("registration lost, putting it back: {lost:?}")),
            RegistrarStatus::Reclaiming {
                error: Some(error), ..
            } => diary.note(format!("not back yet: {error}")),
            RegistrarStatus::Taken { value } => {
                let owner = String::from_utf8_lossy(value);
                diary.note(format!("somebody else has taken the key: {owner}"))
            }
            _ => Ok(()),
        }?;
    }
    Ok(())
}

const USAGE: &str = "\
usage: provider [--etcd URL[,URL]] [--listen ADDRESS] [--advertise ADDRESS] [--name NAME] [--ttl S]

  --etcd URL[,URL]     members of an etcd cluster; http://127.0.0.1:2379
  --listen ADDRESS     where to serve HTTP; 127.0.0.1:0, which is any free port
  --advertise ADDRESS  where consumers reach it; where it listens
  --name NAME          which service it provides, /services/NAME/; hello
  --ttl S              how long its key stays when it has crashed, in seconds; 10";

struct Options {
    etcd: String,
    listen: String,
    advertise: Option<String>,
    name: String,
    ttl: Ttl,
}

impl Options {
    /// `None` if help was asked for.
    fn parse() -> Result<Option<Self>, BoxError> {
        let mut options = Self {
            etcd: ETCD.into(),
            listen: "127.0.0.1:0".into(),
            advertise: None,
            name: "hello".into(),
            ttl: Ttl::from_secs(10)?,
        };
        let mut arguments = lexopt::Parser::from_env();
        while let Some(argument) = arguments.next()? {
            match argument {
                Long("etcd") => options.etcd = arguments.value()?.string()?,
                Long("listen") => options.listen = arguments.value()?.string()?,
                Long("advertise") => options.advertise = Some(arguments.value()?.string()?),
                Long("name") => options.name = arguments.value()?.string()?,
                Long("ttl") => options.ttl = Ttl::from_secs(arguments.value()?.parse()?)?,
                Long("help") | Short('h') => return Ok(None),
                other => return Err(format!("{}\n\n{USAGE}", other.unexpected()).into()),
            }
        }
        Ok(Some(options))
    }

    /// The address for consumers.
    fn address(&self, listening: SocketAddr) -> Result<String, BoxError> {
        match &self.advertise {
            Some(address) => Ok(address.clone()),
            None if listening.ip().is_unspecified() => {
                Err(format!("{listening} is nowhere to call: say where, with --advertise").into())
            }
            None => Ok(listening.to_string()),
        }
    }

    /// In JSON rather than as a plain address, so that draining can be announced.
    fn service(&self, address: &str) -> Result<Service, BoxError> {
        let key = Key::new(format!("/services/{}/{address}", self.name))?;
        let instance = Instance::new(key.clone(), address)
            .with_metadata("pid", std::process::id().to_string());
        let value = DefaultCodec.encode(&instance)?;
        Ok(Service::new(key.as_str(), value)?.with_ttl(self.ttl))
    }
}
