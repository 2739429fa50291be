//! Registrations: a registered service, and how its owner learns that it is lost.

use super::{
    deregistered::Deregistered,
    error::{Error, Result},
    key::Key,
    lease::LeaseId,
    lease_proof::{LeaseProof, ProofUse},
};
use async_trait::async_trait;
use bytes::Bytes;
use std::fmt;
use tokio::sync::watch;

/// Why a registration is lost. The registry has *reported* it: silence or an outage is not a loss.
///
/// `Debug` shows how long a value is, and not the value.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Lost {
    /// The lease ran out or was revoked. The client [logs it](crate::Client#what-a-client-logs),
    /// once for all services on the lease.
    LeaseExpired,
    /// Somebody deleted the key; the lease may still live.
    KeyDeleted,
    /// Somebody else holds the key.
    #[non_exhaustive]
    Taken {
        /// The new owner's value.
        value: Bytes,
    },
    /// Somebody gave the entry another value and left it on this registration's lease, as an
    /// operator does who edits it. [`Registration::reclaim`] with this value keeps the entry as it
    /// is, and with any other value overwrites it.
    #[non_exhaustive]
    Overwritten {
        /// The value of the entry.
        value: Bytes,
    },
    /// The registry's history went back, as after a restore from a backup: the entry under the key
    /// is older than the one that this registration put, or on a lease that the client had before. The
    /// client logs it, once for all services.
    RolledBack,
    /// A later `register` of the same key on the same client took its place; see
    /// [`Generation`](crate::Generation).
    Superseded,
    /// It was deregistered.
    Deregistered,
    /// The client was closed.
    Closed,
}

impl Lost {
    /// [`Lost::Taken`] by the owner of `value`.
    pub fn taken(value: impl Into<Bytes>) -> Self {
        Self::Taken {
            value: value.into(),
        }
    }

    /// [`Lost::Overwritten`] with `value`.
    pub fn overwritten(value: impl Into<Bytes>) -> Self {
        Self::Overwritten {
            value: value.into(),
        }
    }

    /// How it was lost, in a word, for logs and labels.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::LeaseExpired => "lease_expired",
            Self::KeyDeleted => "key_deleted",
            Self::Taken { .. } => "taken",
            Self::Overwritten { .. } => "overwritten",
            Self::RolledBack => "rolled_back",
            Self::Superseded => "superseded",
            Self::Deregistered => "deregistered",
            Self::Closed => "closed",
        }
    }
}

impl fmt::Debug for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LeaseExpired => f.write_str("LeaseExpired"),
            Self::KeyDeleted => f.write_str("KeyDeleted"),
            Self::Taken { value } => write_with_length(f, "Taken", value),
            Self::Overwritten { value } => write_with_length(f, "Overwritten", value),
            Self::RolledBack => f.write_str("RolledBack"),
            Self::Superseded => f.write_str("Superseded"),
            Self::Deregistered => f.write_str("Deregistered"),
            Self::Closed => f.write_str("Closed"),
        }
    }
}

/// Writes a variant that has a value: how long that is, and not what is in it.
fn write_with_length(f: &mut fmt::Formatter<'_>, variant: &str, value: &Bytes) -> fmt::Result {
    f.debug_struct(variant)
        .field("value", &format_args!("{} bytes", value.len()))
        .finish()
}

/// The outcome of a [`Registration::reclaim`].
///
/// `Debug` shows how long a value is, and not the value.
#[must_use = "dropping a registration that is held ends it"]
pub enum Reclaimed {
    /// The key is ours. This handle replaces the old one.
    Held(Registration),
    /// Somebody else holds the key.
    #[non_exhaustive]
    Taken {
        /// The new owner's value.
        value: Bytes,
    },
}

impl Reclaimed {
    /// [`Reclaimed::Taken`] by the owner of `value`.
    pub fn taken(value: impl Into<Bytes>) -> Self {
        Self::Taken {
            value: value.into(),
        }
    }
}

impl fmt::Debug for Reclaimed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Held(registration) => f.debug_tuple("Held").field(registration).finish(),
            Self::Taken { value } => write_with_length(f, "Taken", value),
        }
    }
}

