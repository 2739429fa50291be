//! An offer: one key that a provider registers.

use super::{
    foreign::PanickyClient,
    invariants::{Checker, CheckerState, OfferId},
};
use sd_core::{
    Bytes, Codec, DefaultCodec, Deregistered, Error, Instance, Key, LeaseId, Registrar,
    RegistrarStatus, Service, ServiceKey, Status, Ttl,
};
use sd_memory::Registry;
use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};
use tokio::time::{Instant, sleep};

/// The services. The name of one is the beginning of another's.
pub(super) const SERVICES: [&str; 3] = ["/services/a", "/services/ab", "/services/b"];
/// The longest time that `Registrar::deregister` takes, without draining.
pub(super) const DEREGISTER: Duration = Duration::from_secs(5);
/// A registration is unproven so long after its lease has ended at the latest.
const PROVEN: Duration = Duration::from_millis(10);
/// An application whose rights are missing asks again after so long.
const DENIED: Duration = Duration::from_secs(5);

/// A registrar, and what it is expected to do.
pub(super) struct Offer {
    who: OfferId,
    registrar: Registrar,
    key: ServiceKey,
    drain: Duration,
    /// Whether it writes plain addresses, like go-kit, rather than JSON.
    plain: bool,
    desired: Mutex<Desired>,
    /// When the lease ends that it was on last, as far as is known.
    expires: Mutex<Option<(LeaseId, Instant)>>,
}

/// What its owner wants.
#[derive(Debug, Clone)]
struct Desired {
    value: Bytes,
    values: u32,
    /// How often it was told to register or to deregister.
    turns: u32,
}

impl Offer {
    /// An offer whose key is drawn from `fixed`, so that it is the same in each run of its
    /// provider, and whose options are drawn from `drawn`.
    pub(super) fn new(
        who: OfferId,
        client: &PanickyClient,
        ttl: Ttl,
        fixed: &mut fastrand::Rng,
        drawn: &mut fastrand::Rng,
        checker: &Checker,
    ) -> Self {
        let service = SERVICES[fixed.usize(..SERVICES.len())];
        let stem = format!("{service}/p{}-{}", who.slot, who.offer);
        let suffixed = fixed.u32(..5) == 0;
        let key = if suffixed {
            Key::lease_suffixed(format!("{stem}-"))
        } else {
            Key::new(stem).map(ServiceKey::Fixed)
        };
        let key = key.expect("not empty");
        let plain = fixed.u32(..4) == 0;
        let drain = Duration::from_secs(2 * u64::from(drawn.u32(..4) == 0));
        let value = written(who, plain, 0, Status::Serving, key.stem());
        checker.state().owns(who, key.stem(), &value);
        let service = Service::new(key.clone(), value.clone());
        let service = service.expect("not empty").with_ttl(ttl);
        let registrar = Registrar::builder(client.clone(), service)
            .drain(drain)
            .retake(drawn.u32(..6) == 0)
            .build();
        let desired = Desired {
            value,
            values: 1,
            turns: 0,
        };
        Self {
            who,
            registrar,
            key,
            drain,
            plain,
            desired: Mutex::new(desired),
            expires: Mutex::default(),
        }
    }

    pub(super) fn who(&self) -> OfferId {
        self.who
    }

    /// Its key and lease, if it is registered.
    pub(super) fn place(&self) -> Option<(Key, LeaseId)> {
        match &*self.registrar.status().borrow() {
            RegistrarStatus::Registered { key, lease, .. } => Some((key.clone(), lease.clone())),
            _ => None,
        }
    }

    // === Actions ===

    /// Registers. Waits without limit.
    pub(super) async fn join(&self, checker: &Checker) {
        let turn = self.turn();
        checker.state().may_put(self.who);
        loop {
            match self.registrar.register().await {
                Ok(()) => return self.joined(turn, checker),
                Err(Error::Closed | Error::Superseded) => return,
                Err(error) if error.is_transient() => {
                    return checker.violate(format!("{} gave up: {error}", self.who));
                }
                Err(error) => checker.note(format!("    {} may not register: {error}", self.who)),
            }
            sleep(DENIED).await;
        }
    }

    fn joined(&self, turn: u32, checker: &Checker) {
        let mut state = checker.state();
        state.note(format!("    {} registered", self.who));
        if turn == self.desired().turns {
            state.registered(self.who, self.key.stem().clone(), Instant::now());
        }
    }

    /// Deregisters.
    pub(super) async fn leave(&self, checker: &Checker) {
        let turn = self.turn();
        checker.state().deregistering(self.who);
        let mut began = Instant::now();
        let mut outcome = self.registrar.deregister().await;
        // Unless it was told to register again meanwhile.
        if matches!(outcome, Err(Error::Panicked { .. })) && turn == self.desired().turns {
            // Another call, with a limit of its own.
            began = Instant::now();
            outcome = self.registrar.deregister().await;
        }
        let took = began.elapsed();
        let who = self.who;
        let mut state = checker.state();
        match &outcome {
            Ok(outcome) => state.note(format!("    {who} deregistered: {outcome:?}")),
            Err(error) => state.note(format!("    {who} could not deregister: {error}")),
        }
        if took > DEREGISTER + self.drain + Duration::from_millis(10) {
            state.violate(format!("{who} took {took:?} to deregister"));
        }
        if turn != self.desired().turns {
            // It has been told to register again.
            return;
        }
        state.must_not_put(who);
        let is_settled = matches!(outcome, Ok(Deregistered::Removed | Deregistered::NotOurs));
        // What a restore has brought back ends with its lease.
        let mut holdings = state.holdings(who);
        let is_there = holdings.any(|key| !state.registry_log.is_restored(key));
        drop(holdings);
        if is_settled && is_there {
            state.violate(format!("{who} is still there after {outcome:?}"));
        }
    }

