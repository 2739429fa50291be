//! Leases: granted, lost, revoked.

use super::{InFlight, SessionState, verification::COMPARISON_PAUSE};
use crate::{
    registering::{
        actions::{Action, LeaseError},
        meters,
    },
    support::{GaugeGuard, count},
};
use sd_core::{Error, ErrorChain, LeaseId, ProofSender, Ttl};
use std::{
    hash::{BuildHasher, RandomState},
    time::Duration,
};
use tokio::time::Instant;

/// How long a lease whose grant was not answered is kept for those who ask again: longer than
/// registrars pause (4 s).
const GRANT_PATIENCE: Duration = Duration::from_secs(10);
/// How long after an answer etcd has carried out all requests that it found at a thaw.
const THAW: Duration = Duration::from_secs(1);

pub(super) struct Lease {
    pub(super) id: i64,
    pub(super) verify_at: Instant,
    /// When to compare modifications again, if the revision has moved by then.
    pub(super) compare_at: Instant,
    /// The revision of the registry at which all keys were as we wrote them. `None` if they have to be
    /// compared, whatever the revision is.
    pub(super) compared_at: Option<i64>,
    /// The revision before the comparison that goes on.
    pub(super) comparing_at: i64,
    /// When to look again for keys on it that nobody holds. What hangs on it was too large to be read.
    pub(super) list_at: Instant,
    pub(super) proof: ProofSender,
    _gauge: GaugeGuard,
}

/// A lease whose grant was not answered.
#[derive(Clone, Copy)]
pub(super) struct PendingGrant {
    lease: i64,
    pub(super) revoke_at: Instant,
}

/// A lease that is to be revoked. Nothing is put on it any more: a revocation that was given up may
/// be carried out at any time.
#[derive(Clone, Copy)]
pub(super) struct Revocation {
    lease: i64,
    /// Whether etcd has confirmed the grant.
    was_granted: bool,
}

impl SessionState {
    /// Returns the grant of a new lease, or of the one that was asked for before.
    pub(super) fn grant(&mut self) -> Action {
        let pending = self.pending_grant.take();
        let lease = pending.map_or_else(draw_lease, |grant| grant.lease);
        let is_repeated = pending.is_some();
        self.in_flight = InFlight::Grant { lease, is_repeated };
        let ttl = self.ttl;
        Action::Grant(lease, ttl)
    }

    pub(super) fn granted(
        &mut self,
        lease: i64,
        is_repeated: bool,
        result: Result<(), LeaseError>,
        now: Instant,
    ) {
        match result {
            Ok(()) => {}
            // The request that was not answered has granted it.
            Err(LeaseError::AlreadyExists) if is_repeated => {}
            // Another client has this id. The next request draws another.
            Err(LeaseError::AlreadyExists) => return,
            Err(error) => {
                let error = Error::from(error);
                if error.is_transient() {
                    let revoke_at = now + GRANT_PATIENCE;
                    self.pending_grant = Some(PendingGrant { lease, revoke_at });
                } else if is_repeated {
                    // The request before this one may still be carried out.
                    self.revoke(lease, false);
                }
                for put in self.queue.drain() {
                    put.request.answer(Err(error.clone()));
                }
                return;
            }
        }
        tracing::debug!(lease, ttl = %self.ttl, "lease granted");
        self.shared.add_lease(lease);
        self.lease = Some(Lease {
            id: lease,
            verify_at: now + self.ttl.keep_alive_interval(),
            compare_at: now + COMPARISON_PAUSE,
            compared_at: None,
            comparing_at: 0,
            list_at: now,
            proof: ProofSender::new(LeaseId::from(lease), self.ttl.duration(), self.started_at),
            _gauge: GaugeGuard::new(meters::LEASES),
        });
    }

    /// Handles that etcd has renewed `lease`, in answer to a request that was sent at `sent_at` or
    /// later. `ttl` is what etcd said of it.
    pub(in crate::registering) fn renewed(&self, lease: i64, ttl: Option<Ttl>, sent_at: Instant) {
        if let Some(lease) = self.lease.as_ref().filter(|it| it.id == lease) {
            let known = lease.proof.proof().ttl();
            let ttl = ttl.map(Ttl::duration).or(known);
            lease
                .proof
                .confirmed(ttl.unwrap_or(self.ttl.duration()), sent_at);
        }
    }

