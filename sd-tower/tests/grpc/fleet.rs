//! Servers on real sockets, and their registry.

use sd_core::{Client, Instancer, Key, Prefix, Registrar, Service};
use sd_example_proto::{
    GreetOftenRequest, GreetReply, GreetRequest,
    greeter_server::{Greeter, GreeterServer},
};
use sd_memory::Registry;
use std::{
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_stream::{Stream, StreamExt, wrappers::TcpListenerStream};
use tonic::{Request, Response, Status, Streaming, metadata::MetadataMap, transport::Server};

/// A greeter that notes what it was sent.
#[derive(Clone)]
pub(crate) struct TestGreeter {
    pub(crate) from: String,
    pub(crate) received: Arc<Mutex<Vec<Received>>>,
    pub(crate) answer: Arc<Mutex<Behaviour>>,
}

/// A request that a server has seen.
#[derive(Debug, Clone)]
pub(crate) struct Received {
    pub(crate) name: String,
    pub(crate) metadata: MetadataMap,
}

/// How a greeter answers.
#[derive(Debug, Clone, Default)]
pub(crate) enum Behaviour {
    #[default]
    Greets,
    Fails(Status),
    AnswersAfter(Duration),
    NeverAnswers,
}

impl TestGreeter {
    pub(crate) fn new(from: impl Into<String>) -> Self {
        Self {
            from: from.into(),
            received: Arc::default(),
            answer: Arc::default(),
        }
    }

    async fn receive(&self, metadata: &MetadataMap, name: &str) -> Result<GreetReply, Status> {
        self.received.lock().unwrap().push(Received {
            name: name.to_owned(),
            metadata: metadata.clone(),
        });
        let answer = self.answer.lock().unwrap().clone();
        match answer {
            Behaviour::Greets => {}
            Behaviour::Fails(status) => return Err(status),
            Behaviour::AnswersAfter(delay) => tokio::time::sleep(delay).await,
            Behaviour::NeverAnswers => std::future::pending().await,
        }
        Ok(GreetReply {
            greeting: format!("Hello, {name}"),
            from: self.from.clone(),
        })
    }
}

type Replies = Pin<Box<dyn Stream<Item = Result<GreetReply, Status>> + Send>>;

#[tonic::async_trait]
impl Greeter for TestGreeter {
    type GreetOftenStream = Replies;
    type GreetEachStream = Replies;

    async fn greet(&self, request: Request<GreetRequest>) -> Result<Response<GreetReply>, Status> {
        let name = &request.get_ref().name;
        Ok(Response::new(self.receive(request.metadata(), name).await?))
    }

    async fn greet_often(
        &self,
        request: Request<GreetOftenRequest>,
    ) -> Result<Response<Replies>, Status> {
        let asked = request.get_ref();
        let reply = self.receive(request.metadata(), &asked.name).await?;
        let replies = vec![Ok(reply); asked.times as usize];
        Ok(Response::new(Box::pin(tokio_stream::iter(replies))))
    }

    async fn greet_all(
        &self,
        request: Request<Streaming<GreetRequest>>,
    ) -> Result<Response<GreetReply>, Status> {
        let metadata = request.metadata().clone();
        let mut requests = request.into_inner();
        let mut names = Vec::new();
        while let Some(one) = requests.message().await? {
            names.push(one.name);
        }
        Ok(Response::new(
            self.receive(&metadata, &names.join(" and ")).await?,
        ))
    }

    async fn greet_each(
        &self,
        request: Request<Streaming<GreetRequest>>,
    ) -> Result<Response<Replies>, Status> {
        let metadata = request.metadata().clone();
        let greeter = self.clone();
        let replies = request.into_inner().then(move |request| {
            let (greeter, metadata) = (greeter.clone(), metadata.clone());
            async move { greeter.receive(&metadata, &request?.name).await }
        });
        Ok(Response::new(Box::pin(replies)))
    }
}

/// A server on a socket, registered under `hello`.
pub(crate) struct TestServer {
    pub(crate) address: SocketAddr,
    pub(crate) greeter: TestGreeter,
    pub(crate) registrar: Registrar,
    task: JoinHandle<()>,
}

impl TestServer {
    /// Starts one on a free port.
    pub(crate) async fn start(registry: &Registry) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let greeter = TestGreeter::new(address.to_string());
        let service = GreeterServer::new(greeter.clone());
        let server = Server::builder()
            .add_service(service)
            .serve_with_incoming(TcpListenerStream::new(listener));
        let task = tokio::spawn(async move { server.await.unwrap() });
        let registrar = register(registry.client(), &address.to_string()).await;
        Self {
            address,
            greeter,
            registrar,
            task,
        }
    }

    /// Ends it as a crash does: its sockets are closed, its registration stays.
    pub(crate) async fn crash(&mut self) {
        self.task.abort();
        let _ = (&mut self.task).await;
    }

    /// What it was sent, by name.
    pub(crate) fn received(&self) -> Vec<String> {
        let received = self.greeter.received.lock().unwrap();
        received.iter().map(|one| one.name.clone()).collect()
    }

    pub(crate) fn answer(&self, behaviour: Behaviour) {
        *self.greeter.answer.lock().unwrap() = behaviour;
    }
}

pub(crate) async fn register(client: impl Client, address: &str) -> Registrar {
    let key = Key::new(format!("/services/hello/{address}")).unwrap();
    let registrar = Registrar::new(client, Service::new(key, address.to_owned()).unwrap());
    registrar.register().await.unwrap();
    registrar
}

/// The instances of `hello`.
pub(crate) fn instancer(registry: &Registry) -> Instancer {
    Instancer::new(registry.client(), Prefix::new("/services/hello").unwrap())
}
