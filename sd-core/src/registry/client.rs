//! The contract between the toolkit and a registry.

use super::{
    deregistered::Deregistered,
    entry::Snapshot,
    error::Result,
    lease::LeaseId,
    prefix::Prefix,
    registration::Registration,
    revision::Revision,
    service::Service,
    watch::{Watch, WatchError},
};
use async_trait::async_trait;
use std::sync::Arc;

/// A registry, seen by one process.
///
/// The layers above need these five methods and nothing else, so etcd, memory and your own backend
/// are interchangeable. This page states what the methods promise. The crate `sd-conformance`
/// checks these promises; run it in a test of your backend. [`Ledger`](crate::Ledger) does the
/// bookkeeping that every backend needs.
///
/// Dropping a client, a watch or a registration stops what it started. A backend that owns tasks or
/// connections also offers a `close`, which waits for their end.
///
/// # What a client logs
/// One client may serve thousands of services and prefixes. It logs trouble that affects all of
/// them once. The layers above log the same trouble at `DEBUG` only.
///
/// - The registry cannot be reached or does not answer ([`Error::Unavailable`], [`Error::Timeout`],
///   [`WatchError::Disrupted`]): `WARN` when that begins, with the cause and what is done about it,
///   `INFO` when it is over. An instancer or registrar logs it too once it has lasted 30 s.
/// - The registry's history went back ([`Lost::RolledBack`](crate::Lost::RolledBack)): `WARN` with
///   the number of entries that are put back.
/// - A lease is lost ([`Lost::LeaseExpired`](crate::Lost::LeaseExpired)): `WARN` with the number of
///   its services, `INFO` when they are registered again. [`LostLeases`](crate::LostLeases) does that.
/// - A lease was not confirmed for its TTL ([`Unproven`](crate::Unproven)): `WARN`, or `ERROR` if the
///   cause cannot pass, and `INFO` when it is confirmed again. [`LeaseProof`](crate::LeaseProof) does
///   that.
///
/// The layers above log what concerns a single key or prefix: a deleted or taken key, a gap, a
/// missing right, a full registry.
///
/// Keys, values and the registry's messages are text that others chose: log them through
/// [`Escaped`](crate::Escaped), and errors through [`ErrorChain`](crate::ErrorChain).
///
/// [`Error::Unavailable`]: crate::Error::Unavailable
/// [`Error::Timeout`]: crate::Error::Timeout
#[async_trait]
pub trait Client: Send + Sync + 'static {
    /// Reads every entry under `prefix` at one revision, however many there are. Entries whose keys
    /// are not UTF-8 are skipped and counted.
    ///
    /// An entry says which [lease](crate::Entry::lease) it is on, here and in watches, if the
    /// registry has leases and tells. The entry of a registration is on the lease that
    /// [the registration names](Registration::lease_id). An entry that was put on another lease has
    /// changed, even if its value is the same.
    ///
    /// Cancellation safe.
    ///
    /// # Errors
    /// Whatever kept the registry from answering; see
    /// [`Error::is_transient`](crate::Error::is_transient).
    async fn get_entries(&self, prefix: &Prefix) -> Result<Snapshot>;

    /// Watches `prefix` for changes after `after`, the revision of a snapshot or a batch. The
    /// revision may come from another client of the same registry.
    ///
    /// The first batch is the registry's answer that the watch stands: it comes as soon as that is
    /// known, with the changes that are known by then, or empty. A watch that is returned before that
    /// proves nothing, and whoever follows it waits for the batch.
    ///
    /// Batches neither overlap nor leave anything out. What the registry changed at once is in one
    /// batch. A registry that stops answering is reported as [`Disrupted`](WatchError::Disrupted)
    /// and later as [`Interrupted`](WatchError::Interrupted). If the history after `after` is not
    /// available, that is a [`Gap`](WatchError::Gap), as the result or as an item.
    ///
    /// Cancellation safe.
    ///
    /// # Errors
    /// [`WatchError::Interrupted`] if the watch could not be started, [`WatchError::Gap`] if
    /// nothing can be resumed from `after`.
    async fn watch_prefix(&self, prefix: &Prefix, after: &Revision) -> Result<Watch, WatchError>;

    /// Puts the service's entry on a lease and keeps the lease alive. Takes the key over even if
    /// somebody else holds it: a restarted provider wins against its own dead lease.
    ///
    /// A claim has an expiry date. The client [confirms](crate::ProofSender::confirmed) the lease each
    /// time that the registry does, and only then. If that has not happened for a TTL, whatever the
    /// reason, the registration is [unproven](crate::Registration::proof), and not lost: the client
    /// goes on trying until the registry answers.
    ///
    /// One lease per client and TTL serves any number of services. A later `register` of the same
    /// key on the same client supersedes the earlier registration, whoever its
    /// [owner](crate::Owner) is. The end of the earlier registration must not make the later
    /// `register` fail.
    ///
    /// Later is the call of the newer [generation](crate::Generation); a service without one has a new
    /// one in each call. So a call of an older generation than the registration of the key, whatever
    /// the TTL of either, puts nothing. That holds until the registration is deregistered or dropped,
    /// also while it is lost. A reclaimed registration has the generation that it had.
    ///
    /// When the future is dropped before it resolves, its request may still take effect. The entry
    /// is then removed, as for a dropped [`Registration`]. In both cases only this registration
    /// ends: a successor under the same key stays.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid), before anything is sent, if the registry would
    /// refuse the entry; [`Error::Superseded`](crate::Error::Superseded) if a registration of a newer
    /// generation has the key on this client; otherwise the reason why the registry did not answer.
    /// After a timeout the entry may still appear, on a lease that this client no longer keeps alive.
    async fn register(&self, service: &Service) -> Result<Registration>;

    /// Removes the service's entry, but only while it is ours: a successor under the same key
    /// stays. The lease is revoked when its last service goes.
    ///
    /// If the service has an [owner](Service::owned_by), only what was registered with that owner
    /// is ours. Once another owner has superseded it on this client, the answer is
    /// [`NotOurs`](Deregistered::NotOurs), and neither the other owner's registration nor its
    /// pending `register` is affected. Without an owner, everything that this client holds under
    /// the key is ours.
    ///
    /// A pending `register` or `reclaim` of the same service puts nothing afterwards.
    ///
    /// Bounded in time. Goes on in the background when the future is dropped.
    ///
    /// # Errors
    /// Only errors that are not [transient](crate::Error::is_transient). If the registry does not
    /// answer, the result is [`Deregistered::Unconfirmed`].
    async fn deregister(&self, service: &Service) -> Result<Deregistered>;

    /// The lease of this client's services; the newest one if there are several. `None` if no
    /// service is registered.
    fn lease_id(&self) -> Option<LeaseId>;
}

#[async_trait]
impl<C: Client + ?Sized> Client for Arc<C> {
    async fn get_entries(&self, prefix: &Prefix) -> Result<Snapshot> {
        (**self).get_entries(prefix).await
    }

    async fn watch_prefix(&self, prefix: &Prefix, after: &Revision) -> Result<Watch, WatchError> {
        (**self).watch_prefix(prefix, after).await
    }

    async fn register(&self, service: &Service) -> Result<Registration> {
        (**self).register(service).await
    }

    async fn deregister(&self, service: &Service) -> Result<Deregistered> {
        (**self).deregister(service).await
    }

    fn lease_id(&self) -> Option<LeaseId> {
        (**self).lease_id()
    }
}
