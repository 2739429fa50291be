//! A watch against any history, and against events that no etcd would send.

use super::*;
use crate::{
    support::cases,
    watching::{token::ResumeToken, witness::Witness},
};
use etcd_client::proto::PbKeyValue;
use futures::FutureExt;
use proptest::prelude::*;
use sd_core::Batch;
use std::collections::BTreeMap;

/// The last one is not UTF-8.
const KEYS: [&[u8]; 4] = [b"/a", b"/b", b"/c", b"/\xff"];

#[derive(Debug, Clone, PartialEq)]
struct Held {
    value: u8,
    lease: i64,
    created: i64,
    version: i64,
    modified: i64,
}

/// A key, and its new value and lease; `None` deletes it.
type Step = (usize, Option<(u8, i64)>);

/// What a watch receives next.
#[derive(Debug, Clone)]
enum Heard {
    /// The events of so many revisions, in so many fragments.
    Events(usize, usize),
    /// A progress notification.
    Notice,
    /// The end of a silence.
    Sign,
}

fn revision() -> impl Strategy<Value = Vec<Step>> {
    let step = (
        0..KEYS.len(),
        prop::option::weighted(0.6, (any::<u8>(), 0..3_i64)),
    );
    // No key twice in one revision. Many revisions are of keys elsewhere.
    let size = prop_oneof![0..4_usize, 0..2_usize];
    let steps = size
        .prop_flat_map(move |size| prop::collection::btree_map(0..KEYS.len(), step.clone(), size));
    steps.prop_map(|steps| {
        steps
            .into_iter()
            .map(|(key, (_, held))| (key, held))
            .collect()
    })
}

fn heard() -> impl Strategy<Value = Heard> {
    prop_oneof![
        6 => (1..4_usize, 1..4_usize).prop_map(|(count, parts)| Heard::Events(count, parts)),
        2 => Just(Heard::Notice),
        1 => Just(Heard::Sign),
    ]
}

/// An etcd: the state at each revision, and the events that led to it. Empty at revision 1.
struct History {
    states: Vec<BTreeMap<usize, Held>>,
    events: Vec<Vec<PbEvent>>,
}

impl History {
    fn of(revisions: &[Vec<Step>]) -> Self {
        let mut history = Self {
            states: vec![BTreeMap::new(); 2],
            events: vec![Vec::new(); 2],
        };
        history.go_on(revisions);
        history
    }

    fn go_on(&mut self, revisions: &[Vec<Step>]) {
        for steps in revisions {
            let modified = self.states.len() as i64;
            let mut state = self.states[self.states.len() - 1].clone();
            let mut events = Vec::new();
            for (key, held) in steps {
                let before = state.remove(key);
                match held {
                    Some((value, lease)) => {
                        let put = Held {
                            value: *value,
                            lease: *lease,
                            created: before.as_ref().map_or(modified, |held| held.created),
                            version: before.map_or(1, |held| held.version + 1),
                            modified,
                        };
                        state.insert(*key, put);
                    }
                    // etcd says nothing of a key that was not there.
                    None if before.is_none() => continue,
                    None => {}
                }
                events.push(PbEvent {
                    r#type: i32::from(held.is_none()),
                    kv: Some(raw(*key, state.get(key), modified)),
                    prev_kv: None,
                });
            }
            self.states.push(state);
            self.events.push(events);
        }
    }

    /// Restores the state of `revision` from a backup, and goes on with `revisions`.
    fn rolled_back(&self, revision: i64, revisions: &[Vec<Step>]) -> Self {
        let mut history = Self {
            states: self.states[..=revision as usize].to_vec(),
            events: self.events[..=revision as usize].to_vec(),
        };
        history.go_on(revisions);
        history
    }

    fn at(&self, revision: i64) -> &BTreeMap<usize, Held> {
        &self.states[revision as usize]
    }

    /// The mirror of that state: all keys that are UTF-8.
    fn mirror(&self, revision: i64) -> BTreeMap<String, u8> {
        let text = |key: usize| std::str::from_utf8(KEYS[key]).ok();
        let state = self.at(revision).iter();
        state
            .filter_map(|(key, held)| Some((text(*key)?.to_owned(), held.value)))
            .collect()
    }

    /// Returns what a list at that revision answers.
    fn list(&self, revision: i64) -> Vec<KeyValue> {
        let state = self.at(revision).iter();
        let entries = state.map(|(key, held)| KeyValue(raw(*key, Some(held), held.modified)));
        entries.collect()
    }

    fn has(&self, key: &[u8], revision: i64) -> bool {
        let index = KEYS.iter().position(|other| *other == key);
        index.is_some_and(|index| self.at(revision).contains_key(&index))
    }

