//! The state machine under any order of inputs, and against a model of a registry.

use super::*;
use crate::{
    instances::{AddressPolicy, Codec, DEFAULT_ENTRY_BYTES, DefaultCodec, Instance, Status},
    provider::value_format::ValueFormat,
    registry::{Entry, Invalid, Key, LeaseId, Lost},
    support::{cases, denied, down},
};
use bytes::Bytes;
use proptest::prelude::*;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

const BOUND: Duration = Duration::from_secs(5);
const SHORTEST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(4);
const VALUES: [&str; 6] = [
    r#"{"address":"h:1"}"#,
    r#"{"address":"h:1","weight":3}"#,
    r#"{"address":"h:1","status":"draining"}"#,
    r#"{"address":"h:2"}"#,
    "h:3",
    UNACCEPTABLE,
];
/// Can never be written.
const UNACCEPTABLE: &str = "too-much:1";

fn value() -> impl Strategy<Value = Bytes> {
    let good = VALUES[0..5].to_vec();
    prop_oneof![
        9 => prop::sample::select(good).prop_map(Bytes::from),
        1 => Just(Bytes::from(UNACCEPTABLE)),
    ]
}

fn options() -> impl Strategy<Value = Options> {
    (any::<bool>(), 0..3_u64).prop_map(|(retake, drain)| Options {
        retake,
        backoff: (SHORTEST, LONGEST),
        deregister_timeout: BOUND,
        drain: Duration::from_secs(drain),
        format: ValueFormat {
            codec: Some(Arc::new(DefaultCodec)),
            addresses: AddressPolicy::default(),
            most_bytes: DEFAULT_ENTRY_BYTES,
        },
    })
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "retake: {}, drain: {:?}", self.retake, self.drain)
    }
}

fn lease() -> LeaseId {
    LeaseId::from(1)
}

/// The service may belong under several, in the course of its life.
const KEYS: [&str; 3] = ["/svc/a", "/svc/b", "/svc/c"];

fn key() -> Key {
    Key::new(KEYS[0]).unwrap()
}

fn any_key() -> impl Strategy<Value = Key> {
    let most = prop_oneof![3 => Just(KEYS[0]), 1 => Just(KEYS[1]), 1 => Just(KEYS[2])];
    most.prop_map(|key| Key::new(key).unwrap())
}

fn key_value() -> impl Strategy<Value = KeyValue> {
    (any_key(), value()).prop_map(|(key, value)| KeyValue::new(key, value))
}

/// An owner that says weight, status, both or neither in so many words.
fn said() -> impl Strategy<Value = Vec<Edit>> {
    let weight = prop::option::weighted(0.2, Just(3_u32));
    let status = prop::option::weighted(0.2, Just(Status::Serving));
    (weight, status).prop_map(|(weight, status)| {
        let mut said = Edit::new();
        (said.weight, said.status) = (weight, status);
        if said.is_empty() { vec![] } else { vec![said] }
    })
}

fn is_put(action: &Action) -> bool {
    matches!(action, Action::Register(_) | Action::Reclaim(_))
}

fn read(value: &Bytes) -> Option<Instance> {
    let entry = Entry::new(key(), value.clone());
    DefaultCodec.decode(&entry).ok()?.into_iter().next()
}

/// Whether it comes from the owner.
fn is_request(input: &Input) -> bool {
    matches!(
        input,
        Input::Register(_) | Input::Update { .. } | Input::Deregister | Input::DeregisterNow
    )
}

fn is_answer(input: &Input) -> bool {
    matches!(
        input,
        Input::Registered { .. }
            | Input::RegisterFailed(_)
            | Input::Reclaimed { .. }
            | Input::ReclaimFailed(_)
            | Input::Taken { .. }
    )
}

/// Whether it is how `action` ends.
fn ends(input: &Input, action: &Action) -> bool {
    match action {
        Action::Idle => false,
        Action::Register(_) => {
            matches!(input, Input::Registered { .. } | Input::RegisterFailed(_))
        }
        Action::AwaitLoss => matches!(input, Input::Lost(_)),
        Action::Reclaim(_) => matches!(
            input,
            Input::Reclaimed { .. } | Input::Taken { .. } | Input::ReclaimFailed(_)
        ),
        Action::EndFormer(_) => matches!(input, Input::FormerEnded(_)),
        Action::Deregister(_) => matches!(input, Input::Deregistered(_)),
    }
}

