//! Costs in requests, connections and leases. These counts do not depend on the machine.

use etcd_client::{Txn, TxnOp};
use futures::{
    FutureExt, StreamExt,
    future::{BoxFuture, join_all},
};
use sd_core::{
    Change, Client, Event, InstanceChange, Instancer, Prefix, Registrar, Service, Source, Ttl,
    Watch, WatchError,
};
use sd_etcd::EtcdClient;
use sd_tests::{Answers, Etcd, FakeEtcd, PATIENCE, eventually};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::{sleep, timeout},
};
use tokio_util::task::AbortOnDropHandle;

async fn in_time<T>(future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.expect("in time")
}

fn client(etcd: &Etcd) -> EtcdClient {
    EtcdClient::connect([etcd.endpoint()]).unwrap()
}

fn prefix() -> Prefix {
    Prefix::new("/svc").unwrap()
}

/// Puts `count` instances, a hundred at a time, as strangers.
async fn populate(etcd: &Etcd, count: usize) {
    let client = etcd.client().await;
    let puts = (0..count).map(|n| {
        let key = format!("/svc/{n:06}");
        TxnOp::put(key, format!("10.0.{}.{}:80", n / 256, n % 256), None)
    });
    let puts: Vec<TxnOp> = puts.collect();
    for batch in puts.chunks(100) {
        let txn = Txn::new().and_then(batch);
        client.kv_client().txn(txn).await.unwrap();
    }
}

/// How many bytes etcd has sent to its clients so far.
async fn bytes_sent(etcd: &Etcd) -> u64 {
    let mut stream = TcpStream::connect(etcd.address()).await.unwrap();
    let request = b"GET /metrics HTTP/1.0\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let mut samples = answer.lines().filter_map(|line| line.rsplit_once(' '));
    let (_, sent) = samples
        .find(|(name, _)| *name == "etcd_network_client_grpc_sent_bytes_total")
        .expect("etcd counts it");
    sent.parse::<f64>().unwrap() as u64
}

/// The next changes of a watch.
async fn changes(watch: &mut Watch) -> Vec<Change> {
    loop {
        match in_time(watch.next()).await.unwrap() {
            Ok(batch) if batch.changes.is_empty() => {}
            Err(WatchError::Disrupted(_)) => {}
            batch => return batch.unwrap().changes,
        }
    }
}

#[tokio::test]
async fn one_more_among_ten_thousand_costs_one_event_and_no_list() {
    let etcd = Etcd::start().await;
    populate(&etcd, 10_000).await;
    let observer = client(&etcd);
    let start = observer.get_entries(&prefix()).await.unwrap().revision;
    let instancer = Instancer::new(client(&etcd), prefix());
    let live = instancer.until(|event| event.health().is_live());
    in_time(live).await.unwrap();
    let mut events = instancer.subscribe();
    in_time(events.next()).await.unwrap();
    let mut raw = observer.watch_prefix(&prefix(), &start).await.unwrap();
    // Once both watches have seen one change, they have caught up.
    etcd.put("/svc/000000", "10.2.0.1:80").await;
    let old: Event = in_time(events.next()).await.unwrap();
    assert_eq!(old.instances().len(), 10_000);
    assert_eq!(changes(&mut raw).await.len(), 1);
    let (before, sent_before) = (etcd.metrics().await, bytes_sent(&etcd).await);

    etcd.put("/svc/000500-more", "10.1.0.1:80").await;
    let new: Event = in_time(events.next()).await.unwrap();

    let (after, sent_after) = (etcd.metrics().await, bytes_sent(&etcd).await);
    let asked = after.since(&before);
    assert_eq!((asked.range_requests(), asked.txns()), (0, 0));
    let sent = sent_after - sent_before;
    assert!(sent < 2_000, "{sent} bytes for one of 10,000");
    assert_eq!(changes(&mut raw).await.len(), 1);

    // The other instances are not copied on their way to the subscriber either.
    assert_eq!(new.version(), old.version() + 1);
    assert_eq!(new.instances().len(), 10_001);
    let diff: Vec<_> = old.instances().diff(new.instances()).collect();
    let [InstanceChange::Added(added)] = &diff[..] else {
        panic!("{diff:?}");
    };
    assert_eq!(added.address(), "10.1.0.1:80");
    for instance in old.instances().iter() {
        let same = new.instances().get(instance.key()).unwrap();
        assert!(Arc::ptr_eq(instance, same), "{instance:?} was copied");
    }
}