/// How a backend puts a lost registration back.
///
/// A backend passes one to [`Registration::channel`]. It is dropped with the registration, so its
/// `Drop` is where a backend notices that the handle is gone.
#[async_trait]
pub trait Reclaim: Send + Sync + 'static {
    /// Puts `value` under the key if the key is absent or still ours (same lease, same
    /// modification); nothing is written otherwise. A lost lease is replaced.
    ///
    /// An entry that is older than the one that this registration put proves that the registry's
    /// history went back, and is overwritten, whatever its lease. So does one on a lease that this
    /// client [had before](crate::FormerLeases), whatever its modification. Also overwritten is a newer
    /// one on this registration's lease. One that was reported as [`Lost::Overwritten`] with exactly `value` is
    /// kept instead: nothing is written.
    ///
    /// # Errors
    /// As [`Client::register`](crate::Client::register). [`Error::Superseded`] also if the same client
    /// has registered the key again with the same generation.
    async fn reclaim(&self, value: Bytes) -> Result<Reclaimed>;

    /// Removes the entry that [took](Lost::Taken) the key from this registration, if it is still the
    /// very one that was reported, with this value, and has no lease, so that it would stay for ever.
    ///
    /// For those who know that it describes nothing but their own instance, which ends. By default
    /// removes nothing.
    ///
    /// # Errors
    /// As [`Client::deregister`](crate::Client::deregister), and bounded as that is.
    async fn remove_unleased(&self, value: Bytes) -> Result<Deregistered> {
        drop(value);
        Ok(Deregistered::NotOurs)
    }
}

/// A handle of a registered service.
///
/// The backend keeps the lease alive. When the registry says that the registration is gone,
/// [`lost`](Self::lost) resolves, and [`reclaim`](Self::reclaim) can put it back. Dropping the
/// handle ends this registration and no other: the backend removes the entry in the background or
/// lets it expire. [`Client::deregister`](crate::Client::deregister) also waits until it has ended.
#[must_use = "dropping a registration ends it"]
pub struct Registration {
    key: Key,
    lease: ProofUse,
    lost: watch::Receiver<Option<Lost>>,
    reclaim: Box<dyn Reclaim>,
}

impl Registration {
    /// A registration under `key` on the lease of `proof`, and the sender with which its backend
    /// says that it is lost.
    ///
    /// The backend confirms the lease with the [`ProofSender`](crate::ProofSender) of `proof` as
    /// often as the registry does. A backend that never does is not wrong: its registrations are
    /// unproven after a TTL, as nobody knows better. If entries need no keep-alive, the proof is
    /// [lasting](LeaseProof::lasting).
    pub fn channel(key: Key, proof: &LeaseProof, reclaim: impl Reclaim) -> (LossSender, Self) {
        let (sender, lost) = watch::channel(None);
        let registration = Self {
            key,
            lease: proof.join(),
            lost,
            reclaim: Box::new(reclaim),
        };
        (LossSender(sender), registration)
    }

    /// A registration without a backend, for scripted clients in tests. It is always proven, never
    /// lost, and cannot be reclaimed; dropping it does nothing.
    pub fn detached(key: Key, lease: LeaseId) -> Self {
        let (sender, lost) = watch::channel(None);
        Self {
            key,
            lease: LeaseProof::lasting(lease).join(),
            lost,
            reclaim: Box::new(Detached(LossSender(sender))),
        }
    }

    /// The key of the entry.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// The lease of the entry.
    pub fn lease_id(&self) -> &LeaseId {
        self.proof().lease_id()
    }

    /// Whether the lease is known to live. A registration that is not lost may still be gone, if the
    /// registry has not answered for a TTL.
    pub fn proof(&self) -> &LeaseProof {
        self.lease.proof()
    }

    /// Waits until the registration is lost, and returns why. Pending while it is held.
    ///
    /// Cancellation safe, and may be called again: the answer stays the same.
    pub async fn lost(&mut self) -> Lost {
        self.until_lost().await
    }

    /// Like [`lost`](Self::lost), but borrows the registration shared.
    pub(crate) async fn until_lost(&self) -> Lost {
        match self.lost.clone().wait_for(Option::is_some).await.as_deref() {
            Ok(Some(lost)) => lost.clone(),
            Ok(None) | Err(_) => Lost::Closed,
        }
    }

