//! When factories run.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_caller_gets_another_target_for_a_dead_one() {
    let made = Arc::default();
    let source = Scripted::of([instance("a", "h:1")]);
    let endpointer = Arc::new(Endpointer::new(source, counting(&made)));
    ready(&endpointer).await.unwrap();
    let balancer = RoundRobin::new(endpointer.clone());
    let pick = balancer.endpoint().unwrap();
    pick.replace_target();
    let other = || !balancer.endpoint().unwrap().shares_target_with(&pick);
    until("another target", other).await;
    pick.replace_target();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(made.load(Ordering::Relaxed), 2);

    endpointer.stop().await;
    balancer.endpoint().unwrap().replace_target();
    let nobody_s = Endpoint::new(instance("a", "h:1"), ());
    nobody_s.replace_target();
}

#[tokio::test(start_paused = true)]
async fn the_old_endpoint_stays_until_the_new_address_works() {
    let broken = Arc::new(Mutex::new(true));
    let factory = {
        let broken = broken.clone();
        factory_fn(move |instance| match instance.address() {
            "h:2" if *broken.lock().unwrap() => Err("refused".into()),
            address => Ok(address.to_owned()),
        })
    };
    let source = Scripted::of([instance("a", "h:1")]);
    let endpointer = Endpointer::new(source.clone(), factory);
    ready(&endpointer).await.unwrap();

    source.set([instance("a", "h:2")]);
    let status = endpointer.status();
    until("a failure", || status.borrow().failures().len() == 1).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(table(&endpointer), pairs([("a", "h:1")]));
    assert_eq!(endpointer.endpoints()[0].address(), "h:1");
    {
        let status = status.borrow();
        let (failing, failure) = status.failures().next().unwrap();
        assert_eq!((failing.as_str(), &*failure.address), ("a", "h:2"));
        assert!(failure.attempts > 2, "{failure:?}");
        assert_eq!(failure.error.to_string(), "refused");
    }

    *broken.lock().unwrap() = false;
    until_table(&endpointer, [("a", "h:2")]).await;
    until("no failure", || status.borrow().failures().len() == 0).await;
}

