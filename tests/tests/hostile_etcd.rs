//! An etcd that lies: `docs/hostile.md`, row 13.

use etcd_client::proto::{
    PbEvent, PbKeyValue, PbRangeRequest, PbRangeResponse, PbWatchRequest, PbWatchRequestUnion,
    PbWatchResponse,
};
use futures::{
    StreamExt,
    stream::{self, BoxStream},
};
use sd_core::{Client, Error, Gap, Instancer, Prefix, Watch, WatchError};
use sd_etcd::{EtcdClient, EtcdClientBuilder};
use sd_tests::{Answers, FakeEtcd, Log, PATIENCE, eventually, header, honest_watch};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::time::timeout;

fn prefix() -> Prefix {
    Prefix::new("/svc/").unwrap()
}

fn builder(etcd: &FakeEtcd) -> EtcdClientBuilder {
    EtcdClient::builder([etcd.endpoint()])
}

fn entry(key: impl Into<Vec<u8>>, bytes: usize) -> PbKeyValue {
    PbKeyValue {
        key: key.into(),
        value: vec![b'x'; bytes],
        create_revision: 1,
        mod_revision: 1,
        version: 1,
        lease: 0,
    }
}

fn page(kvs: Vec<PbKeyValue>, more: bool) -> PbRangeResponse {
    PbRangeResponse {
        header: Some(header(1)),
        count: kvs.len() as i64,
        kvs,
        more,
    }
}

/// Answers each read by a function of it.
struct Lists<F>(F);

impl<F> Answers for Lists<F>
where
    F: Fn(&PbRangeRequest) -> PbRangeResponse + Send + Sync + 'static,
{
    fn range(&self, request: &PbRangeRequest) -> PbRangeResponse {
        (self.0)(request)
    }
}

/// Lists from an etcd that answers so. Returns why it failed, and after how many reads.
async fn list(
    answer: impl Fn(&PbRangeRequest) -> PbRangeResponse + Send + Sync + 'static,
) -> (Error, usize) {
    let etcd = FakeEtcd::start(Lists(answer)).await;
    let client = builder(&etcd).list_limits(1000, 4 << 20).build().unwrap();
    let listed = timeout(PATIENCE, client.get_entries(&prefix())).await;
    let error = listed.expect("an answer").expect_err("a lie");
    client.close().await;
    (error, etcd.reads())
}

/// hostile row 13
#[tokio::test]
async fn a_page_that_no_etcd_answers_is_not_believed() {
    let lies: [fn(&PbRangeRequest) -> PbRangeResponse; 5] = [
        // The same page again and again.
        |_| page(vec![entry("/svc/a", 1), entry("/svc/b", 1)], true),
        |_| page(vec![entry("/svc/b", 1), entry("/svc/a", 1)], false),
        |_| page(Vec::new(), true),
        |_| page(vec![entry("/other/a", 1)], false),
        |asked| {
            let more_than_asked = 0..=asked.limit;
            let keys = more_than_asked.map(|n| entry(format!("/svc/{n:06}"), 1));
            page(keys.collect(), false)
        },
    ];
    for lie in lies {
        let (error, reads) = list(lie).await;
        assert!(error.to_string().contains("broken"), "{error}");
        assert!(error.is_transient() && reads <= 2, "{error}, {reads} reads");
    }
}

/// hostile row 13
#[tokio::test]
async fn a_list_that_never_ends_is_given_up_at_its_limits() {
    // Keys that ascend for ever, of which etcd says that there are more.
    let ascending = |bytes| {
        let number = AtomicUsize::new(0);
        move |_: &PbRangeRequest| {
            let n = number.fetch_add(1, Ordering::Relaxed);
            page(vec![entry(format!("/svc/{n:06}"), bytes)], true)
        }
    };
    let (error, reads) = list(ascending(1)).await;
    assert!(error.to_string().contains("limits of a list"), "{error}");
    assert_eq!(reads, 1001);

    let (error, reads) = list(ascending(1 << 20)).await;
    assert!(error.to_string().contains("limits of a list"), "{error}");
    assert!(error.is_transient() && reads == 4, "{reads}");
}

