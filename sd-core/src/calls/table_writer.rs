//! Writing a table in which little changes at a time.

use super::{
    endpoint::Endpoint,
    endpoint_table::{EndpointTable, TableContents},
    no_endpoints::NoEndpoints,
};
use crate::instances::InstanceKey;
use std::sync::Arc;

/// Another endpoint for an identity, or none any longer.
pub(super) type Row<E> = (InstanceKey, Option<Arc<Endpoint<E>>>);

/// How a table differs from the one before.
pub(super) enum TableUpdate<E> {
    /// In these rows, which are in the order of their identities.
    Rows(Vec<Row<E>>),
    /// It is another one.
    All(Vec<Arc<Endpoint<E>>>),
}

/// The one that writes a table. Changes a few rows of 100,000 without touching the other endpoints.
///
/// It has two lists: the one that is published, and a spare one. A change is made in the spare, which is published, and
/// then in the one that was replaced, which becomes the spare. (Cloning a list counts a reader of each endpoint,
/// and later takes it away, which takes milliseconds.)
///
/// An endpoint that comes or goes moves all behind it. So the spare makes the last such move together with the next one:
/// where one goes and another comes, as in a rolling restart, only those between them are moved.
pub(super) struct TableWriter<E> {
    table: Arc<EndpointTable<E>>,
    spare: Option<Spare<E>>,
}

/// A list that is not published.
struct Spare<E> {
    /// The version of the table that it equals, once it is no longer behind.
    version: u64,
    endpoints: Vec<Arc<Endpoint<E>>>,
    /// What is still to be put in or taken out. In the place of one that has gone is its neighbour once more, so that
    /// nothing is kept that is gone.
    behind: Option<Step<E>>,
}

impl<E> TableWriter<E> {
    pub(super) fn new(table: Arc<EndpointTable<E>>) -> Self {
        Self { table, spare: None }
    }

    /// Publishes the table that `update` makes of the last one; `none` says why, if there are no endpoints.
    pub(super) fn update(&mut self, update: TableUpdate<E>, none: impl FnOnce() -> NoEndpoints) {
        let rows = match update {
            TableUpdate::Rows(rows) => rows,
            TableUpdate::All(endpoints) => return self.set(TableContents::new(endpoints, none)),
        };
        let current = self.table.load();
        let steps = steps(&current, rows);
        if steps.is_empty() && !current.is_empty() {
            return;
        }
        let version = current.version();
        let spare = self.spare.take().filter(|spare| spare.version == version);
        let spare = spare.unwrap_or_else(|| Spare {
            version,
            endpoints: current.to_vec(),
            behind: None,
        });
        drop(current);
        let contents = TableContents::of_list(spare.with(&steps), none);
        let (version, replaced) = self.table.replace(contents);
        // Nobody reads it any longer, mostly. Otherwise the next spare is a copy.
        self.spare = replaced.map(|endpoints| Spare::new(version, endpoints, steps));
    }

    /// Publishes another table.
    pub(super) fn set(&mut self, contents: TableContents<E>) {
        // It holds endpoints that may be gone.
        self.spare = None;
        self.table.set(contents);
    }

    /// How many endpoints are published.
    pub(super) fn len(&self) -> usize {
        self.table.load().len()
    }
}

impl<E> Spare<E> {
    /// The list that `steps` have replaced.
    fn new(version: u64, mut endpoints: Vec<Arc<Endpoint<E>>>, mut steps: Vec<Step<E>>) -> Self {
        let behind = match steps.as_slice() {
            [step] if step.leave(&mut endpoints) => steps.pop(),
            steps => {
                apply(&mut endpoints, steps);
                None
            }
        };
        Self {
            version,
            endpoints,
            behind,
        }
    }

