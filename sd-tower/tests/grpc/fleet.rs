//! Servers on real sockets, their registry, and clients.

use sd_core::{
    Balancer, Client, Connectable, Connectivity, Endpoint, EndpointSource, Instancer, Key, Prefix,
    Registrar, Service,
};
use sd_example_proto::{
    GreetOftenRequest, GreetReply, GreetRequest,
    greeter_client::GreeterClient,
    greeter_server::{Greeter, GreeterServer},
};
use sd_memory::Registry;
use sd_tower::{Channel, ChannelBuilder, GrpcTarget};
use std::{
    error::Error as StdError,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{
    net::TcpListener,
    runtime::{self, Runtime},
    task::JoinHandle,
    time::{Instant, sleep},
};
use tokio_stream::{Stream, StreamExt, wrappers::TcpListenerStream};
use tokio_util::sync::CancellationToken;
use tonic::{
    Request, Response, Status, Streaming,
    metadata::MetadataMap,
    service::Routes,
    transport::{Server, server::Router},
};

/// A deadline that is reached only if a promise is broken, however slow the machine is.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Waits for a condition.
pub(crate) async fn eventually(what: &str, mut is_true: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_true() {
        assert!(begun.elapsed() < PATIENCE, "waited in vain until {what}");
        sleep(Duration::from_millis(1)).await;
    }
}

/// A greeter that notes what it was sent.
#[derive(Clone, Default)]
pub(crate) struct TestGreeter {
    pub(crate) from: String,
    received: Arc<Mutex<Vec<Received>>>,
    behaviour: Arc<Mutex<Behaviour>>,
    under_way: Arc<AtomicUsize>,
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
    /// After all greetings that it was asked for.
    Fails(Status),
    AnswersAfter(Duration),
    NeverAnswers,
}

/// One call under way at a server.
struct UnderWay(Arc<AtomicUsize>);

impl UnderWay {
    fn begin(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count.clone())
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl TestGreeter {
    pub(crate) fn new(from: impl Into<String>) -> Self {
        Self {
            from: from.into(),
            ..Self::default()
        }
    }

    pub(crate) fn behave(&self, behaviour: Behaviour) {
        *self.behaviour.lock().unwrap() = behaviour;
    }

    /// What it was sent.
    pub(crate) fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }

    /// The names of those that it was asked to greet.
    pub(crate) fn names(&self) -> Vec<String> {
        self.received().into_iter().map(|one| one.name).collect()
    }

    /// How many calls are under way.
    pub(crate) fn under_way(&self) -> usize {
        self.under_way.load(Ordering::Relaxed)
    }

    /// Takes note of a request, and waits as it is told.
    async fn receive(&self, metadata: &MetadataMap, name: &str) -> GreetReply {
        self.received.lock().unwrap().push(Received {
            name: name.to_owned(),
            metadata: metadata.clone(),
        });
        let behaviour = self.behaviour.lock().unwrap().clone();
        match behaviour {
            Behaviour::Greets | Behaviour::Fails(_) => {}
            Behaviour::AnswersAfter(delay) => sleep(delay).await,
            Behaviour::NeverAnswers => std::future::pending().await,
        }
        GreetReply {
            greeting: format!("Hello, {name}"),
            from: self.from.clone(),
        }
    }

    fn failure(&self) -> Option<Status> {
        match &*self.behaviour.lock().unwrap() {
            Behaviour::Fails(status) => Some(status.clone()),
            _ => None,
        }
    }

    async fn greet_once(&self, metadata: &MetadataMap, name: &str) -> Result<GreetReply, Status> {
        let _under_way = UnderWay::begin(&self.under_way);
        let reply = self.receive(metadata, name).await;
        self.failure().map_or(Ok(reply), Err)
    }
}

type Replies = Pin<Box<dyn Stream<Item = Result<GreetReply, Status>> + Send>>;

/// As many greetings as a greeter gives until the call is cancelled.
pub(crate) const ENDLESS: u32 = u32::MAX;

#[tonic::async_trait]
impl Greeter for TestGreeter {
    type GreetOftenStream = Replies;
    type GreetEachStream = Replies;

    async fn greet(&self, request: Request<GreetRequest>) -> Result<Response<GreetReply>, Status> {
        let name = &request.get_ref().name;
        let reply = self.greet_once(request.metadata(), name).await?;
        Ok(Response::new(reply))
    }

    async fn greet_often(
        &self,
        request: Request<GreetOftenRequest>,
    ) -> Result<Response<Replies>, Status> {
        let under_way = UnderWay::begin(&self.under_way);
        let asked = request.get_ref();
        let reply = self.receive(request.metadata(), &asked.name).await;
        let replies = std::iter::repeat_n(Ok(reply), asked.times as usize);
        let replies = tokio_stream::iter(replies.chain(self.failure().map(Err)));
        let replies = replies.map(move |reply| {
            let _until_dropped = &under_way;
            reply
        });
        Ok(Response::new(Box::pin(replies)))
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
        let reply = self.greet_once(&metadata, &names.join(" and ")).await?;
        Ok(Response::new(reply))
    }

    async fn greet_each(
        &self,
        request: Request<Streaming<GreetRequest>>,
    ) -> Result<Response<Replies>, Status> {
        let under_way = Arc::new(UnderWay::begin(&self.under_way));
        let metadata = request.metadata().clone();
        let greeter = self.clone();
        let replies = request.into_inner().then(move |request| {
            let (greeter, metadata) = (greeter.clone(), metadata.clone());
            let under_way = under_way.clone();
            async move {
                let _until_dropped = &under_way;
                greeter.greet_once(&metadata, &request?.name).await
            }
        });
        Ok(Response::new(Box::pin(replies)))
    }
}

/// A server in a runtime of its own, as a process is, registered under `hello`.
pub(crate) struct TestServer {
    pub(crate) address: SocketAddr,
    pub(crate) greeter: TestGreeter,
    pub(crate) registrar: Registrar,
    shutdown: CancellationToken,
    served: JoinHandle<Result<(), tonic::transport::Error>>,
    runtime: Option<Runtime>,
}

impl TestServer {
    /// Starts a greeter on a free port.
    pub(crate) async fn start(registry: &Registry) -> Self {
        Self::start_with(registry, |greeter| {
            Server::builder().add_service(GreeterServer::new(greeter))
        })
        .await
    }

    /// Starts a server of these routes.
    pub(crate) async fn start_routes(registry: &Registry, routes: Routes) -> Self {
        Self::start_with(registry, |_| Server::builder().add_routes(routes)).await
    }

    /// Starts a server around a greeter.
    pub(crate) async fn start_with(
        registry: &Registry,
        server: impl FnOnce(TestGreeter) -> Router,
    ) -> Self {
        let runtime = runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        // Its sockets are those of its runtime.
        let listener = runtime.spawn(TcpListener::bind("127.0.0.1:0"));
        let listener = listener.await.unwrap().unwrap();
        let address = listener.local_addr().unwrap();
        let greeter = TestGreeter::new(address.to_string());
        let shutdown = CancellationToken::new();
        let serve = server(greeter.clone()).serve_with_incoming_shutdown(
            TcpListenerStream::new(listener),
            shutdown.clone().cancelled_owned(),
        );
        let served = runtime.spawn(serve);
        let registrar = register(registry.client(), &address.to_string()).await;
        Self {
            address,
            greeter,
            registrar,
            shutdown,
            served,
            runtime: Some(runtime),
        }
    }

    /// Ends it as a crash does: its sockets are closed, its registration stays.
    pub(crate) fn crash(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }

    /// Takes no more connections, has the clients end theirs, and waits until all calls have ended.
    pub(crate) async fn shut_down(&mut self) {
        self.shutdown.cancel();
        (&mut self.served).await.unwrap().unwrap();
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.crash();
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

/// So many servers, and a registry in which they are.
pub(crate) async fn fleet<const N: usize>() -> (Registry, [TestServer; N]) {
    let registry = Registry::new();
    let servers = futures::future::join_all((0..N).map(|_| TestServer::start(&registry)));
    let servers = servers.await.try_into();
    (registry, servers.ok().unwrap())
}

/// A channel with these options, once it is connected to so many servers.
pub(crate) async fn connected(
    registry: &Registry,
    servers: usize,
    options: impl FnOnce(ChannelBuilder) -> ChannelBuilder,
) -> Channel {
    let channel = options(Channel::builder(instancer(registry))).build();
    wait_until_connected(&channel, servers).await;
    channel
}

/// Waits until exactly so many endpoints are connected, and the balancer has them.
pub(crate) async fn wait_until_connected(channel: &Channel, servers: usize) {
    eventually("all are connected", || {
        let endpoints = channel.endpoints().endpoints();
        let is_ready = |endpoint: &Arc<Endpoint<GrpcTarget>>| {
            let state = endpoint.target().connectivity();
            matches!(*state.borrow(), Connectivity::Ready)
        };
        endpoints.len() == servers && endpoints.iter().all(is_ready) && channel.endpoint().is_ok()
    })
    .await;
}

pub(crate) fn greeter(channel: &Channel) -> GreeterClient<Channel> {
    GreeterClient::new(channel.clone())
}

pub(crate) fn named(name: impl Into<String>) -> GreetRequest {
    GreetRequest { name: name.into() }
}

/// Whether an error of this type is in the chain of the status' sources.
pub(crate) fn has_source<E: StdError + 'static>(status: &Status) -> bool {
    let mut source = status.source();
    while let Some(error) = source {
        if error.is::<E>() {
            return true;
        }
        source = error.source();
    }
    false
}