/// hostile row 13
#[tokio::test]
async fn a_list_that_drips_ends_at_its_deadline() {
    let number = AtomicUsize::new(0);
    let etcd = FakeEtcd::start(Lists(move |_: &PbRangeRequest| {
        let n = number.fetch_add(1, Ordering::Relaxed);
        page(vec![entry(format!("/svc/{n:09}"), 1)], true)
    }))
    .await;
    let client = builder(&etcd)
        .list_timeout(Duration::from_millis(50))
        .build()
        .unwrap();
    let log = Log::capture();
    let listed = timeout(PATIENCE, client.get_entries(&prefix())).await;
    let error = listed.expect("an answer").expect_err("it never ends");
    assert!(matches!(error, Error::Timeout { .. }), "{error}");
    let lines = log.lines();
    let is_said = |line: &sd_tests::Line| line.message.contains("given up");
    assert!(lines.iter().any(is_said), "{lines:?}");
}

/// Answers each request on a watch stream by a function of the watch that it creates.
struct Watches<F>(F);

impl<F> Answers for Watches<F>
where
    F: Fn(i64) -> BoxStream<'static, PbWatchResponse> + Send + Sync + 'static,
{
    fn watch(&self, request: &PbWatchRequest) -> BoxStream<'static, PbWatchResponse> {
        let honest = stream::iter(honest_watch(request));
        match &request.request_union {
            Some(PbWatchRequestUnion::CreateRequest(create)) => {
                honest.chain((self.0)(create.watch_id)).boxed()
            }
            _ => honest.boxed(),
        }
    }
}

fn events(watch_id: i64, entries: Vec<PbKeyValue>, fragment: bool) -> PbWatchResponse {
    let events = entries.into_iter().map(|kv| PbEvent {
        r#type: 0,
        kv: Some(kv),
        prev_kv: None,
    });
    PbWatchResponse {
        header: Some(header(2)),
        watch_id,
        fragment,
        events: events.collect(),
        ..PbWatchResponse::default()
    }
}

fn changed(key: impl Into<Vec<u8>>, bytes: usize) -> PbKeyValue {
    PbKeyValue {
        mod_revision: 2,
        ..entry(key, bytes)
    }
}

async fn watch(client: &EtcdClient) -> Watch {
    let listed = client.get_entries(&prefix()).await.unwrap();
    client
        .watch_prefix(&prefix(), &listed.revision)
        .await
        .unwrap()
}

/// The items of a watch until its end.
async fn end(mut watch: Watch) -> WatchError {
    let ends = async {
        loop {
            match watch.next().await {
                Some(Ok(batch)) => assert!(batch.changes.is_empty(), "{batch:?}"),
                Some(Err(WatchError::Disrupted(_))) => {}
                Some(Err(error)) => return error,
                None => panic!("ended without a word"),
            }
        }
    };
    timeout(PATIENCE, ends).await.expect("the watch ends")
}

/// hostile row 13
#[tokio::test]
async fn fragments_without_end_are_given_up_with_their_connection() {
    let etcd = FakeEtcd::start(Watches(|id| {
        let parts = (0_u64..).map(move |n| {
            let key = format!("/svc/{n}");
            events(id, vec![changed(key, 100_000)], true)
        });
        // The fake's other answers have their turn too.
        let parts = stream::iter(parts).then(|part| async {
            tokio::task::yield_now().await;
            part
        });
        parts.boxed()
    }))
    .await;
    let client = builder(&etcd).max_message_bytes(2_000_000).build().unwrap();
    let log = Log::capture();
    let error = match client.get_entries(&prefix()).await {
        Ok(listed) => match client.watch_prefix(&prefix(), &listed.revision).await {
            Ok(watch) => end(watch).await,
            Err(error) => error,
        },
        Err(error) => panic!("{error}"),
    };
    // It may come before the watch is handed over.
    let is_over = matches!(
        error,
        WatchError::Gap(Gap::Overflow) | WatchError::Interrupted(_)
    );
    assert!(is_over, "{error:?}");
    let lines = log.lines();
    let is_said = |line: &sd_tests::Line| line.message.contains("given up");
    assert!(lines.iter().any(is_said), "{lines:?}");
}

/// hostile row 13
#[tokio::test]
async fn a_key_outside_of_what_is_watched_is_never_shown() {
    let etcd = FakeEtcd::start(Watches(|id| {
        let foreign = async move { events(id, vec![changed("/other/a", 1)], false) };
        stream::once(foreign).boxed()
    }))
    .await;
    let client = builder(&etcd).build().unwrap();
    let listed = client.get_entries(&prefix()).await.unwrap();
    let error = match client.watch_prefix(&prefix(), &listed.revision).await {
        Ok(watch) => end(watch).await,
        Err(error) => error,
    };
    assert!(matches!(error, WatchError::Interrupted(_)), "{error:?}");
}

