//! The history of a registry: the changes of each revision, as far back as it is kept. No I/O, no
//! clock.

use sd_core::{Change, Gap, Prefix, Revision};
use std::{
    collections::VecDeque,
    sync::atomic::{AtomicU64, Ordering},
};

/// How many revisions an open watch may lag behind a compaction. etcd has already sent it those
/// changes, into a buffer of about this size.
const BACKLOG: usize = 1024;

/// How many changes fill a batch. The changes of one revision stay together, however many they are.
const BATCH: usize = 1024;

/// The next id of a history, unique among all registries of this process.
static HISTORIES: AtomicU64 = AtomicU64::new(1);

/// The changes since the last compaction, one record for each revision.
#[derive(Debug)]
pub(crate) struct History {
    id: u64,
    revision: u64,
    /// No new watch can start before this revision.
    compacted: u64,
    /// Up to this revision, nothing is left even for open watches.
    forgotten: u64,
    /// The records of the revisions after `forgotten`.
    records: VecDeque<Vec<Change>>,
    /// How many records are kept if nobody compacts.
    capacity: usize,
    /// Whether the revisions of other histories count as compacted.
    is_bumped: bool,
}

/// The token inside of a [`Revision`].
#[derive(Debug, PartialEq, Eq)]
struct Position {
    history: u64,
    revision: u64,
}

/// The changes that a watch has not read yet, or the first of them.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Missed {
    /// The changes under its prefix.
    pub(crate) changes: Vec<Change>,
    /// The revision after these changes. There may be later ones.
    pub(crate) upto: u64,
}

