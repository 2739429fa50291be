//! What contenders needed, as a table.

use super::{contender::Side, megabytes, millis, server::Asked};
use crate::{
    statistics::Median,
    table::{Cell, Table},
};
use std::time::Duration;

/// What one contender needed for one piece of work.
#[derive(Debug, Clone, Copy)]
pub(super) struct Resources {
    pub(super) side: Side,
    pub(super) took: Duration,
    /// Its processor time.
    pub(super) cpu: Duration,
    pub(super) asked: Asked,
    /// The most memory that its process had.
    pub(super) peak: u64,
}

/// The medians of both sides, over all rounds.
pub(super) fn table(title: String, all: &[Resources]) -> Table {
    let columns = [
        ("", "side"),
        ("ms", "took_ms"),
        ("CPU ms", "cpu_ms"),
        ("KB received", "received_kb"),
        ("requests", "requests"),
        ("etcd's CPU ms", "etcd_cpu_ms"),
        ("peak MB", "peak_mb"),
    ];
    let mut table = Table::new(title, columns);
    for side in super::contender::SIDES {
        let median = |of: &dyn Fn(&Resources) -> f64| median(all, side, of);
        if median(&|it| millis(it.took)).is_nan() {
            continue;
        }
        table.row([
            Cell::Text(side.name().to_owned()),
            Cell::Number(median(&|it| millis(it.took)), 1),
            Cell::Number(median(&|it| millis(it.cpu)), 1),
            Cell::Number(median(&|it| it.asked.bytes as f64 / 1e3), 1),
            Cell::Number(median(&|it| it.asked.requests as f64), 0),
            Cell::Number(median(&|it| millis(it.asked.cpu)), 0),
            Cell::Number(median(&|it| megabytes(it.peak)), 1),
        ]);
    }
    table
}

/// The median of one side.
pub(super) fn median(all: &[Resources], side: Side, of: impl Fn(&Resources) -> f64) -> f64 {
    let of_side = all.iter().filter(|it| it.side == side);
    Median::of(of_side.map(of)).value
}
