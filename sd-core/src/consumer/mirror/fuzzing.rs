//! The mirror against lists, batches, errors and times that nobody would expect.

use super::*;
use crate::{
    fuzzing::assert_is_line,
    instances::AddressPolicy,
    registry::{Change, Entry, ErrorChain, Gap, Key},
};
use arbitrary::{Result, Unstructured};
use std::collections::{BTreeMap, BTreeSet};

const ENTRY_BYTES: usize = 1024;
const INSTANCES: usize = 8;
const BYTES: usize = 5000;
/// So many ticks are enough for all that waits.
const MOST_TICKS: usize = 100;
const HOUR: Duration = Duration::from_secs(3600);

/// Drives a mirror by `input`. What it shows is within its limits and passes the address policy; once
/// nothing happens any more, it shows what the registry has.
pub fn mirror(input: &[u8]) {
    let mut world = World::new(input.first().is_some_and(|byte| byte % 2 == 0));
    let mut input = Unstructured::new(input);
    while !input.is_empty() && world.step(&mut input).is_ok() {
        world.check();
    }
    world.converge();
}

struct World {
    mirror: Mirror<()>,
    now: Instant,
    version: u64,
    skipped: u64,
    /// What the registry has, as far as it was told.
    entries: BTreeMap<Key, Entry>,
}

fn decoder() -> EntryDecoder {
    EntryDecoder {
        most_bytes: ENTRY_BYTES,
        ..EntryDecoder::default()
    }
}

fn revision() -> Revision {
    Revision::new(())
}

impl World {
    fn new(has_grace: bool) -> Self {
        let prefix = Prefix::new("/svc").expect("a path");
        let mut rules = RemovalRules::default();
        if !has_grace {
            rules.grace = Duration::ZERO;
        }
        let limits = PrefixLimits::default()
            .entry_bytes(ENTRY_BYTES)
            .instances(INSTANCES)
            .bytes(BYTES);
        let longest = Duration::from_secs(2);
        Self {
            mirror: Mirror::new(prefix, decoder(), rules, limits, longest),
            now: Instant::now(),
            version: 0,
            skipped: 0,
            entries: BTreeMap::new(),
        }
    }

    fn step(&mut self, input: &mut Unstructured<'_>) -> Result<()> {
        let (mirror, now) = (&mut self.mirror, self.now);
        match input.int_in_range(0..=13)? {
            0 | 1 => {
                let count = input.int_in_range(0..=12)?;
                let entries = (0..count).map(|_| entry(input));
                let entries = entries.collect::<Result<Vec<_>>>()?;
                self.entries = entries.into_iter().map(|it| (it.key.clone(), it)).collect();
                self.list();
            }
            2..=6 => {
                let count = input.int_in_range(0..=6)?;
                let changes = (0..count).map(|_| change(input));
                let changes = changes.collect::<Result<Vec<_>>>()?;
                if mirror.watch().is_some() {
                    for change in &changes {
                        note(&mut self.entries, change);
                    }
                }
                let batch =
                    Batch::new(changes, revision()).with_skipped(input.arbitrary::<u8>()?.into());
                mirror.batch(batch, now);
            }
            7 => mirror.opened(()),
            8 => {
                let after = Duration::from_millis(input.arbitrary::<u16>()?.into());
                let error = Error::timeout("watch", after);
                mirror.watch_failed(WatchError::Disrupted(error), now);
            }
            9 => {
                let error = WatchError::Interrupted(Error::unavailable("gone"));
                mirror.watch_failed(error, now);
            }
            10 => mirror.watch_failed(WatchError::Gap(Gap::Compacted), now),
            11 => mirror.watch_ended(now),
            12 => {
                let errors: [fn() -> Error; 2] = [
                    || Error::unavailable("down"),
                    || Error::permission_denied("denied"),
                ];
                mirror.list_failed(input.choose(&errors)?(), now);
            }
            _ => {
                let millis: u32 = input.arbitrary()?;
                self.now += HOUR.min(Duration::from_millis(millis.into()));
                self.tick();
            }
        }
        Ok(())
    }

    /// The mirror is told of all entries.
    fn list(&mut self) {
        let entries = self.entries.values().cloned().collect();
        let snapshot = Snapshot::new(entries, revision());
        self.mirror.listed(snapshot, self.now);
    }

