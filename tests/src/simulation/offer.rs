//! One key that a provider registers.

use super::invariants::{Audit, Files, Who};
use sd_core::{
    Bytes, Codec, DefaultCodec, Deregistered, Error, Instance, Key, LeaseId, Registrar,
    RegistrarStatus, Service, ServiceKey, Status, Ttl,
};
use sd_memory::{MemoryClient, Registry};
use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};
use tokio::time::{Instant, sleep};

/// The services, of which one is another's beginning.
pub(super) const SERVICES: [&str; 3] = ["/services/a", "/services/ab", "/services/b"];
/// `Registrar::deregister` takes no longer, the time of draining not counted.
pub(super) const DEREGISTER: Duration = Duration::from_secs(5);
/// An application whose rights are missing asks again after so long.
const DENIED: Duration = Duration::from_secs(5);

/// A registrar, and what it should have done.
pub(super) struct Offer {
    who: Who,
    registrar: Registrar,
    key: ServiceKey,
    drain: Duration,
    /// Writes plain addresses, as go-kit does, rather than JSON.
    plain: bool,
    wish: Mutex<Wish>,
}

/// What its owner wants of it.
#[derive(Debug, Clone)]
struct Wish {
    value: Bytes,
    values: u32,
    /// How often it was told to register or to deregister.
    turns: u32,
}

impl Offer {
    /// An offer whose key is drawn from `fixed`, the same in each life of its provider, and whose
    /// terms are drawn from `drawn`.
    pub(super) fn new(
        who: Who,
        client: &MemoryClient,
        ttl: Ttl,
        fixed: &mut fastrand::Rng,
        drawn: &mut fastrand::Rng,
        audit: &Audit,
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
        audit.files().owns(who, key.stem(), &value);
        let service = Service::new(key.clone(), value.clone());
        let service = service.expect("not empty").with_ttl(ttl);
        let registrar = Registrar::builder(client.clone(), service)
            .drain(drain)
            .retake(drawn.u32(..6) == 0)
            .build();
        let wish = Wish {
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
            wish: Mutex::new(wish),
        }
    }

    pub(super) fn who(&self) -> Who {
        self.who
    }

    /// Where it stands and on which lease, if it does.
    pub(super) fn place(&self) -> Option<(Key, LeaseId)> {
        match &*self.registrar.status().borrow() {
            RegistrarStatus::Registered { key, lease, .. } => Some((key.clone(), lease.clone())),
            _ => None,
        }
    }

    // === What its provider does with it ===

    /// Registers, for as long as it takes.
    pub(super) async fn join(&self, audit: &Audit) {
        let turn = self.turn();
        audit.files().may_put(self.who);
        loop {
            match self.registrar.register().await {
                Ok(()) => return self.joined(turn, audit),
                Err(Error::Closed) => return,
                Err(error) if error.is_transient() => {
                    return audit.violate(format!("{} gave up: {error}", self.who));
                }
                Err(error) => audit.note(format!("    {} may not register: {error}", self.who)),
            }
            sleep(DENIED).await;
        }
    }

    fn joined(&self, turn: u32, audit: &Audit) {
        let mut files = audit.files();
        files.note(format!("    {} registered", self.who));
        if turn == self.wish().turns {
            files.stands(self.who, self.key.stem().clone(), Instant::now());
        }
    }

    /// Deregisters.
    pub(super) async fn leave(&self, audit: &Audit) {
        let turn = self.turn();
        audit.files().falls(self.who);
        let began = Instant::now();
        let outcome = self.registrar.deregister().await;
        let took = began.elapsed();
        let who = self.who;
        let mut files = audit.files();
        match &outcome {
            Ok(outcome) => files.note(format!("    {who} deregistered: {outcome:?}")),
            Err(error) => files.note(format!("    {who} could not deregister: {error}")),
        }
        if took > DEREGISTER + self.drain + Duration::from_millis(10) {
            files.violate(format!("{who} took {took:?} to deregister"));
        }
        if turn != self.wish().turns {
            // It was told to register again meanwhile.
            return;
        }
        files.must_not_put(who);
        let is_settled = matches!(outcome, Ok(Deregistered::Removed | Deregistered::NotOurs));
        if is_settled && files.holdings(who).next().is_some() {
            files.violate(format!("{who} is still there after {outcome:?}"));
        }
    }

    /// Writes another value.
    pub(super) async fn update(&self, status: Status, audit: &Audit) {
        let value = {
            let mut wish = self.wish.lock().unwrap_or_else(PoisonError::into_inner);
            let stem = self.key.stem();
            // Every third goes back to the one before the last: whether that is still there is not
            // always known.
            let n = match wish.values % 3 {
                2 => wish.values - 2,
                _ => wish.values,
            };
            wish.value = written(self.who, self.plain, n, status, stem);
            wish.values += 1;
            audit.files().owns(self.who, stem, &wish.value);
            wish.value.clone()
        };
        match self.registrar.update(value).await {
            Ok(updated) => audit.note(format!("    {} updated: {updated:?}", self.who)),
            Err(error) => audit.note(format!("    {} could not update: {error}", self.who)),
        }
    }

    // === What is promised of it ===

    /// What must be true once nothing has happened for long.
    pub(super) fn check(
        &self,
        (joined, buried): (bool, bool),
        registry: &Registry,
        files: &mut Files,
    ) {
        let who = self.who;
        match &*self.registrar.status().borrow() {
            RegistrarStatus::Registered { key, lease, .. } if joined => {
                let stored = registry.get(key.as_str());
                let right = stored.as_ref().is_some_and(|stored| {
                    stored.value == self.wish().value && stored.lease.as_ref() == Some(lease)
                });
                if !right {
                    let holds = stored.map(|stored| stored.value);
                    files.violate(format!(
                        "{who} says that it is registered, but {key} holds {holds:?}"
                    ));
                }
            }
            // One of the dead may have let go of it this very moment.
            RegistrarStatus::Taken { .. } if joined && !buried => {}
            RegistrarStatus::Taken { .. } if joined => {
                // Whichever lease completes the key.
                let stem = self.key.stem().as_str();
                let is_taken = files
                    .truth
                    .present()
                    .filter(|(key, _)| key.as_str().starts_with(stem))
                    .any(|(_, value)| files.owner(value) != Some(who));
                if !is_taken {
                    files.violate(format!("{who} says that it is taken, which it is not"));
                }
            }
            other if joined => files.violate(format!("{who} is not back: {}", kind(other))),
            RegistrarStatus::Registered { .. } => {
                files.violate(format!("{who} is registered although it left"));
            }
            _ => {}
        }
    }

    fn turn(&self) -> u32 {
        let mut wish = self.wish.lock().unwrap_or_else(PoisonError::into_inner);
        wish.turns += 1;
        wish.turns
    }

    fn wish(&self) -> Wish {
        self.wish
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// A value that nobody else ever writes.
fn written(who: Who, plain: bool, n: u32, status: Status, key: &Key) -> Bytes {
    let Who { slot, life, offer } = who;
    if plain {
        return format!("10.{slot}.{offer}.{}:{}", life % 256, 1000 + n).into();
    }
    // Mostly the same address in all lives and with all values.
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