fn is_deregister(action: &Action) -> bool {
    matches!(action, Action::Deregister(_))
}

// === What may be put ===

/// What may be put after the last request of the owner.
#[derive(Debug, Clone, PartialEq)]
enum Allowed {
    Anything,
    /// This value, once.
    Announcement(Option<Bytes>),
    Nothing,
}

/// An input and the action that it led to.
#[derive(Debug)]
struct Step(
    #[expect(dead_code, reason = "only shown")] Input,
    #[expect(dead_code, reason = "only shown")] Option<Action>,
);

/// A state machine, checked for what it must never do.
struct Checked {
    state: RegistrationState,
    now: Instant,
    allowed: Allowed,
    /// Whether the owner asked for the key, whoever holds it.
    take_over: bool,
    /// Whether the owner wants to be registered again once deregistered.
    again: bool,
    /// How many puts followed answers at once, one after the other.
    in_a_row: u32,
    /// How many attempts failed since one succeeded, or since the owner began anew.
    failures: u32,
    /// The generation that the owner has asked for last, and whether an attempt has had it.
    asked: Option<(Generation, bool)>,
}

impl Checked {
    fn new(options: Options) -> Self {
        let now = Instant::now();
        Self {
            state: RegistrationState::new(options, KeyValue::new(key(), VALUES[0])),
            now,
            allowed: Allowed::Nothing,
            take_over: false,
            again: false,
            in_a_row: 0,
            failures: 0,
            asked: None,
        }
    }

    /// Whether the owner has asked again since the last attempt to register began.
    fn is_asked_again(&self) -> bool {
        let is_removing = matches!(self.state.status(), RegistrarStatus::Deregistering);
        self.asked.is_some_and(|(_, was_tried)| !was_tried) && !is_removing
    }

    /// Whether it registers under another key while it is registered.
    fn is_moving(&self) -> bool {
        matches!(self.state.phase, Phase::Registered { .. })
            && matches!(self.state.action, Action::Register(_))
    }

    fn on(&mut self, input: Input) -> Option<Action> {
        let before = self.state.action().clone();
        self.request(&input);
        let action = self.state.on(input.clone(), self.now);
        let step = Step(input.clone(), action.clone());
        if self.again && !matches!(self.state.status(), RegistrarStatus::Deregistering) {
            self.again = false;
            self.allowed = Allowed::Anything;
        }
        if let Some(action) = &action {
            assert_eq!(action, self.state.action(), "{step:?}");
            let is_end = matches!(input, Input::Deregistered(_) | Input::TimerFired);
            assert!(!is_deregister(&before) || is_end, "dropped: {step:?}");
            if is_put(action) {
                let is_called_for = is_request(&input) || is_answer(&input);
                assert!(is_called_for || !is_put(&before), "two at once: {step:?}");
                self.put(action, &step);
            }
            if let Action::EndFormer(keys) = action {
                let held = self.state.value.written_key().expect("a registration");
                assert!(!keys.is_empty() && !keys.contains(held), "{step:?}");
            }
            if is_deregister(action) {
                self.allowed = Allowed::Nothing;
            }
        }
        // Or else the action that has ended would be begun again.
        assert!(
            action.is_some() || !ends(&input, &before),
            "goes on: {step:?}"
        );
        self.check_delay(&input, action.as_ref(), &step);
        self.check(&step);
        action
    }

    fn request(&mut self, input: &Input) {
        match input {
            Input::Register(generation) => {
                self.asked = Some((*generation, false));
                let status = self.state.status();
                match status {
                    RegistrarStatus::Deregistering => self.again = true,
                    _ => self.allowed = Allowed::Anything,
                }
                self.take_over |= !matches!(
                    status,
                    RegistrarStatus::Registered { .. } | RegistrarStatus::Reclaiming { .. }
                );
            }
            Input::DeregisterNow => {
                self.take_over = false;
                self.again = false;
                self.allowed = Allowed::Nothing;
            }
            Input::Deregister => {
                self.take_over = false;
                self.again = false;
                if self.allowed == Allowed::Anything {
                    let draining = self
                        .state
                        .options
                        .format
                        .draining(&key(), &self.state.value.in_place().value);
                    self.allowed = Allowed::Announcement(draining);
                }
            }
            Input::Registered { .. } if matches!(self.state.action, Action::Register(_)) => {
                self.take_over = false;
            }
            // A newer registration has the key.
            Input::Lost(Lost::Superseded)
            | Input::RegisterFailed(Error::Superseded)
            | Input::ReclaimFailed(Error::Superseded)
                if ends(input, &self.state.action) && !self.is_moving() =>
            {
                if self.is_asked_again() {
                    self.take_over = true;
                    self.failures = 0;
                } else {
                    self.allowed = Allowed::Nothing;
                }
            }
            // There is no client any more.
            Input::Lost(Lost::Closed | Lost::Deregistered)
                if self.state.action == Action::AwaitLoss =>
            {
                self.allowed = Allowed::Nothing;
            }
            _ => {}
        }
    }

