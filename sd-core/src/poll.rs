//! Polling: discovery from what can only be listed.
//!
//! DNS and plain HTTP APIs answer what there is, not what changes. A [`Poller`] lists them again
//! and again and makes a [`Client`] of them, so that instancers and all that hangs on them need
//! not know.

use crate::{
    Batch, Change, Client, Deregistered, Entry, Error, Gap, Key, LeaseId, Prefix, Registration,
    Result, Revision, Service, Snapshot, Watch, WatchError,
};
use async_trait::async_trait;
use bytes::Bytes;
use futures::stream;
use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};
use tokio::time::{sleep, timeout};

/// Polls are this far apart at least,
const SHORTEST: Duration = Duration::from_millis(10);
/// and at most.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// What a backend that can only be listed has to offer.
#[async_trait]
pub trait Lister: Send + Sync + 'static {
    /// All that there is under `prefix`. What lies elsewhere is ignored; of several entries with
    /// one key the last counts.
    ///
    /// Must be cancellation safe: what takes too long is dropped.
    ///
    /// # Errors
    /// Whatever kept it from being listed. What [cannot pass](Error::is_transient) ends the watches
    /// of the poller. "There is nothing" is not an error but an empty list, and the other way
    /// round.
    async fn list(&self, prefix: &Prefix) -> Result<Vec<Entry>>;
}

/// A [`Client`] that polls a [`Lister`]: for discovery only, it cannot register.
///
/// The state that was listed travels in the [`Revision`], and a watch compares with it what it
/// lists next. So nothing is missed between a list and a watch, and the poller itself remembers
/// nothing. It runs no task either: a watch polls while it is polled, and dropping it is all there
/// is to stop.
///
/// What comes and goes between two polls is not seen. A list that fails or takes too long is
/// reported as [`Disrupted`](WatchError::Disrupted), once for several in a row, and the watch goes
/// on.
///
/// ```
/// use sd_core::{Entry, Error, Key, Lister, Poller, Prefix, Result, async_trait};
/// use std::{net::ToSocketAddrs, time::Duration};
///
/// /// All addresses of a host, each with the same port.
/// struct Dns {
///     port: u16,
/// }
///
/// #[async_trait]
/// impl Lister for Dns {
///     async fn list(&self, prefix: &Prefix) -> Result<Vec<Entry>> {
///         let host = prefix.as_str().trim_end_matches('/').to_owned();
///         let port = self.port;
///         let addresses = tokio::task::spawn_blocking(move || (host, port).to_socket_addrs())
///             .await
///             .map_err(|_| Error::Closed)?
///             .map_err(|error| Error::unavailable(error.to_string()))?;
///         addresses
///             .map(|address| {
///                 let key = Key::new(format!("{prefix}{address}"))?;
///                 Ok(Entry::new(key, address.to_string()))
///             })
///             .collect()
///     }
/// }
///
/// let client = Poller::new(Dns { port: 8080 }, Duration::from_secs(10));
/// let hello = Prefix::new("hello.internal")?;
/// // Instancer::new(client, hello) as with any other client.
/// # let _ = (client, hello);
/// # Ok::<(), sd_core::Invalid>(())
/// ```
pub struct Poller<L> {
    lister: Arc<L>,
    interval: Duration,
    timeout: Duration,
}

impl<L: Lister> Poller<L> {
    /// A client that lists every `interval`, up to a tenth sooner or later so that a fleet does not
    /// poll in step. Between 10 ms and a day.
    pub fn new(lister: L, interval: Duration) -> Self {
        Self {
            lister: Arc::new(lister),
            interval: interval.clamp(SHORTEST, LONGEST),
            timeout: Duration::from_secs(5),
        }
    }

    /// The same client with another limit to how long a list may take; 5 s by default.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }
}

#[async_trait]
impl<L: Lister> Client for Poller<L> {
    async fn get_entries(&self, prefix: &Prefix) -> Result<Snapshot> {
        let listed = list(&*self.lister, prefix, self.timeout).await?;
        let entries = listed
            .iter()
            .map(|(key, value)| Entry::new(key.clone(), value.clone()));
        Ok(Snapshot {
            entries: entries.collect(),
            revision: Listed::revision(prefix, &listed),
            skipped: 0,
        })
    }