    /// Handles that etcd has not answered or refused a keep-alive of `lease`.
    pub(in crate::registering) fn not_renewed(&self, lease: i64, why: Error) {
        if let Some(lease) = self.lease.as_ref().filter(|it| it.id == lease) {
            lease.proof.failed(why);
        }
    }

    /// Handles that etcd does not know `lease` any more.
    pub(in crate::registering) fn lease_lost(&mut self, lease: i64) {
        self.settle();
        if self.lease.take_if(|it| it.id == lease).is_some() {
            self.shared.remove_lease(lease);
            self.uncompared.clear();
            self.changed.clear();
            self.sighted.clear();
            let services = self.ledger.lease_lost(lease);
            self.lost_leases.lost(&LeaseId::from(lease), services);
            count(meters::LEASES_LOST, None, 1);
        }
    }

    pub(in crate::registering) fn is_granting(&self) -> bool {
        matches!(self.in_flight, InFlight::Grant { .. })
    }

    // === revocation ===

    pub(super) fn revoke(&mut self, lease: i64, was_granted: bool) {
        self.revocations
            .push_back(Revocation { lease, was_granted });
    }

    /// Revokes the lease if no service is left that uses it.
    pub(super) fn retire_unused_lease(&mut self) {
        if !self.queue.is_empty() || !self.ledger.is_empty() || !self.removals.is_empty() {
            return;
        }
        if let Some(lease) = self.lease.take() {
            self.shared.remove_lease(lease.id);
            self.revoke(lease.id, true);
        }
    }

    pub(super) fn expire_pending_grant(&mut self, now: Instant) {
        if let Some(grant) = self.pending_grant.take_if(|it| now >= it.revoke_at) {
            self.revoke(grant.lease, false);
        }
    }

    pub(super) fn next_revocation(&mut self) -> Option<Action> {
        let revocation = self.revocations.pop_front()?;
        self.in_flight = InFlight::Revocation(revocation);
        let lease = revocation.lease;
        Some(Action::Revoke(lease))
    }

    pub(super) fn revoked(
        &mut self,
        revocation: Revocation,
        result: Result<(), LeaseError>,
        now: Instant,
    ) {
        let Revocation { lease, was_granted } = revocation;
        let error = match result {
            // Requests that etcd finds at a thaw have no order. It may know no such lease now, and
            // grant it a moment later, for a whole TTL (3.4.23 and 3.6.5).
            Err(LeaseError::NotFound) if !was_granted => {
                self.revoke(lease, true);
                self.cleanup_at = now + THAW;
                return;
            }
            Ok(()) | Err(LeaseError::NotFound) => return self.cleanup_backoff.reset(),
            Err(error) => Error::from(error),
        };
        if error.is_transient() {
            self.revocations.push_back(revocation);
        } else {
            tracing::warn!(lease, error = %ErrorChain(&error), "lease not revoked; it ends by itself");
        }
        self.postpone_cleanup(now);
    }

    pub(super) fn postpone_cleanup(&mut self, now: Instant) {
        self.cleanup_at = now + self.cleanup_backoff.next_delay();
    }

    /// Returns every lease that may exist, granted or not.
    pub(super) fn into_leases(self) -> Vec<i64> {
        let mut leases: Vec<i64> = self.revocations.iter().map(|it| it.lease).collect();
        if let Some(lease) = self.lease {
            self.shared.remove_lease(lease.id);
            leases.push(lease.id);
        }
        leases.extend(self.pending_grant.map(|grant| grant.lease));
        if let InFlight::Grant { lease, .. } | InFlight::Revocation(Revocation { lease, .. }) =
            self.in_flight
        {
            leases.push(lease);
        }
        leases
    }
}

/// Draws the id of a new lease. No client on any machine may draw the same: two clients on one lease
/// would revoke each other's services.
fn draw_lease() -> i64 {
    let seed = RandomState::new().hash_one(std::process::id());
    fastrand::Rng::with_seed(seed).i64(1..i64::MAX)
}
