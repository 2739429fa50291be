//! The etcd backend without the layers above, observed at etcd.

use etcd_client::proto::{
    PbRangeRequest, PbRangeResponse, PbWatchRequest, PbWatchRequestUnion, PbWatchResponse,
};
use futures::{
    FutureExt, StreamExt,
    future::join_all,
    stream::{self, BoxStream},
};
use sd_core::{Change, Client, Prefix, Service, Ttl, Watch, WatchError};
use sd_etcd::EtcdClient;
use sd_tests::{
    Answers, Etcd, FakeEtcd, Metrics, PATIENCE, Proxy, eventually, header, honest_watch,
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::time::timeout;

fn client(etcd: &Etcd) -> EtcdClient {
    EtcdClient::connect([etcd.endpoint()]).unwrap()
}

fn service(key: &str) -> Service {
    Service::new(key, "10.0.0.1:80").unwrap().with_ttl(Ttl::MIN)
}

fn prefix() -> Prefix {
    Prefix::new("/svc").unwrap()
}

/// The next item, other than progress.
async fn news(watch: &mut Watch) -> Result<Vec<Change>, WatchError> {
    let news = async {
        loop {
            match watch.next().await.expect("an end has a reason") {
                Ok(batch) if batch.changes.is_empty() => {}
                Ok(batch) => return Ok(batch.changes),
                Err(WatchError::Disrupted(_)) => {}
                Err(error) => return Err(error),
            }
        }
    };
    timeout(PATIENCE, news).await.expect("news in time")
}

/// Nothing of ours is left at etcd.
async fn nothing_is_left(etcd: &Etcd) {
    eventually(PATIENCE, "no lease", || etcd.leases(), Vec::is_empty).await;
    eventually(
        PATIENCE,
        "no watcher",
        async || etcd.metrics().await.watchers(),
        |n| *n == 0,
    )
    .await;
    eventually(
        PATIENCE,
        "no connection",
        async || etcd.client_connections(),
        |n| *n == 0,
    )
    .await;
}

/// What was asked of etcd to register a hundred services at once. Those are `taken` already.
async fn asked_for_a_hundred(taken: &[&str]) -> Metrics {
    let etcd = Etcd::start().await;
    for key in taken {
        etcd.put(*key, "10.0.0.2:80").await;
    }
    let client = client(&etcd);
    let before = etcd.metrics().await;
    let keys: Vec<_> = (0..100).map(|n| format!("/svc/{n}")).collect();
    let services: Vec<_> = keys.iter().map(|key| service(key)).collect();
    let registrations = join_all(services.iter().map(|service| client.register(service))).await;
    let asked = etcd.metrics().await.since(&before);

    assert!(registrations.iter().all(Result::is_ok));
    for key in &keys {
        let value = etcd.get(key.as_str()).await;
        assert_eq!(value.as_deref(), Some(&b"10.0.0.1:80"[..]), "{key}");
    }
    asked
}

#[tokio::test]
async fn services_that_nobody_has_are_registered_in_one_transaction_with_a_short_answer() {
    let asked = asked_for_a_hundred(&[]).await;
    assert_eq!(asked.txns(), 1);
    // Nothing but a revision for each. Transactions within transactions take more than twice as much.
    assert!(asked.bytes_sent() < 1_500, "{} bytes", asked.bytes_sent());
}

#[tokio::test]
async fn a_taken_key_does_not_keep_those_beside_it_from_being_registered() {
    let asked = asked_for_a_hundred(&["/svc/17"]).await;
    // All together, each by itself, and that one again.
    assert_eq!(asked.txns(), 3);
}

#[tokio::test]
async fn a_thousand_services_are_one_lease_one_watch_and_two_connections() {
    let etcd = Etcd::start().await;
    let client = client(&etcd);
    let before = etcd.metrics().await;
    let services: Vec<Service> = (0..1000).map(|n| service(&format!("/svc/{n}"))).collect();

    let snapshot = client.get_entries(&prefix()).await.unwrap();
    let mut watch = client
        .watch_prefix(&prefix(), &snapshot.revision)
        .await
        .unwrap();
    let registrations = join_all(services.iter().map(|service| client.register(service))).await;

    assert!(registrations.iter().all(Result::is_ok));
    assert_eq!(etcd.keys("/svc/").await.len(), 1000);
    assert_eq!(etcd.leases().await.len(), 1);
    let asked = etcd.metrics().await.since(&before);
    assert_eq!(asked.keepalive_streams(), 1);
    // One of the prefix, on its own connection, and one of all own keys, on the connection for leases.
    let watched = async || {
        let now = etcd.metrics().await;
        (now.watchers(), now.watch_streams())
    };
    eventually(PATIENCE, "both watches", watched, |it| *it == (2, 2)).await;
    assert!(asked.txns() <= 20, "{} transactions", asked.txns());
    assert_eq!(asked.puts(), 0);
    assert_eq!(etcd.client_connections(), 2);
    let mut seen = 0;
    while seen < 1000 {
        seen += news(&mut watch).await.unwrap().len();
    }

    drop(watch);
    client.close().await;
    drop(registrations);
    assert_eq!(etcd.keys("/svc/").await.len(), 0);
    drop(client);
    nothing_is_left(&etcd).await;
}

#[tokio::test]
async fn after_everything_was_dropped_no_task_is_left() {
    let etcd = Etcd::start().await;
    etcd.put("/svc/a", "10.0.0.1:80").await;
    let client = client(&etcd);
    let snapshot = client.get_entries(&prefix()).await.unwrap();
    let watch = client
        .watch_prefix(&prefix(), &snapshot.revision)
        .await
        .unwrap();
    let registration = client.register(&service("/svc/b")).await.unwrap();
    drop((client, watch, registration));

    nothing_is_left(&etcd).await;
    assert_eq!(etcd.keys("/svc/").await, ["/svc/a"]);
}

/// faults row 4, for a client without the layers above.
#[tokio::test]
async fn a_restart_with_its_data_interrupts_a_watch_and_loses_nothing() {
    let etcd = Etcd::start().await;
    etcd.put("/svc/a", "1").await;
    let client = client(&etcd);
    let mut registration = client.register(&service("/svc/b")).await.unwrap();
    let lease = client.lease_id();
    let snapshot = client.get_entries(&prefix()).await.unwrap();
    let mut watch = client
        .watch_prefix(&prefix(), &snapshot.revision)
        .await
        .unwrap();

    etcd.kill();
    assert!(matches!(
        news(&mut watch).await,
        Err(WatchError::Interrupted(_))
    ));
    etcd.start_again().await;
    etcd.put("/svc/c", "3").await;
    let resume = || async {
        client
            .watch_prefix(&prefix(), &snapshot.revision)
            .await
            .map_err(|error| error.to_string())
    };
    let watch = eventually(PATIENCE, "a watch", resume, Result::is_ok).await;

    let changes = news(&mut watch.unwrap()).await.unwrap();
    assert_eq!(changes.len(), 1);
    assert_eq!(changes[0].key().as_str(), "/svc/c");
    assert_eq!(registration.loss(), None);
    assert_eq!(client.lease_id(), lease);
    assert!(
        timeout(Duration::from_millis(10), registration.lost())
            .await
            .is_err()
    );
}

/// Asserts that the watch yields nothing but progress within `time`.
async fn only_progress(watch: &mut Watch, time: Duration) {
    let said = async {
        loop {
            match watch.next().await {
                Some(Ok(batch)) if batch.changes.is_empty() => {}
                said => return said,
            }
        }
    };
    if let Ok(said) = timeout(time, said).await {
        panic!("{said:?}");
    }
}

#[tokio::test]
async fn a_registry_in_which_nobody_writes_is_not_taken_for_a_dead_one() {
    let etcd = Etcd::start().await;
    etcd.put("/svc/a", "1").await;
    let client = EtcdClient::builder([etcd.endpoint()])
        .liveness(Duration::from_millis(500), Duration::from_secs(2))
        .build()
        .unwrap();
    let snapshot = client.get_entries(&prefix()).await.unwrap();
    let watch = client.watch_prefix(&prefix(), &snapshot.revision).await;
    let mut watch = watch.unwrap();

    only_progress(&mut watch, Duration::from_secs(4)).await;

    etcd.put("/svc/b", "2").await;
    let changes = news(&mut watch).await.unwrap();
    assert_eq!(changes.len(), 1);
    assert_eq!(changes[0].key().as_str(), "/svc/b");
}

/// An etcd of the newer kind at [`REVISION`](Self::REVISION): it answers no request for progress while a watch
/// waits for a revision to come.
#[derive(Clone, Default)]
struct NewerEtcd {
    /// The revision that the watch was started at.
    start: Arc<AtomicI64>,
    /// Watches that end before they begin.
    empty: Arc<AtomicUsize>,
    progress: Arc<AtomicUsize>,
    /// How many revisions have passed meanwhile.
    passed: Arc<AtomicI64>,
}

impl NewerEtcd {
    const REVISION: i64 = 7;

    fn revision(&self) -> i64 {
        Self::REVISION + self.passed.load(Ordering::SeqCst)
    }
}

impl Answers for NewerEtcd {
    fn range(&self, _: &PbRangeRequest) -> PbRangeResponse {
        PbRangeResponse {
            header: Some(header(self.revision())),
            ..PbRangeResponse::default()
        }
    }

    fn watch(&self, request: &PbWatchRequest) -> BoxStream<'static, PbWatchResponse> {
        let mut answer = honest_watch(request).unwrap_or_default();
        answer.header = Some(header(self.revision()));
        match &request.request_union {
            Some(PbWatchRequestUnion::CreateRequest(create)) if create.key >= create.range_end => {
                self.empty.fetch_add(1, Ordering::SeqCst);
                (answer.watch_id, answer.canceled) = (-1, true);
            }
            Some(PbWatchRequestUnion::CreateRequest(create)) => {
                self.start.store(create.start_revision, Ordering::SeqCst);
            }
            Some(PbWatchRequestUnion::ProgressRequest(_))
                if self.revision() >= self.start.load(Ordering::SeqCst) =>
            {
                self.progress.fetch_add(1, Ordering::SeqCst);
            }
            _ => return stream::empty().boxed(),
        }
        stream::iter([answer]).boxed()
    }
}

