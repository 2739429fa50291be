//! A watch against any history, and against events that no etcd would send.

use super::*;
use crate::{support::cases, watching::token::ResumeToken};
use etcd_client::KeyValue;
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
    // No key twice in one revision.
    prop::collection::btree_map(0..KEYS.len(), step, 0..4).prop_map(|steps| {
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
        for steps in revisions {
            let modified = history.states.len() as i64;
            let mut state = history.states[history.states.len() - 1].clone();
            let mut events = Vec::new();
            for (key, held) in steps {
                match held {
                    Some((value, lease)) => {
                        let (value, lease) = (*value, *lease);
                        state.insert(
                            *key,
                            Held {
                                value,
                                lease,
                                modified,
                            },
                        );
                    }
                    // etcd says nothing of a key that was not there.
                    None if state.remove(key).is_none() => continue,
                    None => {}
                }
                events.push(PbEvent {
                    r#type: i32::from(held.is_none()),
                    kv: Some(raw(*key, state.get(key), modified)),
                    prev_kv: None,
                });
            }
            history.states.push(state);
            history.events.push(events);
        }
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

    /// Whether the witness is true of this history, as [`Position::verify`] asks etcd.
    fn confirms(&self, token: &ResumeToken) -> bool {
        match &token.witness {
            Witness::Nothing => self.at(token.revision).is_empty(),
            Witness::Key {
                key,
                modified,
                lease,
                until,
            } => {
                let index = KEYS.iter().position(|other| **other == **key);
                let held =
                    index.and_then(|index| self.at(until.unwrap_or(token.revision)).get(&index));
                held.is_some_and(|held| (held.modified, held.lease) == (*modified, *lease))
            }
        }
    }
}

fn raw(key: usize, held: Option<&Held>, modified: i64) -> PbKeyValue {
    PbKeyValue {
        key: KEYS[key].to_vec(),
        value: held.map(|held| vec![held.value]).unwrap_or_default(),
        lease: held.map_or(0, |held| held.lease),
        mod_revision: modified,
        ..PbKeyValue::default()
    }
}

fn active(token: ResumeToken) -> ActiveWatch {
    ActiveWatch::new(
        1,
        Position {
            start: Vec::new(),
            token,
        },
        Arc::new(WatchBuffer::new(1 << 20)),
    )
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
    ) {
        let history = History::of(&revisions);
        let options = Options::unchecked();
        let last = history.states.len() - 1;
        let start = start.index(last) + 1;
        let listed: Vec<_> = history.states[start]
            .iter()
            .map(|(key, held)| KeyValue(raw(*key, Some(held), held.modified)))
            .collect();
        let mut active = active(ResumeToken {
            cluster: 1,
            revision: start as i64,
            witness: Witness::among(&listed),
        });
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
                        active.collect(part.to_vec());
                    }
                    prop_assert!(active.apply(&options));
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
            }
            prop_assert!(active.position.token.revision < next.max(start + 1) as i64);
            prop_assert_eq!(&mirror, &history.mirror(next.max(start + 1) as i64 - 1));
        }
    }

    /// The resume point is never beyond what was handed over, whatever events come.
    #[test]
    fn a_watch_never_goes_on_from_where_it_was_not(
        responses in prop::collection::vec(prop::collection::vec(event(), 0..4), 1..8),
    ) {
        let options = Options::unchecked();
        let mut active = active(ResumeToken { cluster: 1, revision: 5, witness: Witness::Nothing });
        let mut resume = 5;
        for events in responses {
            let before = active.position.token.revision;
            let revisions = events.iter().filter_map(|event| event.kv.as_ref());
            let newest = revisions.map(|entry| entry.mod_revision).max().unwrap_or(before);
            let unknown = events.iter().filter_map(|event| event.kv.as_ref());
            let unknown = unknown.filter(|entry| entry.mod_revision > 5).count();
            active.collect(events);
            let alive = active.apply(&options);
            let items = unread(&active.buffer);
            for item in &items {
                match item {
                    Ok(batch) => {
                        let token = ResumeToken::of(&batch.resume).unwrap();
                        prop_assert!(token.revision >= resume && token.revision <= newest);
                        resume = token.revision;
                        prop_assert_eq!(batch.changes.len() + batch.skipped as usize, unknown);
                    }
                    Err(error) => {
                        prop_assert!(!alive);
                        prop_assert!(matches!(error, WatchError::Interrupted(_)));
                    }
                }
            }
            prop_assert_eq!(items.iter().filter(|item| item.is_ok()).count(), usize::from(alive && unknown > 0));
            if !alive {
                prop_assert!(!items.is_empty(), "ended without a word");
                return Ok(());
            }
            prop_assert_eq!(resume, active.position.token.revision);
        }
    }
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
