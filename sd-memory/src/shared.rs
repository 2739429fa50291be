//! The shared state of a registry: one state behind one lock, and a way to wait until it changes.

use crate::{
    calls::Calls,
    failures::Failures,
    history::History,
    notify::{Listener, Notifier},
    store::Store,
    watch_delay::WatchDelay,
};
use sd_core::{Error, Escaped};
use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    runtime::Handle,
    sync::watch,
    task::JoinHandle,
    time::{Instant, sleep_until},
};

/// How a registry treats its clients at the moment.
#[derive(Debug)]
pub(crate) enum Condition {
    /// It answers.
    Open,
    /// It does nothing, and no lease ends.
    Frozen { since: Instant },
    /// It answers every call with this error. Leases end.
    Refusing(Error),
    /// It is down and keeps its data.
    Killed,
}

/// Whether [`fail_next`](crate::Registry::fail_next) applies to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A call of the program. It applies.
    Call,
    /// The client's own work: keeping leases alive, noticing losses, closing. It does not apply.
    Upkeep,
}

/// How the registry treated a call.
#[derive(Debug)]
pub(crate) enum Attempt<T> {
    Answered(T),
    Silence,
    Refused(Error),
}

/// The state behind the lock.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) store: Store,
    pub(crate) condition: Condition,
    /// How long each call takes.
    pub(crate) delay: Duration,
    pub(crate) watch_delay: WatchDelay,
    pub(crate) failures: Failures,
    /// The clients that are cut off, and since when.
    pub(crate) cut_off: HashMap<u64, Instant>,
    /// The open watches, and the client of each.
    pub(crate) watchers: HashMap<u64, u64>,
    /// The error with which disconnected watches end.
    pub(crate) disconnected: Error,
    pub(crate) calls: Calls,
    /// The task that ends expired leases. It ends with the registry.
    expiry: Option<JoinHandle<()>>,
}

impl State {
    /// Ends all watches with the error `why`.
    pub(crate) fn disconnect(&mut self, why: Error) {
        self.watchers.clear();
        self.disconnected = why;
    }

    /// Since when `client` gets no answers. `None` if it gets answers.
    pub(crate) fn silent_since(&self, client: u64) -> Option<Instant> {
        let frozen = match self.condition {
            Condition::Frozen { since } => Some(since),
            _ => None,
        };
        frozen
            .into_iter()
            .chain(self.cut_off.get(&client).copied())
            .min()
    }

    /// Forgets `client`, which is gone.
    pub(crate) fn forget(&mut self, client: u64) {
        self.cut_off.remove(&client);
        self.failures.forget(client);
    }

    fn expire(&mut self, now: Instant) {
        if matches!(self.condition, Condition::Open | Condition::Refusing(_)) {
            for lease in self.store.expire(now) {
                tracing::debug!(lease = %Escaped(&lease), "lease expired");
            }
        }
    }
}

/// What clients, watches and handles of one registry share.
pub(crate) struct Shared {
    state: Mutex<State>,
    /// Wakes everything that waits for a change.
    changes: Notifier,
    /// Notified whenever the next end of a lease may have become earlier.
    deadlines: watch::Sender<()>,
    ids: AtomicU64,
}

impl Shared {
    /// An empty registry that keeps this many revisions.
    pub(crate) fn new(revisions: usize) -> Self {
        let state = State {
            store: Store::new(History::new(revisions)),
            condition: Condition::Open,
            delay: Duration::ZERO,
            watch_delay: WatchDelay::default(),
            failures: Failures::default(),
            cut_off: HashMap::new(),
            watchers: HashMap::new(),
            disconnected: Error::unavailable("disconnected"),
            calls: Calls::default(),
            expiry: None,
        };
        Self {
            state: Mutex::new(state),
            changes: Notifier::default(),
            deadlines: watch::Sender::new(()),
            ids: AtomicU64::new(0),
        }
    }

    /// A new number, unique in this registry.
    pub(crate) fn id(&self) -> u64 {
        self.ids.fetch_add(1, Ordering::Relaxed)
    }

    /// A listener that sees changes from now on.
    pub(crate) fn listen(&self) -> Listener {
        self.changes.listen()
    }

