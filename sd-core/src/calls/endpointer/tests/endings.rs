//! How an endpointer ends, and what foreign code that panics costs.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_source_that_ends_leaves_its_last_state() {
    let source = Scripted::of([instance("a", "h:1")]);
    let endpointer = Endpointer::builder(source.clone(), addresses())
        .invalidate_on_error(Duration::from_secs(10))
        .build();
    ready(&endpointer).await.unwrap();
    source.end();
    let ended = endpointer.status();
    until("the end", || ended.borrow().ended).await;
    assert_eq!(table(&endpointer), pairs([("a", "h:1")]));
    tokio::time::sleep(Duration::from_secs(11)).await;
    assert!(matches!(
        no_endpoints(&endpointer),
        NoEndpoints::Invalidated { .. }
    ));
}

#[tokio::test(start_paused = true)]
async fn stopping_waits_for_the_task_and_keeps_the_endpoints() {
    let source = Scripted::of([instance("a", "h:1")]);
    let endpointer = Endpointer::new(source.clone(), addresses());
    ready(&endpointer).await.unwrap();
    endpointer.stop().await;
    assert_eq!(Arc::strong_count(&source), 1);
    source.set([]);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(table(&endpointer), pairs([("a", "h:1")]));
    endpointer.stop().await;
}

#[tokio::test(start_paused = true)]
async fn dropping_it_leaves_nothing_behind() {
    let source = Scripted::of([instance("a", "h:1")]);
    let held = Arc::new(());
    let factory = {
        let held = held.clone();
        async_factory_fn(move |_| {
            let held = held.clone();
            async move {
                let _held = held;
                std::future::pending::<Result<String, BoxError>>().await
            }
        })
    };
    let endpointer = Endpointer::new(source.clone(), factory);
    until("a run", || Arc::strong_count(&held) == 3).await;
    drop(endpointer);
    until("the end of the run", || Arc::strong_count(&held) == 1).await;
    until("the end of the source", || Arc::strong_count(&source) == 1).await;
}

/// Panics when it is dropped.
struct Faulty(bool);

impl Drop for Faulty {
    fn drop(&mut self) {
        if std::mem::take(&mut self.0) {
            panic!("faulty");
        }
    }
}

/// Row 36.
#[tokio::test(start_paused = true)]
async fn a_target_that_panics_when_dropped_costs_that_endpoint_only() {
    let log = Log::capture();
    let source = Scripted::of([instance("a", "bad:1"), instance("b", "h:1")]);
    let faulty = factory_fn(|instance| Ok(Faulty(instance.address() == "bad:1")));
    let endpointer = Endpointer::new(source.clone(), faulty);
    endpointer.ready().await.unwrap();
    source.set([instance("b", "h:1"), instance("c", "h:2")]);
    let keys = || {
        let endpoints = endpointer.endpoints();
        let keys: Vec<_> = endpoints.iter().map(|one| one.key().to_string()).collect();
        keys == ["b", "c"]
    };
    until("b and c", keys).await;
    assert!(!endpointer.status().borrow().ended);
    let logged = log.text();
    assert_eq!(logged.len(), 1, "{logged:?}");
    assert!(logged[0].contains("key=a"), "{logged:?}");
}

#[tokio::test(start_paused = true)]
async fn a_run_that_panics_when_dropped_costs_that_instance_only() {
    let factory = async_factory_fn(async |instance: Instance| {
        let _faulty = Faulty(instance.address().starts_with("bad"));
        match instance.address() {
            "h:1" | "h:2" => Ok(instance.address().to_owned()),
            _ => std::future::pending().await,
        }
    });
    let source = Scripted::of([instance("a", "bad:1"), instance("b", "bad:2")]);
    let endpointer = Endpointer::builder(source.clone(), factory)
        .factory_timeout(Duration::from_secs(2))
        .build();
    until("a run", || endpointer.status().borrow().making == 2).await;
    // One is aborted, the other takes too long.
    source.set([instance("b", "bad:2"), instance("c", "h:1")]);
    until_table(&endpointer, [("c", "h:1")]).await;
    let mut status = endpointer.status();
    let failed = status.wait_for(|status| status.failures().len() == 1).await;
    let (key, failure) = failed
        .unwrap()
        .failures()
        .next()
        .map(|(key, failure)| (key.to_string(), failure.to_string()))
        .unwrap();
    assert_eq!(key, "b");
    assert_eq!(failure, "bad:2: the factory panicked: faulty (1 attempt)");
    source.set([instance("c", "h:1"), instance("d", "h:2")]);
    until_table(&endpointer, [("c", "h:1"), ("d", "h:2")]).await;
}

