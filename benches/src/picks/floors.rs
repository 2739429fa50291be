//! Floors: the least that a pick has to do.
//!
//! It loads the current table, chooses an index, and clones the `Arc` of an endpoint, which is
//! dropped after the call. A pick that measures the latency also reads the clock, before and after
//! the call. What remains above the floor is what a balancer costs.

use super::candidate::{Candidate, Floor, Kind, Picks, Source};
use arc_swap::ArcSwap;
use sd_core::{Endpoint, EndpointSource};
use std::{hint::black_box, sync::Arc};
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