    fn put(&mut self, action: &Action, step: &Step) {
        match (&self.allowed, action) {
            (Allowed::Anything, _) => {}
            (Allowed::Announcement(Some(draining)), Action::Reclaim(value)) => {
                assert_eq!(value, draining, "{step:?}");
                self.allowed = Allowed::Nothing;
            }
            _ => panic!("nothing may be put: {step:?}"),
        }
        if matches!(action, Action::Register(_)) {
            let may = self.take_over || self.state.options.retake || self.is_moving();
            assert!(may, "taken from somebody: {step:?}");
            let asked = self.asked.as_mut().expect("the owner has asked");
            asked.1 = true;
            assert_eq!(self.state.generation(), asked.0, "{step:?}");
        }
    }

    /// Delays grow while attempts fail, and few puts follow an answer at once.
    fn check_delay(&mut self, input: &Input, action: Option<&Action>, step: &Step) {
        let at_once = action.is_some_and(is_put);
        match input {
            Input::Register(_)
            | Input::Deregister
            | Input::DeregisterNow
            | Input::Deregistered(_) => {
                self.failures = 0;
            }
            Input::Registered { .. } | Input::Reclaimed { .. } => self.failures = 0,
            _ => {}
        }
        if is_answer(input) && at_once {
            self.in_a_row += 1;
            assert!(self.in_a_row <= 3, "a hot loop: {step:?}");
        } else if action.is_some() || is_request(input) {
            self.in_a_row = 0;
        }
        let (Input::RegisterFailed(error) | Input::ReclaimFailed(error)) = input else {
            return;
        };
        let is_retried = matches!(
            self.state.phase,
            Phase::Registering { .. }
                | Phase::Reclaiming { .. }
                | Phase::Registered { error: Some(_), .. }
        );
        let is_delayed =
            action.is_some_and(|it| !is_put(it) && !matches!(it, Action::EndFormer(_)));
        if !is_retried || !is_delayed {
            return;
        }
        let delay = self.state.timer().expect("a timer") - self.now;
        let least = match (error.is_transient(), self.failures) {
            (false, _) => LONGEST / 2,
            (true, 0) => Duration::ZERO,
            (true, n) => (SHORTEST * 2_u32.pow(n.min(10) - 1)).min(LONGEST / 2),
        };
        assert!((least..=LONGEST).contains(&delay), "{delay:?}: {step:?}");
        self.failures += u32::from(error.is_transient());
    }

    fn check(&self, step: &Step) {
        let state = &self.state;
        match &state.action {
            Action::Idle => assert!(state.has_ended() != state.timer().is_some(), "{step:?}"),
            Action::EndFormer(_) => {
                assert!(state.timer().is_some() && !state.has_ended(), "{step:?}");
            }
            Action::Deregister(_) => assert!(state.timer().is_some(), "{step:?}"),
            Action::Register(_) | Action::Reclaim(_) | Action::AwaitLoss => {
                assert!(!state.has_ended(), "{step:?}");
            }
        }
        let most = match state.options.retake {
            true => LONGEST * RETAKE_SLOWER,
            false => LONGEST.max(BOUND),
        };
        let is_near = state.timer().is_none_or(|at| at <= self.now + most);
        assert!(is_near, "too late: {step:?}");
    }
}

// === Any order of inputs ===

