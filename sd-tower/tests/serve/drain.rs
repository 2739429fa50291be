//! Servers that end under load.

use super::{App, Kind, PATIENCE, PREFIX, in_time, listener, millis, registrar};
use http::{HeaderValue, Request};
use http_body_util::{BodyExt, Empty};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use sd_core::{
    Balancer, EndpointSource, Endpointer, Instancer, PickContext, Prefix, RoundRobin, factory_fn,
};
use sd_memory::Registry;
use sd_tower::{RegisteredServer, ServerStatus};
use std::net::SocketAddr;
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};
use tokio_util::sync::CancellationToken;

/// Some calls at the same time, all the time.
const CALLERS: usize = 8;
const WORK: u64 = 5;

/// Calls and failures so far.
#[derive(Default)]
struct Counts {
    calls: AtomicU64,
    failures: std::sync::Mutex<Vec<String>>,
}

impl Counts {
    fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    /// Waits for so many calls more.
    async fn advance(&self, calls: u64) {
        let goal = self.calls() + calls;
        while self.calls() < goal {
            tokio::time::sleep(millis(1)).await;
        }
    }
}

#[tokio::test]
async fn no_call_fails_while_servers_come_and_go() {
    for kind in Kind::ALL {
        let registry = Registry::new();
        let instancer = Instancer::new(registry.client(), Prefix::new(PREFIX).unwrap());
        let addresses = factory_fn(|instance| Ok(instance.address().to_owned()));
        let balancer = Arc::new(RoundRobin::new(Endpointer::new(instancer, addresses)));
        let counts = Arc::new(Counts::default());

        let mut running = Vec::new();
        for _ in 0..3 {
            running.push(start(kind, &registry).await);
        }
        in_time(async {
            while balancer.source().endpoints().len() < 3 {
                tokio::time::sleep(millis(1)).await;
            }
        })
        .await;
        let callers: Vec<_> = (0..CALLERS)
            .map(|_| tokio::spawn(call(kind, balancer.clone(), counts.clone())))
            .collect();

        // One after the other is replaced, as in a deployment.
        for _ in 0..3 {
            in_time(counts.advance(200)).await;
            running.push(start(kind, &registry).await);
            let (token, served) = running.remove(0);
            token.cancel();
            let served = in_time(served).await.unwrap().unwrap();
            assert!(served.is_clean(), "{kind:?}: {served:?}");
        }
        in_time(counts.advance(200)).await;
        for caller in callers {
            caller.abort();
        }
        let failures = counts.failures.lock().unwrap();
        assert!(failures.is_empty(), "{kind:?}: {failures:?}");
    }
}

type Running = (
    CancellationToken,
    tokio::task::JoinHandle<Result<sd_tower::Served, sd_tower::ServeError>>,
);

async fn start(kind: Kind, registry: &Registry) -> Running {
    let (listener, address) = listener().await;
    let token = CancellationToken::new();
    let server = RegisteredServer::new(listener)
        .registrar(registrar(registry, address).drain(millis(50)).build())
        .linger(millis(300))
        .cancellation_token(token.clone());
    let mut status = server.status();
    let served = tokio::spawn(kind.serve(server, App::new(millis(WORK))));
    in_time(status.wait_for(|it| matches!(it, ServerStatus::Serving)))
        .await
        .unwrap();
    (token, served)
}

/// Calls again and again, without a retry. It keeps its connections.
async fn call(kind: Kind, balancer: Arc<RoundRobin<Endpointer<String>>>, counts: Arc<Counts>) {
    let client: Client<_, Empty<bytes::Bytes>> = Client::builder(TokioExecutor::new())
        .http2_only(!kind.takes_http1())
        .build_http();
    loop {
        let picked = balancer.pick(&PickContext::default());
        let outcome = async {
            let pick = picked.map_err(|error| error.to_string())?;
            let uri = format!("http://{}/hello/x", pick.target());
            let mut request = Request::new(Empty::new());
            *request.uri_mut() = uri.parse().expect("an address");
            let grpc = HeaderValue::from_static("application/grpc");
            request.headers_mut().insert("content-type", grpc);
            let response = client.request(request).await;
            let response = response.map_err(|error| format!("{error:?}"))?;
            let body = response.into_body().collect().await;
            body.map_err(|error| format!("{error:?}"))
        };
        if let Err(failure) = outcome.await {
            counts.failures.lock().unwrap().push(failure);
        }
        counts.calls.fetch_add(1, Ordering::Relaxed);
    }
}

/// `grpc.health.v1.Health/Check` of the whole server, as bytes: `status: SERVING` is `8, 1`.
async fn health(address: SocketAddr) -> Vec<u8> {
    let client = Client::builder(TokioExecutor::new())
        .http2_only(true)
        .build_http();
    let empty_message = bytes::Bytes::from_static(&[0; 5]);
    let request = Request::post(format!("http://{address}/grpc.health.v1.Health/Check"))
        .header("content-type", "application/grpc")
        .body(http_body_util::Full::new(empty_message))
        .unwrap();
    let response = client.request(request).await.unwrap();
    let body = response.into_body().collect().await.unwrap();
    body.to_bytes()[5..].to_vec()
}

#[tokio::test]
async fn the_health_service_says_that_it_goes_while_it_still_serves() {
    let registry = Registry::new();
    let (listener, address) = listener().await;
    let token = CancellationToken::new();
    let (reporter, health_service) = tonic_health::server::health_reporter();
    let server = RegisteredServer::new(listener)
        .registrar(registrar(&registry, address).build())
        .linger(PATIENCE)
        .cancellation_token(token.clone())
        .on_drain(async move {
            let not_serving = tonic_health::ServingStatus::NotServing;
            reporter.set_service_status("", not_serving).await;
        });
    let mut status = server.status();
    let served = tokio::spawn(server.serve(|incoming, shutdown| {
        tonic::transport::Server::builder()
            .add_service(health_service)
            .serve_with_incoming_shutdown(incoming, shutdown)
    }));
    in_time(status.wait_for(|it| matches!(it, ServerStatus::Serving)))
        .await
        .unwrap();
    assert_eq!(in_time(health(address)).await, [8, 1]);
    token.cancel();
    in_time(status.wait_for(|it| matches!(it, ServerStatus::Lingering)))
        .await
        .unwrap();
    assert_eq!(in_time(health(address)).await, [8, 2]);
    served.abort();
}
