//! The mirror of a prefix, as a state machine without I/O.
//!
//! It lists once, watches from there and applies changes. It lists again only after a gap, and then
//! applies the difference. Its driver asks [`next`](Mirror::next) what to do, does it, reports the
//! outcome together with the time, and publishes what [`take_event`](Mirror::take_event) returns.
//!
//! # When the registry counts as healthy
//! At the start and after trouble the source is live when the registry has answered *about this
//! watch*: it has yielded a batch, progress included, as each watch does first. Neither a list (changes
//! after it are not heard of yet) nor an opened watch (it may ask the registry later) is an answer.
//! Changes that a resumed watch has yet to deliver arrive within the grace period, which begins at
//! that moment.

mod entry_decoder;
#[cfg(feature = "fuzzing")]
pub(super) mod fuzzing;
mod loss_window;
#[cfg(test)]
mod model;
mod pending_removals;
mod shown;
mod source_health;
#[cfg(test)]
mod tests;
mod unreadable;

use crate::{
    consumer::prefix_limits::PrefixLimits,
    instances::{Event, Trouble},
    registry::{Batch, Error, Prefix, Revision, Snapshot, WatchError},
    support::{Backoff, LineQuota},
};
pub(super) use entry_decoder::EntryDecoder;
use pending_removals::PendingRemovals;
pub(super) use pending_removals::RemovalRules;
use shown::ShownInstances;
use source_health::{SourceHealth, can_pass};
use std::time::Duration;
use tokio::time::Instant;

/// The first pause after trouble that can pass is at most this long.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest of these pauses is at least this long, so that no option makes a hot loop.
const MIN_LONGEST_PAUSE: Duration = Duration::from_millis(10);
/// The same for trouble that does not pass by itself. Rights can be granted and passwords
/// corrected, so attempts never end, but they slow down.
const FIRST_HOPELESS_PAUSE: Duration = Duration::from_secs(2);
const LONGEST_HOPELESS_PAUSE: Duration = Duration::from_secs(30);

/// How many lines the log has about a prefix within a minute at most, whoever causes them. With the
/// three of an endpointer that follows it they are ten.
const LINES: usize = 7;

/// What is known of a prefix, and what to do to know more. `W` is the driver's open watch.
pub(super) struct Mirror<W> {
    phase: Phase<W>,
    shown: ShownInstances,
    health: SourceHealth,
    pauses: Backoff,
    hopeless_pauses: Backoff,
    pause: Duration,
    /// When to list again, since there is room for entries that were left out.
    relist_at: Option<Instant>,
    version: u64,
    changed: bool,
}

/// How far the mirror has come.
enum Phase<W> {
    /// Nothing is known yet.
    Empty,
    /// The mirror is too old for a watch to bring it up to date.
    Outdated,
    /// The state as of `resume` is known.
    Listed { resume: Revision },
    /// The state as of `resume` is known, and `watch` yields the changes. The registry has answered
    /// about it at `since` for the first time.
    Watching {
        resume: Revision,
        watch: W,
        since: Option<Instant>,
    },
}

/// What the driver does next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next<'a, W> {
    /// Read all entries.
    List,
    /// Open a watch.
    Watch { after: Revision },
    /// Read the open watch, until [`Mirror::deadline`].
    Read(&'a mut W),
}

impl<W> Mirror<W> {
    /// A mirror that knows nothing yet. Removals are doubted by `rules`, and what is kept is bounded by
    /// `limits`; `longest_pause` is the longest time between two attempts while the registry is down.
    pub(super) fn new(
        prefix: Prefix,
        decoder: EntryDecoder,
        rules: RemovalRules,
        limits: PrefixLimits,
        longest_pause: Duration,
    ) -> Self {
        let removals = PendingRemovals::new(rules);
        let longest = longest_pause.max(MIN_LONGEST_PAUSE);
        let longest_hopeless = longest.max(LONGEST_HOPELESS_PAUSE);
        let lines = LineQuota::new(LINES);
        Self {
            phase: Phase::Empty,
            shown: ShownInstances::new(prefix.clone(), decoder, removals, limits, lines.clone()),
            health: SourceHealth::new(prefix, lines),
            pauses: Backoff::new(FIRST_PAUSE.min(longest), longest),
            hopeless_pauses: Backoff::new(FIRST_HOPELESS_PAUSE, longest_hopeless),
            pause: Duration::ZERO,
            relist_at: None,
            version: 0,
            changed: false,
        }
    }