/// One that starts at a revision that has passed is behind, and hears nothing for up to 100 ms.
#[tokio::test]
async fn a_watch_starts_at_the_next_revision_and_is_as_well_looked_after_until_it_has_come() {
    let answers = NewerEtcd::default();
    let etcd = FakeEtcd::start(answers.clone()).await;
    let client = EtcdClient::builder([etcd.endpoint()])
        .liveness(Duration::from_millis(300), Duration::from_secs(2))
        .build()
        .unwrap();
    let known = client.get_entries(&prefix()).await.unwrap().revision;
    let mut watch = client.watch_prefix(&prefix(), &known).await.unwrap();
    let next = NewerEtcd::REVISION + 1;
    assert_eq!(answers.start.load(Ordering::SeqCst), next);
    let reads = etcd.reads();

    let healthy = async {
        loop {
            let item = watch.next().await.expect("an end has a reason");
            assert!(item.unwrap().changes.is_empty());
        }
    };
    let looked_after = async {
        let empty = async || answers.empty.load(Ordering::SeqCst);
        eventually(PATIENCE, "empty watches", empty, |n| *n >= 3).await;
        assert_eq!(answers.progress.load(Ordering::SeqCst), 0);
        // Somebody else's key. The next answer says so, and requests for progress are answered again.
        answers.passed.store(1, Ordering::SeqCst);
        let progress = async || answers.progress.load(Ordering::SeqCst);
        eventually(PATIENCE, "progress", progress, |n| *n >= 1).await;
        let asked = empty().await;
        eventually(PATIENCE, "progress", progress, |n| *n >= 3).await;
        assert_eq!(empty().await, asked, "none more");
    };
    tokio::select! {
        () = looked_after => {}
        () = healthy => {}
    }
    assert_eq!(etcd.reads(), reads, "nothing was read");
}

