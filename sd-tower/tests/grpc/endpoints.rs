//! Which endpoints calls go to, and what happens if there is none.

use crate::fleet::{
    Behaviour, PATIENCE, TestServer, connected, fleet, greeter, has_source, instancer, named,
};
use sd_core::{
    ConsistentHash, FixedInstancer, Instance, Key, LaneFallback, Lanes, NoEndpoints, RoundRobin,
};
use sd_memory::Registry;
use sd_tower::{CallPolicy, Channel, ConnectError, Routing};
use std::{collections::BTreeSet, sync::Arc, time::Duration};
use tokio::time::Instant;
use tonic::{Code, Request, Status};

#[tokio::test]
async fn a_call_to_nobody_fails_at_once_and_says_why() {
    let registry = Registry::new();
    let channel = sd_tower::channel(instancer(&registry));
    for _ in 0..2 {
        let status = greeter(&channel).greet(named("Ada")).await.unwrap_err();
        assert_eq!(status.code(), Code::Unavailable);
        assert!(has_source::<NoEndpoints>(&status), "{status:?}");
        assert!(status.message().contains("no endpoints"), "{status:?}");
        // The second one after the registry has answered.
        let state = instancer(&registry);
        state.ready().await.unwrap();
    }
}

#[tokio::test]
async fn a_call_right_after_the_start_waits_for_the_first_answer() {
    let (registry, [server]) = fleet().await;
    for _ in 0..20 {
        let channel = sd_tower::channel(instancer(&registry));
        let reply = greeter(&channel).greet(named("Ada")).await.unwrap();
        assert_eq!(reply.into_inner().from, server.greeter.from);
    }
}

#[tokio::test(start_paused = true)]
async fn it_does_not_wait_for_long() {
    let unknown = Arc::new(FixedInstancer::unknown());
    let channel = sd_tower::channel(unknown.clone());
    for most in [Duration::from_secs(2), Duration::ZERO] {
        let begun = Instant::now();
        let status = greeter(&channel).greet(named("Ada")).await.unwrap_err();
        assert!(has_source::<NoEndpoints>(&status), "{status:?}");
        // Paused time moves by milliseconds.
        let late = begun.elapsed().saturating_sub(most);
        assert!(late <= Duration::from_millis(1), "{late:?}");
    }
}

#[tokio::test]
async fn a_call_waits_for_endpoints_if_it_is_told_to() {
    let registry = Registry::new();
    let policy = CallPolicy::new().wait_for_endpoints(PATIENCE);
    let channel = Channel::builder(instancer(&registry))
        .policy(policy)
        .build();
    let mut client = greeter(&channel);
    let call = tokio::spawn(async move { client.greet(named("Ada")).await });
    tokio::task::yield_now().await;
    let server = TestServer::start(&registry).await;
    let reply = call.await.unwrap().unwrap().into_inner();
    assert_eq!(reply.from, server.greeter.from);

    // Not for ever.
    let nobody = Channel::builder(instancer(&Registry::new()))
        .policy(CallPolicy::new().wait_for_endpoints(Duration::from_millis(50)))
        .build();
    let status = greeter(&nobody).greet(named("Ada")).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(has_source::<NoEndpoints>(&status));
}

#[tokio::test]
async fn endpoints_that_all_refuse_are_unavailable_and_say_why() {
    let (registry, [mut server]) = fleet().await;
    let channel = connected(&registry, 1, |channel| channel).await;
    server.crash();
    let refused = async {
        loop {
            let status = greeter(&channel).greet(named("Ada")).await.unwrap_err();
            assert_eq!(status.code(), Code::Unavailable, "{status:?}");
            // The first one was on its way, perhaps.
            if has_source::<ConnectError>(&status) {
                return status;
            }
        }
    };
    let status = tokio::time::timeout(PATIENCE, refused).await.unwrap();
    assert!(
        status.message().contains(&server.greeter.from),
        "{status:?}"
    );
}

