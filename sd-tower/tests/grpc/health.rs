//! The health service of servers, as a health check.

use crate::fleet::{PATIENCE, TestServer, eventually, greeter, instancer, named};
use sd_core::{ActiveHealth, EndpointSource, HealthStatus, RoundRobin, StatusReceiver};
use sd_example_proto::greeter_server::GreeterServer;
use sd_memory::Registry;
use sd_tower::{Channel, GrpcHealth};
use std::{
    collections::BTreeSet,
    sync::{Arc, OnceLock},
    time::Duration,
};
use tonic::transport::Server;
use tonic_health::{ServingStatus, server::HealthReporter};

const GREETER: &str = "hello.v1.Greeter";

/// A greeter with a health service.
async fn start(registry: &Registry) -> (TestServer, HealthReporter) {
    let (reporter, health) = tonic_health::server::health_reporter();
    let server = TestServer::start_with(registry, |greeter| {
        let server = Server::builder().add_service(GreeterServer::new(greeter));
        server.add_service(health)
    });
    (server.await, reporter)
}

/// A channel that checks its endpoints, and what it has found.
fn checked(registry: &Registry, check: GrpcHealth) -> (Channel, StatusReceiver<HealthStatus>) {
    let status = Arc::new(OnceLock::new());
    let set = status.clone();
    let channel = Channel::builder(instancer(registry))
        .balancer(move |endpoints| {
            let healthy = ActiveHealth::builder(endpoints, check)
                .interval(Duration::from_millis(10))
                .unhealthy_threshold(1)
                .panic_percent(0)
                .build();
            set.set(healthy.status()).ok().unwrap();
            RoundRobin::new(healthy)
        })
        .build();
    (channel, status.get().unwrap().clone())
}

/// Waits until so many of the endpoints are healthy, and so many are not.
async fn found(status: &StatusReceiver<HealthStatus>, healthy: usize, unhealthy: usize) -> String {
    let mut status = status.clone();
    let is_found = |status: &HealthStatus| {
        (status.healthy, status.unhealthy.len()) == (healthy, unhealthy) && status.unchecked == 0
    };
    let found = tokio::time::timeout(PATIENCE, status.wait_for(|status| is_found(status))).await;
    found.unwrap().unwrap().to_string()
}

#[tokio::test]
async fn calls_go_to_servers_that_say_they_are_serving() {
    let registry = Registry::new();
    let (one, one_health) = start(&registry).await;
    let (other, other_health) = start(&registry).await;
    for health in [&one_health, &other_health] {
        health
            .set_service_status(GREETER, ServingStatus::Serving)
            .await;
    }
    let (channel, status) = checked(&registry, GrpcHealth::of(GREETER));
    found(&status, 2, 0).await;

    one_health
        .set_service_status(GREETER, ServingStatus::NotServing)
        .await;
    let text = found(&status, 1, 1).await;
    assert!(text.ends_with("the server says NOT_SERVING"), "{text}");
    let mut from = BTreeSet::new();
    // The balancer has the table a moment after the status.
    eventually("the balancer knows it", || {
        use sd_core::Balancer;
        let picks = [(); 2].map(|()| channel.endpoint().unwrap().address().to_owned());
        picks.iter().all(|address| *address == other.greeter.from)
    })
    .await;
    for _ in 0..10 {
        let reply = greeter(&channel).greet(named("Ada")).await.unwrap();
        from.insert(reply.into_inner().from);
    }
    assert_eq!(from, [other.greeter.from.clone()].into());
    assert_eq!(
        channel.endpoints().endpoints().len(),
        2,
        "both are connected"
    );

    one_health
        .set_service_status(GREETER, ServingStatus::Serving)
        .await;
    found(&status, 2, 0).await;
    drop(one);
}

#[tokio::test]
async fn a_server_that_does_not_know_the_service_is_unhealthy() {
    let registry = Registry::new();
    let (_server, _health) = start(&registry).await;
    let (_channel, status) = checked(&registry, GrpcHealth::of("no.such.Service"));
    let text = found(&status, 0, 1).await;
    assert!(text.contains("service not registered"), "{text}");

    let (_channel, status) = checked(&registry, GrpcHealth::new());
    found(&status, 1, 0).await;
}

#[tokio::test]
async fn a_server_without_a_health_service_is_healthy() {
    let registry = Registry::new();
    let _server = TestServer::start(&registry).await;
    let (_channel, status) = checked(&registry, GrpcHealth::new());
    found(&status, 1, 0).await;
}
