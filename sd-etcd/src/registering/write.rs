//! Guarded writes.
//!
//! A write that was given up may still be carried out, long after a later one was confirmed: it
//! waits in the socket of a frozen member, or etcd takes up in any order what it finds at a thaw. So
//! each write says what it believes to stand under its key, and does nothing if something else does.
//! The answer says what stands, and the write can be sent again with that.

use bytes::Bytes;
use etcd_client::{Compare, CompareOp, PutOptions, Txn, TxnOp};

/// The most conditions of one transaction: etcd takes 128 by default.
const MAX_CONDITIONS: usize = 128;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Guard {
    Absent,
    /// The key is on this lease, with this modification.
    Stands {
        lease: i64,
        modified: i64,
    },
}

/// One write of a transaction, which happens if the guard holds. Keys include the namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Write {
    pub(super) key: Bytes,
    pub(super) guard: Guard,
    pub(super) effect: Effect,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Effect {
    Put {
        value: Bytes,
        lease: i64,
    },
    Delete,
    /// Nothing but the look at what stands if the guard does not hold.
    Look,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Written {
    /// It happened, at this revision.
    Done { revision: i64 },
    /// The guard did not hold. This stands under the key.
    Refused(Option<Found>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) value: Bytes,
    pub(super) lease: i64,
    pub(super) modified: i64,
}

impl Found {
    /// Returns the guard that holds as long as the entry stands.
    pub(super) fn guard(&self) -> Guard {
        Guard::Stands {
            lease: self.lease,
            modified: self.modified,
        }
    }
}

impl Guard {
    pub(super) fn conditions(self, key: &[u8]) -> impl Iterator<Item = Compare> + use<> {
        let conditions = match self {
            Self::Absent => [
                Some(Compare::create_revision(key, CompareOp::Equal, 0)),
                None,
            ],
            Self::Stands { lease, modified } => [
                Some(Compare::lease(key, CompareOp::Equal, lease)),
                Some(Compare::mod_revision(key, CompareOp::Equal, modified)),
            ],
        };
        conditions.into_iter().flatten()
    }

    /// Returns how many conditions it is.
    fn size(self) -> usize {
        match self {
            Self::Absent => 1,
            Self::Stands { .. } => 2,
        }
    }
}

impl Write {
    /// Returns what has to hold for it to write.
    fn conditions(&self) -> impl Iterator<Item = Compare> + use<> {
        self.guard.conditions(&self.key)
    }

    /// Returns what it does if they hold. `None` if it only looks.
    fn change(&self) -> Option<TxnOp> {
        let key = &self.key[..];
        match &self.effect {
            Effect::Put { value, lease } => {
                let options = PutOptions::new().with_lease(*lease);
                Some(TxnOp::put(key, &value[..], Some(options)))
            }
            Effect::Delete => Some(TxnOp::delete(key, None)),
            Effect::Look => None,
        }
    }

    /// Returns the nested transaction that writes if they hold, and else reads the key.
    pub(super) fn operation(&self) -> TxnOp {
        // With its value: for keys alone 3.7 does not say the lease.
        TxnOp::txn(
            Txn::new()
                .when(self.conditions().collect::<Vec<_>>())
                .and_then(self.change().into_iter().collect::<Vec<_>>())
                .or_else([TxnOp::get(&self.key[..], None)]),
        )
    }

    /// Returns a put of the same key for etcd to check the right to it.
    pub(super) fn access_check(&self) -> Option<TxnOp> {
        match self.effect {
            Effect::Put { .. } => Some(TxnOp::put(&self.key[..], "", None)),
            Effect::Delete | Effect::Look => None,
        }
    }
}

/// Whether `writes` can go [together](together): none only looks, and there are no more conditions than etcd takes.
pub(super) fn fit_together(writes: &[Write]) -> bool {
    let conditions: usize = writes.iter().map(|write| write.guard.size()).sum();
    let is_look = |write: &Write| write.effect == Effect::Look;
    conditions <= MAX_CONDITIONS && !writes.iter().any(is_look)
}

/// Returns the flat transaction that carries out all of `writes` if every guard holds, and none otherwise.
pub(super) fn together(writes: &[Write]) -> Txn {
    debug_assert!(fit_together(writes));
    let conditions: Vec<_> = writes.iter().flat_map(Write::conditions).collect();
    let changes: Vec<_> = writes.iter().filter_map(Write::change).collect();
    Txn::new().when(conditions).and_then(changes)
}

/// Returns the most bytes that a request to put `value` under `key` takes. The key stands in the put,
/// in the guard (twice), in the read of what stands, and in the access check; sometimes with the
/// lease's id at its end.
pub(super) fn max_size(key: &[u8], value: &[u8]) -> usize {
    const REST: usize = 512;
    5 * key.len() + value.len() + REST
}
