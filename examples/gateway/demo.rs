//! The services of a gateway that runs alone: small servers on a registry in memory, and some traffic.

use crate::{directory::Directory, process::Diary};
use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    http::StatusCode,
    response::IntoResponse,
    routing::{get, post},
};
use futures::{StreamExt, stream};
use sd_core::{
    BoxError, Codec, DefaultCodec, Escaped, FixedInstancer, Instance, Key, Prefix, Registrar,
    Service,
};
use sd_memory::Registry;
use sd_tower::HttpService;
use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    net::TcpListener,
    time::{Instant, MissedTickBehavior, interval, sleep},
};
use tokio_util::task::AbortOnDropHandle;

const PREFIX: &str = "/services";
/// How long an instance fails that is told to.
const FAILS_FOR: Duration = Duration::from_secs(20);

/// The registry, and the servers on it.
pub(crate) struct Demo {
    registry: Registry,
    servers: Vec<RunningServer>,
    _traffic: AbortOnDropHandle<()>,
}

/// A server that is registered.
struct RunningServer {
    registrar: Registrar,
    _task: AbortOnDropHandle<()>,
}

impl Demo {
    /// Starts the servers, for a gateway at `gateway`, and prints what can be called.
    pub(crate) async fn start(gateway: SocketAddr, diary: Diary) -> Result<Self, BoxError> {
        let registry = Registry::new();
        let mut servers = Vec::new();
        for (name, weight, zone) in [
            ("anna", 1, "north"),
            ("ben", 1, "south"),
            ("clara", 2, "north"),
        ] {
            let register = |key, address: String| {
                Instance::new(key, address)
                    .with_weight(weight)
                    .with_zone(zone)
            };
            servers.push(serve(&registry, "hello", name, hello(name), register).await?);
        }
        servers.push(serve(&registry, "clock", "tick", clock(), Instance::new).await?);
        diary.note(format!(
            "curl http://{gateway}/hello/            # of three, one of double weight"
        ))?;
        diary.note(format!(
            "curl -X POST http://{gateway}/hello/fail    # one of them fails for 20 s"
        ))?;
        diary.note(format!(
            "curl -N http://{gateway}/clock/         # a stream without an end"
        ))?;
        #[cfg(feature = "grpc")]
        {
            for name in ["dora", "emil"] {
                let greeter = crate::greeter::greeter(name.into());
                let router = Router::new().fallback_service(greeter);
                servers.push(serve(&registry, "greeter", name, router, Instance::new).await?);
            }
            diary.note(format!(
                "grpcurl -plaintext -proto examples/proto/hello.proto -d '{{\"name\": \"you\"}}' \
                 {gateway} hello.v1.Greeter/Greet"
            ))?;
        }
        Ok(Self {
            registry,
            servers,
            _traffic: AbortOnDropHandle::new(tokio::spawn(traffic(gateway))),
        })
    }

    /// What is registered.
    pub(crate) fn directory(
        &self,
        answer_timeout: Duration,
        diary: Diary,
    ) -> Result<Directory, BoxError> {
        let client = Arc::new(self.registry.client());
        Ok(Directory::follow(
            client,
            Prefix::new(PREFIX)?,
            answer_timeout,
            diary,
        ))
    }

    pub(crate) async fn stop(self) {
        for server in &self.servers {
            // A registry in memory has nothing to say against it.
            let _ = server.registrar.deregister().await;
        }
    }
}

/// Serves on any free port, and registers what `instance` makes of the key and the address.
async fn serve(
    registry: &Registry,
    service: &str,
    name: &str,
    router: Router,
    instance: impl FnOnce(Key, String) -> Instance,
) -> Result<RunningServer, BoxError> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?.to_string();
    let task = tokio::spawn(async move {
        // It never fails.
        let _ = axum::serve(listener, router).await;
    });
    let task = AbortOnDropHandle::new(task);
    let key = Key::new(format!("{PREFIX}/{service}/{name}"))?;
    let instance = instance(key.clone(), address).with_metadata("name", name);
    let service = Service::new(key, DefaultCodec.encode(&instance)?)?;
    let registrar = Registrar::new(registry.client(), service);
    registrar.register().await?;
    Ok(RunningServer {
        registrar,
        _task: task,
    })
}

/// Until when an instance fails.
type FailsUntil = Arc<Mutex<Option<Instant>>>;

fn hello(name: &'static str) -> Router {
    let greet = move |State(fails_until): State<FailsUntil>| async move {
        // As long as something real takes.
        sleep(Duration::from_millis(fastrand::u64(2..20))).await;
        let until = *fails_until.lock().unwrap_or_else(PoisonError::into_inner);
        match until.is_some_and(|until| Instant::now() < until) {
            true => (
                StatusCode::INTERNAL_SERVER_ERROR,
                format!("{name} is not well\n"),
            ),
            false => (StatusCode::OK, format!("hello from {name}\n")),
        }
    };
    let fail = move |State(fails_until): State<FailsUntil>| async move {
        let until = Instant::now() + FAILS_FOR;
        fails_until
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .replace(until);
        format!("{name} fails for {FAILS_FOR:?}\n")
    };
    Router::new()
        .route("/", get(greet))
        .route("/fail", post(fail))
        .with_state(FailsUntil::default())
}

fn clock() -> Router {
    async fn ticks() -> impl IntoResponse {
        let ticks = stream::unfold(
            (0_u64, interval(Duration::from_secs(1))),
            async |(n, mut tick)| {
                tick.tick().await;
                let line = Bytes::from(format!("tick {n}\n"));
                Some((Ok::<_, Infallible>(line), (n + 1, tick)))
            },
        );
        Body::from_stream(ticks.boxed())
    }
    Router::new().route("/", get(ticks))
}

/// A few requests a second through the gateway, so that there is something to see.
async fn traffic(gateway: SocketAddr) {
    let Ok(key) = Key::new("gateway") else { return };
    let gateway = FixedInstancer::new([Instance::new(key, gateway.to_string())]);
    let gateway = HttpService::new(gateway);
    let mut tick = interval(Duration::from_millis(200));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let Ok(request) = http::Request::get("http://gateway/hello/").body(Body::empty()) else {
            return;
        };
        if let Err(error) = gateway.request(request).await {
            let error = error.to_string();
            tracing::debug!(error = %Escaped(&error), "a request of the traffic has failed");
        }
    }
}