fn input() -> impl Strategy<Value = Input> {
    let lost = prop_oneof![
        3 => Just(Lost::LeaseExpired),
        1 => Just(Lost::KeyDeleted),
        1 => Just(Lost::Taken { value: "x".into() }),
        2 => value().prop_map(Lost::overwritten),
        1 => Just(Lost::RolledBack),
        1 => Just(Lost::Superseded),
        1 => Just(Lost::Deregistered),
        1 => Just(Lost::Closed),
    ];
    let error = || {
        prop_oneof![
            4 => Just(down()),
            1 => Just(denied()),
            1 => Just(Error::Invalid(Invalid::EmptyKey)),
            1 => Just(Error::Closed),
            1 => Just(Error::Superseded),
        ]
    };
    let gone = || {
        prop_oneof![
            Just(Ok(Deregistered::Removed)),
            Just(Ok(Deregistered::NotOurs)),
            Just(Ok(Deregistered::Unconfirmed)),
            error().prop_map(Err),
        ]
    };
    prop_oneof![
        1 => Just(()).prop_map(|()| Input::Register(Generation::new())),
        1 => (key_value(), said()).prop_map(|(wanted, said)| Input::Update { wanted, said }),
        1 => Just(Input::Deregister),
        1 => Just(Input::DeregisterNow),
        2 => any_key().prop_map(|key| Input::Registered { key, lease: lease() }),
        2 => error().prop_map(Input::RegisterFailed),
        2 => lost.prop_map(Input::Lost),
        1 => Just(Input::Reclaimed { key: key(), lease: lease() }),
        1 => Just(Input::Taken { value: "x".into() }),
        2 => error().prop_map(Input::ReclaimFailed),
        1 => gone().prop_map(Input::FormerEnded),
        1 => gone().prop_map(Input::Deregistered),
        3 => Just(Input::TimerFired),
    ]
}

// === A registry ===

/// What happens in a simulation.
#[derive(Debug, Clone)]
enum Op {
    Register,
    Update(KeyValue, Vec<Edit>),
    /// The owner deregisters. A put that is given up for it takes effect, or not.
    Deregister {
        now: bool,
        applied: bool,
    },
    /// The lease ends, or an operator deletes the key.
    Vanish(Lost),
    /// Somebody writes another value and leaves the entry on its lease.
    Edit(Bytes),
    /// Somebody else takes this key.
    Take(Key),
    /// The other holder lets each key go.
    Leave,
    /// The client is closed.
    Close,
    /// Another registrar of the client registers under this key.
    Supersede(Key),
    /// The current action ends with this response.
    Answer(Response),
    /// The time of the timer comes.
    Fire,
    /// The timer fires before its time.
    FireEarly,
    Pass(u64),
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Response {
    Ok,
    /// Not answered, and without effect.
    LostBefore,
    /// Not answered, but with effect.
    LostAfter,
    Denied,
    Closed,
}

fn op() -> impl Strategy<Value = Op> {
    let response = prop_oneof![
        8 => Just(Response::Ok),
        2 => Just(Response::LostBefore),
        2 => Just(Response::LostAfter),
        2 => Just(Response::Denied),
    ];
    let vanish = prop::sample::select(vec![
        Lost::LeaseExpired,
        Lost::KeyDeleted,
        // The entry from before is gone too, sooner or later.
        Lost::RolledBack,
    ]);
    prop_oneof![
        40 => Just(Op::Register),
        60 => (key_value(), said()).prop_map(|(it, said)| Op::Update(it, said)),
        40 => any::<(bool, bool)>().prop_map(|(now, applied)| Op::Deregister { now, applied }),
        40 => vanish.prop_map(Op::Vanish),
        40 => value().prop_map(Op::Edit),
        20 => any_key().prop_map(Op::Take),
        20 => Just(Op::Leave),
        1 => Just(Op::Close),
        20 => any_key().prop_map(Op::Supersede),
        200 => response.prop_map(Op::Answer),
        2 => Just(Op::Answer(Response::Closed)),
        100 => Just(Op::Fire),
        10 => Just(Op::FireEarly),
        20 => (0..10_000_u64).prop_map(Op::Pass),
    ]
}

#[derive(Debug, Clone, PartialEq)]
enum Holder {
    Us,
    Other,
}

struct Simulation {
    checked: Checked,
    entries: BTreeMap<Key, (Holder, Bytes)>,
    /// Why the registration is lost, until the state machine is told.
    loss: Option<Lost>,
    /// Whether others have removed or taken the entry that is kept, since it was put.
    is_disturbed: bool,
    /// The key of the registration that the client holds.
    held: Option<Key>,
    /// The keys under which the client still tries to remove an entry that may be left.
    removing: BTreeSet<Key>,
    /// Whether an entry under a former key may be left, as far as the state machine knows.
    is_former_left: bool,
    wants: bool,
    /// Whether it met an error that it cannot overcome by itself.
    excused: bool,
    /// What the owner wants.
    own: KeyValue,
    /// Whether that was given up, since another registrar has its key.
    given_up: bool,
    /// What somebody has made of its value.
    edit: Option<Bytes>,
    /// The registrations that have superseded ours, also while their entries are gone.
    successors: BTreeMap<Key, Generation>,
}

fn fixed(key: &ServiceKey) -> Key {
    key.fixed().expect("a fixed key").clone()
}

impl Simulation {
    fn new(options: Options) -> Self {
        Self {
            checked: Checked::new(options),
            entries: BTreeMap::new(),
            loss: None,
            is_disturbed: false,
            held: None,
            removing: BTreeSet::new(),
            is_former_left: false,
            wants: false,
            excused: false,
            own: KeyValue::new(key(), VALUES[0]),
            given_up: false,
            edit: None,
            successors: BTreeMap::new(),
        }
    }

