//! The faults of a registry and of the keys in it.

use std::{fmt, time::Duration};

/// Something that goes wrong, or is done to the registry by others.
///
/// Independent of the backend, so that every program that injects faults can use it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// An outage begins.
    Begin(Outage),
    /// The outage ends.
    End,
    /// Every watch is interrupted.
    Disconnect,
    /// The history up to now is compacted.
    Compact,
    /// Every call takes this long from now on.
    Delay(Duration),
    /// The registry loses all its data. With `ahead`, other writers then advance its revision
    /// beyond the old one before our clients come back.
    Rebuild {
        /// Whether other writers do that.
        ahead: bool,
    },
    /// An operator revokes the lease of the key.
    Expire(Target),
    /// An operator deletes the key.
    Delete(Target),
    /// Somebody else overwrites the key.
    Overwrite {
        /// The key.
        target: Target,
        /// Whether the value is one that no codec can read.
        garbage: bool,
    },
    /// All entries of other writers are deleted.
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
    /// It stops, like a process after SIGSTOP.
    Freeze,
    /// It is killed and keeps its data.
    Kill,
    /// It answers that it is unavailable, and leases expire.
    Refuse,
    /// It answers with a permanent error, and leases expire.
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

/// Names a key by its provider and its index among the provider's keys.
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