/// Holds the reads until it is told, and notes how many are held at most.
struct HoldsReads {
    release: Arc<Semaphore>,
    held: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
}

impl Answers for HoldsReads {
    fn before_range(&self) -> BoxFuture<'static, ()> {
        let most = self.held.fetch_add(1, Ordering::Relaxed) + 1;
        self.most.fetch_max(most, Ordering::Relaxed);
        let (release, held) = (self.release.clone(), self.held.clone());
        async move {
            release.acquire_owned().await.unwrap().forget();
            held.fetch_sub(1, Ordering::Relaxed);
        }
        .boxed()
    }
}

#[tokio::test]
async fn a_thousand_instancers_ask_for_sixty_four_lists_at_once() {
    let (release, most) = (Arc::new(Semaphore::new(0)), Arc::default());
    let etcd = FakeEtcd::start(HoldsReads {
        release: release.clone(),
        held: Arc::default(),
        most: Arc::clone(&most),
    })
    .await;
    let client = EtcdClient::connect([etcd.endpoint()]).unwrap();
    let follow = |n| Instancer::new(client.clone(), Prefix::new(format!("/svc/{n}")).unwrap());
    let instancers: Vec<_> = (0..1000).map(follow).collect();
    eventually(PATIENCE, "reads", async || etcd.reads(), |n| *n >= 64).await;
    release.add_permits(10_000);
    for instancer in &instancers {
        in_time(instancer.until(|event| event.health().is_live()))
            .await
            .unwrap();
    }
    assert_eq!(most.load(Ordering::Relaxed), 64);
}

#[tokio::test]
async fn a_thousand_registrars_are_one_lease_one_stream_and_a_few_batches() {
    let etcd = Etcd::start().await;
    let client = client(&etcd);
    let registrars: Vec<Registrar> = (0..1000)
        .map(|n| {
            let service = Service::new(format!("/svc/{n}"), "10.0.0.1:80").unwrap();
            let service = service.with_ttl(Ttl::from_secs(600).unwrap());
            Registrar::new(client.clone(), service)
        })
        .collect();

    let registered = join_all(registrars.iter().map(Registrar::register));
    for registered in in_time(registered).await {
        registered.unwrap();
    }

    assert_eq!(etcd.keys("/svc/").await.len(), 1000);
    assert_eq!(etcd.leases().await.len(), 1);
    assert!(etcd.client_connections() <= 2);
    let asked = etcd.metrics().await;
    assert_eq!(asked.lease_grants(), 1);
    let beating = async || etcd.metrics().await.keepalive_streams();
    eventually(PATIENCE, "the keep-alive stream", beating, |n| *n == 1).await;
    assert!(asked.txns() <= 30, "{} transactions", asked.txns());
    assert_eq!((asked.puts(), asked.range_requests()), (0, 0));

    let deregistered = join_all(registrars.iter().map(Registrar::deregister));
    for deregistered in in_time(deregistered).await {
        deregistered.unwrap();
    }
    let asked = etcd.metrics().await.since(&asked);
    assert!(asked.txns() <= 30, "{} transactions", asked.txns());
    assert_eq!(etcd.keys("/svc/").await.len(), 0);
    eventually(PATIENCE, "no lease", || etcd.leases(), Vec::is_empty).await;
}

#[tokio::test]
async fn a_thousand_instancers_are_one_stream_and_two_connections() {
    let etcd = Etcd::start().await;
    let client = client(&etcd);
    let instancers: Vec<Instancer> = (0..1000)
        .map(|n| Prefix::new(format!("/svc/{n}")).unwrap())
        .map(|prefix| Instancer::new(client.clone(), prefix))
        .collect();
    for ready in in_time(join_all(instancers.iter().map(Instancer::ready))).await {
        ready.unwrap();
    }
    let watchers = async || etcd.metrics().await.watchers();
    eventually(PATIENCE, "all watches", watchers, |n| *n == 1000).await;

    let metrics = etcd.metrics().await;
    assert_eq!(metrics.watch_streams(), 1);
    assert!(etcd.client_connections() <= 2);
    // For each, one list, and one read of the witness.
    assert!(metrics.range_requests() <= 2000);

    // Each sees its own changes and no others.
    for n in [0, 1, 10, 100, 999] {
        etcd.put(format!("/svc/{n}/a"), "10.0.0.1:80").await;
    }
    let filled = async || {
        let all = instancers.iter().enumerate();
        let filled = all.filter(|(_, it)| !it.state().unwrap().instances().is_empty());
        filled.map(|(n, _)| n).collect::<Vec<_>>()
    };
    eventually(PATIENCE, "five to hear", filled, |n| n.len() == 5).await;
    assert_eq!(filled().await, [0, 1, 10, 100, 999]);
    drop(instancers);
    eventually(PATIENCE, "no watch", watchers, |n| *n == 0).await;
}