    fn action(&self) -> Action {
        self.checked.state.action().clone()
    }

    fn is_ours(&self, key: &Key) -> bool {
        matches!(self.entries.get(key), Some((Holder::Us, _)))
    }

    /// Whether the entry of the registration stands, and is known to.
    fn stands(&self) -> bool {
        self.loss.is_none() && self.held.as_ref().is_some_and(|key| self.is_ours(key))
    }

    fn is_removing(&self) -> bool {
        matches!(self.checked.state.phase, Phase::Removing(_))
    }

    fn tell(&mut self, input: Input) {
        let was_removing = self.is_removing();
        self.checked.on(input);
        if is_deregister(&self.action()) {
            self.held = None;
            self.loss = None;
        }
        // An edit ends with the instance, also where the next one follows at once.
        if self.checked.state.has_ended() || was_removing && !self.is_removing() {
            self.edit = None;
        }
        let state = &self.checked.state;
        let gave_up = self.wants && state.has_ended() && !self.excused;
        assert!(!gave_up, "gave up: {state:?}");
        // An update is reported as written only if it is, as far as the client can know, and nothing else is left.
        let is_written = matches!(state.update_result(), Some(Ok(Updated::Written)));
        if is_written && self.stands() {
            let wanted = &state.value.wanted;
            let entry = self.entries.get(&fixed(&wanted.key));
            let written = Some(&(Holder::Us, wanted.value.clone()));
            assert_eq!(entry, written, "said to be written: {state:?}");
            let ours = self.entries.keys().filter(|key| self.is_ours(key)).count();
            assert!(ours == 1 || self.is_former_left, "the former stands");
        }
    }

    fn on(&mut self, op: Op) {
        match op {
            Op::Register => {
                self.wants = true;
                self.excused = false;
                self.tell(Input::Register(Generation::new()));
            }
            Op::Update(wanted, said) => {
                self.own = wanted.clone();
                self.given_up = false;
                self.edit = None;
                let kept = self.kept_of_edit(&wanted.value, &said);
                self.tell(Input::Update { wanted, said });
                if let Some(kept) = kept {
                    let wanted = self.checked.state.value.edit().expect("the edit stands");
                    assert_eq!(read(wanted), Some(kept));
                    self.edit = Some(wanted.clone());
                } else {
                    assert_eq!(self.checked.state.value.edit(), None);
                }
            }
            Op::Deregister { now, applied } => {
                let before = self.action();
                let input = if now {
                    Input::DeregisterNow
                } else {
                    Input::Deregister
                };
                let is_dropped = self.checked.on(input).is_some();
                if applied && is_dropped {
                    self.apply(&before);
                }
                self.wants = false;
                self.excused = false;
            }
            Op::Vanish(why) => {
                if let Some(key) = self.held.clone()
                    && self.is_ours(&key)
                {
                    self.entries.remove(&key);
                    self.lose(&key, why);
                }
            }
            Op::Edit(value) => {
                if let Some(key) = self.held.clone()
                    && self.stands()
                {
                    self.entries
                        .insert(key.clone(), (Holder::Us, value.clone()));
                    self.lose(&key, Lost::overwritten(value));
                }
            }
            Op::Take(key) => {
                let value = Bytes::from("theirs");
                self.entries
                    .insert(key.clone(), (Holder::Other, value.clone()));
                self.lose(&key, Lost::Taken { value });
            }
            Op::Leave => self.leave(),
            Op::Close => {
                if let Some(key) = self.held.clone() {
                    self.close();
                    self.lose(&key, Lost::Closed);
                }
            }
            Op::Supersede(key) => {
                self.successors.insert(key.clone(), Generation::new());
                self.entries
                    .insert(key.clone(), (Holder::Other, "theirs".into()));
                self.lose(&key, Lost::Superseded);
            }
            Op::Answer(response) => self.answer(response),
            Op::Fire => {
                if let Some(at) = self.checked.state.timer() {
                    self.checked.now = self.checked.now.max(at);
                    self.fire();
                }
            }
            Op::FireEarly => {
                let before = self.action();
                let due = self.checked.state.timer();
                if due.is_none_or(|at| at > self.checked.now) {
                    self.tell(Input::TimerFired);
                    assert_eq!((self.action(), self.checked.state.timer()), (before, due));
                }
            }
            Op::Pass(millis) => self.checked.now += Duration::from_millis(millis),
        }
    }

