//! The tenure under any order of inputs, and against a model of a registry.

use super::*;
use crate::{
    instances::{Codec, DefaultCodec},
    registry::Invalid,
    support::{cases, denied, down},
};
use proptest::prelude::*;
use std::{sync::Arc, time::Duration};

const BOUND: Duration = Duration::from_secs(5);
const SHORTEST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(4);
const VALUES: [&str; 5] = [
    r#"{"address":"h:1"}"#,
    r#"{"address":"h:1","status":"draining"}"#,
    r#"{"address":"h:2"}"#,
    "h:3",
    HOPELESS,
];
/// Can never be written.
const HOPELESS: &str = "too much";

fn value() -> impl Strategy<Value = Bytes> {
    let good = VALUES[0..4].to_vec();
    prop_oneof![
        9 => prop::sample::select(good).prop_map(Bytes::from),
        1 => Just(Bytes::from(HOPELESS)),
    ]
}

fn terms() -> impl Strategy<Value = Terms> {
    (any::<bool>(), 0..3_u64).prop_map(|(retake, drain)| Terms {
        retake,
        backoff: (SHORTEST, LONGEST),
        deregister_timeout: BOUND,
        drain: Duration::from_secs(drain),
        codec: Arc::new(DefaultCodec),
    })
}

impl fmt::Debug for Terms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "retake: {}, drain: {:?}", self.retake, self.drain)
    }
}

fn lease() -> LeaseId {
    LeaseId::from(1)
}

fn key() -> Key {
    Key::new("/svc/a").unwrap()
}

fn is_put(action: &Action) -> bool {
    matches!(action, Action::Register(_) | Action::Reclaim(_))
}

