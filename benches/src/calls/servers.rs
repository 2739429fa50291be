//! The servers that are called, in a process of their own.

use bytes::Bytes;
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use sd_example_proto::{
    GreetOftenRequest, GreetReply, GreetRequest,
    greeter_server::{Greeter, GreeterServer},
};
use std::{
    convert::Infallible,
    env,
    error::Error,
    io::{self, BufRead, BufReader, Read, Write},
    net::SocketAddr,
    process::{Child, Command, Stdio},
};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status, Streaming, transport::Server};

/// What the servers speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `hello.v1.Greeter` over gRPC.
    Grpc,
    /// HTTP/1.1.
    Http,
}

/// Servers in a process.
pub(super) struct Servers(Program);

impl Servers {
    pub(super) fn start(kind: Kind, count: usize) -> Result<Self, Box<dyn Error>> {
        let option = match kind {
            Kind::Grpc => "--serve-grpc",
            Kind::Http => "--serve-http",
        };
        Program::own(&[option, &count.to_string()], count).map(Self)
    }

    pub(super) fn addresses(&self) -> &[SocketAddr] {
        self.0.addresses()
    }
}

/// A process that is ended with this value.
pub(super) struct Program {
    process: Child,
    addresses: Vec<SocketAddr>,
}

impl Program {
    /// This program with other arguments. It prints so many addresses, and ends with its standard
    /// input.
    pub(super) fn own(arguments: &[&str], addresses: usize) -> Result<Self, Box<dyn Error>> {
        let mut process = Command::new(env::current_exe()?)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdout = process.stdout.take().ok_or("the servers have no output")?;
        let lines = BufReader::new(stdout).lines().take(addresses);
        let addresses = lines
            .map(|line| Ok::<_, Box<dyn Error>>(line?.parse()?))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Self { process, addresses })
    }

    /// Another program, which is killed at the end, and whose output nobody sees.
    pub(super) fn quiet(mut command: Command) -> io::Result<Self> {
        let quiet = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        Ok(Self {
            process: quiet.spawn()?,
            addresses: Vec::new(),
        })
    }

    pub(super) fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Nothing is lost with it, and it may have ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Runs servers until the standard input ends. Prints their addresses.
///
/// # Errors
/// There are no free ports, or nobody reads.
pub fn serve(kind: Kind, count: usize) -> Result<(), Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    runtime.block_on(async {
        for _ in 0..count {
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            println!("{}", listener.local_addr()?);
            match kind {
                Kind::Grpc => {
                    let server = Server::builder().add_service(GreeterServer::new(Answers));
                    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
                }
                Kind::Http => {
                    tokio::spawn(serve_http(listener));
                }
            }
        }
        io::stdout().flush()?;
        tokio::task::spawn_blocking(|| io::stdin().lock().read_to_end(&mut Vec::new())).await??;
        Ok(())
    })
}

async fn serve_http(listener: TcpListener) {
    while let Ok((connection, _)) = listener.accept().await {
        // As a server would; the measure goes on without it.
        let _ = connection.set_nodelay(true);
        let answer = service_fn(async |_: hyper::Request<Incoming>| {
            Ok::<_, Infallible>(hyper::Response::new(Full::<Bytes>::from("Hello, Ada")))
        });
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(connection), answer));
    }
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