    fn fire(&mut self) {
        match self.action() {
            Action::Deregister(keys) => self.removing.extend(keys.iter().map(fixed)),
            Action::EndFormer(_) => self.is_former_left = true,
            _ => {}
        }
        self.tell(Input::TimerFired);
    }

    fn leave(&mut self) {
        self.successors.clear();
        self.entries.retain(|_, (holder, _)| *holder == Holder::Us);
    }

    /// The closed client removes the entries.
    fn close(&mut self) {
        self.entries
            .retain(|_, (holder, _)| *holder == Holder::Other);
    }

    /// The key that a put is for.
    fn target(&self, action: &Action) -> Option<Key> {
        match action {
            Action::Register(it) => Some(fixed(&it.key)),
            Action::Reclaim(_) => Some(fixed(&self.checked.state.value.in_place().key)),
            _ => None,
        }
    }

    /// Whether the client refuses a put, since a newer registration has the key.
    fn is_refused(&self, action: &Action) -> bool {
        let generation = self.checked.state.generation();
        let successor = self
            .target(action)
            .and_then(|key| self.successors.get(&key));
        successor.is_some_and(|successor| match action {
            Action::Register(_) => generation < *successor,
            _ => true,
        })
    }

    /// A newer registration has the key. The owner may have asked again meanwhile.
    fn superseded(&mut self) {
        self.edit = None;
        self.excused |= !self.checked.is_asked_again();
    }

    fn lose(&mut self, key: &Key, why: Lost) {
        let kept = self.checked.state.value.written_key();
        self.is_disturbed |= kept.is_some_and(|kept| fixed(kept) == *key);
        if self.held.as_ref() == Some(key) {
            self.loss.get_or_insert(why);
        }
    }

    /// The effect of a put on the registry.
    fn apply(&mut self, action: &Action) {
        let Some(key) = self.target(action).filter(|_| !self.is_refused(action)) else {
            return;
        };
        // A closed client has revoked its lease, on which nothing is put any more.
        if self.loss == Some(Lost::Closed) {
            return;
        }
        let free = !matches!(self.entries.get(&key), Some((Holder::Other, _)));
        match action {
            Action::Register(it) => {
                self.successors.remove(&key);
                self.entries
                    .insert(key.clone(), (Holder::Us, it.value.clone()));
            }
            Action::Reclaim(value) if free => {
                self.entries
                    .insert(key.clone(), (Holder::Us, value.clone()));
            }
            _ => return,
        }
        self.removing.remove(&key);
    }

