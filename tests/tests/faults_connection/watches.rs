//! Many watches of one client.

use super::{is_live, secs};
use futures::StreamExt;
use sd_core::{Client, Error, Gap, Instancer, Key, Prefix, Watch, WatchError};
use sd_etcd::EtcdClient;
use sd_tests::{Etcd, GrpcProxy, PATIENCE, Proxy, eventually};
use std::time::Duration;
use tokio::time::Instant;

const WATCHES: usize = 500;
const ROUND_TRIP: Duration = Duration::from_millis(50);

async fn instancers(client: &EtcdClient, count: usize) -> Vec<Instancer> {
    let prefix = |index| Prefix::new(format!("/svc-{index}")).unwrap();
    let start = |index| Instancer::new(client.clone(), prefix(index));
    let instancers: Vec<_> = (0..count).map(start).collect();
    for instancer in &instancers {
        instancer.ready_within(PATIENCE).await.unwrap();
    }
    instancers
}

/// Waits until all are live and etcd has all their watches. Returns how long that took.
async fn all_live(etcd: &Etcd, instancers: &[Instancer]) -> Duration {
    let begun = Instant::now();
    let state = async || {
        let live = instancers.iter().filter(|it| is_live(it)).count();
        (live, etcd.metrics().await.watchers() as usize)
    };
    let all = instancers.len();
    let accept = |state: &(usize, usize)| *state == (all, all);
    eventually(PATIENCE, "all to be live", state, accept).await;
    begun.elapsed()
}

/// Row 42. One after the other they take 500 round trips, 25 s; the test asks for a fraction of that,
/// as the machine has other things to do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_watches_start_together() {
    let etcd = Etcd::start().await;
    let proxy = Proxy::to(etcd.address()).await;
    proxy.delay(ROUND_TRIP / 2);
    let client = EtcdClient::connect([proxy.endpoint()]).unwrap();
    let begun = Instant::now();
    let instancers = instancers(&client, WATCHES).await;
    let first = begun.elapsed() + all_live(&etcd, &instancers).await;

    proxy.drop_connections();
    let gone = async || instancers.iter().all(|it| !is_live(it));
    eventually(PATIENCE, "none to be live", gone, |gone| *gone).await;
    let again = all_live(&etcd, &instancers).await;

    eprintln!("{WATCHES} watches: live after {first:?}, and again after {again:?}");
    let bound = 10 * ROUND_TRIP + secs(6);
    assert!(first < bound && again < bound, "{first:?}, {again:?}");
    for (index, instancer) in instancers.iter().enumerate().step_by(97) {
        etcd.put(format!("/svc-{index}/10.0.0.1:80"), "10.0.0.1:80")
            .await;
        let count = async || instancer.state().unwrap().instances().len();
        eventually(PATIENCE, "the change", count, |count| *count == 1).await;
    }
}

/// Row 42: of many that are asked for at once each gets the answer that is its own, also where some
/// are refused, some are given up, and some resume at a revision that is compacted.
#[tokio::test]
async fn each_of_many_watches_gets_its_own_answer() {
    let etcd = Etcd::setup().token_ttl(300).start().await;
    etcd.enable_auth().await;
    etcd.add_user("discovery", "secret", "/svc-").await;
    let builder = EtcdClient::builder([etcd.endpoint()]);
    let client = builder.user("discovery", "secret").build().unwrap();
    let prefix = |name: String| Prefix::new(name).unwrap();
    let old = client.get_entries(&prefix("/svc-0".into())).await.unwrap();
    etcd.put("/svc-0/a", "10.0.0.1:80").await;
    etcd.put("/svc-0/a", "10.0.0.2:80").await;
    etcd.compact().await;
    let new = client.get_entries(&prefix("/svc-0".into())).await.unwrap();
    // Keeps the stream open.
    let first = prefix("/svc-first".into());
    let _first = client.watch_prefix(&first, &new.revision).await.unwrap();

    let watches = (0..60).map(|index| {
        let (client, old, new) = (client.clone(), old.revision.clone(), new.revision.clone());
        async move {
            let (name, after) = match index % 3 {
                0 => (format!("/svc-{index}"), new),
                1 => (format!("/other-{index}"), new),
                _ => (format!("/svc-{index}"), old),
            };
            (index, client.watch_prefix(&prefix(name), &after).await)
        }
    });
    for (index, watch) in futures::future::join_all(watches).await {
        match (index % 3, watch) {
            (0, Ok(_)) => {}
            (1, Err(WatchError::Interrupted(Error::PermissionDenied { .. }))) => {}
            (2, Err(WatchError::Gap(Gap::Compacted))) => {}
            (_, watch) => panic!("{index}: {:?}", watch.map(drop)),
        }
    }
}

/// Row 42: behind etcd's gRPC proxy, which gives ids of its own, and answers at once for a prefix that
/// somebody watches already, before it has etcd's answers for those that were asked for earlier.
#[tokio::test]
async fn many_watches_start_behind_a_grpc_proxy() {
    let etcd = Etcd::start().await;
    let proxy = GrpcProxy::to(&etcd).await;
    let client = EtcdClient::connect([proxy.endpoint()]).unwrap();
    let shared = Prefix::new("/shared").unwrap();
    let known = client.get_entries(&shared).await.unwrap().revision;
    let mut first = client.watch_prefix(&shared, &known).await.unwrap();

    let watches = (0..60).map(|index| {
        let (client, known) = (client.clone(), known.clone());
        async move {
            let name = match index % 2 {
                0 => format!("/own-{index}"),
                _ => "/shared".to_owned(),
            };
            let prefix = Prefix::new(name).unwrap();
            let watch = client.watch_prefix(&prefix, &known).await.unwrap();
            (prefix, watch)
        }
    });
    let watches = futures::future::join_all(watches).await;

    for (prefix, _) in &watches {
        let key = format!("{}10.0.0.1:80", prefix.as_str());
        etcd.put(key, "10.0.0.1:80").await;
    }
    for (prefix, mut watch) in watches {
        let changed = first_change(&mut watch).await;
        assert!(
            changed.as_str().starts_with(prefix.as_str()),
            "{changed} under {prefix}"
        );
    }
    let changed = first_change(&mut first).await;
    assert!(changed.as_str().starts_with(shared.as_str()), "{changed}");
}

/// Waits for the first change that a watch tells of, and returns its key.
async fn first_change(watch: &mut Watch) -> Key {
    let changed = async {
        loop {
            let batch = watch.next().await.expect("it goes on").unwrap();
            if let Some(change) = batch.changes.first() {
                return change.key().clone();
            }
        }
    };
    super::in_time(changed).await
}
