//! Nothing is left behind: no watcher, no lease, no task. (faults row 27)

use crate::{A, B, TTL, hello, item, registered, seconds, service, soon, watch};
use futures::{FutureExt, StreamExt};
use sd_core::{Client, Error, Lost, WatchError};
use sd_memory::{MemoryClient, Registry};
use tokio::{runtime::Handle, time::sleep};

fn tasks() -> usize {
    Handle::current().metrics().num_alive_tasks()
}

/// Lets tasks that have been told to end do so.
async fn settled() {
    sleep(std::time::Duration::from_millis(1)).await;
}

async fn closed(client: &MemoryClient) {
    assert!(matches!(
        client.register(&service(A, "1")).await,
        Err(Error::Closed)
    ));
    assert!(matches!(
        client.deregister(&service(A, "1")).await,
        Err(Error::Closed)
    ));
    let list = client.get_entries(&crate::hello()).await;
    assert!(matches!(list, Err(Error::Closed)));
    let now = Registry::new()
        .client()
        .get_entries(&crate::hello())
        .await
        .unwrap()
        .revision;
    let watch = client.watch_prefix(&crate::hello(), &now).await;
    assert!(matches!(watch, Err(WatchError::Interrupted(Error::Closed))));
    assert_eq!(client.lease_id(), None);
}

#[tokio::test(start_paused = true)]
async fn closing_ends_all_and_waits_for_it() {
    let registry = Registry::new();
    let client = registry.client();
    let mut a = registered(&client, A, "1").await;
    let _b = registered(&client, B, "1").await;
    let mut read = watch(&client).await;
    let _unread = watch(&client).await;
    assert!(tasks() > 0);
    client.close().await;
    assert!(registry.entries().is_empty());
    assert!(registry.leases().is_empty());
    assert_eq!(registry.watchers(), 0);
    settled().await;
    assert_eq!(tasks(), 0);
    assert!(matches!(
        item(&mut read).await,
        Err(WatchError::Interrupted(Error::Closed))
    ));
    assert!(soon(read.next()).await.is_none());
    assert_eq!(soon(a.lost()).await, Lost::Closed);
    assert!(matches!(a.reclaim("2").await, Err(Error::Closed)));
    closed(&client).await;
    client.close().await;
}

#[tokio::test(start_paused = true)]
async fn closing_is_bounded_and_ends_calls_that_wait() {
    let registry = Registry::new();
    let client = registry.client();
    let _a = registered(&client, A, "1").await;
    registry.freeze();
    let b = service(B, "1");
    let (outcome, ()) = tokio::join!(client.register(&b), client.close());
    assert!(matches!(outcome, Err(Error::Closed)));
    registry.thaw();
    sleep(TTL).await;
    assert!(registry.entries().is_empty());
    settled().await;
    assert_eq!(tasks(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_last_clone_of_a_client_takes_all_with_it() {
    let registry = Registry::new();
    let client = registry.client();
    let clone = client.clone();
    let mut registration = registered(&client, A, "1").await;
    let mut open = watch(&client).await;
    drop(client);
    assert_eq!(registration.loss(), None);
    drop(clone);
    assert_eq!(soon(registration.lost()).await, Lost::Closed);
    assert!(matches!(
        item(&mut open).await,
        Err(WatchError::Interrupted(Error::Closed))
    ));
    assert!(registry.entries().is_empty());
    assert!(registry.leases().is_empty());
    assert_eq!(registry.watchers(), 0);
    settled().await;
    assert_eq!(tasks(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_is_dropped_in_a_freeze_leaves_its_lease_to_run_out() {
    let registry = Registry::new();
    let client = registry.client();
    let _registration = registered(&client, A, "1").await;
    registry.freeze();
    drop(client);
    registry.thaw();
    sleep(TTL).await;
    assert!(registry.entries().is_empty());
    settled().await;
    assert_eq!(tasks(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_watch_is_open_no_more() {
    let registry = Registry::new();
    let client = registry.client();
    let unread = watch(&client).await;
    let mut read = watch(&client).await;
    assert!(read.next().now_or_never().is_none());
    assert_eq!(registry.watchers(), 2);
    drop((unread, read));
    assert_eq!(registry.watchers(), 0);
    assert_eq!(tasks(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_has_deregistered_has_no_task() {
    let registry = Registry::new();
    let client = registry.client();
    let _a = registered(&client, A, "1").await;
    let _b = registered(&client, B, "1").await;
    client.deregister(&service(A, "1")).await.unwrap();
    client.deregister(&service(B, "1")).await.unwrap();
    settled().await;
    assert_eq!(tasks(), 0);

    let _again = registered(&client, A, "2").await;
    sleep(TTL * 3).await;
    assert!(registry.get(A).is_some(), "kept alive as at first");
}

#[tokio::test(start_paused = true)]
async fn calls_that_are_dropped_leave_nothing() {
    let registry = Registry::new();
    let client = registry.client();
    registry.freeze();
    assert!(client.register(&service(A, "1")).now_or_never().is_none());
    registry.thaw();
    sleep(seconds(1)).await;
    assert!(registry.entries().is_empty());
    assert!(registry.leases().is_empty());
    assert_eq!(tasks(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_registry_that_nobody_holds_ends_its_task() {
    let registry = Registry::new();
    let client = registry.client();
    let registration = registered(&client, A, "1").await;
    client.crash();
    drop((registration, client));
    settled().await;
    assert_eq!(tasks(), 1, "the lease is still to end");
    drop(registry);
    settled().await;
    assert_eq!(tasks(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_crash_says_nothing_to_the_registry() {
    let registry = Registry::new();
    let client = registry.client();
    let mut registration = registered(&client, A, "1").await;
    let _watch = watch(&client).await;
    client.crash();
    assert_eq!(soon(registration.lost()).await, Lost::Closed);
    drop(registration);
    closed(&client).await;
    assert!(registry.get(A).is_some());
    assert_eq!(registry.watchers(), 0);
    settled().await;
    assert_eq!(tasks(), 1, "the lease is still to end");
}

/// On real threads: no deadlock, no inconsistent ledger, nothing left.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_threads_leave_nothing_either() {
    let registry = Registry::new();
    let clients: Vec<_> = (0..4).map(|_| registry.client()).collect();
    let mut workers = Vec::new();
    for worker in 0..8_usize {
        let (registry, client) = (registry.clone(), clients[worker % 4].clone());
        workers.push(tokio::spawn(async move {
            // Its first batch may already hold changes that other workers make.
            let now = client.get_entries(&hello()).await.unwrap().revision;
            let mut open = client.watch_prefix(&hello(), &now).await.unwrap();
            for round in 0..200_usize {
                let key = ["/services/hello/x", "/services/hello/y"][round % 2];
                // Another worker's deregistration may keep this one out.
                let Ok(registration) = client.register(&service(key, "x")).await else {
                    continue;
                };
                match (worker + round) % 5 {
                    0 => drop(registry.delete(key)),
                    1 => drop(registry.expire_lease(registration.lease_id())),
                    2 => drop(client.deregister(&service(key, "x")).await),
                    3 => drop(registration.reclaim("y").await),
                    _ => registry.freeze(),
                }
                registry.thaw();
                let _ = open.next().now_or_never();
            }
        }));
    }
    for worker in workers {
        worker.await.unwrap();
    }
    assert_eq!(registry.watchers(), 0);
    for client in &clients {
        client.close().await;
    }
    assert!(registry.entries().is_empty());
    assert!(registry.leases().is_empty());
    soon(async {
        while tasks() > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}