    /// What to do next, and how long to wait before. The wait is returned once.
    pub(super) fn next(&mut self) -> (Duration, Next<'_, W>) {
        let next = match &mut self.phase {
            Phase::Empty | Phase::Outdated => Next::List,
            Phase::Listed { resume } => Next::Watch {
                after: resume.clone(),
            },
            Phase::Watching { watch, .. } => Next::Read(watch),
        };
        (std::mem::take(&mut self.pause), next)
    }

    /// The open watch.
    pub(super) fn watch(&mut self) -> Option<&mut W> {
        match &mut self.phase {
            Phase::Watching { watch, .. } => Some(watch),
            Phase::Empty | Phase::Outdated | Phase::Listed { .. } => None,
        }
    }

    /// Whether a list has ever succeeded.
    pub(super) fn is_ready(&self) -> bool {
        !matches!(self.phase, Phase::Empty)
    }

    /// The newest trouble, until it is overcome.
    pub(super) fn trouble(&self) -> Option<&Trouble> {
        self.health.trouble()
    }

    /// How many entries were left out so far because they could not be read.
    pub(super) fn skipped(&self) -> u64 {
        self.shown.skipped()
    }

    /// When [`tick`](Self::tick) is due, if at all.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let removals = self.shown.removals.deadline();
        [removals, self.relist_at].into_iter().flatten().min()
    }

    /// Whether it is time to publish, whatever else is known already: each state that has not become the next one
    /// takes as much memory as has changed.
    pub(super) fn has_much_news(&self) -> bool {
        self.shown.has_much_news()
    }

    /// The new state, if it has changed since the last call. Mere progress is no change.
    pub(super) fn take_event(&mut self) -> Option<Event> {
        if !std::mem::take(&mut self.changed) {
            return None;
        }
        self.version += 1;
        let event = self.shown.event(self.version);
        Some(event.with_health(self.health.published().clone()))
    }

    // === What happened ===

    /// This is what a predecessor knew, as of `since`. Shown until the registry says more, which is believed as after any
    /// `trouble`. Does nothing if anything is known.
    #[cfg(feature = "snapshot")]
    pub(super) fn restore(
        &mut self,
        instances: Vec<crate::instances::Instance>,
        trouble: Trouble,
        since: Instant,
        now: Instant,
    ) {
        if self.is_ready() {
            return;
        }
        self.shown.restore(instances);
        self.phase = Phase::Outdated;
        self.shown.doubt(&trouble, None, now);
        self.health.restored(trouble, since);
        self.changed = true;
    }

    /// All entries were read.
    pub(super) fn listed(&mut self, snapshot: Snapshot, now: Instant) {
        self.changed |= self.shown.list(snapshot.entries, now);
        self.shown.skip(snapshot.skipped);
        if !self.is_ready() {
            self.health.listed(now);
            let why = Trouble::Unanswered;
            self.shown.doubt(&why, Some(now), now);
            self.changed = true;
        }
        self.relist_at = None;
        self.phase = Phase::Listed {
            resume: snapshot.revision,
        };
    }

    /// The entries could not be read.
    pub(super) fn list_failed(&mut self, error: Error, now: Instant) {
        self.fail(Trouble::List(error), now);
    }

    /// `watch` was opened from the revision that [`Next::Watch`] named. That is no answer yet.
    pub(super) fn opened(&mut self, watch: W) {
        let Phase::Listed { resume } = &self.phase else {
            return;
        };
        self.phase = Phase::Watching {
            resume: resume.clone(),
            watch,
            since: None,
        };
    }

    /// The watch yielded a batch.
    pub(super) fn batch(&mut self, batch: Batch, now: Instant) {
        let Phase::Watching { resume, since, .. } = &mut self.phase else {
            return;
        };
        *resume = batch.resume;
        since.get_or_insert(now);
        self.shown.removals.answered(now);
        self.changed |= self.shown.apply(batch.changes, now);
        self.shown.skip(batch.skipped);
        self.answered(now);
    }

    /// The watch could not be opened, or yielded an error. An open watch is dropped, unless it was
    /// only disrupted.
    pub(super) fn watch_failed(&mut self, error: WatchError, now: Instant) {
        if let (WatchError::Disrupted(_), Phase::Watching { .. }) = (&error, &self.phase) {
            let silent_since = match &error {
                WatchError::Disrupted(Error::Timeout { after, .. }) => now.checked_sub(*after),
                _ => None,
            };
            self.note(Trouble::Watch(error), silent_since, now);
            return;
        }
        // A list, an opened watch and a batch do not reset the pauses: each may be followed at once
        // by the same failure, which would make a hot loop. A watch that lasts does.
        if let Phase::Watching {
            since: Some(since), ..
        } = self.phase
            && now.saturating_duration_since(since) >= self.pauses.longest()
        {
            self.pauses.reset();
            self.hopeless_pauses.reset();
        }
        self.phase = match std::mem::replace(&mut self.phase, Phase::Outdated) {
            Phase::Empty => Phase::Empty,
            Phase::Listed { resume } | Phase::Watching { resume, .. }
                if !matches!(error, WatchError::Gap(_)) =>
            {
                Phase::Listed { resume }
            }
            _ => Phase::Outdated,
        };
        self.fail(Trouble::Watch(error), now);
    }

    /// The watch ended without an error, which counts as an interruption.
    pub(super) fn watch_ended(&mut self, now: Instant) {
        let error = Error::unavailable("the watch ended without an error");
        self.watch_failed(WatchError::Interrupted(error), now);
    }

    /// Time has passed. The driver first reports what has happened until then, so that trouble that
    /// is already known keeps the removals it makes doubtful from being applied.
    pub(super) fn tick(&mut self, now: Instant) {
        self.changed |= self.shown.apply_due(now);
        self.note_room(now);
        if self.relist_at.is_some_and(|at| at <= now) && self.is_ready() {
            self.relist_at = None;
            self.phase = Phase::Outdated;
        }
    }

    // === Health ===

    /// The registry has answered about the open watch: the one place that makes a source live.
    fn answered(&mut self, now: Instant) {
        self.changed |= match self.shown.over_limits() {
            None => self.health.answered(now),
            Some(why) => self.health.over_limits(why, now),
        };
        self.note_room(now);
    }

    /// Sees to it that what was left out is listed, if there is room for it. Not often: a list of many
    /// entries is work for the registry.
    fn note_room(&mut self, now: Instant) {
        if self.relist_at.is_none() && self.shown.has_room() {
            self.relist_at = Some(now + self.hopeless_pauses.next_delay());
        }
    }

    /// An attempt has failed, so that the next one has to wait.
    fn fail(&mut self, why: Trouble, now: Instant) {
        let pauses = if can_pass(&why) {
            &mut self.pauses
        } else {
            &mut self.hopeless_pauses
        };
        self.pause = pauses.next_delay();
        self.note(why, None, now);
    }

    /// There is trouble. `silent_since` if all that is known of it is that the registry is silent.
    fn note(&mut self, why: Trouble, silent_since: Option<Instant>, now: Instant) {
        let is_ready = self.is_ready();
        if is_ready {
            self.shown.doubt(&why, silent_since, now);
        }
        self.changed |= self.health.failed(why, is_ready, self.pause, now);
    }
}