    async fn watch_prefix(&self, prefix: &Prefix, after: &Revision) -> Result<Watch, WatchError> {
        let known = after
            .downcast_ref::<Listed>()
            .and_then(|listed| listed.under(prefix))
            .ok_or(WatchError::Gap(Gap::ForeignToken))?;
        let polling = Polling {
            lister: self.lister.clone(),
            prefix: prefix.clone(),
            interval: self.interval,
            timeout: self.timeout,
            known,
            disrupted: false,
        };
        Ok(Watch::new(stream::unfold(
            Some(polling),
            async |polling| match polling?.next().await {
                Polled::Batch(batch, polling) => Some((Ok(batch), Some(polling))),
                Polled::Disrupted(error, polling) => {
                    Some((Err(WatchError::Disrupted(error)), Some(polling)))
                }
                Polled::Interrupted(error) => Some((Err(WatchError::Interrupted(error)), None)),
            },
        )))
    }

    async fn register(&self, _: &Service) -> Result<Registration> {
        Err(Error::Unsupported {
            operation: "register",
        })
    }

    async fn deregister(&self, _: &Service) -> Result<Deregistered> {
        Err(Error::Unsupported {
            operation: "deregister",
        })
    }

    fn lease_id(&self) -> Option<LeaseId> {
        None
    }
}

impl<L> fmt::Debug for Poller<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Poller")
            .field("interval", &self.interval)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

type Entries = BTreeMap<Key, Bytes>;

/// The resume token: what was listed, and where.
#[derive(PartialEq, Eq)]
struct Listed {
    prefix: Prefix,
    entries: Arc<Entries>,
}

impl Listed {
    fn revision(prefix: &Prefix, entries: &Arc<Entries>) -> Revision {
        Revision::new(Self {
            prefix: prefix.clone(),
            entries: entries.clone(),
        })
    }

    /// What was listed under `prefix`; `None` if that was not listed, or not all of it.
    fn under(&self, prefix: &Prefix) -> Option<Arc<Entries>> {
        if *prefix == self.prefix {
            return Some(self.entries.clone());
        }
        self.prefix.matches(prefix.as_str()).then(|| {
            let entries = self.entries.iter().filter(|(key, _)| prefix.matches(key));
            Arc::new(
                entries
                    .map(|(key, value)| (key.clone(), value.clone()))
                    .collect(),
            )
        })
    }
}

/// Revisions are logged, and the entries may be many.
impl fmt::Debug for Listed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Listed({} entries under {})",
            self.entries.len(),
            self.prefix
        )
    }
}

/// One watch.
struct Polling<L> {
    lister: Arc<L>,
    prefix: Prefix,
    interval: Duration,
    timeout: Duration,
    known: Arc<Entries>,
    disrupted: bool,
}

/// What a poll brought, and with what to go on.
enum Polled<L> {
    Batch(Batch, Polling<L>),
    Disrupted(Error, Polling<L>),
    Interrupted(Error),
}

impl<L: Lister> Polling<L> {
    /// Polls until there is something to say.
    async fn next(mut self) -> Polled<L> {
        loop {
            sleep(self.interval.mul_f64(0.9 + 0.2 * fastrand::f64())).await;
            match list(&*self.lister, &self.prefix, self.timeout).await {
                Ok(listed) => {
                    let changes = changes(&self.known, &listed);
                    let recovered = std::mem::take(&mut self.disrupted);
                    if !changes.is_empty() || recovered {
                        let batch = Batch::new(changes, Listed::revision(&self.prefix, &listed));
                        self.known = listed;
                        return Polled::Batch(batch, self);
                    }
                }
                Err(error) if !error.is_transient() => return Polled::Interrupted(error),
                Err(error) => {
                    if !std::mem::replace(&mut self.disrupted, true) {
                        return Polled::Disrupted(error, self);
                    }
                }
            }
        }
    }
}

