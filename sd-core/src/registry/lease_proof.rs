//! Until when a lease is known to live.

#[cfg(test)]
mod tests;

use super::{error::Error, error_chain::ErrorChain, escaped::Escaped, lease::LeaseId};
use std::{fmt, future, time::Duration};
use tokio::{
    select,
    sync::watch,
    time::{Instant, sleep_until},
};

/// A lease that no keep-alive has confirmed for a whole TTL: its entries may be gone. The registry
/// has not said so, and the client goes on trying.
///
/// ```
/// use sd_core::{Error, Unproven};
/// use tokio::time::Instant;
///
/// let why = Some(Error::unavailable("connection refused"));
/// let unproven = Unproven::new(Instant::now(), why);
/// assert_eq!(
///     unproven.to_string(),
///     "unproven: the registry is unavailable: connection refused"
/// );
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Unproven {
    /// Since when: a TTL after the last keep-alive that was confirmed was sent.
    pub since: Instant,
    /// Why keep-alives fail, as far as the backend has said: the newest error, or the newest that
    /// cannot pass.
    pub why: Option<Error>,
}

impl Unproven {
    /// Unproven since then, for this reason.
    pub fn new(since: Instant, why: Option<Error>) -> Self {
        Self { since, why }
    }

    /// Whether both say the same. Errors are the same if their texts are.
    pub(crate) fn same(one: Option<&Self>, other: Option<&Self>) -> bool {
        match (one, other) {
            (Some(one), Some(other)) => {
                one.since == other.since && one.to_string() == other.to_string()
            }
            (one, other) => one.is_none() && other.is_none(),
        }
    }
}

/// `unproven`, and the whole chain of causes.
impl fmt::Display for Unproven {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unproven: {}", cause(self.why.as_ref()))
    }
}

/// Whether a lease is known to live, by the clock of whoever asks.
///
/// A [`Registration`](crate::Registration) has the one of its lease; all registrations on a lease
/// share it. The backend confirms each acknowledged keep-alive with the [`ProofSender`]. If it does
/// not do so for a TTL, for whatever reason, the proof has run out: also when the backend's task
/// hangs or is gone. Whoever notices first logs it, once for the lease.
///
/// Cheap to clone.
///
/// ```
/// # use sd_core::{Client, Result, Service};
/// # async fn provider(client: impl Client, service: Service) -> Result<()> {
/// let registration = client.register(&service).await?;
/// let proof = registration.proof();
/// let unproven = proof.until_unproven().await;
/// println!("{}: {unproven}", proof.lease_id());
/// proof.until_proven().await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct LeaseProof {
    lease: LeaseId,
    state: watch::Sender<State>,
}

/// What is known of a lease.
#[derive(Debug, Clone)]
pub(crate) struct LeaseStatus {
    /// `None` for a lease that needs no keep-alive.
    pub(crate) ttl: Option<Duration>,
    pub(crate) unproven: Option<Unproven>,
    pub(crate) unverified: Option<Error>,
}

impl LeaseStatus {
    /// Whether both have the same content. Errors are the same if their texts are.
    pub(crate) fn same(&self, other: &Self) -> bool {
        let text = |error: &Error| ErrorChain(error).to_string();
        let unverified = |it: &Self| it.unverified.as_ref().map(text);
        self.ttl == other.ttl
            && Unproven::same(self.unproven.as_ref(), other.unproven.as_ref())
            && unverified(self) == unverified(other)
    }
}

#[derive(Debug, Clone)]
struct State {
    status: LeaseStatus,
    confirmed_at: Instant,
    /// Why keep-alives have failed since then.
    failure: Option<Error>,
    registrations: usize,
}

impl State {
    /// When the proof runs out, unless it has, or never does.
    fn ends_at(&self) -> Option<Instant> {
        match self.status.unproven {
            Some(_) => None,
            None => self.confirmed_at.checked_add(self.status.ttl?),
        }
    }
}

impl LeaseProof {
    /// The proof of a lease whose entries stay without keep-alives, as in a registry without
    /// expiry. It never runs out.
    pub fn lasting(lease: LeaseId) -> Self {
        Self::with(lease, None, Instant::now())
    }

