//! What befalls a registry and the keys in it, by name.

use std::{fmt, time::Duration};

/// Something that goes wrong, or is done to the registry by others.
///
/// Nothing in it belongs to one backend, so that every program that injects faults can share it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The registry is in trouble from now on.
    Begin(Outage),
    /// The trouble is over.
    End,
    /// Every watch is cut; nothing else happens.
    Disconnect,
    /// The history up to now is forgotten.
    Compact,
    /// Every call takes so long from now on.
    Delay(Duration),
    /// The registry loses all that it holds. With `ahead`, strangers push its counter past where it
    /// was before anybody of ours comes back.
    Rebuild {
        /// Whether strangers do.
        ahead: bool,
    },
    /// An operator revokes the lease that the key hangs on.
    Expire(Target),
    /// An operator deletes the key.
    Delete(Target),
    /// Somebody else writes over the key: something readable, or garbage.
    Overwrite {
        /// The key.
        target: Target,
        /// Whether no codec can read it.
        garbage: bool,
    },
    /// Everything that somebody else wrote is deleted.
    Erase,
    /// All leases end at once, and nothing else happens.
    ExpireAll,
    /// Every provider is cut off from the registry, and no consumer is.
    CutOff,
    /// Providers that were cut off reach the registry again.
    Reconnect,
    /// A backup is made.
    Backup,
    /// The registry is put back to the last backup, if there is one.
    Restore {
        /// Whether its counter goes on, with all of the history compacted.
        bump: bool,
    },
}

/// How a registry fails its clients. It is in one outage at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outage {
    /// It stops, as a process that was sent SIGSTOP.
    Freeze,
    /// It is killed, and its data waits for it.
    Kill,
    /// It answers that it is unavailable, while leases go on to run out.
    Refuse,
    /// The same with an error that does not pass by itself.
    Deny,
    /// It stops for 1.3 s every 6 s.
    Stall,
}

impl Outage {
    /// Whether it costs nobody a lease or a watch.
    pub fn is_harmless(self) -> bool {
        self == Self::Stall
    }
}

/// A key by the provider it belongs to and its place among the provider's keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target {
    /// Which provider.
    pub provider: usize,
    /// Which of its keys.
    pub offer: usize,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "p{}/{}", self.provider, self.offer)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Begin(outage) => write!(f, "{outage:?}"),
            Self::End => f.write_str("end of the outage"),
            Self::Disconnect => f.write_str("disconnect all watches"),
            Self::Compact => f.write_str("compact"),
            Self::Delay(by) => write!(f, "delay calls by {by:?}"),
            Self::Rebuild { ahead: true } => f.write_str("rebuild empty, counter pushed ahead"),
            Self::Rebuild { ahead: false } => f.write_str("rebuild empty"),
            Self::Expire(target) => write!(f, "expire the lease of {target}"),
            Self::Delete(target) => write!(f, "delete {target}"),
            Self::Overwrite { target, garbage } => {
                let what = if *garbage { "garbage" } else { "an address" };
                write!(f, "overwrite {target} with {what}")
            }
            Self::Erase => f.write_str("erase what strangers wrote"),
            Self::ExpireAll => f.write_str("expire all leases"),
            Self::CutOff => f.write_str("cut off all providers"),
            Self::Reconnect => f.write_str("reconnect all providers"),
            Self::Backup => f.write_str("make a backup"),
            Self::Restore { bump: true } => f.write_str("restore the backup, counter bumped"),
            Self::Restore { bump: false } => f.write_str("restore the backup"),
        }
    }
}
