//! A provider: a process that can be killed.

use super::{PREFIX, records::Record};
use futures::stream::Empty;
use sd_core::{Registrar, Service};
use sd_etcd::EtcdClient;
use sd_example_proto::{
    GreetOftenRequest, GreetReply, GreetRequest,
    greeter_server::{Greeter, GreeterServer},
};
use sd_tower::RegisteredServer;
use std::{error::Error, ffi::OsString, time::Duration};
use tokio::{net::TcpListener, time::sleep};
use tonic::{Request, Response, Status, Streaming, transport::Server};

/// The first argument of a program that is to [`provide`].
pub const PROVIDE: &str = "--provide";

/// How long a call takes once it is written down: long enough for each kill to meet some.
const WORK: Duration = Duration::from_millis(50);

/// The main function of a provider's process. `arguments` are those after [`PROVIDE`]: etcd's
/// endpoint, the address, and the file for the ids. Runs until it is killed.
///
/// # Errors
/// The address is in use, the file cannot be written, or the registry refuses.
pub async fn provide(
    arguments: impl IntoIterator<Item = OsString>,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    let arguments: Result<Vec<_>, _> = arguments.into_iter().map(OsString::into_string).collect();
    let Ok([endpoint, address, record]) = arguments.as_deref() else {
        return Err(format!("{PROVIDE} ENDPOINT ADDRESS FILE").into());
    };
    let listener = TcpListener::bind(address).await?;
    let client = EtcdClient::connect([endpoint])?;
    let service = Service::new(format!("{PREFIX}{address}"), address.clone())?;
    let greeter = GreeterServer::new(RecordingGreeter(Record::open(record.as_ref())?));
    RegisteredServer::new(listener)
        .registrar(Registrar::new(client, service))
        .serve(|incoming, shutdown| {
            Server::builder()
                .add_service(greeter)
                .serve_with_incoming_shutdown(incoming, shutdown)
        })
        .await?;
    Ok(())
}

/// Writes down the ids of its calls, which are the names to greet. The callers here make single calls.
struct RecordingGreeter(Record);

#[tonic::async_trait]
impl Greeter for RecordingGreeter {
    type GreetOftenStream = Empty<Result<GreetReply, Status>>;
    type GreetEachStream = Empty<Result<GreetReply, Status>>;

    async fn greet(&self, request: Request<GreetRequest>) -> Result<Response<GreetReply>, Status> {
        let id = request.into_inner().name;
        let written = self.0.write(&id);
        written.map_err(|error| Status::internal(error.to_string()))?;
        sleep(WORK).await;
        Ok(Response::new(GreetReply {
            greeting: id,
            from: String::new(),
        }))
    }

    async fn greet_often(
        &self,
        _: Request<GreetOftenRequest>,
    ) -> Result<Response<Self::GreetOftenStream>, Status> {
        Err(single_calls_only())
    }

    async fn greet_all(
        &self,
        _: Request<Streaming<GreetRequest>>,
    ) -> Result<Response<GreetReply>, Status> {
        Err(single_calls_only())
    }

    async fn greet_each(
        &self,
        _: Request<Streaming<GreetRequest>>,
    ) -> Result<Response<Self::GreetEachStream>, Status> {
        Err(single_calls_only())
    }
}

fn single_calls_only() -> Status {
    Status::unimplemented("single calls only")
}