impl History {
    /// A history without changes, at revision 1 like a new etcd.
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            id: HISTORIES.fetch_add(1, Ordering::Relaxed),
            revision: 1,
            compacted: 0,
            forgotten: 1,
            records: VecDeque::new(),
            capacity,
            is_bumped: false,
        }
    }

    /// The history of a registry that is restored to `revision`. If its counter is bumped, it goes
    /// on from this one's newest revision, and the revisions before are compacted.
    pub(crate) fn restored(&self, revision: u64, is_bumped: bool) -> Self {
        let revision = match is_bumped {
            true => revision.max(self.revision) + 1,
            false => revision,
        };
        Self {
            revision,
            forgotten: revision,
            is_bumped,
            ..Self::new(self.capacity)
        }
    }

    /// A number that is unique to this history.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// The newest revision.
    pub(crate) fn revision(&self) -> u64 {
        self.revision
    }

    /// The oldest revision after which a new watch can begin.
    pub(crate) fn compacted(&self) -> u64 {
        self.compacted
    }

    /// How many records are kept at most.
    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    /// Adds a revision with all of `changes`, and returns it.
    pub(crate) fn record(&mut self, changes: Vec<Change>) -> u64 {
        self.revision += 1;
        self.records.push_back(changes);
        self.keep(self.capacity);
        self.revision
    }

    /// Drops the history up to the current revision.
    pub(crate) fn compact(&mut self) {
        self.compacted = self.revision;
        self.keep(BACKLOG.min(self.capacity));
    }

    /// The resume token of `revision`.
    pub(crate) fn token(&self, revision: u64) -> Revision {
        Revision::new(Position {
            history: self.id,
            revision,
        })
    }

    /// The revision in a resume token, if a watch can resume from it.
    pub(crate) fn locate(&self, token: &Revision) -> Result<u64, Gap> {
        let position: &Position = token.downcast_ref().ok_or(Gap::ForeignToken)?;
        if position.history != self.id && self.is_bumped {
            return Err(Gap::Compacted);
        }
        if position.history != self.id {
            return Err(Gap::Rebuilt(format!(
                "history {} is now {}",
                position.history, self.id
            )));
        }
        if position.revision < self.compacted {
            return Err(Gap::Compacted);
        }
        Ok(position.revision)
    }

    /// The changes under `prefix` after the revision `after` up to `last`, or as many as fit into a
    /// batch. `None` if they are no longer kept. Never splits a revision.
    pub(crate) fn missed(&self, after: u64, last: u64, prefix: &Prefix) -> Option<Missed> {
        let mut changes = Vec::new();
        let mut upto = after;
        for record in self.after(after)? {
            if changes.len() >= BATCH || upto >= last {
                break;
            }
            upto += 1;
            changes.extend(record.iter().filter(|c| prefix.matches(c.key())).cloned());
        }
        Some(Missed { changes, upto })
    }

    /// The records after the revision `after`. `None` if one of them is no longer kept.
    pub(crate) fn after(&self, after: u64) -> Option<impl Iterator<Item = &Vec<Change>>> {
        let known = after.checked_sub(self.forgotten)?;
        Some(self.records.iter().skip(usize::try_from(known).ok()?))
    }

    fn keep(&mut self, records: usize) {
        while self.records.len() > records {
            self.records.pop_front();
            self.forgotten += 1;
            self.compacted = self.compacted.max(self.forgotten);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sd_core::Key;

    fn delete(key: &str) -> Change {
        Change::Delete(Key::new(key).unwrap())
    }

    fn prefix(text: &str) -> Prefix {
        Prefix::new(text).unwrap()
    }

    #[test]
    fn what_was_missed_is_told_once_and_in_order() {
        let mut history = History::new(10);
        history.record(vec![delete("/a/1")]);
        history.record(vec![delete("/b/1")]);
        history.record(vec![delete("/a/2")]);
        let missed = history
            .missed(1, history.revision(), &prefix("/a"))
            .unwrap();
        assert_eq!(missed.changes, [delete("/a/1"), delete("/a/2")]);
        assert_eq!(missed.upto, 4);
        let missed = history
            .missed(3, history.revision(), &prefix("/a"))
            .unwrap();
        assert_eq!(missed.changes, [delete("/a/2")]);
        assert!(
            history
                .missed(4, history.revision(), &prefix("/a"))
                .unwrap()
                .changes
                .is_empty()
        );
    }

    #[test]
    fn a_full_batch_never_splits_a_revision() {
        let mut history = History::new(10);
        let many = |n: usize| -> Vec<_> { (0..n).map(|i| delete(&format!("/a/{i}"))).collect() };
        history.record(many(BATCH - 1));
        history.record(many(3 * BATCH));
        history.record(many(1));
        let first = history
            .missed(1, history.revision(), &prefix("/a"))
            .unwrap();
        assert_eq!((first.changes.len(), first.upto), (4 * BATCH - 1, 3));
        let rest = history
            .missed(first.upto, history.revision(), &prefix("/a"))
            .unwrap();
        assert_eq!((rest.changes.len(), rest.upto), (1, 4));
    }

    #[test]
    fn a_token_older_than_the_compaction_is_a_gap() {
        let mut history = History::new(10);
        let old = history.token(history.revision());
        history.record(vec![delete("/a")]);
        history.compact();
        assert_eq!(history.locate(&old), Err(Gap::Compacted));
        assert_eq!(history.locate(&history.token(2)), Ok(2));
    }

    #[test]
    fn a_watch_under_way_outlives_a_compaction_unless_it_lags_far() {
        let mut history = History::new(10 * BACKLOG);
        history.record(vec![delete("/a/1")]);
        history.compact();
        assert_eq!(
            history
                .missed(1, history.revision(), &prefix("/a"))
                .unwrap()
                .changes
                .len(),
            1
        );
        for _ in 0..BACKLOG {
            history.record(vec![delete("/b/1")]);
        }
        history.compact();
        assert_eq!(history.missed(1, history.revision(), &prefix("/a")), None);
    }

    #[test]
    fn a_history_that_nobody_compacts_is_bounded() {
        let mut history = History::new(2);
        let old = history.token(2);
        for _ in 0..3 {
            history.record(vec![delete("/a/1")]);
        }
        assert_eq!(history.locate(&old), Ok(2));
        history.record(vec![delete("/a/1")]);
        assert_eq!(history.locate(&old), Err(Gap::Compacted));
        assert_eq!(history.records.len(), 2);
    }

    #[test]
    fn a_token_of_another_history_is_a_gap_wherever_its_counter_stands() {
        let mut history = History::new(10);
        let other = History::new(10);
        history.record(vec![delete("/a")]);
        assert!(matches!(
            history.locate(&other.token(1)),
            Err(Gap::Rebuilt(_))
        ));
        assert_eq!(
            history.locate(&Revision::new(2_u64)),
            Err(Gap::ForeignToken)
        );
    }
}
