//! What a deregistration has done.

/// The outcome of a deregistration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Deregistered {
    /// The entry was ours and is gone.
    Removed,
    /// The entry was not ours, and nothing was removed: it was never registered by this client, was
    /// already gone, or belongs to somebody else by now.
    NotOurs,
    /// The registry did not answer in time. No put is sent after this. The client goes on trying to
    /// remove the entry until it is closed or dropped; at the latest the entry ends with its lease.
    Unconfirmed,
}