    /// Reads or changes the state on behalf of the test, whatever condition the registry is in.
    pub(crate) fn with<T>(self: &Arc<Self>, f: impl FnOnce(&mut State, Instant) -> T) -> T {
        let now = Instant::now();
        let mut state = self.lock();
        let before = Version::of(&state);
        state.expire(now);
        let answer = f(&mut state, now);
        let after = Version::of(&state);
        let has_changed = before.has_changed(&after);
        match (before.revision, after.revision) {
            ((old, before, _), (new, after, _)) if old == new && before < after => {
                let limit = state.store.history().capacity();
                state.watch_delay.add(before, now, limit);
            }
            ((old, ..), (new, ..)) if old != new => state.watch_delay.clear(),
            _ => {}
        }
        let sooner = match (before.next_expiry, after.next_expiry) {
            (_, None) => false,
            (None, Some(_)) => true,
            (Some(old), Some(new)) => new < old,
        };
        self.watch_deadlines(&mut state);
        drop(state);
        if sooner {
            self.deadlines.send_replace(());
        }
        if has_changed {
            self.changes.notify();
        }
        answer
    }

    /// Changes how the registry treats its clients, and wakes everything that waits.
    pub(crate) fn change_condition(self: &Arc<Self>, f: impl FnOnce(&mut State, Instant)) {
        self.with(f);
        self.deadlines.send_replace(());
        self.changes.notify();
    }

    /// Lets `f` answer `client` if the registry answers.
    pub(crate) fn attempt<T>(
        self: &Arc<Self>,
        client: u64,
        kind: Kind,
        f: impl FnOnce(&mut State, Instant) -> T,
    ) -> Attempt<T> {
        self.with(|state, now| {
            if state.silent_since(client).is_some() {
                return Attempt::Silence;
            }
            let refusal = match &state.condition {
                Condition::Refusing(error) => Some(error.clone()),
                Condition::Killed => Some(Error::unavailable("the registry is down")),
                _ if kind == Kind::Call => state.failures.take(client),
                _ => None,
            };
            match refusal {
                Some(error) => Attempt::Refused(error),
                None => Attempt::Answered(f(state, now)),
            }
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts the task that ends leases, if there are leases and no such task. Outside of a
    /// runtime, expired leases end at the next access.
    fn watch_deadlines(self: &Arc<Self>, state: &mut State) {
        let running = state
            .expiry
            .as_ref()
            .is_some_and(|task| !task.is_finished());
        if running || state.store.next_expiry().is_none() {
            return;
        }
        if let Ok(runtime) = Handle::try_current() {
            let deadlines = self.deadlines.subscribe();
            state.expiry = Some(runtime.spawn(end_leases(Arc::downgrade(self), deadlines)));
        }
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

/// The parts of the state whose change wakes waiters.
struct Version {
    /// The id of the history, its newest revision, and the oldest that is not compacted.
    revision: (u64, u64, u64),
    /// The number of leases: one without keys ends without a new revision.
    leases: usize,
    next_expiry: Option<Instant>,
}

impl Version {
    fn of(state: &State) -> Self {
        let history = state.store.history();
        Self {
            revision: (history.id(), history.revision(), history.compacted()),
            leases: state.store.leases().len(),
            next_expiry: state.store.next_expiry(),
        }
    }

    /// Whether waiters have to be woken.
    fn has_changed(&self, after: &Self) -> bool {
        let what = |it: &Self| (it.revision, it.leases);
        what(self) != what(after)
    }
}

/// Ends leases when they expire. Runs while the registry exists and has leases.
async fn end_leases(registry: Weak<Shared>, mut deadlines: watch::Receiver<()>) {
    loop {
        let Some(shared) = registry.upgrade() else {
            return;
        };
        let next = shared.with(|state, _| {
            let next = state.store.next_expiry();
            if next.is_none() {
                state.expiry = None;
                return None;
            }
            match state.condition {
                Condition::Open | Condition::Refusing(_) => Some(next),
                Condition::Frozen { .. } | Condition::Killed => Some(None),
            }
        });
        drop(shared);
        let ended = match next {
            None => return,
            Some(None) => deadlines.changed().await.is_err(),
            Some(Some(deadline)) => tokio::select! {
                biased;
                () = sleep_until(deadline) => false,
                changed = deadlines.changed() => changed.is_err(),
            },
        };
        if ended {
            return;
        }
    }
}
