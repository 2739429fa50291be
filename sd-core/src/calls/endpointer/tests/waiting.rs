//! Who waits for an endpointer, and why there is nothing to pick.

use super::*;

#[tokio::test(start_paused = true)]
async fn not_known_yet_differs_from_known_to_be_empty() {
    let source = Scripted::new();
    let endpointer = Endpointer::new(source.clone(), addresses());
    advance(Duration::from_secs(10)).await;
    assert!(matches!(no_endpoints(&endpointer), NoEndpoints::Unknown));
    assert_eq!(endpointer.status().borrow().instances, None);

    source.set([]);
    ready(&endpointer).await.unwrap();
    assert!(matches!(no_endpoints(&endpointer), NoEndpoints::Empty));
    assert_eq!(endpointer.status().borrow().instances, Some(0));
}

#[tokio::test(start_paused = true)]
async fn instances_without_endpoints_are_not_unknown() {
    let factory = async_factory_fn(async |_| std::future::pending().await);
    let endpointer = Endpointer::<String>::new(Scripted::of([instance("a", "h:1")]), factory);
    let unmade = || {
        matches!(
            no_endpoints(&endpointer),
            NoEndpoints::FactoryPending {
                instances: 1,
                why: None
            }
        )
    };
    until("another reason", unmade).await;
    let status = endpointer.status().borrow().clone();
    assert_eq!((status.instances, status.making), (Some(1), 1));
    assert!(!status.is_ready());
}

#[tokio::test(start_paused = true)]
async fn ready_waits_until_every_instance_was_tried() {
    let gate = Arc::new(Notify::new());
    let factory = {
        let gate = gate.clone();
        async_factory_fn(move |instance: Instance| {
            let gate = gate.clone();
            async move {
                if instance.address() == "slow:1" {
                    gate.notified().await;
                }
                Ok(instance.address().to_owned())
            }
        })
    };
    let source = Scripted::of([instance("a", "h:1"), instance("b", "slow:1")]);
    let endpointer = Endpointer::new(source, factory);
    until_table(&endpointer, [("a", "h:1")]).await;
    assert!(endpointer.ready().now_or_never().is_none());
    gate.notify_one();
    ready(&endpointer).await.unwrap();
    assert_eq!(endpointer.endpoints().len(), 2);
}

/// A source that is not ready before it is told its first state: because of an error, or it says
/// nothing.
struct Unready(Arc<Scripted>, Option<Error>);

#[crate::async_trait]
impl Source for Unready {
    fn subscribe(&self) -> Events {
        self.0.subscribe()
    }

    fn state(&self) -> Option<Event> {
        self.0.state()
    }

    async fn ready(&self) -> crate::registry::Result<()> {
        match &self.1 {
            _ if self.state().is_some() => Ok(()),
            Some(error) => Err(error.clone()),
            None => std::future::pending().await,
        }
    }
}

fn is_denied(none: &NoEndpoints) -> bool {
    matches!(none, NoEndpoints::SourceFailed { why } if matches!(**why, Error::PermissionDenied { .. }))
}

#[tokio::test(start_paused = true)]
async fn a_source_that_cannot_know_the_instances_says_why() {
    let source = Scripted::new();
    let endpointer = Endpointer::new(Unready(source.clone(), Some(denied())), addresses());
    let refused = ready(&endpointer).await.unwrap_err();
    assert!(is_denied(&refused), "{refused:?}");
    let waited = endpointer.wait_for_endpoints().await.unwrap_err();
    assert!(is_denied(&waited), "{waited:?}");
    assert!(is_denied(&no_endpoints(&endpointer)));
    let status = endpointer.status();
    assert_eq!(
        status.borrow().to_string(),
        "0 endpoints, the instances are not known yet: permission denied: no"
    );

    // Somebody grants the right.
    source.set([instance("a", "h:1")]);
    until_table(&endpointer, [("a", "h:1")]).await;
    ready(&endpointer).await.unwrap();
    assert!(status.borrow().source_error.is_none());
}

fn is_closed(ready: Result<(), NoEndpoints>) -> bool {
    matches!(ready, Err(NoEndpoints::SourceFailed { why }) if matches!(*why, Error::Closed))
}

#[tokio::test(start_paused = true)]
async fn ready_does_not_wait_for_a_source_that_is_gone() {
    let [source, silent] = [(); 2].map(|()| Scripted::new());
    for endpointer in [
        Endpointer::new(source.clone(), addresses()),
        Endpointer::new(Unready(silent.clone(), None), addresses()),
    ] {
        source.end();
        silent.end();
        assert!(is_closed(ready(&endpointer).await));
        let waited = timeout(Duration::from_secs(60), endpointer.wait_for_endpoints());
        assert!(is_closed(waited.await.unwrap()));
    }

    let endpointer = Endpointer::new(Scripted::new(), addresses());
    endpointer.stop().await;
    assert!(matches!(
        ready(&endpointer).await,
        Err(NoEndpoints::Ended { .. })
    ));
}

#[tokio::test(start_paused = true)]
async fn ready_waits_no_longer_than_it_is_told() {
    let limit = Duration::from_secs(3);
    let source = Scripted::new();
    let factory = async_factory_fn(async |instance: Instance| match instance.address() {
        "slow:1" => std::future::pending().await,
        address => Ok(address.to_owned()),
    });
    let endpointer = Endpointer::builder(source.clone(), factory)
        .factory_timeout(Duration::from_secs(3600))
        .build();
    let begun = Instant::now();
    let none = endpointer.ready_within(limit).await.unwrap_err();
    assert!(matches!(none, NoEndpoints::Unknown), "{none:?}");
    assert_eq!(begun.elapsed(), limit);
    source.set([instance("a", "slow:1")]);
    let none = endpointer.ready_within(limit).await.unwrap_err();
    assert!(
        matches!(none, NoEndpoints::FactoryPending { .. }),
        "{none:?}"
    );
    // What is there is enough.
    source.set([instance("a", "slow:1"), instance("b", "h:1")]);
    endpointer.ready_within(limit).await.unwrap();
    assert_eq!(begun.elapsed(), 3 * limit);
    source.set([instance("b", "h:1")]);
    endpointer.ready_within(limit).await.unwrap();
    assert_eq!(begun.elapsed(), 3 * limit);
}

#[tokio::test(start_paused = true)]
async fn a_wait_for_endpoints_ends_with_the_first_or_when_there_will_be_none() {
    let source = Scripted::new();
    let endpointer = Arc::new(Endpointer::new(source.clone(), addresses()));
    let mut wait = Box::pin(endpointer.wait_for_endpoints());
    for instances in [None, Some(vec![]), Some(vec![instance("a", "h:1")])] {
        let is_there = instances.as_ref().is_some_and(|all| !all.is_empty());
        if let Some(instances) = instances {
            source.set(instances);
        }
        let waited = timeout(Duration::from_secs(60), &mut wait).await;
        assert_eq!(waited.is_ok(), is_there);
    }
    endpointer.wait_for_endpoints().await.unwrap();

    source.set([]);
    until_table(&endpointer, []).await;
    let wait = tokio::spawn({
        let endpointer = endpointer.clone();
        async move { endpointer.wait_for_endpoints().await }
    });
    source.end();
    let waited = timeout(Duration::from_secs(60), wait).await;
    let none = waited.unwrap().unwrap().unwrap_err();
    assert!(matches!(none, NoEndpoints::Ended { .. }), "{none:?}");
}
