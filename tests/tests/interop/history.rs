//! What a consumer has shown since it was started.

use sd_tests::{PATIENCE, eventually};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::time::Instant;

/// The instances that a consumer shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct View {
    /// In order. An address that is shown twice is there twice.
    pub(crate) addresses: Vec<String>,
    /// By address, where the consumer shows them.
    pub(crate) weights: BTreeMap<String, i64>,
}

impl View {
    pub(crate) fn shows(&self, address: &str) -> bool {
        self.addresses.iter().any(|shown| shown == address)
    }

    pub(crate) fn is_doubled(&self) -> bool {
        let different: BTreeSet<_> = self.addresses.iter().collect();
        different.len() != self.addresses.len()
    }
}

/// Every view of a consumer, with the time at which it came, and what went wrong. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct History(Arc<Mutex<Seen>>);

#[derive(Debug, Default)]
struct Seen {
    views: Vec<(Instant, View)>,
    errors: Vec<String>,
}

impl History {
    pub(crate) fn saw(&self, view: View) {
        let mut seen = self.lock();
        if seen.views.last().is_none_or(|(_, last)| *last != view) {
            seen.views.push((Instant::now(), view));
        }
    }

    pub(crate) fn failed(&self, error: String) {
        self.lock().errors.push(error);
    }

    pub(crate) fn last(&self) -> Option<View> {
        self.lock().views.last().map(|(_, view)| view.clone())
    }

    pub(crate) fn errors(&self) -> Vec<String> {
        self.lock().errors.clone()
    }

    /// Waits until the consumer shows what `accept` accepts. Returns when it began to show that.
    pub(crate) async fn until(&self, what: &str, accept: impl Fn(&View) -> bool) -> Instant {
        let last = || async { self.lock().views.last().cloned() };
        let is_there = |last: &Option<(Instant, View)>| {
            let last = last.as_ref();
            last.is_some_and(|(_, view)| accept(view))
        };
        // Twice, since the lease of a program that was killed may last for half a minute.
        let last = eventually(2 * PATIENCE, what, last, is_there).await;
        last.expect("it is there").0
    }

    /// Waits until the consumer shows these addresses, and no others.
    pub(crate) async fn until_exactly(&self, what: &str, addresses: &[&str]) -> Instant {
        let mut addresses = addresses.to_vec();
        addresses.sort_unstable();
        let what = format!("{what}: {addresses:?}");
        self.until(&what, |view| view.addresses == addresses).await
    }

    /// Checks every view from the first one on that was not empty.
    pub(crate) fn always(&self, what: &str, accept: impl Fn(&View) -> bool) {
        let seen = self.lock();
        let views = seen.views.iter().map(|(_, view)| view);
        let views = views.skip_while(|view| view.addresses.is_empty());
        for view in views {
            assert!(accept(view), "not always {what}: {view:?}");
        }
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