/// Accepts connections on an etcd's port, closes them at once, and counts them.
struct Hangup {
    count: Arc<AtomicUsize>,
    _task: AbortOnDropHandle<()>,
}

impl Hangup {
    async fn in_place_of(etcd: &Etcd) -> Self {
        let listener = TcpListener::bind(etcd.address()).await.unwrap();
        let count = Arc::new(AtomicUsize::new(0));
        let counter = count.clone();
        let task = tokio::spawn(async move {
            while let Ok((_hung_up, _)) = listener.accept().await {
                counter.fetch_add(1, Ordering::Relaxed);
            }
        });
        Self {
            count,
            _task: AbortOnDropHandle::new(task),
        }
    }
}

#[tokio::test]
async fn an_outage_makes_no_hot_loop_however_many_wait_for_its_end() {
    let etcd = Etcd::start().await;
    let client = client(&etcd);
    let service = |n: usize| {
        let service = Service::new(format!("/svc/{n}/a"), "10.0.0.1:80").unwrap();
        service.with_ttl(Ttl::from_secs(60).unwrap())
    };
    // Half of them start before the outage, half during it.
    let registrars: Vec<_> = (0..100)
        .map(|n| Registrar::new(client.clone(), service(n)))
        .collect();
    let follow = |n: usize| {
        let prefix = Prefix::new(format!("/svc/{n}")).unwrap();
        Instancer::new(client.clone(), prefix)
    };
    let mut instancers: Vec<_> = (0..50).map(follow).collect();
    let (early, late) = registrars.split_at(50);
    for registered in in_time(join_all(early.iter().map(Registrar::register))).await {
        registered.unwrap();
    }
    for ready in in_time(join_all(instancers.iter().map(Instancer::ready))).await {
        ready.unwrap();
    }

    etcd.kill();
    let hangup = Hangup::in_place_of(&etcd).await;
    instancers.extend((50..100).map(follow));
    let waiting = join_all(late.iter().map(Registrar::register));
    let outage = Duration::from_secs(3);
    timeout(outage, waiting)
        .await
        .expect_err("there is no etcd");
    let attempts = hangup.count.load(Ordering::Relaxed);
    drop(hangup);

    // A hot loop makes thousands of attempts a second. If each of the 200 tried by itself, there
    // would be hundreds.
    assert!((1..=100).contains(&attempts), "{attempts} connections");

    etcd.start_again().await;
    for registered in in_time(join_all(registrars.iter().map(Registrar::register))).await {
        registered.unwrap();
    }
    let views = async || {
        let states = instancers.iter().map(Instancer::state);
        states
            .map(|it| it.map_or(0, |it| it.instances().len()))
            .sum()
    };
    eventually(PATIENCE, "all to be seen", views, |n: &usize| *n == 100).await;
    assert_eq!(etcd.leases().await.len(), 1);
    assert!(etcd.client_connections() <= 2);
}

#[tokio::test]
async fn a_lost_lease_of_many_is_no_hot_loop_and_no_thousand_requests() {
    let etcd = Etcd::start().await;
    let client = client(&etcd);
    let registrars: Vec<_> = (0..300)
        .map(|n| Service::new(format!("/svc/{n}"), "10.0.0.1:80").unwrap())
        .map(|service| Registrar::new(client.clone(), service.with_ttl(Ttl::MIN)))
        .collect();
    for registered in in_time(join_all(registrars.iter().map(Registrar::register))).await {
        registered.unwrap();
    }
    let before = etcd.metrics().await;
    let lease = etcd.leases().await;

    etcd.revoke(lease[0]).await;
    let stand = async || {
        let keys = etcd.keys("/svc/").await.len();
        (keys, etcd.leases().await != lease)
    };
    eventually(PATIENCE, "all back", stand, |it| *it == (300, true)).await;
    sleep(Duration::from_millis(500)).await;

    let asked = etcd.metrics().await.since(&before);
    assert_eq!(asked.lease_grants(), 1);
    // Attempts are spread over a tenth of a second, and so need more batches than at the start.
    assert!(asked.txns() <= 100, "{} transactions", asked.txns());
    assert_eq!(asked.range_requests(), 0);
}
