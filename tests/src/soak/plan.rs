//! Plans: which faults come in which order, all drawn from a seed.

use fastrand::Rng;
use sd_core::Key;
use std::{fmt, time::Duration};

/// How long after a fault everything agrees at the latest: a grace period, a TTL (twice, since a
/// restarted etcd starts it again), and some time for a busy machine.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// The prefix of all providers' keys.
pub(super) const PREFIX: &str = "/svc/";
/// How many providers there can be.
pub(super) const PROVIDERS: usize = 5;
/// How many consumers there are.
pub(super) const CONSUMERS: usize = 3;
/// The key of the provider in this slot.
pub(super) fn key(slot: usize) -> Key {
    Key::new(format!("{PREFIX}p{slot}")).expect("a key")
}

/// The TTL of the provider under `key`: 2 s, the shortest, or 3 s.
pub(super) fn ttl(key: &Key) -> Duration {
    let is_odd = key.as_str().ends_with(['1', '3']);
    Duration::from_secs(if is_odd { 3 } else { 2 })
}

/// The minimum number of running providers: if a fault hits one of them, there is another to call.
const LIVING: usize = 2;
/// How long etcd stops where it does so again and again, and how often.
pub(super) const STALL: Duration = Duration::from_secs(1);
pub(super) const STALL_EVERY: Duration = Duration::from_secs(4);
/// The loss of most is doubted where there are so many.
const MANY: usize = 3;

/// A fault or an action, from its beginning to its end. When it is over, everything must agree
/// again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// etcd stops (SIGSTOP) for this time.
    Freeze(Duration),
    /// etcd is killed, and started with its data after this time.
    Kill(Duration),
    /// etcd loses all its data. With `ahead`, other writers then advance its revision beyond the
    /// old one before our clients come back.
    Rebuild {
        /// Whether other writers do that.
        ahead: bool,
        /// The provider that crashes at the same time. No history contains its removal.
        crashes: Option<usize>,
    },
    /// The history is compacted while a consumer is cut off and a provider leaves.
    Compact {
        /// The consumer that is cut off.
        consumer: usize,
        /// The provider that leaves.
        leaves: usize,
    },
    /// An operator revokes the lease of a provider.
    Expire(usize),
    /// An operator deletes the key of a provider.
    Delete(usize),
    /// Somebody else overwrites the key of a provider, and removes the entry after a while.
    Overwrite {
        /// The provider whose key it is.
        provider: usize,
        /// Whether the value is one that no codec can read.
        garbage: bool,
        /// How long the entry stays.
        lasting: Duration,
    },
    /// The network fails one client.
    CutOff {
        /// The client.
        who: Who,
        /// How the network fails.
        how: Cut,
        /// For how long it fails.
        lasting: Duration,
    },
    /// A provider starts.
    Join(usize),
    /// A provider deregisters and ends.
    Leave(usize),
    /// A provider ends without deregistering.
    Crash(usize),
    /// A provider ends without deregistering and starts again at once, on the same address.
    Restart(usize),
    /// A provider starts with the key of one that still runs; the old one then deregisters.
    Overtake(usize),
    /// A provider makes a new registrar on the client that it has, while the old one deregisters, or
    /// is dropped.
    Reload {
        /// Who.
        provider: usize,
        /// Whether the old registrar is dropped.
        drops: bool,
    },
    /// A provider changes its weight.
    Update(usize, u32),
    /// etcd is put back to what it was before this provider wrote its value and another one left.
    Restore {
        /// Who writes a new value after the backup.
        updates: usize,
        /// Who leaves after the backup.
        leaves: Option<usize>,
    },
    /// An operator revokes all leases.
    ExpireAll,
    /// All providers are cut off from etcd for so long, and no consumer is.
    CutOffAll(Duration),
    /// etcd stops for 1 s every 4 s, so many times.
    Stalls(u32),
}

/// A client of etcd.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// The client of a provider.
    Provider(usize),
    /// The client of a consumer.
    Consumer(usize),
}

