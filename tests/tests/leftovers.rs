//! What was stopped, dropped or aborted leaves nothing behind: no watcher, lease or connection at
//! etcd, and no task in the process.

use futures::StreamExt;
use sd_core::{
    Client, Deregistered, Endpointer, Events, Instancer, Prefix, Registrar, Registration, Service,
    Ttl, Watch, factory_fn,
};
use sd_etcd::EtcdClient;
use sd_tests::{Etcd, PATIENCE, eventually};
use std::{sync::Arc, time::Duration};
use tokio::{
    runtime::Handle,
    sync::oneshot,
    time::{sleep, timeout},
};

const BOUND: Duration = Duration::from_secs(1);

async fn in_time<T>(future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.expect("in time")
}

fn tasks() -> usize {
    Handle::current().metrics().num_alive_tasks()
}

/// An unused etcd, and the number of the test's own tasks.
async fn idle_etcd() -> (Etcd, usize) {
    let etcd = Etcd::start().await;
    // Opens the test's own connection, which has tasks too.
    etcd.leases().await;
    sleep(Duration::from_millis(50)).await;
    (etcd, tasks())
}

/// Nothing of ours is left at etcd.
async fn nothing_is_left_at(etcd: &Etcd) {
    eventually(PATIENCE, "no lease", || etcd.leases(), Vec::is_empty).await;
    let open = async || {
        let now = etcd.metrics().await;
        let streams = now.watch_streams() + now.keepalive_streams();
        (now.watchers(), streams)
    };
    eventually(PATIENCE, "neither watch nor stream", open, |open| {
        *open == (0, 0)
    })
    .await;
    no_connection_is_left_to(etcd).await;
    assert_eq!(etcd.keys("/svc/").await, [""; 0]);
}

async fn no_connection_is_left_to(etcd: &Etcd) {
    let connections = async || etcd.client_connections();
    eventually(PATIENCE, "no connection", connections, |n| *n == 0).await;
}

/// Waits until there are no more tasks than `before`.
async fn no_task_is_left(before: usize) {
    eventually(PATIENCE, "no task", async || tasks(), |n| *n <= before).await;
}

/// One of everything that can be started, on one client.
struct Everything {
    client: EtcdClient,
    registrar: Registrar,
    registration: Registration,
    instancer: Arc<Instancer>,
    endpointer: Endpointer<String>,
    events: Events,
    watch: Watch,
}

impl Everything {
    async fn start(etcd: &Etcd) -> Self {
        let client = EtcdClient::builder([etcd.endpoint()])
            .deregister_timeout(BOUND)
            .build()
            .unwrap();
        // Two leases. One has a TTL longer than the test waits, so it can only go by revocation.
        let service = |key, ttl| {
            let service = Service::new(key, "10.0.0.1:80").unwrap();
            service.with_ttl(ttl)
        };
        let registrar = Registrar::builder(client.clone(), service("/svc/a", Ttl::MAX))
            .deregister_timeout(BOUND)
            .build();
        in_time(registrar.register()).await.unwrap();
        let registration = client.register(&service("/svc/b", Ttl::MIN)).await.unwrap();
        let prefix = Prefix::new("/svc").unwrap();
        let instancer = Arc::new(Instancer::new(client.clone(), prefix.clone()));
        let addresses = factory_fn(|instance| Ok(instance.address().to_owned()));
        let endpointer = Endpointer::new(instancer.clone(), addresses);
        in_time(endpointer.ready()).await.unwrap();
        let mut events = instancer.subscribe();
        let event = in_time(events.next()).await.unwrap();
        assert_eq!(event.instances().len(), 2);
        let start = client.get_entries(&prefix).await.unwrap().revision;
        let watch = client.watch_prefix(&prefix, &start).await.unwrap();
        let everything = Self {
            client,
            registrar,
            registration,
            instancer,
            endpointer,
            events,
            watch,
        };
        let open = async || {
            let now = etcd.metrics().await;
            (now.watchers(), now.keepalive_streams())
        };
        // Two that follow a prefix, and that of the own keys.
        eventually(PATIENCE, "all of it", open, |open| *open == (3, 2)).await;
        assert_eq!(etcd.leases().await.len(), 2);
        assert_eq!(etcd.client_connections(), 2);
        everything
    }
}

#[tokio::test]
async fn whoever_stops_everything_leaves_nothing() {
    let (etcd, before) = idle_etcd().await;
    let Everything {
        client,
        registrar,
        registration,
        instancer,
        endpointer,
        mut events,
        watch,
    } = Everything::start(&etcd).await;

    endpointer.stop().await;
    instancer.stop().await;
    let outcome = in_time(registrar.deregister()).await.unwrap();
    in_time(client.close()).await;

    assert_eq!(outcome, Deregistered::Removed);
    assert_eq!(etcd.keys("/svc/").await, [""; 0], "closed means gone");
    let last = in_time(events.next()).await.unwrap();
    assert!(!last.health().is_live());
    assert!(in_time(events.next()).await.is_none());
    // While all handles are still there.
    no_task_is_left(before).await;
    nothing_is_left_at(&etcd).await;
    drop((
        client,
        registrar,
        registration,
        instancer,
        endpointer,
        watch,
    ));
    no_task_is_left(before).await;
}