/// It would hear of that only after up to 100 ms.
#[tokio::test]
async fn what_a_watch_has_missed_is_there_when_it_starts() {
    let etcd = Etcd::start().await;
    let client = client(&etcd);
    etcd.put("/svc/a", "10.0.0.1:80").await;
    let known = client.get_entries(&prefix()).await.unwrap().revision;
    for key in ["/svc/b", "/svc/a", "/elsewhere"] {
        etcd.put(key, "10.0.0.2:80").await;
    }
    let mut watch = client.watch_prefix(&prefix(), &known).await.unwrap();
    let first = watch.next().now_or_never().flatten();
    let first = first.expect("it is not waited for").unwrap();
    let keys = first.changes.iter().map(|change| change.key().as_str());
    assert!(keys.eq(["/svc/b", "/svc/a"]), "{first:?}");
    etcd.put("/svc/c", "10.0.0.3:80").await;
    let changes = news(&mut watch).await.unwrap();
    assert!(matches!(&*changes, [Change::Put(c)] if c.key.as_str() == "/svc/c"));

    // A deletion cannot be read: etcd has to say so.
    etcd.delete("/svc/a").await;
    etcd.put("/svc/d", "10.0.0.4:80").await;
    let mut again = client.watch_prefix(&prefix(), &first.resume).await.unwrap();
    let mut changes = Vec::new();
    while changes.len() < 3 {
        changes.extend(news(&mut again).await.unwrap());
    }
    let deleted = changes.iter().filter(|it| matches!(it, Change::Delete(_)));
    assert_eq!((changes.len(), deleted.count()), (3, 1), "{changes:?}");
}