    /// The list with these steps, which are for the one that it is to equal.
    fn with(self, steps: &[Step<E>]) -> Vec<Arc<Endpoint<E>>> {
        let mut endpoints = self.endpoints;
        match (self.behind, steps) {
            (Some(Step::Remove(gone)), [Step::Insert(at, new)]) => {
                shift(&mut endpoints, gone, *at);
                endpoints[*at] = new.clone();
            }
            (Some(Step::Insert(at, _)), [Step::Remove(gone)]) if *gone == at => {}
            (Some(Step::Insert(at, new)), [Step::Remove(gone)]) => {
                // Their places are those in a list that has both.
                let (gone, at) = match *gone > at {
                    true => (*gone - 1, at),
                    false => (*gone, at - 1),
                };
                shift(&mut endpoints, gone, at);
                endpoints[at] = new;
            }
            (behind, steps) => {
                apply(&mut endpoints, behind.as_slice());
                apply(&mut endpoints, steps);
            }
        }
        endpoints
    }
}

/// Moves what is at one place to another, and those between them by one.
fn shift<T>(list: &mut [T], from: usize, to: usize) {
    match from <= to {
        true => list[from..=to].rotate_left(1),
        false => list[to..=from].rotate_right(1),
    }
}

/// What is different at a place of a list.
enum Step<E> {
    Replace(usize, Arc<Endpoint<E>>),
    Insert(usize, Arc<Endpoint<E>>),
    Remove(usize),
}

impl<E> Step<E> {
    /// Leaves the step for later, if it moves others. Holds nothing meanwhile that it takes out.
    fn leave(&self, endpoints: &mut [Arc<Endpoint<E>>]) -> bool {
        match self {
            Self::Replace(..) => false,
            Self::Insert(..) => true,
            Self::Remove(at) => {
                let neighbour = endpoints
                    .get(at + 1)
                    .or_else(|| endpoints.get(at.checked_sub(1)?));
                let Some(neighbour) = neighbour.cloned() else {
                    return false;
                };
                endpoints[*at] = neighbour;
                true
            }
        }
    }
}

/// What `rows` change in a list, in the order of the places that this has before; both are in the order of the
/// identities. Found once for both lists: a search among 100,000 endpoints reads far apart.
fn steps<E>(endpoints: &[Arc<Endpoint<E>>], rows: Vec<Row<E>>) -> Vec<Step<E>> {
    let steps = rows.into_iter().filter_map(|(identity, endpoint)| {
        let place = (identity.key(), identity.part());
        let found = endpoints.binary_search_by(|one| one.place().cmp(&place));
        match (found, endpoint) {
            (Ok(at), Some(same)) if Arc::ptr_eq(&endpoints[at], &same) => None,
            (Ok(at), Some(other)) => Some(Step::Replace(at, other)),
            (Ok(at), None) => Some(Step::Remove(at)),
            (Err(at), Some(new)) => Some(Step::Insert(at, new)),
            (Err(_), None) => None,
        }
    });
    steps.collect()
}

/// So many endpoints are put in or taken out one after the other, each of which moves those behind it. More are in
/// one pass.
const MOVES: usize = 4;

