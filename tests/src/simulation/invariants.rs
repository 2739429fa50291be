//! The promises that are checked whenever something happens, and again whenever there was calm.

use super::{
    faults::Fault,
    history::History,
    truth::{News, Place, Truth},
    view::View,
    weather::Weather,
};
use sd_core::{Bytes, Codec, DefaultCodec, Event, Key, Prefix, Status};
use sd_memory::Registry;
use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

/// A consumer that was ready before, with a grace period of this at least, is never emptied while a
/// provider lives.
const FULL_GRACE: Duration = Duration::from_secs(15);
/// A provider that registered less than this ago, or whose key others touched, does not count there.
const ESTABLISHED: Duration = Duration::from_secs(20);

/// One key of one provider, and which life of the provider it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Who {
    pub(super) slot: usize,
    pub(super) life: u32,
    pub(super) offer: usize,
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "p{}.{}/{}", self.slot, self.life, self.offer)
    }
}

/// A registered provider.
struct Standing {
    stem: Key,
    since: Instant,
}

/// Everything that is known of a run, and the verdict. Shared by all who take part in it.
#[derive(Clone)]
pub(super) struct Audit(Arc<Mutex<Files>>);

pub(super) struct Files {
    start: Instant,
    pub(super) history: History,
    pub(super) truth: Truth,
    pub(super) weather: Weather,
    /// Who writes each value; nobody writes the value of another.
    owners: HashMap<Bytes, Who>,
    /// Who has promised to put nothing any more, and when.
    silent: BTreeMap<Who, Place>,
    standing: BTreeMap<Who, Standing>,
    pub(super) views: BTreeMap<u32, View>,
}

impl Audit {
    pub(super) fn new(registry: Registry, now: Instant) -> Self {
        Self(Arc::new(Mutex::new(Files {
            start: now,
            history: History::default(),
            truth: Truth::new(registry),
            weather: Weather::new(now),
            owners: HashMap::new(),
            silent: BTreeMap::new(),
            standing: BTreeMap::new(),
            views: BTreeMap::new(),
        })))
    }

    /// The files, brought up to the present.
    pub(super) fn files(&self) -> MutexGuard<'_, Files> {
        let mut files = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let news = files.truth.catch_up();
        files.read(news);
        files
    }

    pub(super) fn note(&self, line: impl Into<String>) {
        self.files().note(line);
    }

    pub(super) fn violate(&self, what: impl Into<String>) {
        self.files().violate(what);
    }
}

impl Files {
    pub(super) fn note(&mut self, line: impl Into<String>) {
        self.history.note(self.start.elapsed(), line.into());
    }

    pub(super) fn violate(&mut self, what: impl Into<String>) {
        self.history.violate(self.start.elapsed(), what.into());
    }

    fn read(&mut self, news: Vec<News>) {
        for News { key, place, value } in news {
            let Some(value) = value else {
                self.note(format!("    registry: -{key}"));
                continue;
            };
            let owner = self.owners.get(&value).copied();
            let text = String::from_utf8_lossy(&value).into_owned();
            match owner {
                Some(who) => self.note(format!("    registry: +{key} by {who}: {text}")),
                None => self.note(format!("    registry: +{key} by strangers: {text}")),
            }
            if let Some(who) = owner
                && self.silent.get(&who).is_some_and(|since| *since < place)
            {
                self.violate(format!("{who} put {key} after it had deregistered or died"));
            }
        }
    }

    // === Providers ===

    /// `who` is going to write `value`, or that it is draining instead.
    pub(super) fn owns(&mut self, who: Who, key: &Key, value: &Bytes) {
        self.owners.insert(value.clone(), who);
        if let Some(draining) = DefaultCodec.draining(key, value) {
            self.owners.insert(draining, who);
        }
    }

    pub(super) fn owner(&self, value: &Bytes) -> Option<Who> {
        self.owners.get(value).copied()
    }

    /// `who` begins to put.
    pub(super) fn may_put(&mut self, who: Who) {
        self.silent.remove(&who);
    }

    /// `who` puts nothing from now on.
    pub(super) fn must_not_put(&mut self, who: Who) {
        self.silent.insert(who, self.truth.place());
    }

    /// What `who` has in the registry.
    pub(super) fn holdings(&self, who: Who) -> impl Iterator<Item = &Key> {
        let present = self.truth.present();
        present.filter_map(move |(key, value)| (self.owner(value) == Some(who)).then_some(key))
    }

    /// `who` is registered under `stem`, or a key that begins with it.
    pub(super) fn stands(&mut self, who: Who, stem: Key, now: Instant) {
        self.standing.insert(who, Standing { stem, since: now });
    }

    /// `who` does not want to be registered any more.
    pub(super) fn falls(&mut self, who: Who) {
        self.standing.remove(&who);
    }

    /// Others have touched the keys of all that `are` named.
    pub(super) fn touch(&mut self, are: impl Fn(&Who) -> bool, now: Instant) {
        for (who, standing) in &mut self.standing {
            if are(who) {
                standing.since = now;
            }
        }
    }

    // === Consumers ===

    /// Somebody begins to follow.
    pub(super) fn follow(&mut self, consumer: u32, prefix: Prefix, grace: Duration, now: Instant) {
        let view = View::new(prefix, grace, &self.truth, now);
        self.views.insert(consumer, view);
    }

    /// A consumer is shown something.
    pub(super) fn show(&mut self, consumer: u32, event: Event, now: Instant) {
        let Some(view) = self.views.get_mut(&consumer) else {
            return self.violate(format!("c{consumer} is shown something after its end"));
        };
        let is_empty = event.instances().is_empty();
        // Who has announced that it goes is believed.
        let was_full = view.latest().is_some_and(|latest| {
            let mut before = latest.instances().iter();
            !latest.instances().is_empty() && before.all(|i| i.status() == Status::Serving)
        });
        let shown = view.show(event, &self.truth, &self.weather, now);
        let long_ready = view.ready().is_some_and(|ready| ready + ESTABLISHED <= now);
        let was_emptied = was_full && is_empty && view.grace >= FULL_GRACE && long_ready;
        let prefix = view.prefix.clone();
        match shown {
            Ok(line) => self.note(format!("    c{consumer} sees: {line}")),
            Err(violation) => self.violate(format!("c{consumer}: {violation}")),
        }
        let alive = self.standing.iter().find(|(who, standing)| {
            let present = self.truth.present();
            // Whichever lease completes the key.
            let stem = standing.stem.as_str();
            let mut there = present.filter(|(key, _)| key.as_str().starts_with(stem));
            prefix.matches(&standing.stem)
                && standing.since + ESTABLISHED <= now
                && there.all(|(_, value)| self.owner(value) == Some(**who))
        });
        if let Some((who, _)) = alive
            && was_emptied
        {
            let who = *who;
            self.violate(format!("c{consumer} is emptied while {who} lives"));
        }
    }

    /// A fault is about to be done to the registry, which `rebuild` loses everything.
    pub(super) fn fault(&mut self, fault: &Fault, now: Instant) {
        self.weather.fault(fault, now);
        if let Fault::Rebuild { .. } = fault {
            let news = self.truth.rebuild();
            self.read(news);
        }
    }
}