/// If requests for progress are answered, however late, no reads are made.
#[tokio::test]
async fn an_etcd_that_answers_slowly_is_not_read_from_again_and_again() {
    let etcd = Etcd::start().await;
    let proxy = Proxy::to(etcd.address()).await;
    etcd.put("/svc/a", "1").await;
    let client = EtcdClient::connect([proxy.endpoint()]).unwrap();
    let snapshot = client.get_entries(&prefix()).await.unwrap();
    let watch = client.watch_prefix(&prefix(), &snapshot.revision).await;
    let mut watch = watch.unwrap();

    let before = etcd.metrics().await;

    // The round trip takes longer than a sixth of the interval.
    proxy.delay(Duration::from_millis(100));
    let said = async { while watch.next().await.is_some() {} };
    let _ = timeout(Duration::from_secs(6), said).await;

    let asked = etcd.metrics().await.since(&before);
    let (messages, reads) = (asked.watch_messages(), asked.range_requests());
    assert!(messages > 2, "{messages} requests for progress");
    assert!(reads <= 1, "{reads} reads");
}

#[tokio::test]
async fn a_compacted_watch_is_no_burden_to_those_beside_it() {
    let etcd = Etcd::start().await;
    let proxy = Proxy::to(etcd.address()).await;
    etcd.put("/svc/a", "1").await;
    let client = EtcdClient::connect([proxy.endpoint()]).unwrap();
    let old = client.get_entries(&prefix()).await.unwrap().revision;
    etcd.put("/svc/a", "2").await;
    etcd.put("/svc/a", "3").await;
    let new = client.get_entries(&prefix()).await.unwrap().revision;
    let _beside = client.watch_prefix(&prefix(), &new).await.unwrap();
    etcd.compact().await;

    // So slow that etcd ends the watch before the client sends anything else.
    proxy.delay(Duration::from_millis(200));
    let gap = match client.watch_prefix(&prefix(), &old).await {
        Err(error) => error,
        Ok(mut watch) => news(&mut watch).await.unwrap_err(),
    };

    assert!(matches!(gap, WatchError::Gap(_)), "{gap:?}");
    let watchers = async || etcd.metrics().await.watchers();
    eventually(PATIENCE, "one watcher", watchers, |n| *n == 1).await;
}