#[tokio::test]
async fn calls_with_a_hash_key_go_to_one_endpoint() {
    let (registry, _servers) = fleet::<3>().await;
    let channel = connected(&registry, 3, |channel| {
        channel.balancer(ConsistentHash::new)
    })
    .await;
    let from = async |key: String| {
        let mut request = Request::new(named("Ada"));
        let routing = Routing::new().with_hash_key(key);
        request.extensions_mut().insert(routing);
        let reply = greeter(&channel).greet(request).await.unwrap();
        reply.into_inner().from
    };
    let mut all = BTreeSet::new();
    for key in 0..30 {
        let first = from(format!("user {key}")).await;
        assert_eq!(from(format!("user {key}")).await, first);
        all.insert(first);
    }
    assert_eq!(all.len(), 3, "different keys go to different ones");
}

#[tokio::test]
async fn calls_of_a_lane_go_to_its_endpoints() {
    let (_registry, servers) = fleet::<3>().await;
    let instances = servers
        .iter()
        .zip(["v1", "v2", "v2"])
        .map(|(server, version)| {
            let key = Key::new(format!("/{}", server.address)).unwrap();
            Instance::new(key, server.address.to_string()).with_metadata("version", version)
        });
    let source = FixedInstancer::new(instances);
    let channel = Channel::builder(source)
        .balancer(|endpoints| {
            Lanes::new(endpoints, "version", LaneFallback::Error).balancer(RoundRobin::new)
        })
        .policy(CallPolicy::new().wait_for_endpoints(Duration::from_millis(100)))
        .build();
    let from = async |lane: &str| {
        let mut request = Request::new(named("Ada"));
        request
            .extensions_mut()
            .insert(Routing::new().with_lane(lane));
        let reply = greeter(&channel).greet(request).await?;
        Ok::<_, Status>(reply.into_inner().from)
    };
    for _ in 0..6 {
        assert_eq!(from("v1").await.unwrap(), servers[0].greeter.from);
        assert_ne!(from("v2").await.unwrap(), servers[0].greeter.from);
    }
    let status = from("v3").await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    assert!(has_source::<NoEndpoints>(&status), "{status:?}");
}

#[tokio::test]
async fn a_policy_is_that_of_the_request_or_its_method_or_its_service() {
    let (registry, [server]) = fleet().await;
    server
        .greeter
        .behave(Behaviour::Fails(Status::unavailable("not now")));
    let attempts = |most: u32| {
        let retries = CallPolicy::new().retry_on([Code::Unavailable]);
        let no_pause = Duration::ZERO;
        retries.max_attempts(most).backoff(no_pause, no_pause)
    };
    let channel = connected(&registry, 1, |channel| {
        channel
            .policy(attempts(2))
            .policy_of("/hello.v1.Greeter/Greet", attempts(3))
    })
    .await;
    let with_service = connected(&registry, 1, |channel| {
        let own = attempts(3);
        channel
            .policy(attempts(2))
            .policy_of("/hello.v1.Greeter/", attempts(4))
            .policy_of("/hello.v1.Greeter/Greet", own)
    })
    .await;
    let greet = async |channel: &Channel, own: Option<CallPolicy<Code>>| {
        let before = server.greeter.names().len();
        let mut request = Request::new(named("Ada"));
        if let Some(own) = own {
            request.extensions_mut().insert(own);
        }
        greeter(channel).greet(request).await.unwrap_err();
        server.greeter.names().len() - before
    };
    let greet_all = async |channel: &Channel| {
        let before = server.greeter.names().len();
        let names = tokio_stream::once(named("Ada"));
        greeter(channel).greet_all(names).await.unwrap_err();
        server.greeter.names().len() - before
    };
    assert_eq!(greet(&channel, None).await, 3);
    assert_eq!(greet_all(&channel).await, 2);
    assert_eq!(greet(&with_service, None).await, 3);
    assert_eq!(greet_all(&with_service).await, 4);
    assert_eq!(greet(&with_service, Some(attempts(5))).await, 5);
}
