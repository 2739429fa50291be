//! Endpoints over a union of sources.

use sd_core::{
    EndpointSource, Endpointer, Error, FixedInstancer, Instance, Key, MergedInstancer, ReadyWhen,
    Trouble, factory_fn,
};
use std::{sync::Arc, time::Duration};
use tokio::time::sleep;

/// A union that is stale in part is no reason to give up the endpoints that are well.
#[tokio::test(start_paused = true)]
async fn endpoints_are_given_up_only_when_every_member_is_stale() {
    let minute = Duration::from_secs(60);
    let source = |key: &str, address: &str| {
        let instance = Instance::new(Key::new(key).unwrap(), address);
        Arc::new(FixedInstancer::new([instance]))
    };
    let (near, far) = (source("near", "h:1"), source("far", "h:2"));
    let members = [("near", near.clone()), ("far", far.clone())];
    let union = MergedInstancer::new(ReadyWhen::All, members).unwrap();
    let factory = factory_fn(|instance| Ok(instance.address().to_owned()));
    let endpointer = Endpointer::builder(union, factory).invalidate_on_error(minute);
    let endpointer = endpointer.build();
    endpointer.ready().await.unwrap();
    far.stop();
    sleep(2 * minute).await;
    assert_eq!(endpointer.endpoints().len(), 2);
    near.go_stale(Trouble::List(Error::unavailable("away")));
    sleep(minute / 2).await;
    assert_eq!(
        endpointer.endpoints().len(),
        2,
        "since the last of them became stale"
    );
    sleep(minute).await;
    assert!(endpointer.endpoints().is_empty());
}

/// The same address under the keys of two formats is one endpoint, also while one of the two goes.
#[tokio::test(start_paused = true)]
async fn an_address_of_two_members_is_one_endpoint() {
    let source = |key: &str| {
        let instance = Instance::new(Key::new(key).unwrap(), "h:1");
        Arc::new(FixedInstancer::new([instance]))
    };
    let members = [
        ("old", source("/old/hello/7")),
        ("new", source("/new/hello/h:1")),
    ];
    let union = Arc::new(MergedInstancer::new(ReadyWhen::All, members).unwrap());
    let factory = factory_fn(|instance| Ok(Arc::new(instance.address().to_owned())));
    let endpointer = Endpointer::new(union.clone(), factory);
    endpointer.ready().await.unwrap();
    let target = endpointer.endpoints()[0].target().clone();
    assert_eq!(endpointer.endpoints().len(), 1);
    union.remove("old");
    while union.state().unwrap().instances().len() > 1 {
        sleep(Duration::from_millis(1)).await;
    }
    sleep(Duration::from_millis(10)).await;
    let endpoints = endpointer.endpoints();
    assert_eq!(
        (endpoints.len(), endpoints[0].key().as_str()),
        (1, "/new/hello/h:1")
    );
    assert!(Arc::ptr_eq(endpoints[0].target(), &target), "made once");
}