async fn list(lister: &impl Lister, prefix: &Prefix, limit: Duration) -> Result<Arc<Entries>> {
    let listed = timeout(limit, lister.list(prefix)).await;
    let entries = listed.unwrap_or(Err(Error::Timeout {
        operation: "list",
        after: limit,
    }))?;
    let entries = entries
        .into_iter()
        .filter(|entry| prefix.matches(&entry.key));
    Ok(Arc::new(
        entries.map(|entry| (entry.key, entry.value)).collect(),
    ))
}

/// What leads from `old` to `new`.
fn changes(old: &Entries, new: &Entries) -> Vec<Change> {
    let deleted = old.keys().filter(|key| !new.contains_key(*key));
    let put = new
        .iter()
        .filter(|(key, value)| old.get(*key) != Some(*value));
    deleted
        .map(|key| Change::Delete(key.clone()))
        .chain(put.map(|(key, value)| Change::Put(Entry::new(key.clone(), value.clone()))))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::properties::cases;
    use futures::StreamExt;
    use proptest::prelude::*;
    use std::sync::Mutex;
    use tokio::time::Instant;

    const INTERVAL: Duration = Duration::from_secs(10);

    /// What a list answers, and how often it was asked for.
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

    /// Nothing is heard of the watch for a while.
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

    #[tokio::test(start_paused = true)]
    async fn polls_do_not_keep_step() {
        let (fake, _, mut watch) = watching(&[("/svc/foo/a", "1")]).await;
        assert!(is_silent(&mut watch).await);
        let polls = fake.polls();
        let gaps: Vec<_> = polls.windows(2).map(|pair| pair[1] - pair[0]).collect();
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

    fn listed() -> impl Strategy<Value = Entries> {
        let key = prop::sample::select(vec!["/a/1", "/a/2", "/a/b/1", "/a/b/2", "/ab/1"]);
        let key = key.prop_map(|key| Key::new(key).unwrap());
        let value = (0..3_u8).prop_map(|value| Bytes::from(vec![value]));
        prop::collection::btree_map(key, value, 0..5)
    }

    fn apply(entries: &mut Entries, changes: &[Change]) {
        for change in changes {
            match change {
                Change::Put(entry) => entries.insert(entry.key.clone(), entry.value.clone()),
                Change::Delete(key) => entries.remove(key),
            };
        }
    }

    proptest! {
        #![proptest_config(cases(1))]

        #[test]
        fn the_changes_lead_from_what_was_known_to_what_is_listed(
            old in listed(),
            new in listed(),
        ) {
            let changes = changes(&old, &new);
            for change in &changes {
                prop_assert_ne!(old.get(change.key()), new.get(change.key()));
            }
            let mut changed: Vec<_> = changes.iter().map(Change::key).collect();
            changed.sort();
            changed.dedup();
            prop_assert_eq!(changed.len(), changes.len(), "a key that changes twice");
            let mut entries = old;
            apply(&mut entries, &changes);
            prop_assert_eq!(entries, new);
        }

        #[test]
        fn a_token_speaks_for_what_lies_under_its_prefix(
            entries in listed(),
            listed in prop::sample::select(vec!["/a", "/a/b", "/"]),
            asked in prop::sample::select(vec!["/a", "/a/b", "/"]),
        ) {
            let (listed, asked) = (Prefix::new(listed).unwrap(), Prefix::new(asked).unwrap());
            let under = |prefix: &Prefix| -> Entries {
                let entries = entries.iter().filter(|(key, _)| prefix.matches(key));
                entries.map(|(key, value)| (key.clone(), value.clone())).collect()
            };
            let token = Listed::revision(&listed, &Arc::new(under(&listed)));
            let token = token.downcast_ref::<Listed>().unwrap();
            let is_within = listed.matches(asked.as_str());
            let known = token.under(&asked).map(|known| (*known).clone());
            prop_assert_eq!(known, is_within.then(|| under(&asked)));
        }
    }
}
