//! The leases that a client has had.

use super::lease::LeaseId;
use std::collections::VecDeque;

/// The most that are remembered. An id that is not longer than etcd's takes 24 bytes.
const MOST: usize = 1_000;

/// The leases that a client has had and no longer uses, for authors of a [`Client`](crate::Client).
///
/// An entry on one of them is the client's own, from before. It stands under a key again when the registry
/// was restored from a backup. Its modification does not always tell: if the registry was rebuilt after
/// the backup and counts anew, an entry of the backup may have a larger modification than the one that
/// was put last. Its lease tells, since no two clients have the same.
///
/// The last 1,000 leases are remembered. A [`Ledger`](crate::Ledger) contains a `FormerLeases`.
///
/// ```
/// use sd_core::{FormerLeases, LeaseId};
///
/// let mut former = FormerLeases::default();
/// former.add(LeaseId::from(7));
/// assert!(former.contains(&LeaseId::from(7)));
/// assert!(!former.contains(&LeaseId::from(8)));
/// ```
#[derive(Debug, Default)]
pub struct FormerLeases(VecDeque<LeaseId>);

impl FormerLeases {
    /// Records that the client no longer uses `lease`: the registry has lost it, or it is revoked.
    pub fn add(&mut self, lease: LeaseId) {
        if self.contains(&lease) {
            return;
        }
        if self.0.len() == MOST {
            self.0.pop_front();
        }
        self.0.push_back(lease);
    }

    /// Whether the client has had `lease`.
    pub fn contains(&self, lease: &LeaseId) -> bool {
        self.0.contains(lease)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_leases_are_remembered() {
        let mut former = FormerLeases::default();
        for id in 0..=MOST as i64 {
            former.add(LeaseId::from(id));
            former.add(LeaseId::from(id));
        }
        assert_eq!(former.0.len(), MOST);
        assert!(!former.contains(&LeaseId::from(0)));
        assert!(former.contains(&LeaseId::from(1)));
        assert!(former.contains(&LeaseId::from(MOST as i64)));
    }
}