    /// Whether the witness is true of this history, as [`ResumeToken::verify`] asks etcd.
    fn confirms(&self, token: &ResumeToken) -> bool {
        if !token.witness.is_complete() {
            return self.confirms_probe(token);
        }
        let mut newest = self.list(token.revision);
        let count = newest.len() as i64;
        // Those of one revision are in any order.
        newest.reverse();
        newest.sort_by_key(|entry| -entry.mod_revision());
        newest.truncate(token.witness.needs() as usize);
        let knows_deletion = token.witness.last_deletion().is_none_or(|deletion| {
            self.has(&deletion.key, deletion.revision - 1)
                && !self.has(&deletion.key, deletion.revision)
        });
        token.witness.verify(count, &newest).is_ok() && knows_deletion
    }

    /// The same, as [`ResumeToken::probe`] asks etcd.
    fn confirms_probe(&self, token: &ResumeToken) -> bool {
        match token.witness.last_put() {
            None => !token.witness.is_empty() || self.at(token.revision).is_empty(),
            Some(put) => {
                let mut entries = self.list(put.until.unwrap_or(token.revision)).into_iter();
                entries.any(|entry| put.is(&entry))
            }
        }
    }

    /// Returns the last revision until `revision` in which anything happened.
    fn last_change(&self, revision: i64) -> i64 {
        let mut revisions = (0..=revision).rev();
        let last = revisions.find(|it| !self.events[*it as usize].is_empty());
        last.unwrap_or(0)
    }
}

/// Whether the history that was lost and the new one agree where a witness of `token` looks. Then it
/// cannot tell them apart.
///
/// `listed` is set if the token is of a list, `backup` is the revision that etcd was rolled back to.
fn agree(old: &History, new: &History, backup: i64, token: &ResumeToken, listed: bool) -> bool {
    let (last, newest) = (old.last_change(token.revision), old.list(token.revision));
    let newest = newest.iter().map(KeyValue::mod_revision).max();
    let known = if listed { newest } else { Some(last) };
    let Some(known) = known else {
        return false;
    };
    if known > backup {
        // The last change that is known happened again.
        let again = &new.events[known as usize];
        old.events[known as usize]
            .iter()
            .any(|it| again.contains(it))
    } else {
        // A list does not tell of deletions.
        let only_lost = |history: &History| {
            let mut entries = history.list(token.revision).into_iter();
            entries.all(|entry| entry.mod_revision() <= backup)
        };
        listed && only_lost(old) && only_lost(new)
    }
}

fn raw(key: usize, held: Option<&Held>, modified: i64) -> PbKeyValue {
    PbKeyValue {
        key: KEYS[key].to_vec(),
        value: held.map(|held| vec![held.value]).unwrap_or_default(),
        lease: held.map_or(0, |held| held.lease),
        create_revision: held.map_or(0, |held| held.created),
        version: held.map_or(0, |held| held.version),
        mod_revision: modified,
    }
}

fn active(token: ResumeToken) -> ActiveWatch {
    ActiveWatch::new(1, token, Arc::new(WatchBuffer::new(1 << 20)))
}

/// Reads all items.
fn unread(buffer: &WatchBuffer) -> Vec<Result<Batch, WatchError>> {
    std::iter::from_fn(|| buffer.next().now_or_never().flatten()).collect()
}

fn apply(mirror: &mut BTreeMap<String, u8>, batch: &Batch) {
    for change in &batch.changes {
        let key = change.key().to_string();
        match change.value() {
            Some(value) => mirror.insert(key, value[0]),
            None => mirror.remove(&key),
        };
    }
}