#[tokio::test(start_paused = true)]
async fn a_waiting_factory_holds_up_nobody() {
    // More of them than may run at once, for longer than the others are ready to wait.
    let slow = |n| instance(&format!("slow{n:02}"), &format!("slow:{n}"));
    let factory = async_factory_fn(async |instance: Instance| {
        if instance.address().starts_with("slow") {
            std::future::pending::<()>().await;
        }
        Ok(instance.address().to_owned())
    });
    let source = Scripted::of((0..10).map(slow).chain([instance("z", "h:1")]));
    let endpointer = Endpointer::builder(source, factory)
        .factories_at_once(4)
        .factory_timeout(Duration::from_secs(60))
        .build();
    let begun = Instant::now();
    until_table(&endpointer, [("z", "h:1")]).await;
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn a_host_that_answers_has_an_endpoint_within_a_second_behind_thousands_that_do_not() {
    for dead in [100, 1_000, 5_000] {
        let factory = async_factory_fn(async |instance: Instance| {
            if instance.address().starts_with("dead") {
                std::future::pending::<()>().await;
            }
            Ok(instance.address().to_owned())
        });
        let dead_hosts = (0..dead).map(|n| instance(&format!("a{n:04}"), &format!("dead:{n}")));
        let source = Scripted::of(dead_hosts.chain([instance("z", "h:1")]));
        let endpointer = Endpointer::new(source, factory);
        let begun = Instant::now();
        until_table(&endpointer, [("z", "h:1")]).await;
        let first = begun.elapsed();
        assert!(first < Duration::from_secs(1), "{first:?} behind {dead}");
        ready(&endpointer).await.unwrap();
        let all = begun.elapsed();
        // The timeout of the factory, and the turns.
        assert!(all < Duration::from_secs(6), "{all:?} with {dead}");
    }
}

#[tokio::test(start_paused = true)]
async fn no_more_factories_run_at_once_than_allowed() {
    let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let factory = {
        let (running, most) = (running.clone(), most.clone());
        async_factory_fn(move |instance: Instance| {
            let (running, most) = (running.clone(), most.clone());
            async move {
                most.fetch_max(
                    running.fetch_add(1, Ordering::Relaxed) + 1,
                    Ordering::Relaxed,
                );
                tokio::time::sleep(Duration::from_millis(50)).await;
                running.fetch_sub(1, Ordering::Relaxed);
                Ok(instance.address().to_owned())
            }
        })
    };
    let source = Scripted::of((0..100).map(|n| instance(&format!("{n}"), &format!("h:{n}"))));
    let endpointer = Endpointer::builder(source, factory)
        .factories_at_once(8)
        .build();
    ready(&endpointer).await.unwrap();
    assert_eq!(endpointer.endpoints().len(), 100);
    assert_eq!(most.load(Ordering::Relaxed), 8);
}

/// Row 36.
#[tokio::test(start_paused = true)]
async fn a_factory_that_fails_hangs_or_panics_is_tried_again() {
    let runs = Arc::new(AtomicUsize::new(0));
    let factory = {
        let runs = runs.clone();
        async_factory_fn(move |instance: Instance| {
            let run = runs.fetch_add(1, Ordering::Relaxed);
            async move {
                match run {
                    0 => Err("no".into()),
                    1 => panic!("bug {run}"),
                    2 => std::future::pending().await,
                    _ => Ok::<_, BoxError>(instance.address().to_owned()),
                }
            }
        })
    };
    let endpointer = Endpointer::builder(Scripted::of([instance("a", "h:1")]), factory)
        .factory_timeout(Duration::from_secs(2))
        .build();
    let error = |attempts| {
        let mut status = endpointer.status();
        async move {
            let reached = |status: &EndpointerStatus| {
                status.failures().any(|(_, one)| one.attempts == attempts)
            };
            let status = status.wait_for(reached).await.unwrap();
            status.failures().next().unwrap().1.error.clone()
        }
    };
    assert!(matches!(error(1).await, FactoryError::Failed(_)));
    // Ready means tried, not made.
    ready(&endpointer).await.unwrap();
    let none = no_endpoints(&endpointer);
    let NoEndpoints::FactoryPending { instances: 1, why } = none else {
        panic!("{none:?}");
    };
    assert_eq!(why.unwrap().to_string(), "no");
    let panicked = error(2).await;
    assert_eq!(panicked.to_string(), "the factory panicked: bug 1");
    let none = no_endpoints(&endpointer);
    let why = std::error::Error::source(&none).unwrap();
    assert_eq!(why.to_string(), "the factory panicked: bug 1");
    let begun = Instant::now();
    assert!(matches!(error(3).await, FactoryError::TimedOut(_)));
    assert!(begun.elapsed() < Duration::from_secs(3));
    until_table(&endpointer, [("a", "h:1")]).await;
    assert_eq!(runs.load(Ordering::Relaxed), 4);
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_goes_while_its_factory_runs_leaves_nothing() {
    let running = Arc::new(());
    let factory = {
        let running = running.clone();
        async_factory_fn(move |_| {
            let running = running.clone();
            async move {
                let _running = running;
                std::future::pending::<Result<String, BoxError>>().await
            }
        })
    };
    let source = Scripted::of([instance("a", "h:1")]);
    let endpointer = Endpointer::new(source.clone(), factory);
    // The factory's own, ours, and the run's.
    until("a run", || Arc::strong_count(&running) == 3).await;
    source.set([]);
    let begun = Instant::now();
    until("its end", || Arc::strong_count(&running) == 2).await;
    assert!(
        begun.elapsed() < Duration::from_secs(1),
        "waited for the timeout"
    );
    ready(&endpointer).await.unwrap();
    assert_eq!(endpointer.status().borrow().making, 0);
}

#[tokio::test(start_paused = true)]
async fn the_newest_address_wins() {
    let factory = async_factory_fn(async |instance: Instance| {
        let pause = if instance.address() == "h:1" { 3 } else { 1 };
        tokio::time::sleep(Duration::from_secs(pause)).await;
        Ok(instance.address().to_owned())
    });
    let source = Scripted::of([instance("a", "h:1")]);
    let endpointer = Endpointer::new(source.clone(), factory);
    tokio::time::sleep(Duration::from_millis(500)).await;
    source.set([instance("a", "h:2")]);
    until_table(&endpointer, [("a", "h:2")]).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(table(&endpointer), pairs([("a", "h:2")]));
}
