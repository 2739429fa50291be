//! A table derived from a table: the part that all adapters share.

use super::{
    endpoint::Endpoint,
    endpoint_source::EndpointSource,
    endpoint_table::{EndpointTable, Endpoints, TableContents, TableRef},
    no_endpoints::NoEndpoints,
    rebuild_pace::RebuildPace,
};
use crate::{
    instances::Trouble,
    support::{BackgroundTask, Panicked, Work},
};
use std::sync::Arc;
use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep_until},
};

/// How an adapter derives its table. A state machine without I/O.
pub(super) trait Derive<E>: Send + 'static {
    /// What the log calls the adapter's task.
    const NAME: &'static str;

    /// Derives a table from `endpoints`, in their order, and says when to derive it again although
    /// nothing else has changed: later than `now`. Called for each new version of the source's
    /// table, at the time that was returned, and after a [nudge](Nudge). Versions that follow each
    /// other quickly may be skipped, but never the newest.
    ///
    /// An endpoint that is derived from another one ([`Endpoint::observed_by`] and others) should
    /// be the same `Arc` as before while the other one is: a table that did not change is not
    /// published. [`DerivedEndpoints`] does that.
    fn derive(
        &mut self,
        endpoints: &Endpoints<E>,
        now: Instant,
    ) -> (TableContents<E>, Option<Instant>);

    /// Nothing is derived any more. For adapters that have other tables beside: those that are
    /// empty should say `why`.
    fn ended(&mut self, why: &NoEndpoints) {
        let _ = why;
    }
}

/// Asks an adapter's task to derive its table again, since the adapter learned something by itself.
#[derive(Debug, Clone, Default)]
pub(super) struct Nudge(Arc<Notify>);

impl Nudge {
    pub(super) fn derive_again(&self) {
        self.0.notify_one();
    }

    /// Waits until it was asked since the last time. Cancellation safe.
    pub(super) async fn nudged(&self) {
        self.0.notified().await;
    }
}

/// An endpoint source with the table that a [`Derive`] derives from another source's. Its task ends
/// with it, or when `derive` panics. The last table stays then; if it is empty, it says that it is
/// the last.
pub(super) struct DerivedSource<S: EndpointSource> {
    source: Arc<S>,
    table: Arc<EndpointTable<S::Target>>,
    task: BackgroundTask,
}

impl<S: EndpointSource> DerivedSource<S> {
    /// Derives the first table, and starts the task that derives later ones.
    ///
    /// # Panics
    /// Outside of a tokio runtime, as `tokio::spawn` does.
    pub(super) fn spawn(source: S, derive: impl Derive<S::Target>, nudge: Nudge) -> Self {
        let source = Arc::new(source);
        let table = Arc::new(EndpointTable::new());
        let mut task = DeriveTask {
            versions: source.versions(),
            source: source.clone(),
            derive,
            nudge,
            table: table.clone(),
            derive_at: None,
            pace: RebuildPace::new(Instant::now()),
            failure: None,
        };
        task.derive();
        Self {
            source,
            table,
            task: BackgroundTask::spawn(task),
        }
    }

    pub(super) fn table(&self) -> &Arc<EndpointTable<S::Target>> {
        &self.table
    }

    /// The source that the table is derived from.
    pub(super) fn source(&self) -> &S {
        &self.source
    }

    /// Stops the task and waits for its end. The table stays as it is.
    pub(super) async fn stop(&self) {
        self.task.stop().await;
    }
}

impl<S: EndpointSource> EndpointSource for DerivedSource<S> {
    type Target = S::Target;

    #[inline]
    fn endpoints(&self) -> Endpoints<S::Target> {
        self.table.load()
    }

    #[inline]
    fn table_ref(&self) -> Option<TableRef<'_, S::Target>> {
        Some(self.table.table_ref())
    }

    fn versions(&self) -> watch::Receiver<u64> {
        self.table.versions()
    }
}