proptest! {
    #![proptest_config(cases(4))]

    /// At every resume point the mirror is right and the witness true.
    #[test]
    fn a_watch_follows_any_history(
        revisions in prop::collection::vec(revision(), 1..20),
        start in any::<prop::sample::Index>(),
        heard in prop::collection::vec(heard(), 1..20),
        is_elsewhere in any::<bool>(),
    ) {
        let history = History::of(&revisions);
        let (options, now) = (Options::unchecked(), Instant::now());
        let last = history.states.len() - 1;
        let start = start.index(last) + 1;
        let listed = history.list(start as i64);
        let mut active = active(ResumeToken {
            cluster: 1,
            revision: start as i64,
            prefix: [].into(),
            witness: Witness::among(&listed),
        });
        if is_elsewhere {
            // The list was of another prefix, with the same keys so far.
            let token = active.token.clone();
            active.token = token.for_prefix(b"/");
        }
        let mut mirror = history.mirror(start as i64);
        // etcd sends the events of the start revision again.
        let mut next = start;
        for heard in heard {
            match heard {
                Heard::Events(count, parts) => {
                    let until = (next + count).min(last + 1);
                    let events: Vec<_> = history.events[next..until].concat();
                    next = until;
                    if events.is_empty() {
                        continue;
                    }
                    for part in events.chunks(events.len().div_ceil(parts)) {
                        prop_assert!(unread(&active.buffer).is_empty(), "split");
                        active.collect(&options, part.to_vec(), now).unwrap();
                    }
                    prop_assert!(active.apply());
                }
                Heard::Notice => {
                    // At the last revision that was sent.
                    active.advance(next as i64 - 1);
                }
                Heard::Sign => active.progress(),
            }
            for item in unread(&active.buffer) {
                let batch = item.unwrap();
                apply(&mut mirror, &batch);
                let token = ResumeToken::of(&batch.resume).unwrap();
                prop_assert_eq!(&mirror, &history.mirror(token.revision));
                prop_assert!(history.confirms(token), "{:?}", token);
                prop_assert!(history.confirms_probe(token), "{:?}", token);
            }
            prop_assert!(active.token.revision < next.max(start + 1) as i64);
            prop_assert_eq!(&mirror, &history.mirror(next.max(start + 1) as i64 - 1));
        }
    }

    /// It is all that has happened, unless a key was deleted that was there.
    #[test]
    fn what_a_watch_has_missed_is_read_at_once(
        revisions in prop::collection::vec(revision(), 1..12),
        start in any::<prop::sample::Index>(),
        known in any::<prop::sample::Index>(),
    ) {
        let history = History::of(&revisions);
        let last = history.states.len() - 1;
        let start = start.index(last) + 1;
        let known = start + known.index(last + 1 - start);
        let options = Options::unchecked();
        let mut active = active(ResumeToken {
            cluster: 1,
            revision: start as i64,
            prefix: [].into(),
            witness: Witness::among(&history.list(start as i64)),
        });
        let events = history.events[start + 1..=known].concat();
        active.collect(&options, events, Instant::now()).unwrap();
        prop_assert!(active.apply());
        active.advance(known as i64);

        let listed = history.list(last as i64);
        let count = listed.len() as i64;
        let puts = listed.into_iter().filter(|it| it.mod_revision() > known as i64).collect();
        let missed = active.token.caught_up(&options, last as i64, count, puts);
        let stands = |(key, held): (&usize, &Held)| {
            history.at(last as i64).get(key).is_some_and(|now| now.created == held.created)
        };
        prop_assert_eq!(missed.is_some(), history.at(known as i64).iter().all(stands));
        if let Some(missed) = missed {
            let mut mirror = history.mirror(known as i64);
            let resume = missed.token.clone().into_revision();
            apply(&mut mirror, &Batch::new(missed.changes.into_list(), resume));
            prop_assert_eq!(mirror, history.mirror(last as i64));
            prop_assert!(history.confirms(&missed.token), "{:?}", missed.token);
            prop_assert!(history.confirms_probe(&missed.token), "{:?}", missed.token);
        }
    }

    /// Row 39: a rollback is noticed, whatever was lost and whatever came instead; where it is not,
    /// the mirror is right, or the histories agree in what is known of them.
    #[test]
    fn a_watch_resumes_on_no_other_history(
        revisions in prop::collection::vec(revision(), 1..12),
        others in prop::collection::vec(revision(), 12),
        start in any::<prop::sample::Index>(),
        backup in any::<prop::sample::Index>(),
        heard in 0..12_usize,
    ) {
        let old = History::of(&revisions);
        let last = old.states.len() - 1;
        let start = start.index(last) + 1;
        let backup = backup.index(last) as i64 + 1;
        let new = old.rolled_back(backup, &others);
        let mut active = active(ResumeToken {
            cluster: 1,
            revision: start as i64,
            prefix: [].into(),
            witness: Witness::among(&old.list(start as i64)),
        });
        let until = (start + heard).min(last);
        let events = old.events[start + 1..=until].concat();
        active.collect(&Options::unchecked(), events, Instant::now()).unwrap();
        prop_assert!(active.apply());
        active.advance(until as i64);

        let token = &active.token;
        let listed = old.events[start + 1..=until].iter().all(Vec::is_empty);
        prop_assert!(old.confirms(token) && old.confirms_probe(token));
        if new.confirms(token) && old.at(token.revision) != new.at(token.revision) {
            prop_assert!(agree(&old, &new, backup, token, listed), "{:?}", token);
        }
    }

    /// The resume point is never beyond what was handed over, whatever events come.
    #[test]
    fn a_watch_never_goes_on_from_where_it_was_not(
        responses in prop::collection::vec(prop::collection::vec(event(), 0..4), 1..8),
    ) {
        let options = Options::unchecked();
        let mut active = active(ResumeToken { cluster: 1, revision: 5, prefix: [].into(), witness: Witness::among(&[]) });
        let mut resume = 5;
        for events in responses {
            let before = active.token.revision;
            let revisions = events.iter().filter_map(|event| event.kv.as_ref());
            let newest = revisions.map(|entry| entry.mod_revision).max().unwrap_or(before);
            let unknown = events.iter().filter_map(|event| event.kv.as_ref());
            let unknown = unknown.filter(|entry| entry.mod_revision > 5).count();
            let collected = active.collect(&options, events, Instant::now());
            if collected.is_err() {
                prop_assert!(unread(&active.buffer).is_empty());
                prop_assert_eq!(active.token.revision, before);
                return Ok(());
            }
            prop_assert!(active.apply());
            let items = unread(&active.buffer);
            for item in &items {
                let batch = item.as_ref().unwrap();
                let token = ResumeToken::of(&batch.resume).unwrap();
                prop_assert!(token.revision >= resume && token.revision <= newest);
                resume = token.revision;
                let handed_over = batch.changes.len() + batch.skipped as usize;
                prop_assert!(handed_over > 0 && handed_over <= unknown);
            }
            prop_assert_eq!(items.len(), usize::from(unknown > 0));
            prop_assert_eq!(resume, active.token.revision);
        }
    }
}