    fn answer(&mut self, response: Response) {
        let action = self.action();
        if response == Response::Closed && !matches!(action, Action::Idle | Action::AwaitLoss) {
            self.close();
        }
        match &action {
            // Nothing to answer: time goes on.
            Action::Idle => self.on(Op::Fire),
            Action::AwaitLoss => {
                if let Some(lost) = self.loss.take() {
                    self.held = None;
                    self.excused |= lost == Lost::Closed;
                    if lost == Lost::Superseded {
                        self.superseded();
                    }
                    let edit = self.edit_of(&lost);
                    self.tell(Input::Lost(lost));
                    if let Some(edit) = edit {
                        assert_eq!(self.checked.state.value.edit(), Some(&edit));
                        self.edit = Some(edit);
                    }
                }
            }
            Action::EndFormer(keys) => {
                let kept = self.checked.state.value.written_key();
                let stands = kept.is_some_and(|key| self.is_ours(&fixed(key)));
                let is_excused = self.is_disturbed || response == Response::Closed;
                assert!(
                    stands || is_excused,
                    "an empty view: {:?}",
                    self.checked.state
                );
                let outcome = self.removed(keys, response);
                let is_ended = matches!(outcome, Ok(Deregistered::Removed | Deregistered::NotOurs));
                self.is_former_left = !is_ended;
                self.excused |= matches!(outcome, Err(Error::Closed));
                self.tell(Input::FormerEnded(outcome));
            }
            Action::Deregister(keys) => {
                let outcome = self.removed(keys, response);
                if matches!(outcome, Ok(Deregistered::Unconfirmed)) {
                    self.removing.extend(keys.iter().map(fixed));
                }
                self.excused |= outcome.is_err() && !self.wants;
                self.tell(Input::Deregistered(outcome));
            }
            Action::Register(_) | Action::Reclaim(_) => {
                let is_unacceptable = match &action {
                    Action::Register(it) => it.value == UNACCEPTABLE,
                    Action::Reclaim(value) => *value == UNACCEPTABLE,
                    _ => false,
                };
                let is_closed = self.loss == Some(Lost::Closed);
                let result = match response {
                    Response::Closed => Err(Error::Closed),
                    Response::Ok if is_closed => Err(Error::Closed),
                    Response::Ok if self.is_refused(&action) => Err(Error::Superseded),
                    _ if is_unacceptable => Err(Error::Invalid(Invalid::EmptyKey)),
                    Response::Ok | Response::LostAfter => {
                        self.apply(&action);
                        if response == Response::Ok {
                            Ok(())
                        } else {
                            Err(down())
                        }
                    }
                    Response::LostBefore => Err(down()),
                    Response::Denied => Err(denied()),
                };
                self.put_ended(&action, result);
            }
        }
    }

    /// What the owner's new `value` is with what stands of an edit: the attributes that the owner does not change.
    fn kept_of_edit(&self, value: &Bytes, said: &[Edit]) -> Option<Instance> {
        let state = &self.checked.state.value;
        let own = read(&state.own()?.value)?;
        let (edited, new) = (read(state.edit()?)?, read(value)?);
        let weight = match own.weight() == new.weight() && said.iter().all(|it| it.weight.is_none())
        {
            true => edited.weight(),
            false => new.weight(),
        };
        let status = match own.status() == new.status() && said.iter().all(|it| it.status.is_none())
        {
            true => edited.status(),
            false => new.status(),
        };
        let kept = new.clone().with_weight(weight).with_status(status);
        (value.starts_with(b"{") && kept != new).then_some(kept)
    }

    /// The value that is kept from now on, if the loss is an edit of ours at the same address.
    fn edit_of(&self, lost: &Lost) -> Option<Bytes> {
        let state = &self.checked.state;
        let is_registered = matches!(state.phase, Phase::Registered { .. });
        let address = |value: &Bytes| Some(read(value)?.address().to_owned());
        match lost {
            Lost::Overwritten { value } if is_registered && state.value.is_written() => {
                let same = address(value)? == address(&state.value.wanted.value)?;
                same.then(|| value.clone())
            }
            _ => None,
        }
    }

    fn put_ended(&mut self, action: &Action, result: Result<()>) {
        let target = self.target(action).expect("a put");
        let is_register = matches!(action, Action::Register(_));
        let input = match (result, self.entries.get(&target)) {
            (Ok(()), Some((Holder::Other, value))) => Input::Taken {
                value: value.clone(),
            },
            (Ok(()), _) => {
                self.held = Some(target.clone());
                self.loss = None;
                self.is_disturbed = false;
                let (key, lease) = (target, lease());
                match is_register {
                    true => Input::Registered { key, lease },
                    false => Input::Reclaimed { key, lease },
                }
            }
            (Err(error), _) => {
                let is_first = matches!(self.checked.state.phase, Phase::Registering { .. });
                let is_final = is_first && !error.is_transient();
                match error {
                    Error::Superseded if self.checked.is_moving() => {
                        let wanted = &self.checked.state.value.wanted;
                        self.given_up |= *action == Action::Register(wanted.clone());
                    }
                    Error::Superseded => self.superseded(),
                    _ => self.excused |= is_final || matches!(error, Error::Closed),
                }
                match is_register {
                    true => Input::RegisterFailed(error),
                    false => Input::ReclaimFailed(error),
                }
            }
        };
        self.tell(input);
    }