/// How a network fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// Nothing passes, and connections stay open.
    Stall,
    /// All connections are reset, and new ones succeed.
    Reset,
    /// All connections are reset, and new ones are refused.
    Refuse,
    /// Everything is delayed by this time.
    Delay(Duration),
}

/// The faults of one seed, without end. Keeps track of the running providers, so that each fault is
/// possible at its time.
#[derive(Debug, Clone)]
pub struct Plan {
    rng: Rng,
    living: [bool; PROVIDERS],
    kinds: Vec<String>,
}

impl Plan {
    /// The plan of this seed. Some of the providers [run](Self::living) from the start.
    pub fn draw(seed: u64) -> Self {
        let mut living = [true; PROVIDERS];
        living[PROVIDERS - 1] = false;
        Self {
            rng: Rng::with_seed(seed),
            living,
            kinds: Vec::new(),
        }
    }

    /// The same plan with only the faults of these [kinds](Fault::kind), or all faults if there are
    /// no kinds.
    #[must_use]
    pub fn only(mut self, kinds: Vec<String>) -> Self {
        self.kinds = kinds;
        self
    }

    /// The providers that run after the faults so far.
    pub fn living(&self) -> impl Iterator<Item = usize> {
        (0..PROVIDERS).filter(|slot| self.living[*slot])
    }

    /// One of the running providers.
    fn one(&mut self) -> usize {
        let living: Vec<usize> = self.living().collect();
        living[self.rng.usize(..living.len())]
    }

    /// One of the running providers, if enough remain without it.
    fn spare(&mut self) -> Option<usize> {
        let slot = self.one();
        (self.living().count() > LIVING).then_some(slot)
    }

    fn absent(&mut self) -> Option<usize> {
        let absent: Vec<usize> = (0..PROVIDERS).filter(|slot| !self.living[*slot]).collect();
        let slot = self.rng.usize(..PROVIDERS);
        (!absent.is_empty()).then(|| absent[slot % absent.len()])
    }

    fn millis(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(self.rng.u64(from..to))
    }

    /// A random length. Often about as long as it takes to lose a lease or to notice an outage.
    fn outage(&mut self) -> Duration {
        if self.rng.bool() {
            self.millis(100, 2_500)
        } else {
            self.millis(100, 7_000)
        }
    }

    fn cut_off(&mut self) -> Fault {
        let who = if self.rng.bool() {
            Who::Provider(self.one())
        } else {
            Who::Consumer(self.rng.usize(..CONSUMERS))
        };
        let how = match self.rng.u32(..4) {
            0 => Cut::Stall,
            1 => Cut::Reset,
            2 => Cut::Refuse,
            _ => Cut::Delay(self.millis(20, 250)),
        };
        let lasting = match how {
            Cut::Reset => Duration::ZERO,
            _ => self.outage(),
        };
        Fault::CutOff { who, how, lasting }
    }

    /// Whether so many live that the loss of most is doubted.
    fn many(&self) -> bool {
        self.living().count() >= MANY
    }

    fn restore(&mut self) -> Fault {
        let updates = self.one();
        let leaves = self.spare().filter(|slot| *slot != updates);
        Fault::Restore { updates, leaves }
    }

    fn try_next(&mut self) -> Option<Fault> {
        let fault = match self.rng.u32(..31) {
            0..=2 => Fault::Freeze(self.outage()),
            3..=4 => Fault::Kill(self.outage()),
            5..=6 => Fault::Rebuild {
                ahead: self.rng.bool(),
                crashes: self.spare(),
            },
            7 => Fault::Compact {
                consumer: self.rng.usize(..CONSUMERS),
                leaves: self.spare()?,
            },
            8 => Fault::Expire(self.one()),
            9 => Fault::Delete(self.one()),
            10..=11 => Fault::Overwrite {
                provider: self.one(),
                garbage: self.rng.bool(),
                lasting: self.millis(500, 4_000),
            },
            12..=15 => self.cut_off(),
            16..=17 => Fault::Join(self.absent()?),
            18 => Fault::Leave(self.spare()?),
            19 => Fault::Crash(self.spare()?),
            20 => Fault::Restart(self.one()),
            21 => Fault::Overtake(self.one()),
            22..=24 => Fault::Reload {
                provider: self.one(),
                drops: self.rng.bool(),
            },
            25..=26 => self.restore(),
            27 => self.many().then_some(Fault::ExpireAll)?,
            28 => {
                let lasting = self.millis(1_000, 5_000);
                self.many().then_some(Fault::CutOffAll(lasting))?
            }
            29 => Fault::Stalls(self.rng.u32(2..5)),
            _ => Fault::Update(self.one(), self.rng.u32(1..1_000)),
        };
        Some(fault)
    }
}

