//! gRPC on discovery: servers that register themselves, and a client that follows them.
//!
//! Two greeters of different weight register, and a channel spreads calls over them by weight. One
//! greeter gets another weight while it runs, and one is told to end.
//!
//! ```text
//! cargo run --bin grpc --features grpc
//! cargo run --bin grpc --features grpc -- server --registry etcd://127.0.0.1:2379/hello --weight 3
//! cargo run --bin grpc --features grpc -- client 'etcd://127.0.0.1:2379/hello?balancer=weighted'
//! ```
//!
//! The first command plays it all in one process, on sockets and a registry in memory. The others
//! are its halves, for terminals of their own: any number of servers, and a client. Each server has
//! an address for operators beside that for calls:
//!
//! ```text
//! curl http://127.0.0.1:PORT/info
//! curl -X PUT 'http://127.0.0.1:PORT/weight?value=5'
//! ```
//!
//! What to watch for:
//! - The client's shares follow a new weight at once.
//! - Ctrl-C or SIGTERM: the server announces that it drains, removes its entry, and goes on serving
//!   until nobody calls it any more. No call fails.
//! - `kill -9`: the client's connection tells it before the registry does. Calls that were under way
//!   are made again, since a greeting may be given twice.

#[path = "grpc/admin.rs"]
mod admin;
#[path = "grpc/client.rs"]
mod client;
#[path = "grpc/command.rs"]
mod command;
mod console;
#[path = "grpc/greeter.rs"]
mod greeter;
mod process;
#[path = "grpc/server.rs"]
mod server;
#[path = "grpc/shares.rs"]
mod shares;
#[path = "grpc/story.rs"]
mod story;

use command::{Command, USAGE};
use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    process::log();
    match Command::parse() {
        Ok(Command::Story) => console::end(story::play().await),
        Ok(Command::Serve(registry, options)) => {
            console::end(server::run(&registry, &options).await)
        }
        Ok(Command::Call(service, options)) => console::end(client::run(service, &options).await),
        Ok(Command::Help) => {
            println!("{USAGE}");
            ExitCode::SUCCESS
        }
        Err(mistake) => {
            eprintln!("error: {mistake}");
            ExitCode::from(2)
        }
    }
}
