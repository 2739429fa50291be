//! Floors: the least that a pick has to do.
//!
//! It loads the current table, chooses an index, and clones the `Arc` of an endpoint, which is
//! dropped after the call. A pick that measures the latency also reads the clock, before and after
//! the call. What remains above the floor is what a balancer costs.
//!
//! The atomic steps alone show what no pick can go below that protects the table and holds its endpoint: words that
//! nobody else touches.

use super::candidate::{Candidate, Floor, Kind, Picks, Source};
use arc_swap::ArcSwap;
use sd_core::{Endpoint, EndpointSource};
use std::{
    hint::black_box,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};
use tokio::time::Instant;

pub(super) const COUNTER: Candidate = Candidate {
    name: "floor: counter",
    kind: Kind::Floor(Floor::Counter),
    prepare: |source| {
        let table = table(&source);
        Box::new(move || {
            let table = table.clone();
            let mut count = 0;
            Box::new(move |times| {
                for _ in 0..times {
                    count += 1;
                    let count = count;
                    pick(&table, |endpoints| count % endpoints);
                }
            })
        })
    },
};

pub(super) const DRAW: Candidate = Candidate {
    name: "floor: draw",
    kind: Kind::Floor(Floor::Draw),
    prepare: |source| -> Picks {
        let table = table(&source);
        Box::new(move || {
            let table = table.clone();
            Box::new(move |times| {
                for _ in 0..times {
                    pick(&table, |endpoints| fastrand::usize(..endpoints));
                }
            })
        })
    },
};

pub(super) const DRAW_AND_CLOCK: Candidate = Candidate {
    name: "floor: draw, clock twice",
    kind: Kind::Floor(Floor::DrawAndClock),
    prepare: |source| -> Picks {
        let table = table(&source);
        Box::new(move || {
            let table = table.clone();
            Box::new(move |times| {
                for _ in 0..times {
                    let picked_at = black_box(Instant::now());
                    pick(&table, |endpoints| fastrand::usize(..endpoints));
                    black_box(picked_at.elapsed());
                }
            })
        })
    },
};

pub(super) const ATOMIC_STEPS: Candidate = Candidate {
    name: "three atomic steps alone",
    kind: Kind::Floor(Floor::AtomicSteps),
    prepare: |_| {
        Box::new(|| {
            let [table, endpoint] = [(); 2].map(|()| AtomicUsize::new(1));
            Box::new(move |times| {
                for _ in 0..times {
                    // The table is taken, and given back with a plain store; the endpoint is counted twice.
                    black_box(&table).swap(0, Ordering::Acquire);
                    black_box(&endpoint).fetch_add(1, Ordering::Relaxed);
                    black_box(&table).store(1, Ordering::Release);
                    black_box(&endpoint).fetch_sub(1, Ordering::Release);
                }
            })
        })
    },
};

type Table = Arc<ArcSwap<Vec<Arc<Endpoint<usize>>>>>;

fn table(source: &Source) -> Table {
    Arc::new(ArcSwap::from_pointee(source.endpoints().to_vec()))
}

#[inline]
fn pick(table: &Table, choose: impl FnOnce(usize) -> usize) {
    let endpoints = black_box(table).load();
    let picked = endpoints[choose(endpoints.len())].clone();
    drop(endpoints);
    black_box(picked.target());
}
