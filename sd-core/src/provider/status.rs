//! The status of a registrar.

use crate::registry::{
    Deregistered, Error, ErrorChain, Escaped, Key, LeaseId, LeaseStatus, Lost, Unproven,
};
use bytes::Bytes;
use std::{fmt, mem, time::Duration};

/// What a [`Registrar`](crate::Registrar) is doing; see
/// [`Registrar::status`](crate::Registrar::status).
///
/// `Display` writes it in a line for an operator. It and `Debug` show how long a value is, and not the
/// value, which may hold what is nobody else's business.
///
/// ```
/// use sd_core::{Error, RegistrarStatus};
///
/// let error = Some(Error::unavailable("connection refused"));
/// let status = RegistrarStatus::Registering { attempt: 3, error };
/// assert_eq!(
///     status.to_string(),
///     "registering, attempt 3: the registry is unavailable: connection refused"
/// );
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub enum RegistrarStatus {
    /// It has not been told to register.
    Idle,
    /// It registers, for as long as that takes.
    Registering {
        /// The number of the attempt that is made or waited for, from 1.
        attempt: u32,
        /// Why the attempt before failed.
        error: Option<Error>,
    },
    /// The entry is in the registry, as far as the registry has said.
    #[non_exhaustive]
    Registered {
        /// The key of the entry.
        key: Key,
        /// The lease of the entry.
        lease: LeaseId,
        /// The TTL that the registry has granted, which may be longer than the one that was asked
        /// for. `None` if the entry needs no keep-alives.
        ttl: Option<Duration>,
        /// No keep-alive was confirmed for a TTL: the entry may be gone, and nobody may find the
        /// provider. The client goes on trying; the registrar puts the entry back if the registry
        /// says that it was lost.
        unproven: Option<Unproven>,
        /// The registry does not let the client look at the entry, for this reason. The entry is kept
        /// alive, but nobody notices if it is deleted or taken.
        unverified: Option<Error>,
        /// Why a [new value](crate::Registrar::update) could not be written; it is tried again.
        error: Option<Error>,
        /// The value of the entry, if somebody has edited it in the registry; see
        /// [`Registrar`](crate::Registrar#edits).
        edit: Option<Bytes>,
    },
    /// The entry was lost and is put back, for as long as that takes.
    Reclaiming {
        /// Why it was lost.
        lost: Lost,
        /// The number of the attempt that is made or waited for, from 1.
        attempt: u32,
        /// Why the attempt before failed. An error that cannot pass by itself is tried again too,
        /// at the longest delay.
        error: Option<Error>,
    },
    /// Somebody else holds the key. The registrar waits until it is free, unless it
    /// [retakes](crate::RegistrarBuilder::retake) it.
    Taken {
        /// The new owner's value.
        value: Bytes,
    },
    /// It announces draining or removes the entry.
    Deregistering,
    /// The registrar has deregistered, with this outcome.
    Deregistered(Deregistered),
    /// A later `register` of the same key on the same client holds the key now. The registrar
    /// leaves it alone.
    Superseded,
    /// The registry refused for a reason that cannot pass, or the client panicked.
    Failed(Error),
    /// The client was closed.
    Closed,
    /// The runtime on which the registrar was started has ended before it had deregistered. Nobody
    /// keeps the entry, and it ends with its lease at the latest. The next
    /// [`register`](crate::Registrar::register) starts on the runtime of its caller.
    RuntimeEnded,
}

impl RegistrarStatus {
    /// Whether the entry is in the registry, as far as the registry has said.
    pub fn is_registered(&self) -> bool {
        matches!(self, Self::Registered { .. })
    }

    /// Whether the entry is in the registry, and a keep-alive was confirmed within the TTL.
    pub fn is_proven(&self) -> bool {
        matches!(self, Self::Registered { unproven: None, .. })
    }

    /// What is known of the lease, if the entry is registered.
    pub(super) fn lease_status(&self) -> Option<LeaseStatus> {
        match self {
            Self::Registered {
                ttl,
                unproven,
                unverified,
                ..
            } => Some(LeaseStatus {
                ttl: *ttl,
                unproven: unproven.clone(),
                unverified: unverified.clone(),
            }),
            _ => None,
        }
    }