/// Whether the owner said it.
fn is_word(input: &Input) -> bool {
    matches!(
        input,
        Input::Register | Input::Update(_) | Input::Deregister
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

/// Whether it is what comes of `action`.
fn ends(input: &Input, action: &Action) -> bool {
    match action {
        Action::Rest => false,
        Action::Register(_) => {
            matches!(input, Input::Registered { .. } | Input::RegisterFailed(_))
        }
        Action::Hold => matches!(input, Input::Lost(_)),
        Action::Reclaim(_) => matches!(
            input,
            Input::Reclaimed { .. } | Input::Taken { .. } | Input::ReclaimFailed(_)
        ),
        Action::Deregister => matches!(input, Input::Deregistered(_)),
    }
}

// === What may be put ===

/// What the owner's last word leaves open.
#[derive(Debug, Clone, PartialEq)]
enum Leave {
    Anything,
    /// This value, once.
    Announcement(Option<Bytes>),
    Nothing,
}

/// What came of what.
#[derive(Debug)]
struct Story(
    #[expect(dead_code, reason = "only shown")] Input,
    #[expect(dead_code, reason = "only shown")] Option<Action>,
);

/// Watches a tenure: what it may never do, whatever happens.
struct Guarded {
    tenure: Tenure,
    now: Instant,
    leave: Leave,
    /// Whether the owner asked for the key by name, whoever holds it.
    by_name: bool,
    /// Whether the owner wants to be registered again once deregistered.
    again: bool,
    /// How many puts followed answers at once, one after the other.
    in_a_row: u32,
    /// How many attempts failed since one succeeded, or since the owner began anew.
    failures: u32,
}

impl Guarded {
    fn new(terms: Terms) -> Self {
        let now = Instant::now();
        Self {
            tenure: Tenure::new(terms, Bytes::from(VALUES[0])),
            now,
            leave: Leave::Nothing,
            by_name: false,
            again: false,
            in_a_row: 0,
            failures: 0,
        }
    }

    fn on(&mut self, input: Input) -> Option<Action> {
        let before = self.tenure.under_way().clone();
        self.hear(&input);
        let action = self.tenure.on(input.clone(), self.now);
        let story = Story(input.clone(), action.clone());
        if self.again && !matches!(self.tenure.status(), RegistrarStatus::Deregistering) {
            self.again = false;
            self.leave = Leave::Anything;
        }
        if let Some(action) = &action {
            assert_eq!(action, self.tenure.under_way(), "{story:?}");
            let is_end = matches!(input, Input::Deregistered(_) | Input::TimerFired);
            assert!(before != Action::Deregister || is_end, "dropped: {story:?}");
            if is_put(action) {
                let is_called_for = is_word(&input) || is_answer(&input);
                assert!(is_called_for || !is_put(&before), "two at once: {story:?}");
                self.put(action, &story);
            }
            if *action == Action::Deregister {
                self.leave = Leave::Nothing;
            }
        }
        // Or else what has ended would be begun again.
        assert!(
            action.is_some() || !ends(&input, &before),
            "goes on: {story:?}"
        );
        self.pace(&input, action.as_ref(), &story);
        self.check(&story);
        action
    }

    fn hear(&mut self, input: &Input) {
        match input {
            Input::Register => {
                let status = self.tenure.status();
                match status {
                    RegistrarStatus::Deregistering => self.again = true,
                    _ => self.leave = Leave::Anything,
                }
                self.by_name |= !matches!(
                    status,
                    RegistrarStatus::Registered { .. } | RegistrarStatus::Reclaiming { .. }
                );
            }
            Input::Deregister => {
                self.by_name = false;
                self.again = false;
                if self.leave == Leave::Anything {
                    let draining = DefaultCodec.draining(&key(), &self.tenure.value.wanted);
                    self.leave = Leave::Announcement(draining);
                }
            }
            Input::Registered { .. } if matches!(self.tenure.under_way, Action::Register(_)) => {
                self.by_name = false;
            }
            // The key is in good hands, or nobody's any more.
            Input::Lost(Lost::Superseded | Lost::Closed | Lost::Deregistered)
                if self.tenure.under_way == Action::Hold =>
            {
                self.leave = Leave::Nothing;
            }
            _ => {}
        }
    }

    fn put(&mut self, action: &Action, story: &Story) {
        match (&self.leave, action) {
            (Leave::Anything, _) => {}
            (Leave::Announcement(Some(draining)), Action::Reclaim(value)) => {
                assert_eq!(value, draining, "{story:?}");
                self.leave = Leave::Nothing;
            }
            _ => panic!("nothing may be put: {story:?}"),
        }
        if matches!(action, Action::Register(_)) {
            let may = self.by_name || self.tenure.terms.retake;
            assert!(may, "taken from somebody: {story:?}");
        }
    }

    /// Attempts that fail grow rarer, and only what somebody waits for is put at once.
    fn pace(&mut self, input: &Input, action: Option<&Action>, story: &Story) {
        let at_once = action.is_some_and(is_put);
        match input {
            Input::Register | Input::Deregister | Input::Deregistered(_) => self.failures = 0,
            Input::Registered { .. } | Input::Reclaimed { .. } => self.failures = 0,
            _ => {}
        }
        if is_answer(input) && at_once {
            self.in_a_row += 1;
            assert!(self.in_a_row <= 3, "a hot loop: {story:?}");
        } else if action.is_some() || is_word(input) {
            self.in_a_row = 0;
        }
        let (Input::RegisterFailed(error) | Input::ReclaimFailed(error)) = input else {
            return;
        };
        let is_retried = matches!(
            self.tenure.state,
            State::Registering { .. }
                | State::Reclaiming { .. }
                | State::Held { error: Some(_), .. }
        );
        if !is_retried || at_once || action.is_none() {
            return;
        }
        let delay = self.tenure.timer().expect("a timer") - self.now;
        let least = match (error.is_transient(), self.failures) {
            (false, _) => LONGEST / 2,
            (true, 0) => Duration::ZERO,
            (true, n) => (SHORTEST * 2_u32.pow(n.min(10) - 1)).min(LONGEST / 2),
        };
        assert!((least..=LONGEST).contains(&delay), "{delay:?}: {story:?}");
        self.failures += u32::from(error.is_transient());
    }

    fn check(&self, story: &Story) {
        let tenure = &self.tenure;
        match &tenure.under_way {
            Action::Rest => assert!(tenure.has_ended() != tenure.timer().is_some(), "{story:?}"),
            Action::Deregister => assert!(tenure.timer().is_some(), "{story:?}"),
            Action::Register(_) | Action::Reclaim(_) | Action::Hold => {
                assert!(!tenure.has_ended(), "{story:?}");
            }
        }
        let most = match tenure.terms.retake {
            true => LONGEST * RETAKE_SLOWER,
            false => LONGEST.max(BOUND),
        };
        let is_near = tenure.timer().is_none_or(|at| at <= self.now + most);
        assert!(is_near, "as good as never: {story:?}");
    }
}

// === Any order of inputs ===

fn input() -> impl Strategy<Value = Input> {
    let lost = prop_oneof![
        3 => Just(Lost::LeaseExpired),
        1 => Just(Lost::KeyDeleted),
        1 => Just(Lost::Taken { value: "x".into() }),
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
        ]
    };
    let gone = prop_oneof![
        Just(Ok(Deregistered::Removed)),
        Just(Ok(Deregistered::NotOurs)),
        Just(Ok(Deregistered::Unconfirmed)),
        error().prop_map(Err),
    ];
    prop_oneof![
        1 => Just(Input::Register),
        1 => value().prop_map(Input::Update),
        1 => Just(Input::Deregister),
        2 => Just(Input::Registered { key: key(), lease: lease() }),
        2 => error().prop_map(Input::RegisterFailed),
        2 => lost.prop_map(Input::Lost),
        1 => Just(Input::Reclaimed { key: key(), lease: lease() }),
        1 => Just(Input::Taken { value: "x".into() }),
        2 => error().prop_map(Input::ReclaimFailed),
        1 => gone.prop_map(Input::Deregistered),
        3 => Just(Input::TimerFired),
    ]
}

// === A registry ===

/// What happens in a world with a registry.
#[derive(Debug, Clone)]
enum Op {
    Register,
    Update(Bytes),
    /// The owner deregisters; a put that is under way is applied all the same, or not.
    Deregister {
        applied: bool,
    },
    /// The lease ends, or an operator deletes the key.
    Vanish(Lost),
    /// Somebody else takes the key.
    Take,
    /// Whoever else holds the key lets it go.
    Leave,
    /// The registration ends for good.
    End(Lost),
    /// What is under way ends, with this luck.
    Answer(Luck),
    /// The time of the timer comes.
    Fire,
    /// The timer fires before its time.
    FireEarly,
    Pass(u64),
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Luck {
    Well,
    /// Not answered, and not applied.
    Unheard,
    /// Not answered, but applied.
    Heard,
    Denied,
    Closed,
}

fn op() -> impl Strategy<Value = Op> {
    let luck = prop_oneof![
        8 => Just(Luck::Well),
        2 => Just(Luck::Unheard),
        2 => Just(Luck::Heard),
        2 => Just(Luck::Denied),
    ];
    let end = prop::sample::select(vec![Lost::Superseded, Lost::Closed]);
    let vanish = prop::sample::select(vec![Lost::LeaseExpired, Lost::KeyDeleted]);
    prop_oneof![
        40 => Just(Op::Register),
        60 => value().prop_map(Op::Update),
        40 => any::<bool>().prop_map(|applied| Op::Deregister { applied }),
        40 => vanish.prop_map(Op::Vanish),
        20 => Just(Op::Take),
        20 => Just(Op::Leave),
        3 => end.prop_map(Op::End),
        200 => luck.prop_map(Op::Answer),
        2 => Just(Op::Answer(Luck::Closed)),
        100 => Just(Op::Fire),
        10 => Just(Op::FireEarly),
        20 => (0..10_000_u64).prop_map(Op::Pass),
    ]
}

#[derive(Debug, Clone, PartialEq)]
enum Owner {
    Us,
    Them,
}

struct World {
    guarded: Guarded,
    entry: Option<(Owner, Bytes)>,
    /// What the registry has to say of the registration.
    loss: Option<Lost>,
    /// Whether the client holds one.
    is_held: bool,
    /// Whether the client still tries to remove what it may have left.
    is_removing: bool,
    wants: bool,
    /// Whether it was told something that it cannot overcome by itself.
    excused: bool,
    newest: Bytes,
}

impl World {
    fn new(terms: Terms) -> Self {
        Self {
            guarded: Guarded::new(terms),
            entry: None,
            loss: None,
            is_held: false,
            is_removing: false,
            wants: false,
            excused: false,
            newest: Bytes::from(VALUES[0]),
        }
    }

    fn under_way(&self) -> Action {
        self.guarded.tenure.under_way().clone()
    }

    fn tell(&mut self, input: Input) {
        self.guarded.on(input);
        if self.under_way() == Action::Deregister {
            self.is_held = false;
            self.loss = None;
        }
        let tenure = &self.guarded.tenure;
        let has_given_up = self.wants && tenure.has_ended() && !self.excused;
        assert!(!has_given_up, "gave up: {tenure:?}");
        // What it says of the value is true, as far as it can know.
        let is_written = matches!(tenure.updated(), Some(Ok(Updated::Written)));
        if is_written
            && self.loss.is_none()
            && let Some((Owner::Us, value)) = &self.entry
        {
            assert_eq!(
                *value, tenure.value.wanted,
                "said to be written: {tenure:?}"
            );
        }
    }

    fn on(&mut self, op: Op) {
        match op {
            Op::Register => {
                self.wants = true;
                self.excused = false;
                self.tell(Input::Register);
            }
            Op::Update(value) => {
                self.newest = value.clone();
                self.tell(Input::Update(value));
            }
            Op::Deregister { applied } => {
                let before = self.under_way();
                let is_dropped = self.guarded.on(Input::Deregister).is_some();
                if applied && is_dropped {
                    self.apply(&before);
                }
                self.wants = false;
                self.excused = false;
            }
            Op::Vanish(why) => {
                if matches!(self.entry, Some((Owner::Us, _))) {
                    self.entry = None;
                    self.lose(why);
                }
            }
            Op::Take => {
                let value = Bytes::from("theirs");
                self.entry = Some((Owner::Them, value.clone()));
                self.lose(Lost::Taken { value });
            }
            Op::Leave => self.leave(),
            Op::End(why) => {
                if self.is_held {
                    self.end(&why);
                    self.lose(why);
                }
            }
            Op::Answer(luck) => self.answer(luck),
            Op::Fire => {
                if let Some(at) = self.guarded.tenure.timer() {
                    self.guarded.now = self.guarded.now.max(at);
                    self.fire();
                }
            }
            Op::FireEarly => {
                let before = self.under_way();
                let due = self.guarded.tenure.timer();
                if due.is_none_or(|at| at > self.guarded.now) {
                    self.tell(Input::TimerFired);
                    assert_eq!(
                        (self.under_way(), self.guarded.tenure.timer()),
                        (before, due)
                    );
                }
            }
            Op::Pass(millis) => self.guarded.now += Duration::from_millis(millis),
        }
    }

    fn fire(&mut self) {
        self.is_removing |= self.under_way() == Action::Deregister;
        self.tell(Input::TimerFired);
    }

    fn leave(&mut self) {
        if matches!(self.entry, Some((Owner::Them, _))) {
            self.entry = None;
        }
    }

    /// What stands is another's from now on, or a client removed it that was closed.
    fn end(&mut self, why: &Lost) {
        let value = Bytes::from("theirs");
        self.entry.take_if(|(owner, _)| *owner == Owner::Us);
        if *why == Lost::Superseded {
            self.entry = Some((Owner::Them, value));
        }
    }

    fn lose(&mut self, why: Lost) {
        if self.is_held {
            self.loss.get_or_insert(why);
        }
    }

    /// What a put does when the registry hears it.
    fn apply(&mut self, action: &Action) {
        let free = !matches!(self.entry, Some((Owner::Them, _)));
        match action {
            Action::Register(value) => self.entry = Some((Owner::Us, value.clone())),
            Action::Reclaim(value) if free => self.entry = Some((Owner::Us, value.clone())),
            _ => return,
        }
        self.is_removing = false;
    }

    fn answer(&mut self, luck: Luck) {
        let action = self.under_way();
        if luck == Luck::Closed && !matches!(action, Action::Rest | Action::Hold) {
            self.end(&Lost::Closed);
        }
        match &action {
            // Nothing to answer: time goes on.
            Action::Rest => self.on(Op::Fire),
            Action::Hold => {
                if let Some(lost) = self.loss.take() {
                    self.is_held = false;
                    self.excused |= matches!(lost, Lost::Superseded | Lost::Closed);
                    self.tell(Input::Lost(lost));
                }
            }
            Action::Deregister => self.deregister(luck),
            Action::Register(value) | Action::Reclaim(value) => {
                let result = match luck {
                    Luck::Closed => Err(Error::Closed),
                    _ if *value == HOPELESS => Err(Error::Invalid(Invalid::EmptyKey)),
                    Luck::Well | Luck::Heard => {
                        self.apply(&action);
                        if luck == Luck::Well {
                            Ok(())
                        } else {
                            Err(down())
                        }
                    }
                    Luck::Unheard => Err(down()),
                    Luck::Denied => Err(denied()),
                };
                self.put_ended(&action, result);
            }
        }
    }

    fn put_ended(&mut self, action: &Action, result: Result<()>) {
        let is_register = matches!(action, Action::Register(_));
        let input = match (result, &self.entry) {
            (Ok(()), Some((Owner::Them, value))) => Input::Taken {
                value: value.clone(),
            },
            (Ok(()), _) => {
                self.is_held = true;
                self.loss = None;
                let (key, lease) = (key(), lease());
                match is_register {
                    true => Input::Registered { key, lease },
                    false => Input::Reclaimed { key, lease },
                }
            }
            (Err(error), _) => {
                let is_first = matches!(self.guarded.tenure.state, State::Registering { .. });
                let is_final = is_first && !error.is_transient();
                self.excused |= is_final || matches!(error, Error::Closed);
                match is_register {
                    true => Input::RegisterFailed(error),
                    false => Input::ReclaimFailed(error),
                }
            }
        };
        self.tell(input);
    }

    fn deregister(&mut self, luck: Luck) {
        let is_ours = matches!(self.entry, Some((Owner::Us, _)));
        if matches!(luck, Luck::Well | Luck::Heard) && is_ours {
            self.entry = None;
        }
        let outcome = match luck {
            Luck::Well if is_ours => Ok(Deregistered::Removed),
            Luck::Well => Ok(Deregistered::NotOurs),
            Luck::Unheard | Luck::Heard => Ok(Deregistered::Unconfirmed),
            Luck::Denied => Err(denied()),
            Luck::Closed => Err(Error::Closed),
        };
        self.is_removing = matches!(outcome, Ok(Deregistered::Unconfirmed));
        self.excused |= outcome.is_err() && !self.wants;
        self.tell(Input::Deregistered(outcome));
    }

    /// The registry answers from now on, and nobody else wants the key, unless it may be retaken.
    fn be_kind(&mut self) {
        let retakes = self.guarded.tenure.terms.retake;
        if !retakes {
            self.leave();
        }
        let since = self.guarded.now;
        for step in 0.. {
            assert!(step < 30, "no end: {:?}", self.guarded.tenure);
            let idle = match self.under_way() {
                Action::Rest => true,
                Action::Hold => self.loss.is_none(),
                _ => false,
            };
            if !idle {
                self.answer(Luck::Well);
            } else if let Some(at) = self.guarded.tenure.timer() {
                self.guarded.now = self.guarded.now.max(at);
                self.fire();
            } else {
                break;
            }
        }
        if self.is_removing {
            self.entry.take_if(|(owner, _)| *owner == Owner::Us);
        }
        let most = match retakes {
            true => LONGEST * (RETAKE_SLOWER + 1),
            false => 2 * LONGEST,
        };
        let took = self.guarded.now - since;
        let most = most + self.guarded.tenure.terms.drain;
        assert!(took <= most, "{took:?} after the registry was back");
    }

    fn check_end(&self) {
        let tenure = &self.guarded.tenure;
        if self.wants && !self.excused {
            assert!(matches!(
                tenure.status(),
                RegistrarStatus::Registered { .. }
            ));
            let (owner, value) = self.entry.as_ref().expect("an entry");
            assert_eq!(*owner, Owner::Us);
            if self.newest == HOPELESS {
                assert_ne!(*value, HOPELESS);
                assert!(matches!(tenure.updated(), Some(Err(Error::Invalid(_)))));
            } else {
                assert_eq!(*value, self.newest, "the newest value");
                assert!(matches!(tenure.updated(), Some(Ok(Updated::Written))));
            }
        } else if !self.wants && !self.excused {
            assert!(tenure.has_ended());
            assert!(!matches!(self.entry, Some((Owner::Us, _))), "came back");
        }
    }
}

proptest! {
    #![proptest_config(cases(8))]

    /// Even inputs that no registry would give.
    #[test]
    fn nothing_is_put_after_deregistering_whatever_happens(
        terms in terms(),
        inputs in prop::collection::vec((input(), any::<bool>()), 1..80),
    ) {
        let mut guarded = Guarded::new(terms);
        for (input, is_due) in inputs {
            if is_due && let Some(at) = guarded.tenure.timer() {
                guarded.now = guarded.now.max(at);
            }
            guarded.on(input);
        }
    }

    #[test]
    fn once_the_registry_is_kind_the_owners_last_word_is_done(
        terms in terms(),
        ops in prop::collection::vec(op(), 1..80),
    ) {
        let mut world = World::new(terms);
        for op in ops {
            world.on(op);
        }
        world.be_kind();
        world.check_end();
    }
}
