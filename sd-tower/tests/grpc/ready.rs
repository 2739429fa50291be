//! Waiting for endpoints.

use crate::fleet::{TestServer, instancer};
use sd_core::{Balancer, Ejection, PickContext, RoundRobin, SlowStart};
use sd_memory::Registry;
use sd_tower::Channel;

/// Each adapter follows the one below it a little later.
#[tokio::test]
async fn a_channel_that_is_ready_has_an_endpoint_to_call() {
    let registry = Registry::new();
    let channel = Channel::builder(instancer(&registry))
        .balancer(|endpoints| {
            let adapted = Ejection::new(SlowStart::new(Ejection::new(endpoints)));
            RoundRobin::new(SlowStart::new(adapted))
        })
        .build();

    // In a task, that takes turns with those of the adapters.
    let called = tokio::spawn(async move {
        channel.ready().await.unwrap();
        channel.pick(&PickContext::new()).map(drop)
    });
    let _server = TestServer::start(&registry).await;

    called.await.unwrap().unwrap();
}
