//! What a poller reports about what it lists.

use super::*;
use crate::{
    registry::{
        key::Key,
        watch::{Change, Gap},
    },
    support::Log,
};
use futures::StreamExt;
use std::sync::Mutex;
use tokio::time::{Instant, timeout};

const INTERVAL: Duration = Duration::from_secs(10);

/// A lister with scripted answers, which records when it was called.
#[derive(Clone, Default)]
struct Fake(Arc<Mutex<Script>>);

#[derive(Default)]
struct Script {
    answer: Option<Result<Vec<Entry>>>,
    polls: Vec<Instant>,
}

impl Fake {
    fn holds(&self, entries: &[(&str, &str)]) {
        let entries = entries.iter().map(|(key, value)| entry(key, value));
        self.0.lock().unwrap().answer = Some(Ok(entries.collect()));
    }

    fn fails(&self, error: Error) {
        self.0.lock().unwrap().answer = Some(Err(error));
    }

    fn hangs(&self) {
        self.0.lock().unwrap().answer = None;
    }

    fn polls(&self) -> Vec<Instant> {
        self.0.lock().unwrap().polls.clone()
    }
}

#[async_trait]
impl Lister for Fake {
    async fn list(&self, _: &Prefix) -> Result<Vec<Entry>> {
        let answer = {
            let mut script = self.0.lock().unwrap();
            script.polls.push(Instant::now());
            script.answer.clone()
        };
        match answer {
            Some(answer) => answer,
            None => std::future::pending().await,
        }
    }
}

fn entry(key: &str, value: &str) -> Entry {
    Entry::new(Key::new(key).unwrap(), value.to_owned())
}

fn prefix() -> Prefix {
    Prefix::new("/svc/foo").unwrap()
}

async fn watching(entries: &[(&str, &str)]) -> (Fake, Poller<Fake>, Watch) {
    let fake = Fake::default();
    fake.holds(entries);
    let poller = Poller::new(fake.clone(), INTERVAL);
    let listed = poller.get_entries(&prefix()).await.unwrap();
    let watch = poller.watch_prefix(&prefix(), &listed.revision).await;
    (fake, poller, watch.unwrap())
}

/// Whether the watch yields nothing for a while.
async fn is_silent(watch: &mut Watch) -> bool {
    timeout(20 * INTERVAL, watch.next()).await.is_err()
}

#[tokio::test(start_paused = true)]
async fn only_what_lies_under_the_prefix_is_listed() {
    let fake = Fake::default();
    fake.holds(&[
        ("/svc/foo/a", "1"),
        ("/svc/foobar/a", "2"),
        ("/svc/foo/a", "3"),
    ]);
    let poller = Poller::new(fake, INTERVAL);
    let listed = poller.get_entries(&prefix()).await.unwrap();
    assert_eq!(listed.entries, [entry("/svc/foo/a", "3")]);
}

#[tokio::test(start_paused = true)]
async fn what_changed_between_list_and_watch_is_not_missed() {
    let (fake, poller, mut watch) = watching(&[("/svc/foo/a", "1"), ("/svc/foo/b", "1")]).await;
    fake.holds(&[
        ("/svc/foo/b", "2"),
        ("/svc/foo/c", "1"),
        ("/elsewhere", "1"),
    ]);
    let batch = watch.next().await.unwrap().unwrap();
    assert_eq!(
        batch.changes,
        [
            Change::Delete(Key::new("/svc/foo/a").unwrap()),
            Change::Put(entry("/svc/foo/b", "2")),
            Change::Put(entry("/svc/foo/c", "1")),
        ]
    );
    let listed = poller.get_entries(&prefix()).await.unwrap();
    assert_eq!(batch.resume, listed.revision);
    drop(watch);

    fake.holds(&[("/svc/foo/b", "2")]);
    let resumed = poller.watch_prefix(&prefix(), &batch.resume).await;
    let batch = resumed.unwrap().next().await.unwrap().unwrap();
    assert_eq!(
        batch.changes,
        [Change::Delete(Key::new("/svc/foo/c").unwrap())]
    );
}

/// Row 32: a watch that nobody answered is no answer.
#[tokio::test(start_paused = true)]
async fn a_watch_begins_with_an_answer_as_soon_as_it_is_read() {
    let (fake, poller, mut watch) = watching(&[("/svc/foo/a", "1")]).await;
    let listed = poller.get_entries(&prefix()).await.unwrap().revision;
    let opened = Instant::now();
    let first = watch.next().await.unwrap().unwrap();
    assert_eq!((first.changes.len(), &first.resume), (0, &listed));
    assert_eq!(opened.elapsed(), Duration::ZERO);

    fake.fails(Error::unavailable("down"));
    let mut watch = poller.watch_prefix(&prefix(), &listed).await.unwrap();
    let disrupted = watch.next().await.unwrap();
    assert!(matches!(disrupted, Err(WatchError::Disrupted(_))));
    assert!(is_silent(&mut watch).await);
    fake.holds(&[("/svc/foo/a", "1")]);
    assert!(watch.next().await.unwrap().unwrap().changes.is_empty());
}