/// Changes a list.
fn apply<E>(endpoints: &mut Vec<Arc<Endpoint<E>>>, steps: &[Step<E>]) {
    let (mut moves, mut more) = (0, 0);
    for step in steps {
        match step {
            Step::Replace(at, other) => endpoints[*at] = other.clone(),
            Step::Insert(..) => (moves, more) = (moves + 1, more + 1),
            Step::Remove(_) => moves += 1,
        }
    }
    if endpoints.len() + more > endpoints.capacity() {
        // Twice as much, as a vector takes, would be much for a list that hardly grows.
        endpoints.reserve_exact(more + endpoints.len() / 32);
    }
    if moves <= MOVES {
        // From the end, so that the earlier places stay.
        for step in steps.iter().rev() {
            match step {
                Step::Replace(..) => {}
                Step::Insert(at, new) => endpoints.insert(*at, new.clone()),
                Step::Remove(at) => drop(endpoints.remove(*at)),
            }
        }
        return;
    }
    let capacity = endpoints.capacity();
    let mut old = std::mem::replace(endpoints, Vec::with_capacity(capacity)).into_iter();
    let mut passed = 0;
    for step in steps {
        let (Step::Replace(at, _) | Step::Insert(at, _) | Step::Remove(at)) = step;
        endpoints.extend(old.by_ref().take(at - passed));
        passed = *at;
        match step {
            Step::Replace(..) => {}
            Step::Insert(_, new) => endpoints.push(new.clone()),
            Step::Remove(_) => {
                drop(old.next());
                passed += 1;
            }
        }
    }
    endpoints.extend(old);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{instances::Instance, registry::Key, support::cases};
    use proptest::{collection::vec, prelude::*};
    use std::collections::BTreeMap;

    fn endpoint(key: &str) -> Arc<Endpoint<()>> {
        let instance = Instance::new(Key::new(key).unwrap(), "h:1");
        Arc::new(Endpoint::new(instance, ()))
    }

    fn row(key: &str, endpoint: Option<&Arc<Endpoint<()>>>) -> Row<()> {
        (Key::new(key).unwrap().into(), endpoint.cloned())
    }

    /// A writer of a table of 100 endpoints.
    fn writer() -> (TableWriter<()>, Vec<Arc<Endpoint<()>>>) {
        let endpoints: Vec<_> = (0..100).map(|n| endpoint(&format!("{n:03}"))).collect();
        let mut writer = TableWriter::new(Arc::new(EndpointTable::new()));
        update(&mut writer, TableUpdate::All(endpoints.clone()));
        (writer, endpoints)
    }

    fn update(writer: &mut TableWriter<()>, update: TableUpdate<()>) {
        writer.update(update, || NoEndpoints::Empty);
    }

    /// How many lists hold the endpoint, beside the one of the test.
    fn lists(endpoint: &Arc<Endpoint<()>>) -> usize {
        Arc::strong_count(endpoint) - 1
    }

    #[test]
    fn rows_come_go_and_change_and_nothing_that_is_gone_is_kept() {
        let (mut writer, endpoints) = writer();
        let [added, other] = [endpoint("050x"), endpoint("007")];
        for rows in [
            vec![row("007", Some(&other)), row("050x", Some(&added))],
            vec![row("003", None), row("no such", None)],
            vec![row("003", Some(&endpoints[3])), row("050x", None)],
        ] {
            update(&mut writer, TableUpdate::Rows(rows));
            let table = writer.table.load();
            assert!(table.is_sorted_by_key(|one| one.key().clone()));
        }
        let table = writer.table.load();
        assert!(table.len() == 100 && Arc::ptr_eq(&table[7], &other));
        drop(table);
        assert_eq!([&added, &endpoints[7]].map(lists), [0, 0]);
        assert_eq!([&other, &endpoints[3]].map(lists), [2, 2]);
        update(&mut writer, TableUpdate::All(Vec::new()));
        assert_eq!([&other, &endpoints[3]].map(lists), [0, 0]);
    }

    #[test]
    fn many_rows_at_once_are_changed_in_one_pass() {
        let (mut writer, endpoints) = writer();
        let name = |n: usize| format!("{n:03}");
        let added: Vec<_> = (0..50).map(|n| endpoint(&format!("{n:03}x"))).collect();
        let other: Vec<_> = (50..70).map(|n| endpoint(&name(n))).collect();
        let rows = added
            .iter()
            .chain(&other)
            .map(|one| row(one.key().as_str(), Some(one)));
        let gone = (0..100)
            .filter(|n| n % 3 == 0 && !(50..70).contains(n))
            .map(|n| row(&name(n), None));
        let mut rows: Vec<_> = rows.chain(gone).collect();
        rows.sort_by(|one, other| one.0.cmp(&other.0));
        update(&mut writer, TableUpdate::Rows(rows));
        let kept = (0..100).filter(|n| n % 3 != 0 && !(50..70).contains(n));
        let mut expected: Vec<_> = kept
            .map(|n| endpoints[n].clone())
            .chain(added)
            .chain(other)
            .collect();
        expected.sort_by(|one, other| one.key().cmp(other.key()));
        let is_same = |list: &[Arc<Endpoint<()>>]| {
            list.len() == expected.len()
                && list
                    .iter()
                    .zip(&expected)
                    .all(|(one, other)| Arc::ptr_eq(one, other))
        };
        assert!(is_same(&writer.table.load()));
        // The list that is published next.
        assert!(is_same(&writer.spare.as_ref().unwrap().endpoints));
        assert_eq!(lists(&endpoints[0]), 0);
    }

    proptest! {
        #![proptest_config(cases(1))]

        #[test]
        fn whatever_comes_and_goes_is_in_the_table_and_nothing_else_is_kept(
            updates in vec(vec((0..8_usize, any::<bool>()), 1..4), 1..40),
            reader in any::<prop::sample::Index>(),
        ) {
            let mut writer = TableWriter::new(Arc::new(EndpointTable::new()));
            let (mut expected, mut gone) = (BTreeMap::new(), Vec::new());
            let reads = reader.index(updates.len());
            let mut kept = None;
            for (n, update_of) in updates.into_iter().enumerate() {
                let rows: BTreeMap<_, _> = update_of.into_iter().collect();
                let rows = rows.into_iter().map(|(key, is_there)| {
                    let name = key.to_string();
                    let endpoint = is_there.then(|| endpoint(&name));
                    gone.extend(match &endpoint {
                        Some(endpoint) => expected.insert(key, endpoint.clone()),
                        None => expected.remove(&key),
                    });
                    row(&name, endpoint.as_ref())
                });
                update(&mut writer, TableUpdate::Rows(rows.collect()));
                let table = writer.table.load();
                let is_same = |(one, other): (&Arc<_>, &Arc<_>)| Arc::ptr_eq(one, other);
                prop_assert_eq!(table.len(), expected.len());
                prop_assert!(table.iter().zip(expected.values()).all(is_same));
                // Copies are made for as long as somebody reads an older table.
                if n == reads {
                    kept = Some(table.keep());
                } else if n == reads + 3 {
                    kept = None;
                }
                if kept.is_none() {
                    prop_assert!(gone.iter().all(|gone| lists(gone) == 0));
                }
            }
        }
    }

    #[test]
    fn where_one_goes_and_another_comes_only_those_between_are_moved() {
        let (mut writer, endpoints) = writer();
        update(&mut writer, TableUpdate::Rows(vec![row("010", None)]));
        let spare = writer.spare.as_ref().unwrap();
        assert!(spare.endpoints.len() == 100 && spare.behind.is_some());
        assert_eq!([&endpoints[10], &endpoints[11]].map(lists), [0, 3]);
        let added = endpoint("020x");
        update(
            &mut writer,
            TableUpdate::Rows(vec![row("020x", Some(&added))]),
        );
        let table = writer.table.load();
        assert!(table.is_sorted_by_key(|one| one.key().clone()));
        assert_eq!([&endpoints[11], &added].map(lists), [2, 2]);
        let mut list = [0, 1, 2, 3, 4];
        shift(&mut list, 1, 3);
        assert_eq!(list, [0, 2, 3, 1, 4]);
        shift(&mut list, 3, 1);
        assert_eq!(list, [0, 1, 2, 3, 4]);
    }

    #[test]
    fn a_reader_keeps_its_table_and_the_next_ones_are_right() {
        let (mut writer, endpoints) = writer();
        let kept = writer.table.load().keep();
        for n in 0..3 {
            update(
                &mut writer,
                TableUpdate::Rows(vec![row(&format!("{n:03}"), None)]),
            );
        }
        assert!(kept.len() == 100 && writer.table.load().len() == 97);
        assert!(Arc::ptr_eq(&writer.table.load()[0], &endpoints[3]));
        drop(kept);
        assert_eq!(lists(&endpoints[0]), 0);
    }

    #[test]
    fn rows_that_are_the_same_are_no_news() {
        let (mut writer, endpoints) = writer();
        let version = writer.table.load().version();
        for _ in 0..2 {
            let rows = vec![row("003", Some(&endpoints[3])), row("no such", None)];
            update(&mut writer, TableUpdate::Rows(rows));
        }
        assert_eq!(writer.table.load().version(), version);
    }

    #[test]
    fn an_empty_table_may_have_another_reason() {
        let mut writer = TableWriter::new(Arc::new(EndpointTable::<()>::new()));
        let mut versions = writer.table.versions();
        versions.mark_unchanged();
        let unreadable = || NoEndpoints::Unreadable { entries: 7 };
        writer.update(TableUpdate::Rows(Vec::new()), unreadable);
        let none = writer.table.load().non_empty().err();
        assert!(matches!(none, Some(NoEndpoints::Unreadable { entries: 7 })));
        assert!(versions.has_changed().unwrap());
    }
}