    fn with(lease: LeaseId, ttl: Option<Duration>, confirmed_at: Instant) -> Self {
        let status = LeaseStatus {
            ttl,
            unproven: None,
            unverified: None,
        };
        let state = watch::Sender::new(State {
            status,
            confirmed_at,
            failure: None,
            registrations: 0,
        });
        Self { lease, state }
    }

    /// The lease.
    pub fn lease_id(&self) -> &LeaseId {
        &self.lease
    }

    /// The TTL that the registry has granted, which may be longer than the one that was asked for.
    /// `None` if the entry needs no keep-alives.
    pub fn ttl(&self) -> Option<Duration> {
        self.state.borrow().status.ttl
    }

    /// Whether the proof has run out, since when and why. `None` while it has not. Does not wait.
    pub fn unproven(&self) -> Option<Unproven> {
        self.status().unproven
    }

    /// Why the registry does not let the client look at what stands under the keys on the lease. Then
    /// nobody notices that a key was deleted or taken. `None` while it does, or if the backend learns
    /// that otherwise. Does not wait.
    pub fn unverified(&self) -> Option<Error> {
        self.status().unverified
    }

    pub(crate) fn status(&self) -> LeaseStatus {
        self.expire(Instant::now());
        self.state.borrow().status.clone()
    }

    /// Waits until the proof has run out. Returns at once if it has. Cancellation safe.
    pub async fn until_unproven(&self) -> Unproven {
        loop {
            self.until(|status| status.unproven.is_some()).await;
            if let Some(unproven) = self.unproven() {
                return unproven;
            }
        }
    }

    /// Waits until the lease is known to live. Returns at once if it is. Cancellation safe.
    ///
    /// A lease that is lost is not proven again; see [`Registration::lost`](crate::Registration::lost).
    pub async fn until_proven(&self) {
        self.until(|status| status.unproven.is_none()).await;
    }

    /// Waits until the status is as asked for.
    pub(crate) async fn until(&self, is: impl Fn(&LeaseStatus) -> bool) {
        let mut changes = self.state.subscribe();
        loop {
            self.expire(Instant::now());
            let ends_at = {
                let state = changes.borrow_and_update();
                if is(&state.status) {
                    return;
                }
                state.ends_at()
            };
            let ended = async {
                match ends_at {
                    Some(at) => sleep_until(at).await,
                    None => future::pending().await,
                }
            };
            // The sender is this proof's own, so the channel is never closed.
            select! {
                _ = changes.changed() => {}
                () = ended => {}
            }
        }
    }

    /// Notes that the proof has run out, if it has.
    fn expire(&self, now: Instant) {
        let mut ended = None;
        self.state.send_if_modified(|state| {
            let Some(since) = state.ends_at().filter(|at| *at <= now) else {
                return false;
            };
            state.status.unproven = Some(Unproven::new(since, state.failure.clone()));
            ended = Some(state.clone());
            true
        });
        if let Some(State {
            status,
            failure,
            registrations,
            ..
        }) = ended
        {
            let (lease, services) = (&self.lease, registrations);
            let ttl = status.ttl.unwrap_or_default();
            let failure = failure.as_ref();
            if failure.is_some_and(|error| !error.is_transient()) {
                tracing::error!(lease = %Escaped(lease), services, ?ttl, error = %cause(failure), "{UNPROVEN}");
            } else {
                tracing::warn!(lease = %Escaped(lease), services, ?ttl, error = %cause(failure), "{UNPROVEN}");
            }
        }
    }

    /// Counts a registration on the lease.
    pub(super) fn join(&self) -> ProofUse {
        self.count(|count| count + 1);
        ProofUse(self.clone())
    }

    fn count(&self, new: impl FnOnce(usize) -> usize) {
        self.state.send_if_modified(|state| {
            state.registrations = new(state.registrations);
            false
        });
    }
}

const UNPROVEN: &str = "lease unproven: no keep-alive was confirmed for its TTL";