    /// Why the registration is lost; `None` while it is held. Does not wait.
    pub fn loss(&self) -> Option<Lost> {
        match self.lost.has_changed() {
            Err(_) => Some(self.lost.borrow().clone().unwrap_or(Lost::Closed)),
            Ok(_) => self.lost.borrow().clone(),
        }
    }

    /// Puts `value` under the key if the key is absent or still ours, on a new lease if the old one
    /// is gone. Returns the current value otherwise. Also changes the value of a registration that
    /// is held. A registration that a later one has superseded is not put back.
    ///
    /// What is older than the registration's own entry, or on a lease of its client, is
    /// [overwritten](Reclaim::reclaim) too.
    ///
    /// Cancellation safe: a call that was sent may still take effect. The next call follows it up.
    ///
    /// # Errors
    /// As [`Client::register`](crate::Client::register). The registration can be reclaimed again, unless
    /// it is [superseded](Error::Superseded).
    pub async fn reclaim(&self, value: impl Into<Bytes> + Send) -> Result<Reclaimed> {
        self.reclaim.reclaim(value.into()).await
    }
}

impl Registration {
    /// [`Reclaim::remove_unleased`]: removes what took the key, if nothing else would ever do so.
    pub(crate) async fn remove_unleased(&self, value: Bytes) -> Result<Deregistered> {
        self.reclaim.remove_unleased(value).await
    }
}

impl fmt::Debug for Registration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registration")
            .field("key", &self.key)
            .field("proof", self.proof())
            .field("lost", &*self.lost.borrow())
            .finish_non_exhaustive()
    }
}

/// The backend's side of a [`Registration`]. If it is dropped unused, the handle reports
/// [`Lost::Closed`].
#[derive(Debug)]
pub struct LossSender(watch::Sender<Option<Lost>>);

impl LossSender {
    /// Tells the handle that the registration is lost.
    pub fn send(self, why: Lost) {
        self.tell(why);
    }

    /// Like [`send`](Self::send), but keeps the sender, to see later whether the handle was
    /// dropped.
    pub(crate) fn tell(&self, why: Lost) {
        self.0.send_replace(Some(why));
    }

    /// Whether the registration was dropped.
    pub fn is_dropped(&self) -> bool {
        self.0.is_closed()
    }

    /// Waits until the registration was dropped.
    pub async fn dropped(&self) {
        self.0.closed().await;
    }
}

/// A [`Reclaim`] for backends that cannot put anything back.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoReclaim;

#[async_trait]
impl Reclaim for NoReclaim {
    async fn reclaim(&self, _value: Bytes) -> Result<Reclaimed> {
        Err(Error::unsupported("reclaim"))
    }
}

/// Keeps the sender alive, so that the registration is never lost.
struct Detached(#[expect(dead_code, reason = "only kept")] LossSender);

#[async_trait]
impl Reclaim for Detached {
    async fn reclaim(&self, value: Bytes) -> Result<Reclaimed> {
        NoReclaim.reclaim(value).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registration() -> (LossSender, Registration) {
        let proof = LeaseProof::lasting(LeaseId::from(1));
        Registration::channel(Key::new("k").unwrap(), &proof, NoReclaim)
    }

    #[tokio::test]
    async fn a_loss_is_said_once_and_stays() {
        let (sender, mut registration) = registration();
        assert_eq!(registration.loss(), None);
        sender.send(Lost::KeyDeleted);
        assert_eq!(registration.lost().await, Lost::KeyDeleted);
        assert_eq!(registration.lost().await, Lost::KeyDeleted);
        assert_eq!(registration.loss(), Some(Lost::KeyDeleted));
    }

    #[tokio::test]
    async fn a_backend_that_goes_away_says_closed() {
        let (sender, mut registration) = registration();
        drop(sender);
        assert_eq!(registration.lost().await, Lost::Closed);
        assert_eq!(registration.loss(), Some(Lost::Closed));
    }

    #[tokio::test]
    async fn a_detached_registration_is_held() {
        let registration = Registration::detached(Key::new("k").unwrap(), LeaseId::from(1));
        assert_eq!(registration.loss(), None);
        assert!(registration.reclaim("v").await.is_err());
    }

    #[tokio::test]
    async fn a_backend_notices_the_drop() {
        let (sender, registration) = registration();
        assert!(!sender.is_dropped());
        drop(registration);
        sender.dropped().await;
        assert!(sender.is_dropped());
    }
}
