//! A gateway: an HTTP and gRPC reverse proxy to the services of a registry.
//!
//! ```text
//! cargo run --bin gateway --features gateway
//! cargo run --bin gateway --features gateway,etcd -- --etcd http://127.0.0.1:2379
//! cargo run --bin gateway --features gateway -- --fixed hello=10.0.0.1:80,10.0.0.2:80
//! ```
//!
//! The first command runs alone: it starts a few small servers of its own on a registry in memory,
//! and prints what to open and to call. (With the feature `grpc` there is a greeter among them;
//! building that needs `protoc`.) The second serves what is registered in an etcd, the third a list.
//!
//! | request | goes to |
//! |---|---|
//! | `/hello/greeting?x=1` | an instance of the service `hello`, as `/greeting?x=1` |
//! | gRPC, `/hello.v1.Greeter/Greet` | the service that `--grpc hello.v1.Greeter=NAME` names, or else the one whose name is the host of `:authority` |
//! | `/services` | nobody: a page that shows the services, for browsers; for others, or with `?format=json`, the same as JSON |
//!
//! The service of a key is its first segment below the prefix: `/services/hello/10.0.0.1:80` is an
//! instance of `hello`. Services come and go with their instances. Another name is answered with 404,
//! a service that has nobody to call with 503, and each says why. A service whose last instance has
//! left is remembered for a minute, so that a restart is a 503 and not a 404.
//!
//! What to watch for:
//! - Open `/services` and end one of the instances: the others get its calls, and no `GET` fails.
//! - Stop etcd: the page says that the registry is stale, and the calls go on.
//! - WebSockets, streams without an end and trailers pass, in both directions, without being
//!   collected anywhere.
//!
//! What it is not: it neither encrypts nor authenticates, and everybody who can call it can see
//! `/services`. It does not change the paths in redirects and cookies; a service that builds links
//! finds the part that was taken off its path in `X-Forwarded-Prefix`.

#[path = "gateway/calls.rs"]
mod calls;
mod console;
#[path = "gateway/demo.rs"]
mod demo;
#[path = "gateway/directory.rs"]
mod directory;
#[cfg(feature = "grpc")]
#[path = "grpc/greeter.rs"]
mod greeter;
#[path = "gateway/grpc_body.rs"]
mod grpc_body;
#[path = "gateway/headers.rs"]
mod headers;
mod members;
#[path = "gateway/names.rs"]
mod names;
#[path = "gateway/options.rs"]
mod options;
#[path = "gateway/page.rs"]
mod page;
mod process;
#[path = "gateway/proxy.rs"]
mod proxy;
#[path = "gateway/refusal.rs"]
mod refusal;
#[path = "gateway/server.rs"]
mod server;
#[path = "gateway/service.rs"]
mod service;
#[path = "gateway/status.rs"]
mod status;
#[path = "gateway/tasks.rs"]
mod tasks;
#[path = "gateway/upgrade.rs"]
mod upgrade;
#[path = "gateway/upstream.rs"]
mod upstream;

use demo::Demo;
use directory::Directory;
use options::{Fleet, Options};
use process::{Diary, log, told_to_stop};
use proxy::Proxy;
use sd_core::BoxError;
use server::Server;
use std::{process::ExitCode, sync::Arc};
use tasks::Tasks;

#[tokio::main]
async fn main() -> ExitCode {
    log();
    console::end(run().await)
}

async fn run() -> Result<(), BoxError> {
    let Some(options) = Options::parse()? else {
        println!("{}", options::USAGE);
        return Ok(());
    };
    let server = Server::bind(&options.listen).await?;
    let address = server.address()?;
    let diary = Diary::begin(format!("gateway at http://{address}/"))?;
    diary.note(format!("to look at: http://{address}/services"))?;

    let mut demo = None;
    let directory = match &options.fleet {
        Fleet::Demo => {
            let started = Demo::start(address, diary).await?;
            let directory = started.directory(options.answer_timeout, diary)?;
            demo = Some(started);
            directory
        }
        #[cfg(feature = "etcd")]
        Fleet::Etcd { urls, prefix } => {
            let client = sd_etcd::EtcdClient::connect(members::endpoints(urls))?;
            Directory::follow(
                Arc::new(client),
                prefix.clone(),
                options.answer_timeout,
                diary,
            )
        }
        Fleet::Fixed(services) => Directory::fixed(services, options.answer_timeout)?,
    };
    let directory = Arc::new(directory);
    let tasks = Tasks::default();
    let proxy = Arc::new(Proxy::new(directory.clone(), &options, tasks.clone()));

    let ended = tokio::select! {
        told = told_to_stop() => told,
        never = server.serve(page::router(directory.clone(), proxy), &tasks) => match never {},
    };
    diary.note("no more connections; requests under way have time to finish")?;
    let cut = tasks.drain(options.drain).await;
    if cut > 0 {
        diary.note(format!("cut off {cut} that have not finished"))?;
    }
    directory.stop().await;
    if let Some(demo) = demo {
        demo.stop().await;
    }
    diary.note("ended")?;
    Ok(ended?)
}