    /// Whether the entry is registered, and this is what is known of the lease.
    pub(super) fn has_lease(&self, lease: &LeaseStatus) -> bool {
        self.lease_status().is_some_and(|known| known.same(lease))
    }

    /// Puts what is known of the lease into it, if the entry is registered.
    pub(super) fn set_lease_status(&mut self, status: LeaseStatus) {
        if let Self::Registered {
            ttl,
            unproven,
            unverified,
            ..
        } = self
        {
            *ttl = status.ttl;
            *unproven = status.unproven;
            *unverified = status.unverified;
        }
    }

    /// Whether `other` has the same content. Errors are the same if their texts are.
    pub(crate) fn same(&self, other: &Self) -> bool {
        let is_same = match (self, other) {
            (Self::Taken { value }, Self::Taken { value: other }) => return value == other,
            (Self::Registered { edit, .. }, Self::Registered { edit: other, .. }) => edit == other,
            _ => true,
        };
        let has_same_lease = match (self.lease_status(), other.lease_status()) {
            (Some(lease), Some(other)) => lease.same(&other),
            _ => true,
        };
        is_same
            && has_same_lease
            && mem::discriminant(self) == mem::discriminant(other)
            && self.to_string() == other.to_string()
    }
}

impl fmt::Display for RegistrarStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let error = match self {
            Self::Idle => return f.write_str("not registered"),
            Self::Registering { attempt, error } => {
                write!(f, "registering, attempt {attempt}")?;
                error
            }
            Self::Registered {
                key,
                lease,
                unproven,
                unverified,
                error,
                edit,
                ..
            } => {
                let (key, lease) = (Escaped(key), Escaped(lease));
                write!(f, "registered as {key} on lease {lease}")?;
                if let Some(unproven) = unproven {
                    write!(f, ", {unproven}")?;
                }
                if let Some(why) = unverified {
                    write!(f, ", not verified: {}", ErrorChain(why))?;
                }
                if let Some(edit) = edit {
                    write!(f, ", edited ({} bytes)", edit.len())?;
                }
                if error.is_some() {
                    f.write_str(", new value not written")?;
                }
                error
            }
            Self::Reclaiming {
                lost,
                attempt,
                error,
            } => {
                write!(f, "lost ({}), reclaiming, attempt {attempt}", lost.reason())?;
                error
            }
            Self::Taken { value } => {
                return write!(f, "key taken by somebody else ({} bytes)", value.len());
            }
            Self::Deregistering => return f.write_str("deregistering"),
            Self::Deregistered(outcome) => {
                return write!(f, "deregistered ({})", outcome_name(*outcome));
            }
            Self::Superseded => {
                return f.write_str("superseded by a later registration on the same client");
            }
            Self::Failed(error) => return write!(f, "failed: {}", ErrorChain(error)),
            Self::Closed => return f.write_str("the client was closed"),
            Self::RuntimeEnded => return f.write_str("the runtime of the registrar has ended"),
        };
        match error {
            Some(error) => write!(f, ": {}", ErrorChain(error)),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for RegistrarStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Idle => f.write_str("Idle"),
            Self::Registering { attempt, error } => f
                .debug_struct("Registering")
                .field("attempt", attempt)
                .field("error", error)
                .finish(),
            Self::Registered {
                key,
                lease,
                ttl,
                unproven,
                unverified,
                error,
                edit,
            } => f
                .debug_struct("Registered")
                .field("key", key)
                .field("lease", lease)
                .field("ttl", ttl)
                .field("unproven", unproven)
                .field("unverified", unverified)
                .field("error", error)
                .field("edited_bytes", &edit.as_ref().map(Bytes::len))
                .finish(),
            Self::Reclaiming {
                lost,
                attempt,
                error,
            } => f
                .debug_struct("Reclaiming")
                .field("lost", lost)
                .field("attempt", attempt)
                .field("error", error)
                .finish(),
            Self::Taken { value } => f
                .debug_struct("Taken")
                .field("value", &format_args!("{} bytes", value.len()))
                .finish(),
            Self::Deregistering => f.write_str("Deregistering"),
            Self::Deregistered(outcome) => f.debug_tuple("Deregistered").field(outcome).finish(),
            Self::Superseded => f.write_str("Superseded"),
            Self::Failed(error) => f.debug_tuple("Failed").field(error).finish(),
            Self::Closed => f.write_str("Closed"),
            Self::RuntimeEnded => f.write_str("RuntimeEnded"),
        }
    }
}