#[tokio::test(start_paused = true)]
async fn polls_do_not_keep_step() {
    let (fake, _, mut watch) = watching(&[("/svc/foo/a", "1")]).await;
    watch.next().await.unwrap().unwrap();
    assert!(is_silent(&mut watch).await);
    let polls = fake.polls();
    let gaps: Vec<_> = polls[1..]
        .windows(2)
        .map(|pair| pair[1] - pair[0])
        .collect();
    let (min, max) = (gaps.iter().min().unwrap(), gaps.iter().max().unwrap());
    assert!(*min >= INTERVAL.mul_f64(0.89) && *max <= INTERVAL.mul_f64(1.11));
    assert!(*max - *min > INTERVAL / 100, "{gaps:?}");
}

#[tokio::test(start_paused = true)]
async fn failing_lists_are_reported_once_and_do_not_end_the_watch() {
    let (fake, _, mut watch) = watching(&[("/svc/foo/a", "1")]).await;
    for _ in 0..2 {
        fake.fails(Error::unavailable("down"));
        let disrupted = watch.next().await.unwrap();
        assert!(matches!(disrupted, Err(WatchError::Disrupted(_))));
        assert!(is_silent(&mut watch).await);
        fake.holds(&[("/svc/foo/a", "1")]);
        let batch = watch.next().await.unwrap().unwrap();
        assert!(batch.changes.is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_said_once_for_each_prefix() {
    let log = Log::capture();
    let (fake, poller, mut watch) = watching(&[]).await;
    let mut second = {
        let listed = poller.get_entries(&prefix()).await.unwrap();
        let watch = poller.watch_prefix(&prefix(), &listed.revision).await;
        watch.unwrap()
    };
    for _ in 0..2 {
        fake.fails(Error::unavailable("down"));
        for watch in [&mut watch, &mut second] {
            assert!(watch.next().await.unwrap().is_err());
            assert!(is_silent(watch).await);
        }
        fake.holds(&[]);
        for watch in [&mut watch, &mut second] {
            assert!(watch.next().await.unwrap().is_ok());
        }
    }
    let said = [
        "WARN cannot be listed, trying on prefix=/svc/foo/ error=the registry is unavailable: down",
        "INFO can be listed again prefix=/svc/foo/",
    ];
    assert_eq!(log.text(), said.repeat(2));
}

#[tokio::test(start_paused = true)]
async fn a_list_that_hangs_is_reported() {
    let (fake, poller, mut watch) = watching(&[("/svc/foo/a", "1")]).await;
    fake.hangs();
    assert!(matches!(
        watch.next().await.unwrap(),
        Err(WatchError::Disrupted(Error::Timeout { .. }))
    ));
    let listed = poller.get_entries(&prefix()).await;
    assert!(matches!(listed, Err(Error::Timeout { .. })));
}

#[tokio::test(start_paused = true)]
async fn what_cannot_pass_ends_the_watch() {
    let (fake, _, mut watch) = watching(&[]).await;
    fake.fails(Error::Closed);
    assert!(matches!(
        watch.next().await.unwrap(),
        Err(WatchError::Interrupted(Error::Closed))
    ));
    assert!(watch.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_dropped_watch_polls_no_more() {
    let (fake, _, watch) = watching(&[]).await;
    drop(watch);
    tokio::time::sleep(10 * INTERVAL).await;
    assert_eq!(fake.polls().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_was_not_listed_is_a_gap() {
    let (fake, poller, _) = watching(&[("/svc/foo/a/1", "1")]).await;
    let listed = poller.get_entries(&prefix()).await.unwrap().revision;
    let wider = Prefix::new("/svc").unwrap();
    for (prefix, revision) in [(&wider, &listed), (&prefix(), &Revision::new(7_u64))] {
        let watch = poller.watch_prefix(prefix, revision).await;
        assert!(matches!(watch, Err(WatchError::Gap(Gap::ForeignToken))));
    }
    let narrower = Prefix::new("/svc/foo/a").unwrap();
    let mut watch = poller.watch_prefix(&narrower, &listed).await.unwrap();
    fake.holds(&[("/svc/foo/b", "1")]);
    assert_eq!(
        watch.next().await.unwrap().unwrap().changes,
        [Change::Delete(Key::new("/svc/foo/a/1").unwrap())]
    );
}

#[tokio::test(start_paused = true)]
async fn nothing_can_be_registered() {
    let poller = Poller::new(Fake::default(), INTERVAL);
    let service = Service::new("k", "h:1").unwrap();
    assert!(matches!(
        poller.register(&service).await,
        Err(Error::Unsupported { .. })
    ));
    assert!(poller.deregister(&service).await.is_err());
    assert_eq!(poller.lease_id(), None);
}