fn large_put(key: &[u8], bytes: usize, modified: i64) -> PbEvent {
    PbEvent {
        r#type: 0,
        kv: Some(PbKeyValue {
            key: key.to_vec(),
            value: vec![b'x'; bytes],
            mod_revision: modified,
            ..PbKeyValue::default()
        }),
        prev_kv: None,
    }
}

fn watch_of(prefix: &[u8]) -> ActiveWatch {
    active(ResumeToken {
        cluster: 1,
        revision: 5,
        prefix: prefix.into(),
        witness: Witness::among(&[]),
    })
}

/// hostile rows 4 and 13
#[test]
fn one_key_that_was_overwritten_while_the_watch_was_away_is_held_once() {
    let mut options = Options::unchecked();
    options.max_message_bytes = 10_000;
    let mut active = watch_of(b"/a");
    for modified in 6..306 {
        let events = vec![large_put(b"/a/x", 1000, modified)];
        let collected = active.collect(&options, events, Instant::now());
        assert_eq!(collected, Ok(()));
    }
    assert!(active.apply());
    let batch = unread(&active.buffer).remove(0).unwrap();
    assert_eq!(batch.changes.len(), 1);
    assert_eq!(ResumeToken::of(&batch.resume).unwrap().revision, 305);
}

/// hostile row 13
#[test]
fn fragments_without_end_are_refused() {
    let mut options = Options::unchecked();
    options.max_message_bytes = 10_000;
    let now = Instant::now();
    let mut active = watch_of(b"/a");
    let mut modified = 5;
    let refused = loop {
        modified += 1;
        let key = format!("/a/{modified}");
        let events = vec![large_put(key.as_bytes(), 1000, modified)];
        if let Err(refused) = active.collect(&options, events, now) {
            break refused;
        }
    };
    assert_eq!(refused, Refused::TooLarge);
    assert!(modified < 20);

    let mut active = watch_of(b"/a");
    assert_eq!(active.collect(&options, Vec::new(), now), Ok(()));
    let later = now + options.list_timeout * 2;
    let refused = active.collect(&options, Vec::new(), later);
    assert!(matches!(refused, Err(Refused::Broken(_))));
}

/// hostile row 13
#[test]
fn a_key_that_is_not_watched_is_refused() {
    let mut active = watch_of(b"/a/");
    let events = vec![large_put(b"/b/x", 1, 6)];
    let refused = active.collect(&Options::unchecked(), events, Instant::now());
    assert!(matches!(refused, Err(Refused::Broken(_))));
}

fn event() -> impl Strategy<Value = PbEvent> {
    let kind = prop_oneof![8 => 0..2, 1 => any::<i32>()];
    let modified = prop_oneof![12 => 4..12_i64, 1 => any::<i64>()];
    let entry = (0..KEYS.len(), modified).prop_map(|(key, modified)| raw(key, None, modified));
    (kind, prop::option::weighted(0.95, entry)).prop_map(|(kind, kv)| PbEvent {
        r#type: kind,
        kv,
        prev_kv: None,
    })
}
