//! A server: greets, and is registered while it does.

use crate::{admin::Admin, greeter::greeter, process::Diary};
use sd_core::{
    BoxError, Client, Codec, DefaultCodec, Instance, Key, Prefix, Registrar, Service, Ttl,
};
use sd_tower::{Advertise, EtcdResolver, RegisteredServer, Served, Target};
use std::{future, io, net::SocketAddr, sync::Arc, time::Duration};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// How long the entry of a server that has crashed stays, in seconds.
const TTL: u64 = 5;
/// How long a server announces that it drains, before its entry is removed.
const DRAIN: Duration = Duration::from_millis(500);
/// How long it serves after that. The clients here watch the registry; those that poll it would need
/// the time of a poll.
const LINGER: Duration = Duration::from_millis(500);

pub(crate) struct ServerOptions {
    pub(crate) listen: String,
    pub(crate) advertise: Advertise,
    pub(crate) admin: String,
    pub(crate) weight: u32,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:0".into(),
            advertise: Advertise::listener(),
            admin: "127.0.0.1:0".into(),
            weight: 1,
        }
    }
}

/// Serves until SIGTERM or Ctrl-C.
pub(crate) async fn run(registry: &Target, options: &ServerOptions) -> Result<(), BoxError> {
    if registry.scheme() != "etcd" {
        return Err(format!(
            "a server registers at etcd://, not at {}://",
            registry.scheme()
        )
        .into());
    }
    let client = EtcdResolver::default().client(registry)?;
    let server = Server::bind(client.clone(), registry.prefix(), None, options).await?;
    let diary = Diary::begin(format!(
        "greeter at {}, for operators http://{}/info",
        server.address, server.admin_address
    ))?;
    let mut status = server.registrar.status();
    let told = async {
        while status.changed().await.is_ok() {
            let line = status.borrow_and_update().to_string();
            diary.note(line)?;
        }
        future::pending::<io::Result<()>>().await
    };
    let served = tokio::select! {
        served = server.serve(RegisteredServer::on_signals) => served,
        unsaid = told => Err(unsaid.err().map_or("the registrar is gone".into(), BoxError::from)),
    };
    client.close().await;
    let Served {
        deregistered, cut, ..
    } = served?;
    diary.note(format!("ended: {deregistered:?}, {cut} connections cut"))?;
    Ok(())
}

/// A server that listens and is not registered yet.
pub(crate) struct Server {
    pub(crate) name: String,
    pub(crate) address: SocketAddr,
    pub(crate) admin_address: SocketAddr,
    listener: TcpListener,
    admin_listener: TcpListener,
    registrar: Arc<Registrar>,
    admin: Admin,
}

impl Server {
    /// Listens. The name is the server's address if it has no other.
    pub(crate) async fn bind(
        client: Arc<impl Client>,
        service: &Prefix,
        name: Option<&str>,
        options: &ServerOptions,
    ) -> Result<Self, BoxError> {
        let listener = bind(&options.listen).await?;
        let address = options.advertise.address_of(listener.local_addr()?).await?;
        let admin_listener = bind(&options.admin).await?;
        let admin_address = admin_listener.local_addr()?;

        let name = name.map_or_else(|| address.to_string(), str::to_owned);
        let key = Key::new(format!("{}{name}", service.as_str()))?;
        let instance = Instance::new(key.clone(), address.to_string()).with_weight(options.weight);
        let value = DefaultCodec.encode(&instance)?;
        let entry = Service::new(key.as_str(), value)?.with_ttl(Ttl::from_secs(TTL)?);
        let registrar = Registrar::builder(client.clone(), entry).drain(DRAIN);
        let registrar = Arc::new(registrar.build());
        let admin = Admin::new(client, registrar.clone(), instance);
        Ok(Self {
            name,
            address,
            admin_address,
            listener,
            admin_listener,
            registrar,
            admin,
        })
    }

    /// Serves until it is told to end, as `told` says, and says how it ended.
    pub(crate) async fn serve(
        self,
        told: impl FnOnce(RegisteredServer) -> RegisteredServer,
    ) -> Result<Served, BoxError> {
        let ended = CancellationToken::new();
        let calls = async {
            let _ended = ended.clone().drop_guard();
            let server = RegisteredServer::new(self.listener)
                .registrar(self.registrar)
                .linger(LINGER);
            let greeter = greeter(self.name);
            let served = told(server)
                .serve(|incoming, shutdown| {
                    tonic::transport::Server::builder()
                        .add_service(greeter)
                        .serve_with_incoming_shutdown(incoming, shutdown)
                })
                .await?;
            Ok(served)
        };
        // For as long as calls are served.
        let operators = async {
            RegisteredServer::new(self.admin_listener)
                .cancellation_token(ended.clone())
                .finish(Duration::from_secs(1))
                .serve(|incoming, shutdown| {
                    axum::serve(incoming, self.admin.router()).with_graceful_shutdown(shutdown)
                })
                .await?;
            Ok::<_, BoxError>(())
        };
        let (served, ()) = tokio::try_join!(calls, operators)?;
        Ok(served)
    }
}

async fn bind(address: &str) -> Result<TcpListener, BoxError> {
    let bound = TcpListener::bind(address).await;
    bound.map_err(|error| format!("cannot listen on {address}: {error}").into())
}
