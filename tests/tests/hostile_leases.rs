//! Keys that others hang on a provider's lease: `docs/hostile.md`, rows 1 and 2.

use etcd_client::PutOptions;
use sd_tests::{Etcd, Line, Log, PATIENCE, Provider, eventually};

const KEY: &str = "/svc/a";
const ADDRESS: &str = "10.0.0.1:80";
const LARGE: usize = 1_400_000;

/// Puts keys of 1.4 MB on the lease.
async fn hang(etcd: &Etcd, lease: i64, keys: usize) {
    let mut others = etcd.client().await;
    for n in 0..keys {
        let key = format!("/other/{n}/{}", "k".repeat(LARGE));
        let options = PutOptions::new().with_lease(lease);
        others.put(key, "", Some(options)).await.unwrap();
    }
}

/// Waits for so many more looks at the lease.
async fn looks(etcd: &Etcd, looks: u64) {
    let before = etcd.metrics().await;
    let since = async || etcd.metrics().await.since(&before).calls("LeaseTimeToLive");
    eventually(PATIENCE, "looks at the lease", since, |it| *it >= looks).await;
}

fn warnings(log: &Log) -> Vec<Line> {
    let lines = log.lines().into_iter();
    let lines: Vec<_> = lines
        .filter(|line| line.level <= tracing::Level::WARN)
        .collect();
    for line in &lines {
        let length = line.to_string().len();
        assert!(length < 1000, "a line of {length} bytes");
    }
    lines
}

async fn comes_back(etcd: &Etcd, provider: &Provider, lease: i64) {
    assert!(etcd.delete(KEY).await);
    let holder = async || etcd.entry(KEY).await.map(|entry| entry.lease());
    eventually(PATIENCE, "the entry again", holder, |it| *it == Some(lease)).await;
    let status = provider.registrar().status();
    let status = async || status.borrow().clone();
    eventually(PATIENCE, "verified", status, |status| {
        status.is_registered() && !status.to_string().contains("not verified")
    })
    .await;
}

/// hostile row 1: four keys of 1.4 MB are more than the client reads at once.
#[tokio::test]
async fn a_deleted_key_is_noticed_however_much_others_hang_on_the_lease() {
    let etcd = Etcd::start().await;
    let provider = Provider::start(etcd.endpoint(), KEY, ADDRESS).await;
    let lease = provider.stands(&etcd).await;
    let log = Log::capture();

    hang(&etcd, lease, 4).await;
    looks(&etcd, 4).await;
    comes_back(&etcd, &provider, lease).await;

    looks(&etcd, 4).await;
    let warnings = warnings(&log);
    let too_large = |line: &&Line| line.message.contains("too large to be read");
    assert_eq!(warnings.iter().filter(too_large).count(), 1, "{warnings:?}");
    // A busy machine may cost a connection.
    let by_others = |line: &&Line| !line.message.contains("connection to etcd");
    assert!(
        warnings.iter().filter(by_others).count() <= 3,
        "{warnings:?}"
    );
}

/// hostile row 2: two keys of 1.4 MB can be read, but each is too large to be removed.
#[tokio::test]
async fn what_others_hang_on_the_lease_is_reported_once_and_not_fought() {
    let etcd = Etcd::start().await;
    let provider = Provider::start(etcd.endpoint(), KEY, ADDRESS).await;
    let lease = provider.stands(&etcd).await;
    let log = Log::capture();
    let before = etcd.metrics().await;

    hang(&etcd, lease, 2).await;
    looks(&etcd, 8).await;

    let warnings_before = warnings(&log);
    let left = |line: &Line| line.message.contains("leaving a key");
    assert_eq!(warnings_before.len(), 1, "{warnings_before:?}");
    assert!(left(&warnings_before[0]), "{warnings_before:?}");
    let sent = etcd.metrics().await.since(&before);
    // At most a comparison of our own keys with each look.
    assert!(sent.calls("LeaseRevoke") == 0, "{sent:?}");
    assert_eq!(
        etcd.keys("/other/").await.len(),
        2,
        "they end with the lease"
    );
    comes_back(&etcd, &provider, lease).await;
}
