//! What is known of a fleet, and what a change of an entry means for its instances. Without I/O.

use crate::instances::{Read, Row};
use sd_core::{Instance, Key};
use std::collections::BTreeMap;

/// What has happened to an instance, or to an entry that cannot be read.
#[derive(Debug, Clone)]
pub(crate) enum Event {
    Added(Row),
    Updated {
        before: Box<Row>,
        after: Row,
    },
    Removed(Row),
    /// An entry that cannot be read was put, or an instance became one.
    Unreadable(Row),
}

/// The entries that are known, with what they mean.
#[derive(Debug, Default)]
pub(crate) struct Known(BTreeMap<Key, Read>);

impl Known {
    /// All that is known, in the order of the keys.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (&Key, &Read)> {
        self.0.iter()
    }

    /// An entry was put. `None` if it is nothing that is looked at.
    pub(crate) fn put(&mut self, key: &Key, read: Option<Read>) -> Vec<Event> {
        let before = match &read {
            Some(read) => self.0.insert(key.clone(), read.clone()),
            None => self.0.remove(key),
        };
        difference(key, before.as_ref(), read.as_ref())
    }

    /// An entry was deleted.
    pub(crate) fn delete(&mut self, key: &Key) -> Vec<Event> {
        self.put(key, None)
    }

    /// These are all entries.
    pub(crate) fn replace(&mut self, entries: BTreeMap<Key, Read>) -> Vec<Event> {
        let gone: Vec<_> = self
            .0
            .keys()
            .filter(|key| !entries.contains_key(*key))
            .cloned()
            .collect();
        let mut events: Vec<_> = gone.iter().flat_map(|key| self.delete(key)).collect();
        for (key, read) in entries {
            events.extend(self.put(&key, Some(read)));
        }
        events
    }
}

/// What an entry was before and is now.
fn difference(key: &Key, before: Option<&Read>, after: Option<&Read>) -> Vec<Event> {
    let mut events = Vec::new();
    let of = |read: Option<&Read>| -> BTreeMap<Option<String>, (Row, Instance)> {
        let instances = read.into_iter().flat_map(|read| {
            let instances = read.instances.iter().flatten();
            instances.map(|it| {
                (
                    it.part().map(str::to_owned),
                    (Row::of(&read.service, it), it.clone()),
                )
            })
        });
        instances.collect()
    };
    let (mut old, new) = (of(before), of(after));
    for (part, (row, instance)) in new {
        match old.remove(&part) {
            None => events.push(Event::Added(row)),
            Some((_, same)) if same == instance => {}
            Some((before, _)) => events.push(Event::Updated {
                before: before.into(),
                after: row,
            }),
        }
    }
    let is_unreadable = |read: &Read| read.instances.is_err();
    match after {
        Some(read) if is_unreadable(read) => {
            events.extend(
                Row::of_read(key.as_str(), read)
                    .into_iter()
                    .map(Event::Unreadable),
            );
        }
        _ => {
            events.extend(old.into_values().map(|(row, _)| Event::Removed(row)));
            if after.is_none()
                && let Some(read) = before.filter(|read| is_unreadable(read))
            {
                events.extend(
                    Row::of_read(key.as_str(), read)
                        .into_iter()
                        .map(Event::Removed),
                );
            }
        }
    }
    events
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> Key {
        Key::new(format!("/services/hello/{name}")).unwrap()
    }

    fn read(name: &str, weights: &[u32]) -> Read {
        let instance = |(part, weight): (usize, &u32)| {
            Instance::new(key(name), "10.0.0.1:80")
                .with_weight(*weight)
                .with_part(part.to_string())
        };
        Read {
            service: "hello".into(),
            instances: Ok(weights.iter().enumerate().map(instance).collect()),
            ignored: None,
        }
    }

    fn unreadable() -> Read {
        Read {
            service: "hello".into(),
            instances: Err("empty".into()),
            ignored: None,
        }
    }

    fn told(events: Vec<Event>) -> String {
        let sign = |event| match event {
            Event::Added(row) => format!("+{}", row.part.unwrap_or_default()),
            Event::Updated { before, after } => format!(
                "~{}:{}>{}",
                after.part.unwrap_or_default(),
                before.weight.unwrap_or_default(),
                after.weight.unwrap_or_default()
            ),
            Event::Removed(row) => format!("-{}", row.part.unwrap_or_default()),
            Event::Unreadable(_) => "!".to_owned(),
        };
        events.into_iter().map(sign).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn each_instance_of_an_entry_is_told_apart() {
        let mut known = Known::default();
        assert_eq!(
            told(known.put(&key("a"), Some(read("a", &[1, 1])))),
            "+0 +1"
        );
        assert_eq!(told(known.put(&key("a"), Some(read("a", &[1, 1])))), "");
        assert_eq!(
            told(known.put(&key("a"), Some(read("a", &[1, 2, 3])))),
            "~1:1>2 +2"
        );
        assert_eq!(told(known.put(&key("a"), Some(read("a", &[1])))), "-1 -2");
        assert_eq!(told(known.delete(&key("a"))), "-0");
        assert_eq!(told(known.delete(&key("a"))), "");
    }

    #[test]
    fn an_entry_that_cannot_be_read_any_more_is_told_once_and_not_as_a_removal() {
        let mut known = Known::default();
        known.put(&key("a"), Some(read("a", &[1])));
        assert_eq!(told(known.put(&key("a"), Some(unreadable()))), "!");
        assert_eq!(told(known.put(&key("a"), Some(read("a", &[1])))), "+0");
        known.put(&key("a"), Some(unreadable()));
        assert_eq!(told(known.delete(&key("a"))), "-");
        assert_eq!(known.entries().count(), 0);
    }

    #[test]
    fn after_a_gap_only_what_differs_is_told() {
        let mut known = Known::default();
        let all = |names: &[(&str, u32)]| {
            names
                .iter()
                .map(|(name, weight)| (key(name), read(name, &[*weight])))
                .collect()
        };
        known.replace(all(&[("a", 1), ("b", 1), ("c", 1)]));
        let events = known.replace(all(&[("b", 1), ("c", 2), ("d", 1)]));
        assert_eq!(told(events), "-0 ~0:1>2 +0");
    }
}