struct DeriveTask<S: EndpointSource, D: Derive<S::Target>> {
    source: Arc<S>,
    versions: watch::Receiver<u64>,
    derive: D,
    nudge: Nudge,
    table: Arc<EndpointTable<S::Target>>,
    /// When to derive the table again although nothing has changed.
    derive_at: Option<Instant>,
    pace: RebuildPace,
    /// Why the task has ended. `None` if it was stopped.
    failure: Option<Trouble>,
}

impl<S: EndpointSource, D: Derive<S::Target>> DeriveTask<S, D> {
    fn derive(&mut self) {
        let now = Instant::now();
        // Before the table is read: a change in between is derived again.
        self.versions.borrow_and_update();
        let (contents, again) = self.derive.derive(&self.source.endpoints(), now);
        self.table.set(contents);
        self.derive_at = again;
        self.pace.built(now, Instant::now());
    }
}

impl<S: EndpointSource, D: Derive<S::Target>> Work for DeriveTask<S, D> {
    const NAME: &'static str = D::NAME;

    async fn run(&mut self) {
        let mut is_source_open = true;
        loop {
            let derive_at = self.derive_at;
            tokio::select! {
                changed = self.versions.changed(), if is_source_open => {
                    is_source_open = changed.is_ok();
                }
                () = self.nudge.nudged() => {}
                () = sleep_until(derive_at.unwrap_or_else(Instant::now)), if derive_at.is_some() => {}
            }
            let pause_until = self.pace.next();
            if pause_until > Instant::now() {
                sleep_until(pause_until).await;
            }
            self.derive();
        }
    }

    fn panicked(&mut self, why: Panicked) {
        self.failure = Some(Trouble::Panicked { message: why.0 });
    }
}

/// However the task ends, the last endpoints stay, and a table without any says that there will be
/// none.
impl<S: EndpointSource, D: Derive<S::Target>> Drop for DeriveTask<S, D> {
    fn drop(&mut self) {
        let why = self.failure.take().unwrap_or(Trouble::Stopped);
        let why = NoEndpoints::Ended { why: Arc::new(why) };
        if self.table.load().is_empty() {
            self.table.set(TableContents::none(why.clone()));
        }
        self.derive.ended(&why);
    }
}

/// The endpoints that an adapter derived from others, so that one whose origin did not change
/// remains the same `Arc`.
pub(super) struct DerivedEndpoints<E> {
    /// In the order of their keys.
    known: Vec<OriginAndDerived<E>>,
}

type OriginAndDerived<E> = (Arc<Endpoint<E>>, Arc<Endpoint<E>>);

impl<E> DerivedEndpoints<E> {
    pub(super) fn new() -> Self {
        Self { known: Vec::new() }
    }

    /// The endpoint derived from each of `origins`, which are in the order of their identities. Calls
    /// `derive` for those that are new.
    pub(super) fn derive(
        &mut self,
        origins: &[Arc<Endpoint<E>>],
        mut derive: impl FnMut(&Arc<Endpoint<E>>) -> Arc<Endpoint<E>>,
    ) -> impl Iterator<Item = &Arc<Endpoint<E>>> {
        let mut known = std::mem::take(&mut self.known).into_iter().peekable();
        self.known.reserve_exact(origins.len());
        for origin in origins {
            while known
                .next_if(|(old, _)| old.place() < origin.place())
                .is_some()
            {}
            let derived = match known.next_if(|(old, _)| Arc::ptr_eq(old, origin)) {
                Some((_, derived)) => derived,
                None => derive(origin),
            };
            self.known.push((origin.clone(), derived));
        }
        self.known.iter().map(|(_, derived)| derived)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        calls::endpointer::FixedEndpointer, instances::Instance, registry::Key, support::Log,
    };
    use std::{
        sync::{
            Mutex,
            atomic::{AtomicU32, Ordering},
        },
        time::Duration,
    };