    fn tick(&mut self) {
        self.mirror.tick(self.now);
        let deadline = self.mirror.deadline();
        assert!(deadline.is_none_or(|at| at > self.now), "a hot loop");
    }

    fn check(&mut self) {
        let (pause, _) = self.mirror.next();
        assert!(pause <= Duration::from_secs(60), "{pause:?}");
        assert!(self.mirror.skipped() >= self.skipped);
        self.skipped = self.mirror.skipped();
        if let Some(trouble) = self.mirror.trouble() {
            assert_is_line(&ErrorChain(trouble).to_string());
        }
        let Some(event) = self.mirror.take_event() else {
            return;
        };
        assert!(event.version() > self.version);
        self.version = event.version();
        let instances = event.instances();
        let bytes: usize = instances.iter().map(|it| it.memory()).sum();
        assert!(instances.len() <= INSTANCES && bytes <= BYTES);
        assert!(instances.iter().is_sorted_by_key(|it| it.key()));
        let policy = AddressPolicy::default();
        for instance in instances {
            assert!(instance.memory() <= ENTRY_BYTES);
            assert!(policy.check(instance).is_ok(), "{instance:?}");
        }
        for (key, _) in event.held() {
            assert!(
                instances.get(key).is_some(),
                "{key:?} is held, and not shown"
            );
        }
    }

    /// The registry answers, and changes no more.
    fn converge(&mut self) {
        for _ in 0..MOST_TICKS {
            if let (_, Next::List) = self.mirror.next() {
                self.list();
            }
            if let (_, Next::Watch { .. }) = self.mirror.next() {
                self.mirror.opened(());
            }
            let progress = Batch::new(Vec::new(), revision());
            self.mirror.batch(progress, self.now);
            self.check();
            let Some(deadline) = self.mirror.deadline() else {
                return self.check_converged();
            };
            self.now = self.now.max(deadline);
            self.tick();
        }
        panic!("it waits for ever");
    }

    fn check_converged(&mut self) {
        let decoder = decoder();
        let entries = self.entries.values();
        let expected = entries.filter_map(|entry| decoder.decode(entry).ok());
        let expected = expected.flatten();
        let expected: Vec<_> = expected.collect();
        let shown = self.mirror.shown.event(0);
        let bytes: usize = expected.iter().map(|it| it.memory()).sum();
        if expected.len() <= INSTANCES && bytes <= BYTES {
            let shown: Vec<_> = shown.instances().iter().map(|it| (**it).clone()).collect();
            assert_eq!(shown, expected);
            assert!(self.mirror.shown.over_limits().is_none(), "all fits");
        } else {
            let expected: BTreeSet<_> = expected.iter().map(|it| it.key()).collect();
            let mut shown = shown.instances().iter();
            assert!(shown.all(|it| expected.contains(it.key())));
        }
    }
}

fn note(entries: &mut BTreeMap<Key, Entry>, change: &Change) {
    match change {
        Change::Put(entry) => drop(entries.insert(entry.key.clone(), entry.clone())),
        Change::Delete(key) => drop(entries.remove(key)),
    }
}

fn key(input: &mut Unstructured<'_>) -> Result<Key> {
    let name = input.int_in_range(0..=15_u8)?;
    Ok(Key::new(format!("/svc/{name}")).expect("it is not empty"))
}

fn change(input: &mut Unstructured<'_>) -> Result<Change> {
    Ok(match input.ratio(1, 3)? {
        true => Change::Delete(key(input)?),
        false => Change::Put(entry(input)?),
    })
}

/// An entry with a value that is often an instance's.
fn entry(input: &mut Unstructured<'_>) -> Result<Entry> {
    let key = key(input)?;
    let number: u8 = input.arbitrary()?;
    let value = match input.int_in_range(0..=7)? {
        0..=2 => format!("10.0.0.{number}:80").into_bytes(),
        3 => format!(r#"{{"address":"h:{number}","status":"draining"}}"#).into_bytes(),
        4 => {
            let zone = "z".repeat(5 * usize::from(number));
            format!(r#"{{"address":"h:1","zone":"{zone}","weight":-1}}"#).into_bytes()
        }
        5 => b"169.254.169.254:80".to_vec(),
        _ => {
            let length = usize::from(number).min(input.len());
            input.bytes(length)?.to_vec()
        }
    };
    Ok(Entry::new(key, value))
}