/// The outcome in a word, for metrics and operators.
pub(super) fn outcome_name(outcome: Deregistered) -> &'static str {
    match outcome {
        Deregistered::Removed => "removed",
        Deregistered::NotOurs => "not_ours",
        Deregistered::Unconfirmed => "unconfirmed",
    }
}

/// What became of a [`Registrar::update`](crate::Registrar::update).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Updated {
    /// The entry has the new value.
    Written,
    /// The service is not registered at the moment: not yet, not any more, or lost and not yet put
    /// back. It gets the new value when it is.
    Remembered,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operator_reads_the_status_in_a_line() {
        let error = || Some(Error::unavailable("down"));
        let registered_with = |unproven, error| RegistrarStatus::Registered {
            key: Key::new("/a").unwrap(),
            lease: LeaseId::from(7),
            ttl: None,
            unproven,
            unverified: None,
            error,
            edit: None,
        };
        let registered = |error| registered_with(None, error);
        let unproven = Unproven::new(tokio::time::Instant::now(), error());
        let mut unverified = registered(None);
        unverified.set_lease_status(LeaseStatus {
            ttl: None,
            unproven: None,
            unverified: Some(Error::permission_denied("key")),
        });
        let reclaiming = RegistrarStatus::Reclaiming {
            lost: Lost::LeaseExpired,
            attempt: 2,
            error: error(),
        };
        let taken = RegistrarStatus::Taken {
            value: "10.0.0.2:80".into(),
        };
        let mut edited = registered(None);
        if let RegistrarStatus::Registered { edit, .. } = &mut edited {
            *edit = Some("10.0.0.3:80".into());
        }
        for (status, line) in [
            (RegistrarStatus::Idle, "not registered"),
            (registered(None), "registered as /a on lease 7"),
            (
                registered(error()),
                "registered as /a on lease 7, new value not written: \
                 the registry is unavailable: down",
            ),
            (
                registered_with(Some(unproven), None),
                "registered as /a on lease 7, unproven: the registry is unavailable: down",
            ),
            (
                unverified,
                "registered as /a on lease 7, not verified: permission denied: key",
            ),
            (
                reclaiming,
                "lost (lease_expired), reclaiming, attempt 2: the registry is unavailable: down",
            ),
            (taken, "key taken by somebody else (11 bytes)"),
            (edited, "registered as /a on lease 7, edited (11 bytes)"),
            (
                RegistrarStatus::Deregistered(Deregistered::NotOurs),
                "deregistered (not_ours)",
            ),
            (
                RegistrarStatus::Failed(Error::Closed),
                "failed: the client is closed",
            ),
        ] {
            assert_eq!(status.to_string(), line);
        }
    }

    #[test]
    fn statuses_are_the_same_only_if_all_of_their_content_is() {
        let taken = |last: u8| RegistrarStatus::Taken {
            value: vec![b'x', last].into(),
        };
        assert!(taken(1).same(&taken(1)));
        assert!(!taken(1).same(&taken(2)));
        let registering = |attempt| RegistrarStatus::Registering {
            attempt,
            error: None,
        };
        assert!(registering(1).same(&registering(1)));
        assert!(!registering(1).same(&registering(2)));
        assert!(!RegistrarStatus::Closed.same(&RegistrarStatus::RuntimeEnded));
        let registered = |unverified| RegistrarStatus::Registered {
            key: Key::new("/a").unwrap(),
            lease: LeaseId::from(7),
            ttl: None,
            unproven: None,
            unverified,
            error: None,
            edit: None,
        };
        let denied = || registered(Some(Error::permission_denied("key")));
        assert!(denied().same(&denied()));
        assert!(!denied().same(&registered(None)));
    }
}