    /// The effect of a removal of these keys, and how it ends.
    fn removed(&mut self, keys: &[ServiceKey], response: Response) -> Result<Deregistered> {
        let keys = keys.iter().map(fixed);
        let ours: Vec<_> = keys.filter(|key| self.is_ours(key)).collect();
        if matches!(response, Response::Ok | Response::LostAfter) {
            self.entries.retain(|key, _| !ours.contains(key));
        }
        match response {
            Response::Ok if ours.is_empty() => Ok(Deregistered::NotOurs),
            Response::Ok => Ok(Deregistered::Removed),
            Response::LostBefore | Response::LostAfter => Ok(Deregistered::Unconfirmed),
            Response::Denied => Err(denied()),
            Response::Closed => Err(Error::Closed),
        }
    }

    /// The registry answers from now on, and nobody else holds the key, unless it may be retaken.
    fn recover(&mut self) {
        let retakes = self.checked.state.options.retake;
        if !retakes {
            self.leave();
        }
        let since = self.checked.now;
        for step in 0.. {
            assert!(step < 30, "no end: {:?}", self.checked.state);
            let idle = match self.action() {
                Action::Idle => true,
                Action::AwaitLoss => self.loss.is_none(),
                _ => false,
            };
            if !idle {
                self.answer(Response::Ok);
            } else if let Some(at) = self.checked.state.timer() {
                self.checked.now = self.checked.now.max(at);
                self.fire();
            } else {
                break;
            }
        }
        let removing = std::mem::take(&mut self.removing);
        self.entries
            .retain(|key, (holder, _)| *holder == Holder::Other || !removing.contains(key));
        let most = match retakes {
            true => LONGEST * (RETAKE_SLOWER + 1),
            false => 3 * LONGEST,
        };
        let took = self.checked.now - since;
        let most = most + self.checked.state.options.drain;
        assert!(took <= most, "{took:?} after the registry was back");
    }

    fn check_end(&self) {
        let state = &self.checked.state;
        let ours = self.entries.iter();
        let mut ours = ours.filter(|(_, (holder, _))| *holder == Holder::Us);
        if self.wants && !self.excused {
            assert!(matches!(state.status(), RegistrarStatus::Registered { .. }));
            let (key, (_, value)) = ours.next().expect("an entry");
            assert_eq!(ours.next(), None, "the former is left");
            if self.given_up {
                let it = KeyValue::new(key.clone(), value.clone());
                assert_eq!(it, state.value.wanted);
                assert!(matches!(state.update_result(), Some(Err(_))));
                return;
            }
            if self.own.value != UNACCEPTABLE {
                assert_eq!(*key, fixed(&self.own.key), "the newest key");
            }
            if let Some(edit) = self
                .edit
                .as_ref()
                .filter(|_| self.own.value != UNACCEPTABLE)
            {
                assert_eq!(value, edit, "what was edited");
            } else if self.own.value == UNACCEPTABLE {
                assert_ne!(*value, UNACCEPTABLE);
                assert!(matches!(
                    state.update_result(),
                    Some(Err(Error::Invalid(_)))
                ));
            } else {
                assert_eq!(*value, self.own.value, "the newest value");
                assert!(matches!(state.update_result(), Some(Ok(Updated::Written))));
            }
        } else if !self.wants && !self.excused {
            assert!(state.has_ended());
            assert_eq!(ours.next(), None, "came back");
        }
    }
}

proptest! {
    #![proptest_config(cases(8))]

    /// Even inputs that no registry would give.
    #[test]
    fn nothing_is_put_after_deregistering_whatever_happens(
        options in options(),
        inputs in prop::collection::vec((input(), any::<bool>()), 1..80),
    ) {
        let mut checked = Checked::new(options);
        for (input, is_due) in inputs {
            if is_due && let Some(at) = checked.state.timer() {
                checked.now = checked.now.max(at);
            }
            checked.on(input);
        }
    }

    #[test]
    fn once_the_registry_recovers_the_owners_last_request_is_fulfilled(
        options in options(),
        ops in prop::collection::vec(op(), 1..80),
    ) {
        let mut simulation = Simulation::new(options);
        for op in ops {
            simulation.on(op);
        }
        simulation.recover();
        simulation.check_end();
    }
}