    fn endpoint(name: &str, weight: u32) -> Endpoint<()> {
        let instance = Instance::new(Key::new(name).unwrap(), name).with_weight(weight);
        Endpoint::new(instance, ())
    }

    /// Keeps the endpoints of at least a weight, which grows each second.
    struct AtLeast(Arc<AtomicU32>, Instant);

    impl Derive<()> for AtLeast {
        const NAME: &'static str = "at_least";

        fn derive(
            &mut self,
            endpoints: &Endpoints<()>,
            now: Instant,
        ) -> (TableContents<()>, Option<Instant>) {
            let least = self.0.load(Ordering::Relaxed) + (now - self.1).as_secs() as u32;
            let heavy = endpoints.iter().filter(|one| one.weight() >= least);
            let heavy: Vec<_> = heavy.cloned().collect();
            let again = now + Duration::from_secs(1);
            (
                TableContents::new(heavy, || NoEndpoints::Empty),
                Some(again),
            )
        }
    }

    async fn next(source: &impl EndpointSource) -> Vec<String> {
        let mut versions = source.versions();
        let seen = source.endpoints().version();
        versions.wait_for(|version| *version > seen).await.unwrap();
        keys(source)
    }

    fn keys(source: &impl EndpointSource) -> Vec<String> {
        let endpoints = source.endpoints();
        endpoints.iter().map(|one| one.key().to_string()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_derived_table_follows_its_source_time_and_what_its_adapter_learns() {
        let source = Arc::new(FixedEndpointer::new([endpoint("a", 1), endpoint("b", 2)]));
        let least = Arc::new(AtomicU32::new(0));
        let nudge = Nudge::default();
        let derive = AtLeast(least.clone(), Instant::now());
        let derived = DerivedSource::spawn(source.clone(), derive, nudge.clone());
        assert_eq!(keys(&derived), ["a", "b"], "from the start");
        source.set([endpoint("a", 1), endpoint("b", 2), endpoint("c", 9)]);
        assert_eq!(next(&derived).await, ["a", "b", "c"]);
        least.store(1, Ordering::Relaxed);
        let begun = Instant::now();
        assert_eq!(next(&derived).await, ["b", "c"], "by time");
        assert_eq!(begun.elapsed().as_secs(), 1);
        least.store(7, Ordering::Relaxed);
        nudge.derive_again();
        assert_eq!(next(&derived).await, ["c"], "by a nudge");
        assert_eq!(begun.elapsed().as_secs(), 1);
        derived.stop().await;
        source.set([]);
        assert_eq!(keys(&derived), ["c"]);
    }

    #[tokio::test(start_paused = true)]
    async fn the_task_ends_with_its_owner() {
        let source = Arc::new(FixedEndpointer::new([endpoint("a", 1)]));
        let derive = AtLeast(Arc::default(), Instant::now());
        let derived = DerivedSource::spawn(source.clone(), derive, Nudge::default());
        drop(derived);
        while Arc::strong_count(&source) > 1 {
            tokio::task::yield_now().await;
        }
    }

    /// Derives the same table, and panics when it has an endpoint.
    struct Faulty;

    impl Derive<()> for Faulty {
        const NAME: &'static str = "faulty";

        fn derive(
            &mut self,
            endpoints: &Endpoints<()>,
            _: Instant,
        ) -> (TableContents<()>, Option<Instant>) {
            assert!(endpoints.is_empty(), "a bug");
            (TableContents::selected(endpoints, []), None)
        }
    }

    async fn ends(source: &impl EndpointSource) -> String {
        let mut versions = source.versions();
        loop {
            if let Err(NoEndpoints::Ended { why }) = source.endpoints().non_empty() {
                return why.to_string();
            }
            versions.changed().await.unwrap();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_empty_table_says_that_it_is_the_last() {
        let source = Arc::new(FixedEndpointer::new([]));
        let stopped = DerivedSource::spawn(source.clone(), Faulty, Nudge::default());
        let none = stopped.endpoints().non_empty().err();
        assert!(matches!(none, Some(NoEndpoints::Empty)));
        stopped.stop().await;
        assert_eq!(ends(&stopped).await, Trouble::Stopped.to_string());

        let log = Log::capture();
        let panicked = DerivedSource::spawn(source.clone(), Faulty, Nudge::default());
        source.set([endpoint("a", 1)]);
        assert_eq!(ends(&panicked).await, "panicked: a bug");
        let line = "ERROR a background task has ended task=\"faulty\" why=panicked: a bug";
        assert_eq!(log.text(), [line]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_while_the_table_is_derived_is_derived_too() {
        /// Changes right after it was read.
        struct Racing(FixedEndpointer<()>, Mutex<Vec<Endpoint<()>>>);
        impl EndpointSource for Racing {
            type Target = ();
            fn endpoints(&self) -> Endpoints<()> {
                let endpoints = self.0.endpoints();
                if let Some(next) = self.1.lock().unwrap().pop() {
                    self.0.set([next]);
                }
                endpoints
            }
            fn versions(&self) -> watch::Receiver<u64> {
                self.0.versions()
            }
        }
        let later = ["c", "b"].map(|name| endpoint(name, 9));
        let source = Racing(FixedEndpointer::new([]), Mutex::new(later.into()));
        let derive = AtLeast(Arc::default(), Instant::now());
        let derived = DerivedSource::spawn(source, derive, Nudge::default());
        let begun = Instant::now();
        assert_eq!(next(&derived).await, ["c"]);
        assert_eq!(begun.elapsed(), Duration::ZERO, "not by time");
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_table_of_a_source_is_derived() {
        /// Loses its channel, as a source does whose own task has ended.
        struct Ending(FixedEndpointer<()>, Mutex<Option<watch::Sender<u64>>>);
        impl EndpointSource for Ending {
            type Target = ();
            fn endpoints(&self) -> Endpoints<()> {
                self.0.endpoints()
            }
            fn versions(&self) -> watch::Receiver<u64> {
                let sender = self.1.lock().unwrap();
                sender.as_ref().unwrap().subscribe()
            }
        }
        let sender = Mutex::new(Some(watch::Sender::new(0)));
        let source = Arc::new(Ending(FixedEndpointer::new([]), sender));
        let least = Arc::new(AtomicU32::new(0));
        let (nudge, derive) = (Nudge::default(), AtLeast(least.clone(), Instant::now()));
        let derived = DerivedSource::spawn(source.clone(), derive, nudge.clone());
        source.0.set([endpoint("a", 1), endpoint("b", 9)]);
        source.1.lock().unwrap().take();
        assert_eq!(next(&derived).await, ["a", "b"]);
        assert_eq!(next(&derived).await, ["b"], "by time, still");
        least.store(10, Ordering::Relaxed);
        nudge.derive_again();
        assert_eq!(next(&derived).await, [""; 0], "by a nudge, still");
    }

    #[test]
    fn what_did_not_change_is_the_same_endpoint() {
        let mut derived = DerivedEndpoints::new();
        let origins = ["a", "b", "d"].map(|name| Arc::new(endpoint(name, 1)));
        let copy = |origin: &Arc<Endpoint<()>>| Arc::new((**origin).clone());
        let before: Vec<_> = derived.derive(&origins, copy).cloned().collect();
        let [a, b, d] = origins;
        let origins = [a, Arc::new((*b).clone()), Arc::new(endpoint("c", 1)), d];
        let after: Vec<_> = derived.derive(&origins, copy).cloned().collect();
        let same = |n: usize, m: usize| Arc::ptr_eq(&before[n], &after[m]);
        assert!(same(0, 0) && !same(1, 1) && same(2, 3));
        assert_eq!(derived.derive(&[], copy).count(), 0);
    }
}
