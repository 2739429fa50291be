//! The names of the services under a prefix.

use sd_core::{
    Bytes, Codec, CodecError, Decoded, Entry, Event, Instance, InstanceChange, Instances, Key,
    Prefix,
};
use std::{collections::BTreeMap, time::Duration};
use tokio::time::Instant;

/// How long a service is remembered after its last instance has left.
const REMEMBERED: Duration = Duration::from_secs(60);

/// Which services there are: those that have an instance, and for a while those that had one. A state
/// machine without I/O.
#[derive(Debug)]
pub(crate) struct Names {
    prefix: Prefix,
    before: Instances,
    services: BTreeMap<Box<str>, Presence>,
}

#[derive(Debug)]
enum Presence {
    /// It has so many instances, at least one.
    Here(usize),
    /// It has had none since then.
    GoneSince(Instant),
}

impl Names {
    pub(crate) fn new(prefix: Prefix) -> Self {
        Self {
            prefix,
            before: Instances::default(),
            services: BTreeMap::new(),
        }
    }

    /// What is registered has changed.
    pub(crate) fn apply(&mut self, event: &Event, now: Instant) {
        let before = std::mem::replace(&mut self.before, event.instances().clone());
        for change in before.diff(event.instances()) {
            let Some(name) = name(&self.prefix, change.key()) else {
                continue;
            };
            match change {
                InstanceChange::Added(_) => {
                    let presence = self.services.entry(name.into());
                    let presence = presence.or_insert(Presence::Here(0));
                    *presence = match presence {
                        Presence::Here(instances) => Presence::Here(*instances + 1),
                        Presence::GoneSince(_) => Presence::Here(1),
                    };
                }
                InstanceChange::Removed(_) => {
                    if let Some(presence) = self.services.get_mut(name) {
                        *presence = match presence {
                            Presence::Here(instances) if *instances > 1 => {
                                Presence::Here(*instances - 1)
                            }
                            _ => Presence::GoneSince(now),
                        };
                    }
                }
                InstanceChange::Updated { .. } => {}
            }
        }
    }

    /// Forgets those that were remembered long enough.
    pub(crate) fn forget(&mut self, now: Instant) {
        self.services.retain(|_, presence| match presence {
            Presence::Here(_) => true,
            Presence::GoneSince(since) => now < *since + REMEMBERED,
        });
    }

    /// When there is something to forget.
    pub(crate) fn forget_at(&self) -> Option<Instant> {
        let gone = self
            .services
            .values()
            .filter_map(|presence| match presence {
                Presence::Here(_) => None,
                Presence::GoneSince(since) => Some(*since + REMEMBERED),
            });
        gone.min()
    }

    pub(crate) fn contains(&self, name: &str) -> bool {
        self.services.contains_key(name)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &str> {
        self.services.keys().map(|name| &**name)
    }
}

/// The service of a key: what follows the prefix, if one more segment follows it.
fn name<'k>(prefix: &Prefix, key: &'k Key) -> Option<&'k str> {
    let (name, instance) = prefix.strip(key)?.split_once('/')?;
    (!name.is_empty() && !instance.is_empty() && !instance.contains('/')).then_some(name)
}

/// Reads every entry, whatever its value is: only the keys are of interest.
#[derive(Debug, Clone, Copy)]
pub(crate) struct KeysOnly;

impl Codec for KeysOnly {
    fn decode(&self, entry: &Entry) -> Result<Decoded, CodecError> {
        Ok(Instance::new(entry.key.clone(), "").into())
    }

    fn encode(&self, _: &Instance) -> Result<Bytes, CodecError> {
        Err(CodecError::new("it is for reading only"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(keys: &[&str]) -> Event {
        let instances = keys.iter().map(|key| {
            let key = Key::new(*key).expect("a key");
            Instance::new(key, "")
        });
        Event::new(0, instances.collect())
    }

    fn seen(names: &Names) -> Vec<&str> {
        names.iter().collect()
    }

    #[tokio::test(start_paused = true)]
    async fn services_appear_with_their_first_instance_and_vanish_a_minute_after_the_last() {
        let now = Instant::now();
        let mut names = Names::new(Prefix::new("/services").expect("a prefix"));
        names.apply(
            &event(&["/services/a/1", "/services/a/2", "/services/b/1"]),
            now,
        );
        assert_eq!(seen(&names), ["a", "b"]);
        assert_eq!(names.forget_at(), None);

        names.apply(&event(&["/services/a/2"]), now);
        names.forget(now + REMEMBERED / 2);
        assert_eq!(seen(&names), ["a", "b"]);
        assert_eq!(names.forget_at(), Some(now + REMEMBERED));
        names.forget(now + REMEMBERED);
        assert_eq!(seen(&names), ["a"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_service_that_is_back_is_not_forgotten() {
        let now = Instant::now();
        let mut names = Names::new(Prefix::new("/services").expect("a prefix"));
        names.apply(&event(&["/services/a/1"]), now);
        names.apply(&event(&[]), now);
        names.apply(&event(&["/services/a/2"]), now);
        assert_eq!(names.forget_at(), None);
        names.forget(now + 2 * REMEMBERED);
        assert!(names.contains("a"));
    }

    #[test]
    fn only_keys_of_two_segments_are_instances() {
        let prefix = Prefix::new("/services").expect("a prefix");
        for (key, expected) in [
            ("/services/hello/a", Some("hello")),
            ("/services/hello", None),
            ("/services/hello/", None),
            ("/services//a", None),
            ("/services/team/hello/a", None),
            ("/other/hello/a", None),
        ] {
            let key = Key::new(key).expect("a key");
            assert_eq!(name(&prefix, &key), expected, "{key}");
        }
    }
}
