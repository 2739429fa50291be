//! The servers that are called, in a process of their own.

use sd_example_proto::{
    GreetOftenRequest, GreetReply, GreetRequest,
    greeter_server::{Greeter, GreeterServer},
};
use std::{
    env,
    error::Error,
    io::{self, BufRead, BufReader, Read, Write},
    net::SocketAddr,
    process::{Child, Command, Stdio},
};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status, Streaming, transport::Server};

/// A process with servers. It ends with its standard input.
pub(super) struct Servers {
    process: Child,
    addresses: Vec<SocketAddr>,
}

impl Servers {
    pub(super) fn start(count: usize) -> Result<Self, Box<dyn Error>> {
        let mut process = Command::new(env::current_exe()?)
            .args(["--serve", &count.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdout = process.stdout.take().ok_or("the servers have no output")?;
        let lines = BufReader::new(stdout).lines().take(count);
        let addresses = lines
            .map(|line| Ok::<_, Box<dyn Error>>(line?.parse()?))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Self { process, addresses })
    }

    pub(super) fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        // It ends by itself, and nothing depends on when.
        let _ = self.process.wait();
    }
}

/// Runs servers until the standard input ends. Prints their addresses.
///
/// # Errors
/// There are no free ports, or nobody reads.
pub fn serve(count: usize) -> Result<(), Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    runtime.block_on(async {
        for _ in 0..count {
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            println!("{}", listener.local_addr()?);
            let server = Server::builder().add_service(GreeterServer::new(Answers));
            tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        }
        io::stdout().flush()?;
        tokio::task::spawn_blocking(|| io::stdin().lock().read_to_end(&mut Vec::new())).await??;
        Ok(())
    })
}

/// Answers at once.
struct Answers;

type Never = futures::stream::Empty<Result<GreetReply, Status>>;

#[tonic::async_trait]
impl Greeter for Answers {
    type GreetOftenStream = Never;
    type GreetEachStream = Never;

    async fn greet(&self, request: Request<GreetRequest>) -> Result<Response<GreetReply>, Status> {
        Ok(Response::new(GreetReply {
            greeting: request.into_inner().name,
            from: String::new(),
        }))
    }

    async fn greet_often(&self, _: Request<GreetOftenRequest>) -> Result<Response<Never>, Status> {
        Err(Status::unimplemented("not measured"))
    }

    async fn greet_all(
        &self,
        _: Request<Streaming<GreetRequest>>,
    ) -> Result<Response<GreetReply>, Status> {
        Err(Status::unimplemented("not measured"))
    }

    async fn greet_each(
        &self,
        _: Request<Streaming<GreetRequest>>,
    ) -> Result<Response<Never>, Status> {
        Err(Status::unimplemented("not measured"))
    }
}