#[tokio::test]
async fn whoever_closes_only_the_client_leaves_nothing_at_etcd() {
    let (etcd, before) = idle_etcd().await;
    let everything = Everything::start(&etcd).await;

    in_time(everything.client.close()).await;

    nothing_is_left_at(&etcd).await;
    drop(everything);
    no_task_is_left(before).await;
}

#[tokio::test]
async fn whoever_drops_everything_leaves_nothing() {
    let (etcd, before) = idle_etcd().await;
    let everything = Everything::start(&etcd).await;

    drop(everything);

    nothing_is_left_at(&etcd).await;
    no_task_is_left(before).await;
}

/// The client is dropped first: the layers above do not keep it alive for ever.
#[tokio::test]
async fn the_order_of_dropping_does_not_matter() {
    let (etcd, before) = idle_etcd().await;
    let Everything {
        client,
        registrar,
        registration,
        instancer,
        endpointer,
        events,
        watch,
    } = Everything::start(&etcd).await;

    drop(client);
    drop((watch, registration));
    drop(registrar);
    drop((events, instancer));
    drop(endpointer);

    nothing_is_left_at(&etcd).await;
    no_task_is_left(before).await;
}

/// faults row 27
#[tokio::test]
async fn an_aborted_owner_leaves_nothing() {
    let (etcd, before) = idle_etcd().await;
    let etcd = Arc::new(etcd);
    let (tell, told) = oneshot::channel();
    let owner = tokio::spawn({
        let etcd = etcd.clone();
        async move {
            let mut everything = Everything::start(&etcd).await;
            tell.send(()).unwrap();
            while everything.events.next().await.is_some() {}
        }
    });
    in_time(told).await.unwrap();

    owner.abort();

    assert!(owner.await.unwrap_err().is_cancelled());
    nothing_is_left_at(&etcd).await;
    no_task_is_left(before).await;
}

/// faults row 27, at every await on the way there.
#[tokio::test]
async fn an_owner_aborted_while_it_begins_leaves_nothing() {
    let (etcd, before) = idle_etcd().await;
    let etcd = Arc::new(etcd);

    for millis in 0..20 {
        let owner = tokio::spawn({
            let etcd = etcd.clone();
            async move {
                let _everything = Everything::start(&etcd).await;
                std::future::pending::<()>().await;
            }
        });
        sleep(Duration::from_millis(2 * millis)).await;
        owner.abort();
        assert!(owner.await.unwrap_err().is_cancelled());
        // Its own, so that the next begins as this one did.
        if millis % 5 == 0 {
            nothing_is_left_at(&etcd).await;
        }
    }

    nothing_is_left_at(&etcd).await;
    no_task_is_left(before).await;
}

/// faults row 27, with an etcd that does not answer the revocation.
#[tokio::test]
async fn what_is_dropped_while_etcd_is_frozen_ends_after_its_bound() {
    let (etcd, before) = idle_etcd().await;
    let dropped = Everything::start(&etcd).await;

    etcd.freeze();
    drop(dropped);
    no_task_is_left(before).await;
    no_connection_is_left_to(&etcd).await;
    etcd.thaw();

    let open = async || {
        let now = etcd.metrics().await;
        (
            now.watchers(),
            now.watch_streams() + now.keepalive_streams(),
        )
    };
    eventually(PATIENCE, "no stream", open, |open| *open == (0, 0)).await;
    // Of the two leases the short one ends by itself; nobody could revoke the other.
    let keys = || etcd.keys("/svc/b");
    eventually(PATIENCE, "the end of the lease", keys, Vec::is_empty).await;
}

/// The same with `close`, which waits.
#[tokio::test]
async fn what_is_closed_while_etcd_is_frozen_ends_within_its_bound() {
    let (etcd, before) = idle_etcd().await;
    let everything = Everything::start(&etcd).await;

    etcd.freeze();
    let Everything {
        client,
        registrar,
        instancer,
        endpointer,
        ..
    } = &everything;
    endpointer.stop().await;
    instancer.stop().await;
    let outcome = in_time(registrar.deregister()).await.unwrap();
    in_time(client.close()).await;
    assert_eq!(outcome, Deregistered::Unconfirmed);
    no_task_is_left(before).await;
    no_connection_is_left_to(&etcd).await;
    etcd.thaw();
    drop(everything);
    no_task_is_left(before).await;
}