/// hostile row 6
#[tokio::test]
async fn a_reason_that_etcd_gives_forges_no_line() {
    let etcd = FakeEtcd::start(Watches(|watch_id| {
        let cancelled = PbWatchResponse {
            header: Some(header(1)),
            watch_id,
            canceled: true,
            cancel_reason: "no\n2026-01-01 ERROR all is lost\u{1b}[2J\u{202e}".repeat(1000),
            ..PbWatchResponse::default()
        };
        stream::iter([cancelled]).boxed()
    }))
    .await;
    let client = builder(&etcd).build().unwrap();
    let log = Log::capture();
    let instancer = Instancer::new(client.clone(), prefix());
    let listed = client.get_entries(&prefix()).await.unwrap();
    let error = match client.watch_prefix(&prefix(), &listed.revision).await {
        Ok(watch) => end(watch).await,
        Err(error) => error,
    };
    let WatchError::Interrupted(error) = error else {
        panic!("{error:?}");
    };
    let warned = async || log.lines().len();
    eventually(PATIENCE, "a line", warned, |lines| *lines > 0).await;
    drop(instancer);

    let mut texts = vec![error.to_string(), format!("{error:?}")];
    texts.extend(log.lines().iter().map(ToString::to_string));
    for text in texts {
        let is_clean = !text.contains(['\n', '\u{1b}', '\u{202e}']);
        let length = text.chars().count();
        assert!(is_clean && length < 1000, "{length}: {}", &text[..200]);
    }
}

/// hostile row 13
#[tokio::test]
async fn a_watch_whose_id_is_given_to_another_ends() {
    struct OneId;
    impl Answers for OneId {
        fn watch(&self, request: &PbWatchRequest) -> BoxStream<'static, PbWatchResponse> {
            let answer = honest_watch(request).map(|answer| PbWatchResponse {
                watch_id: answer.watch_id.min(1),
                ..answer
            });
            stream::iter(answer).boxed()
        }
    }
    let etcd = FakeEtcd::start(OneId).await;
    let client = builder(&etcd).build().unwrap();
    let first = watch(&client).await;
    let listed = client.get_entries(&prefix()).await.unwrap();
    let second = client.watch_prefix(&prefix(), &listed.revision).await;
    assert!(
        matches!(second, Err(WatchError::Interrupted(_))),
        "{second:?}"
    );
    assert!(matches!(end(first).await, WatchError::Interrupted(_)));
}

/// hostile row 13
#[tokio::test]
async fn an_etcd_that_begins_to_lie_empties_nobody_and_is_said_to_few_times() {
    /// Whether it lies, and how often it has.
    #[derive(Clone, Default)]
    struct Turncoat(Arc<AtomicBool>, Arc<AtomicUsize>);
    impl Turncoat {
        fn lies(&self) -> bool {
            self.0.load(Ordering::Relaxed)
        }

        fn lied(&self) -> usize {
            self.1.load(Ordering::Relaxed)
        }
    }
    impl Answers for Turncoat {
        fn range(&self, asked: &PbRangeRequest) -> PbRangeResponse {
            if self.lies() && asked.limit > 1 {
                return page(vec![entry("/other/a", 1)], true);
            }
            let honest = PbKeyValue {
                value: b"10.0.0.1:80".to_vec(),
                ..entry("/svc/a", 0)
            };
            page(vec![honest], false)
        }

        fn watch(&self, request: &PbWatchRequest) -> BoxStream<'static, PbWatchResponse> {
            let honest = stream::iter(honest_watch(request));
            if !self.lies() {
                return honest.boxed();
            }
            self.1.fetch_add(1, Ordering::Relaxed);
            let foreign = events(1, vec![changed("/other/a", 1)], false);
            honest.chain(stream::iter([foreign])).boxed()
        }
    }
    let turncoat = Turncoat::default();
    let etcd = FakeEtcd::start(turncoat.clone()).await;
    let client = builder(&etcd)
        .liveness(Duration::from_millis(100), Duration::from_secs(3))
        .build()
        .unwrap();
    let instancer = Instancer::new(client, prefix());
    instancer.ready().await.unwrap();
    let log = Log::capture();

    turncoat.0.store(true, Ordering::Relaxed);

    let lied = async || turncoat.lied();
    eventually(PATIENCE, "lies", lied, |lied| *lied > 8).await;
    let shown = instancer.state().expect("it was ready");
    let shown: Vec<_> = shown
        .instances()
        .iter()
        .map(|it| it.address().to_owned())
        .collect();
    assert_eq!(shown, ["10.0.0.1:80"]);
    let lines = log.lines();
    assert!((1..=8).contains(&lines.len()), "{lines:?}");
}
