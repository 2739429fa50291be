//! Compares the log and the metrics of a test with the document.

use crate::{
    document::{Meter, Row, is},
    meters::Meters,
};
use sd_tests::{Log, PATIENCE, eventually};
use std::collections::BTreeMap;
use tracing::Level;

/// How often a line may occur for one fault: once for each of two connections of two clients.
const MOST_LINES: usize = 4;

/// The log and the metrics of this thread, as an operator sees them.
pub(crate) struct Monitor {
    pub(crate) log: Log,
    pub(crate) meters: Meters,
    _metering: metrics::LocalRecorderGuard<'static>,
}

impl Monitor {
    pub(crate) fn start() -> Self {
        let (log, meters) = (Log::capture(), Meters::default());
        let recorder: &'static Meters = Box::leak(Box::new(meters.clone()));
        Self {
            _metering: metrics::set_default_local_recorder(recorder),
            log,
            meters,
        }
    }

    /// Forgets what was seen so far: what follows belongs to the next fault.
    pub(crate) fn reset(&self) {
        self.log.clear();
        self.meters.reset();
    }

    /// Waits until everything in the row of `fault` was seen. Other warnings must be in the
    /// document too, and no line may be repeated too often.
    pub(crate) async fn shows(&self, fault: &str) {
        self.shows_up_to(MOST_LINES, fault).await;
    }

    /// The same where a line may be there `most` times.
    pub(crate) async fn shows_up_to(&self, most: usize, fault: &str) {
        let rows = Row::all();
        let row = Row::of(fault);
        let missing = || async {
            let seen = self.log.lines();
            let lines = row.lines.iter();
            let lines = lines.filter(|it| !seen.iter().any(|line| is(line, it)));
            let meters = row.meters.iter().filter(|it| !self.meters.moved(it));
            let lines: Vec<_> = lines.map(|it| it.message.clone()).collect();
            (lines, meters.cloned().collect::<Vec<_>>())
        };
        let none =
            |(lines, meters): &(Vec<String>, Vec<Meter>)| lines.is_empty() && meters.is_empty();
        eventually(PATIENCE, &format!("the signs of {fault:?}"), missing, none).await;

        let mut said = BTreeMap::new();
        for line in self.log.lines() {
            if line.level > Level::WARN {
                continue;
            }
            let mut documented = rows.iter().flat_map(|row| &row.lines);
            assert!(
                documented.any(|it| is(&line, it)),
                "{line:?} is not documented"
            );
            let times = said.entry(line.message.clone()).or_insert(0);
            *times += 1;
            assert!(*times <= most, "{line:?} is said again and again");
        }
    }
}