    /// Writes another value.
    pub(super) async fn update(&self, status: Status, checker: &Checker) {
        let value = {
            let mut desired = self.desired.lock().unwrap_or_else(PoisonError::into_inner);
            let stem = self.key.stem();
            // Every third value is the one before the last, since it is not always known whether
            // that is still there.
            let n = match desired.values % 3 {
                2 => desired.values - 2,
                _ => desired.values,
            };
            desired.value = written(self.who, self.plain, n, status, stem);
            desired.values += 1;
            checker.state().owns(self.who, stem, &desired.value);
            desired.value.clone()
        };
        match self.registrar.update(value).await {
            Ok(updated) => checker.note(format!("    {} updated: {updated:?}", self.who)),
            Err(error) => checker.note(format!("    {} could not update: {error}", self.who)),
        }
    }

    // === Promises ===

    /// Who calls itself proven had a keep-alive acknowledged within the TTL.
    pub(super) fn check_proof(&self, registry: &Registry, state: &mut CheckerState) {
        let Some((_, lease)) = self.place().filter(|_| self.registrar.is_proven()) else {
            return;
        };
        let now = Instant::now();
        let mut expires = self.expires.lock().unwrap_or_else(PoisonError::into_inner);
        // Of a lease that is gone, when it would have ended.
        if let Some(lives) = registry.lease(&lease) {
            *expires = Some((lease.clone(), lives.expires));
        }
        if let Some((known, expires)) = &*expires
            && *known == lease
            && *expires + PROVEN < now
        {
            let who = self.who;
            let since = now - *expires;
            state.violate(format!("{who} is proven, but {lease} ended {since:?} ago"));
        }
    }

    /// What must be true once nothing has happened for long.
    pub(super) fn check(
        &self,
        (joined, buried): (bool, bool),
        registry: &Registry,
        state: &mut CheckerState,
    ) {
        let who = self.who;
        match &*self.registrar.status().borrow() {
            RegistrarStatus::Registered { key, lease, .. } if joined => {
                let stored = registry.get(key.as_str());
                let right = stored.as_ref().is_some_and(|stored| {
                    stored.value == self.desired().value && stored.lease.as_ref() == Some(lease)
                });
                if !right {
                    let holds = stored.map(|stored| stored.value);
                    state.violate(format!(
                        "{who} says that it is registered, but {key} holds {holds:?}"
                    ));
                }
            }
            RegistrarStatus::Taken { .. } if joined && state.is_robbed(who, self.key.stem()) => {
                state.violate(format!("{who} waits for what a restore has brought back"));
            }
            // One of the dead may have let go of it this very moment.
            RegistrarStatus::Taken { .. } if joined && !buried => {}
            RegistrarStatus::Taken { .. } if joined => {
                let mut there = state.under(self.key.stem());
                let is_taken = there.any(|(_, value)| state.owner(value) != Some(who));
                drop(there);
                if !is_taken {
                    state.violate(format!("{who} says that it is taken, which it is not"));
                }
            }
            other if joined => state.violate(format!("{who} is not back: {}", kind(other))),
            RegistrarStatus::Registered { .. } => {
                state.violate(format!("{who} is registered although it left"));
            }
            _ => {}
        }
    }

    fn turn(&self) -> u32 {
        let mut desired = self.desired.lock().unwrap_or_else(PoisonError::into_inner);
        desired.turns += 1;
        desired.turns
    }

    fn desired(&self) -> Desired {
        self.desired
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// A value that nobody else writes.
fn written(who: OfferId, plain: bool, n: u32, status: Status, key: &Key) -> Bytes {
    let OfferId { slot, life, offer } = who;
    if plain {
        let port = 1000 + n + 1000 * (life / 256);
        return format!("10.{slot}.{offer}.{}:{port}", life % 256).into();
    }
    // Mostly the same address in all runs and with all values.
    let instance = Instance::new(key.clone(), format!("10.{slot}.{offer}.1:{}", 80 + n / 4))
        .with_weight(1 + n)
        .with_status(status)
        .with_metadata("life", life.to_string());
    DefaultCodec.encode(&instance).expect("an address")
}

fn kind(status: &RegistrarStatus) -> String {
    match status {
        RegistrarStatus::Registering { attempt, error } => {
            format!("registering, attempt {attempt}, after {error:?}")
        }
        RegistrarStatus::Reclaiming { attempt, error, .. } => {
            format!("reclaiming, attempt {attempt}, after {error:?}")
        }
        other => format!("{other:?}"),
    }
}
