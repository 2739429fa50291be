//! All kinds of calls.

use crate::fleet::{connected, fleet, greeter, named};
use sd_example_proto::GreetOftenRequest;
use std::collections::BTreeSet;
use tokio_stream::StreamExt;

#[tokio::test]
async fn every_kind_of_call_is_made_and_shared_by_all_instances() {
    let (registry, servers) = fleet::<2>().await;
    let channel = connected(&registry, 2, |channel| channel).await;
    let mut greeter = greeter(&channel);

    let mut by = BTreeSet::new();
    for _ in 0..50 {
        let reply = greeter.greet(named("Ada")).await.unwrap().into_inner();
        assert_eq!(reply.greeting, "Hello, Ada");
        by.insert(reply.from);
    }
    assert_eq!(by.len(), 2);

    let often = GreetOftenRequest {
        name: "Ada".into(),
        times: 3,
    };
    let replies = greeter.greet_often(often).await.unwrap().into_inner();
    assert_eq!(replies.collect::<Vec<_>>().await.len(), 3);

    let names = tokio_stream::iter(["Ada", "Grace"].map(named));
    let reply = greeter.greet_all(names).await.unwrap().into_inner();
    assert_eq!(reply.greeting, "Hello, Ada and Grace");

    let names = tokio_stream::iter(["Ada", "Grace"].map(named));
    let replies = greeter.greet_each(names).await.unwrap().into_inner();
    let greetings = replies.map(|reply| reply.unwrap().greeting);
    let greetings: Vec<_> = greetings.collect().await;
    assert_eq!(greetings, ["Hello, Ada", "Hello, Grace"]);
    drop(servers);
}