/// An error that panics when it is printed, as the endpointer's log does.
#[derive(Debug)]
struct Unprintable;

impl std::fmt::Display for Unprintable {
    fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        panic!("unprintable")
    }
}

impl std::error::Error for Unprintable {}

/// Makes endpoints of all addresses but "bad:1", which makes the task panic.
fn panicking() -> impl Factory<Target = String> {
    factory_fn(|instance| match instance.address() {
        "bad:1" => Err(Unprintable.into()),
        address => Ok(address.to_owned()),
    })
}

fn has_panicked(health: &Option<Health>) -> bool {
    let why = match health {
        Some(Health::Stale { why, .. }) => why,
        _ => return false,
    };
    matches!(why, Trouble::Panicked { message } if message == "unprintable")
}

#[tokio::test(start_paused = true)]
async fn a_panic_of_the_task_is_published_and_keeps_the_endpoints() {
    let _log = Log::capture();
    let source = Scripted::of([instance("a", "h:1")]);
    let endpointer = Endpointer::new(source.clone(), panicking());
    ready(&endpointer).await.unwrap();
    let mut status = endpointer.status();
    source.set([instance("a", "h:1"), instance("b", "bad:1")]);
    let last = status
        .wait_for(|status| status.ended)
        .await
        .unwrap()
        .clone();
    assert!(has_panicked(&last.health), "{last:?}");
    assert!(status.changed().await.is_err(), "closed");
    assert_eq!(table(&endpointer), pairs([("a", "h:1")]));
    ready(&endpointer).await.unwrap();
    until("the end of the source", || Arc::strong_count(&source) == 1).await;
    endpointer.stop().await;
}

#[tokio::test(start_paused = true)]
async fn ready_does_not_wait_for_a_task_that_has_panicked() {
    let _log = Log::capture();
    let source = Scripted::new();
    let endpointer = Endpointer::new(source.clone(), panicking());
    let waiting = ready(&endpointer);
    source.set([instance("a", "bad:1")]);
    let error = waiting.await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "no endpoints: the endpointer or an adapter has ended"
    );
    let NoEndpoints::Ended { why } = no_endpoints(&endpointer) else {
        panic!("{:?}", no_endpoints(&endpointer));
    };
    assert!(matches!(&*why, Trouble::Panicked { .. }), "{why:?}");
    assert!(has_panicked(&endpointer.status().borrow().health));
}

#[test]
fn the_end_of_the_runtime_is_published_and_keeps_the_endpoints() {
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap()
    };
    let (first, second) = (runtime(), runtime());
    let source = Scripted::of([instance("a", "h:1")]);
    let (known, unknown) = first.block_on(async {
        let known = Endpointer::new(source.clone(), addresses());
        ready(&known).await.unwrap();
        (known, Endpointer::new(Scripted::new(), addresses()))
    });
    drop(first);
    assert_eq!(table(&known), pairs([("a", "h:1")]));
    let status = known.status().borrow().clone();
    let stopped = "1 endpoint for 1 instance, stale: stopped, ended";
    assert_eq!(status.to_string(), stopped);
    assert_eq!(Arc::strong_count(&source), 1);
    second.block_on(async {
        ready(&known).await.unwrap();
        let error = ready(&unknown).await.unwrap_err();
        assert!(matches!(error, NoEndpoints::Ended { .. }), "{error:?}");
        known.stop().await;
    });
}