/// Why keep-alives fail.
fn cause(failure: Option<&Error>) -> String {
    failure.map_or_else(
        || "no answer".to_owned(),
        |error| ErrorChain(error).to_string(),
    )
}

impl fmt::Debug for LeaseProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = &self.state.borrow().status;
        f.debug_struct("LeaseProof")
            .field("lease", &self.lease)
            .field("ttl", &status.ttl)
            .field("unproven", &status.unproven)
            .field("unverified", &status.unverified)
            .finish_non_exhaustive()
    }
}

/// The proof as a registration has it.
pub(super) struct ProofUse(LeaseProof);

impl ProofUse {
    pub(super) fn proof(&self) -> &LeaseProof {
        &self.0
    }
}

impl Drop for ProofUse {
    fn drop(&mut self) {
        self.0.count(|count| count - 1);
    }
}

/// The backend's side of a [`LeaseProof`].
///
/// ```
/// use sd_core::{LeaseId, ProofSender};
/// use std::time::Duration;
/// use tokio::time::Instant;
///
/// let ttl = Duration::from_secs(10);
/// let sender = ProofSender::new(LeaseId::from(7), ttl, Instant::now());
/// // Every third of the TTL:
/// let sent_at = Instant::now();
/// // ... the registry answers a keep-alive ...
/// sender.confirmed(ttl, sent_at);
/// assert!(sender.proof().unproven().is_none());
/// ```
#[derive(Debug)]
pub struct ProofSender(LeaseProof);

impl ProofSender {
    /// The registry has granted `lease` for `ttl`. `sent_at` is when it was asked, since the lease
    /// cannot have begun before.
    pub fn new(lease: LeaseId, ttl: Duration, sent_at: Instant) -> Self {
        Self(LeaseProof::with(lease, Some(ttl), sent_at))
    }

    /// The proof, for the registrations on the lease.
    pub fn proof(&self) -> &LeaseProof {
        &self.0
    }

    /// The registry has confirmed a keep-alive that was sent at `sent_at`: the lease lives for `ttl`
    /// from then on, or longer. A lease that was unproven is proven again, which is logged.
    pub fn confirmed(&self, ttl: Duration, sent_at: Instant) {
        let now = Instant::now();
        let mut ended = None;
        self.0.state.send_if_modified(|state| {
            state.confirmed_at = state.confirmed_at.max(sent_at);
            state.failure = None;
            let has_other_ttl = state.status.ttl.replace(ttl) != Some(ttl);
            if state.confirmed_at + ttl > now {
                let unproven = state.status.unproven.take();
                ended = unproven.map(|it| (it, state.registrations));
            }
            has_other_ttl || ended.is_some()
        });
        if let Some((unproven, services)) = ended {
            let (lease, after) = (&self.0.lease, unproven.since.elapsed());
            tracing::info!(lease = %Escaped(lease), services, ?after, "lease proven again");
        }
    }

    /// A keep-alive has failed. That is not a loss; it explains one that does not succeed in time.
    ///
    /// The newest error explains more than those before: a connection breaks for no reason that it
    /// knows, and the next is refused since a certificate has expired. But an error that cannot pass
    /// explains more than one that can.
    pub fn failed(&self, why: Error) {
        self.0.state.send_if_modified(|state| {
            let known = state.failure.as_ref();
            if why.is_transient() && known.is_some_and(|known| !known.is_transient()) {
                return false;
            }
            state.failure = Some(why.clone());
            let before = state.status.clone();
            if let Some(unproven) = &mut state.status.unproven {
                unproven.why = Some(why);
            }
            !state.status.same(&before)
        });
    }

    /// The registry has let the client look at what stands under the keys on the lease.
    pub fn verified(&self) {
        self.set_unverified(None);
    }

    /// The registry does not let the client look at that, for a reason that does not pass by itself.
    pub fn not_verified(&self, why: Error) {
        self.set_unverified(Some(why));
    }

    fn set_unverified(&self, why: Option<Error>) {
        self.0.state.send_if_modified(|state| {
            let before = state.status.clone();
            state.status.unverified = why;
            !state.status.same(&before)
        });
    }
}