/// Ends only if no further fault of the wanted [kinds](Plan::only) is possible.
impl Iterator for Plan {
    type Item = Fault;

    fn next(&mut self) -> Option<Fault> {
        for _ in 0..10_000 {
            let Some(fault) = self.try_next() else {
                continue;
            };
            if !self.kinds.is_empty() && !self.kinds.iter().any(|kind| kind == fault.kind()) {
                continue;
            }
            match fault {
                Fault::Join(slot) => self.living[slot] = true,
                Fault::Leave(slot)
                | Fault::Crash(slot)
                | Fault::Compact { leaves: slot, .. }
                | Fault::Rebuild {
                    crashes: Some(slot),
                    ..
                }
                | Fault::Restore {
                    leaves: Some(slot), ..
                } => self.living[slot] = false,
                _ => {}
            }
            return Some(fault);
        }
        None
    }
}

impl Fault {
    /// The names of all kinds.
    pub const KINDS: [&'static str; 19] = [
        "freeze",
        "kill",
        "rebuild",
        "compact",
        "expire",
        "delete",
        "overwrite",
        "cut",
        "join",
        "leave",
        "crash",
        "restart",
        "overtake",
        "update",
        "reload",
        "restore",
        "expire-all",
        "cut-all",
        "stalls",
    ];

