//! What an instancer takes in memory at its limits: `docs/hostile.md`, row 4. In a program of its own, since
//! it counts what all threads allocate.

use async_trait::async_trait;
use futures::{StreamExt, stream};
use peak_alloc::PeakAlloc;
use sd_core::{
    Batch, Change, Client, Codec, DefaultCodec, Deregistered, Entry, Error, Instancer, Key,
    LeaseId, Prefix, PrefixLimits, Registration, Result, Revision, Service, Snapshot, Watch,
    WatchError,
};
use sd_tests::{PATIENCE, eventually};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::time::sleep;

#[global_allocator]
static ALLOCATED: PeakAlloc = PeakAlloc;

/// The limit of all instances.
const BYTES: usize = 4 << 20;
/// How often every instance is overwritten.
const ROUNDS: usize = 3;
/// How many changes come at once.
const AT_ONCE: usize = 20;
/// What a batch takes, and what has changed since the last event.
const SLACK: usize = 1 << 20;

/// How many entries there are, and what one is in a round.
#[derive(Clone, Copy)]
struct Shape {
    name: &'static str,
    count: usize,
    value: fn(usize, usize) -> String,
}

/// Each has twice as much as is kept.
const SHAPES: [Shape; 3] = [
    Shape {
        name: "many small instances",
        count: 2 * BYTES / 290,
        value: |n, round| format!("10.{round}.{}.{}:8080", n / 256, n % 256),
    },
    Shape {
        name: "small values that become large",
        count: 2 * BYTES / (290 + 100 * 6),
        value: |n, round| {
            let pieces = (0..100).map(|piece| format!(r#""{piece}":"{round}""#));
            let pieces: Vec<_> = pieces.collect();
            let pieces = pieces.join(",");
            format!(
                r#"{{"address":"10.0.0.1:{}","metadata":{{{pieces}}}}}"#,
                n + 1
            )
        },
    },
    Shape {
        name: "large values",
        count: 2 * BYTES / 10_400,
        value: |n, round| {
            let piece = format!("{round}").repeat(10_000);
            format!(
                r#"{{"address":"10.0.0.1:{}","metadata":{{"m":"{piece}"}}}}"#,
                n + 1
            )
        },
    },
];

impl Shape {
    fn entry(self, n: usize, round: usize) -> Entry {
        let key = Key::new(format!("/svc/{n:06}")).unwrap();
        Entry::new(key, (self.value)(n, round))
    }
}

/// A registry that holds nothing: what it tells is made when it is asked.
struct Made {
    shape: Shape,
    /// How many rounds the watch may tell.
    rounds: Arc<AtomicUsize>,
}

#[async_trait]
impl Client for Made {
    async fn get_entries(&self, _: &Prefix) -> Result<Snapshot> {
        let entries = (0..self.shape.count).map(|n| self.shape.entry(n, 0));
        Ok(Snapshot::new(entries.collect(), Revision::new(1_u64)))
    }

    async fn watch_prefix(&self, _: &Prefix, _: &Revision) -> Result<Watch, WatchError> {
        let (shape, allowed) = (self.shape, self.rounds.clone());
        let begins = stream::iter([Ok(Batch::new(Vec::new(), Revision::new(1_u64)))]);
        let batches = (1..=ROUNDS).flat_map(move |round| {
            let starts = (0..shape.count).step_by(AT_ONCE);
            starts.map(move |start| (round, start))
        });
        let batches = stream::iter(batches).then(move |(round, start)| {
            let allowed = allowed.clone();
            async move {
                while allowed.load(Ordering::Relaxed) < round {
                    sleep(Duration::from_millis(1)).await;
                }
                let end = shape.count.min(start + AT_ONCE);
                let changes = (start..end).map(|n| Change::Put(shape.entry(n, round)));
                Ok(Batch::new(changes.collect(), Revision::new(2_u64)))
            }
        });
        let goes_on = stream::pending();
        Ok(Watch::new(begins.chain(batches.boxed()).chain(goes_on)))
    }

    async fn register(&self, _: &Service) -> Result<Registration> {
        Err(Error::unsupported("register"))
    }

    async fn deregister(&self, _: &Service) -> Result<Deregistered> {
        Err(Error::unsupported("deregister"))
    }

    fn lease_id(&self) -> Option<LeaseId> {
        None
    }
}

/// Hostile row 4: an instancer whose prefix is filled takes what the limit says, and twice as much while a
/// subscriber holds an older state and everything is overwritten.
///
/// On paused time, so that a busy machine does not take so long that the prefix is listed again: what a client needs for
/// that comes on top.
#[tokio::test(start_paused = true)]
async fn an_instancer_takes_twice_its_limit_at_most() {
    for shape in SHAPES {
        let name = shape.name;
        let base = ALLOCATED.current_usage();
        let rounds = Arc::new(AtomicUsize::new(0));
        let client = Made {
            shape,
            rounds: rounds.clone(),
        };
        let instancer = Instancer::builder(client, Prefix::new("/svc").unwrap())
            .limits(PrefixLimits::default().bytes(BYTES))
            .build();
        instancer.ready().await.unwrap();
        let held = instancer.state().unwrap();
        let shown = held.instances().len();
        assert!((10..shape.count).contains(&shown), "{name}: {shown}");
        let full = ALLOCATED.current_usage() - base;

        ALLOCATED.reset_peak_usage();
        for round in 1..=ROUNDS {
            rounds.store(round, Ordering::Relaxed);
            let last = shape.entry(shown - 1, round);
            let last = DefaultCodec
                .decode(&last)
                .unwrap()
                .into_iter()
                .next()
                .unwrap();
            let newest = async || {
                let state = instancer.state().unwrap();
                let shown = state.instances().get(last.key());
                shown.is_some_and(|shown| **shown == last)
            };
            eventually(PATIENCE, name, newest, |it| *it).await;
        }
        let peak = ALLOCATED.peak_usage() - base;

        println!("{name}: {shown} take {full} bytes, {peak} while all are overwritten");
        assert!(full <= BYTES + SLACK, "{name}: {full} bytes");
        assert!(
            full >= BYTES / 2,
            "{name}: the limit is no use at {full} bytes"
        );
        assert!(peak <= 2 * BYTES + SLACK, "{name}: {peak} bytes");
        drop((held, instancer));
        sleep(Duration::from_millis(10)).await;
    }
}