    /// The name of its kind.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Freeze(_) => "freeze",
            Self::Kill(_) => "kill",
            Self::Rebuild { .. } => "rebuild",
            Self::Compact { .. } => "compact",
            Self::Expire(_) => "expire",
            Self::Delete(_) => "delete",
            Self::Overwrite { .. } => "overwrite",
            Self::CutOff { .. } => "cut",
            Self::Join(_) => "join",
            Self::Leave(_) => "leave",
            Self::Crash(_) => "crash",
            Self::Restart(_) => "restart",
            Self::Overtake(_) => "overtake",
            Self::Update(..) => "update",
            Self::Reload { .. } => "reload",
            Self::Restore { .. } => "restore",
            Self::ExpireAll => "expire-all",
            Self::CutOffAll(_) => "cut-all",
            Self::Stalls(_) => "stalls",
        }
    }

    /// The provider whose instance may be missing from a consumer's view for a while. All others
    /// must always be shown.
    pub fn touches(&self) -> Option<usize> {
        match *self {
            Self::Expire(slot)
            | Self::Delete(slot)
            | Self::Overwrite { provider: slot, .. }
            | Self::Compact { leaves: slot, .. }
            | Self::Rebuild {
                crashes: Some(slot),
                ..
            }
            | Self::Restore {
                leaves: Some(slot), ..
            }
            | Self::CutOff {
                who: Who::Provider(slot),
                how: Cut::Stall | Cut::Refuse,
                ..
            }
            | Self::Leave(slot)
            | Self::Crash(slot) => Some(slot),
            _ => None,
        }
    }

    /// Whether any provider may be missing from a consumer's view for a while. At least half of them
    /// never are.
    pub fn touches_all(&self) -> bool {
        matches!(self, Self::ExpireAll | Self::CutOffAll(_))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Freeze(lasting) => write!(f, "freeze etcd for {lasting:?}"),
            Self::Kill(down) => write!(f, "kill etcd, start it again after {down:?}"),
            Self::Rebuild { ahead, crashes } => {
                f.write_str("rebuild etcd empty")?;
                if *ahead {
                    f.write_str(", counter pushed ahead")?;
                }
                match crashes {
                    Some(slot) => write!(f, "; p{slot} crashes"),
                    None => Ok(()),
                }
            }
            Self::Compact { consumer, leaves } => {
                write!(
                    f,
                    "compact while c{consumer} is cut off and p{leaves} leaves"
                )
            }
            Self::Expire(slot) => write!(f, "revoke the lease of p{slot}"),
            Self::Delete(slot) => write!(f, "delete the key of p{slot}"),
            Self::Overwrite {
                provider,
                garbage,
                lasting,
            } => {
                let what = if *garbage { "garbage" } else { "an address" };
                write!(f, "overwrite p{provider} with {what} for {lasting:?}")
            }
            Self::CutOff { who, how, lasting } => match how {
                Cut::Stall => write!(f, "stall {who} for {lasting:?}"),
                Cut::Reset => write!(f, "reset the connections of {who}"),
                Cut::Refuse => write!(f, "refuse {who} for {lasting:?}"),
                Cut::Delay(by) => write!(f, "delay {who} by {by:?} for {lasting:?}"),
            },
            Self::Join(slot) => write!(f, "p{slot} joins"),
            Self::Leave(slot) => write!(f, "p{slot} leaves"),
            Self::Crash(slot) => write!(f, "p{slot} crashes"),
            Self::Restart(slot) => write!(f, "p{slot} crashes and starts again"),
            Self::Overtake(slot) => write!(f, "p{slot} is overtaken"),
            Self::Reload {
                provider,
                drops: true,
            } => write!(f, "p{provider} reloads and drops its registrar"),
            Self::Reload { provider, .. } => write!(f, "p{provider} reloads"),
            Self::Restore { updates, leaves } => {
                write!(f, "restore etcd from before p{updates} was updated")?;
                match leaves {
                    Some(slot) => write!(f, " and p{slot} left"),
                    None => Ok(()),
                }
            }
            Self::ExpireAll => f.write_str("revoke all leases"),
            Self::CutOffAll(lasting) => write!(f, "stall all providers for {lasting:?}"),
            Self::Stalls(times) => write!(f, "freeze etcd for {STALL:?}, {times} times"),
            Self::Update(slot, weight) => write!(f, "p{slot} has weight {weight}"),
        }
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Provider(slot) => write!(f, "p{slot}"),
            Self::Consumer(slot) => write!(f, "c{slot}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn faults(seed: u64) -> Vec<Fault> {
        Plan::draw(seed).take(500).collect()
    }

    #[test]
    fn a_seed_repeats_its_faults() {
        assert_eq!(faults(7), faults(7));
        assert_ne!(faults(7), faults(8));
    }

    #[test]
    fn every_kind_of_fault_comes() {
        let kinds: BTreeSet<_> = faults(1).iter().map(Fault::kind).collect();
        assert_eq!(kinds, BTreeSet::from(Fault::KINDS));
    }

    #[test]
    fn a_plan_can_be_of_some_kinds_only() {
        let some = ["freeze", "cut"].map(str::to_owned);
        let plan = Plan::draw(7).only(some.to_vec());

        let kinds: BTreeSet<_> = plan.take(100).map(|fault| fault.kind()).collect();

        assert_eq!(kinds, BTreeSet::from(["freeze", "cut"]));
        let leaving = Plan::draw(7).only(vec!["leave".to_owned()]);
        assert_eq!(leaving.count(), 2, "two of four have to stay");
    }

    #[test]
    fn what_befalls_a_provider_befalls_one_that_lives_and_is_not_alone() {
        for seed in 0..100 {
            let mut plan = Plan::draw(seed);
            for _ in 0..200 {
                let living: Vec<usize> = plan.living().collect();
                let fault = plan.next().expect("plans have no end");
                if let Some(slot) = fault.touches() {
                    assert!(living.contains(&slot), "{fault} with {living:?}");
                }
                if let Fault::Join(slot) = fault {
                    assert!(!living.contains(&slot), "{fault} with {living:?}");
                }
                assert!(plan.living().count() >= LIVING, "after {fault}");
            }
        }
    }
}
