//! What was found out of etcd and of the fleet in it.

use crate::{
    etcd::{Lease, RawEntry},
    instances::Read,
};
use std::collections::{BTreeMap, BTreeSet};

/// All that is known.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    /// By endpoint, in the order in which they were given. Those that the cluster names beside them come after.
    pub(super) members: Vec<MemberFacts>,
    /// The members that the cluster has, by id. `None` if it does not tell.
    pub(super) cluster: Option<Vec<ClusterMember>>,
    pub(super) alarms: Vec<(u64, Alarm)>,
    /// Why the alarms are not known.
    pub(super) alarms_denied: Option<String>,
    pub(super) lease_test: Option<Result<(), String>>,
    pub(super) rights: Vec<Right>,
    /// Why the services are not known, if no right is missing.
    pub(super) unlisted: Option<String>,
    /// How the format is written.
    pub(super) format: String,
    /// Whether other consumers of the format also see the services whose names begin with a service's name.
    pub(super) sees_names_that_begin_alike: bool,
    pub(super) entries: Vec<EntryFacts>,
    pub(super) unreadable_keys: u64,
    pub(super) leases: BTreeMap<i64, Lease>,
    /// The leases that were about to end when they were asked for the second time, too.
    pub(super) ending: BTreeSet<i64>,
    /// The addresses that were called, if that was asked for, and what they answered.
    pub(super) unreachable: BTreeMap<String, String>,
    /// Whether etcd itself is on this host: then loopback addresses are no wonder.
    pub(super) is_local: bool,
}

/// A member, by the endpoint at which it was asked.
#[derive(Debug)]
pub(super) struct MemberFacts {
    pub(super) endpoint: String,
    /// Whether the endpoint was given, and not learnt from the cluster.
    pub(super) is_given: bool,
    /// What it says of itself, or why it does not answer. `None`: it answers, and tells more to administrators only.
    pub(super) status: Result<Option<Status>, String>,
}

/// What a member says of itself.
#[derive(Debug, Clone, Default)]
pub(super) struct Status {
    pub(super) id: u64,
    pub(super) cluster: u64,
    pub(super) version: String,
    pub(super) leader: u64,
    pub(super) applied: u64,
    pub(super) is_learner: bool,
    pub(super) size: i64,
    pub(super) in_use: i64,
    /// Where that is known.
    pub(super) quota: Option<i64>,
    pub(super) errors: Vec<String>,
}

/// A member as the cluster knows it.
#[derive(Debug, Clone)]
pub(super) struct ClusterMember {
    pub(super) id: u64,
    pub(super) name: String,
    pub(super) urls: Vec<String>,
    pub(super) is_learner: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Alarm {
    NoSpace,
    Corrupt,
}

/// Whether the user may do something.
#[derive(Debug)]
pub(super) struct Right {
    /// `read` or `write`.
    pub(super) what: &'static str,
    pub(super) below: String,
    pub(super) denied: Option<String>,
}

/// An entry of the fleet.
#[derive(Debug)]
pub(super) struct EntryFacts {
    pub(super) raw: RawEntry,
    pub(super) read: Read,
    /// The formats that would read it, if this one does not.
    pub(super) other_formats: Vec<String>,
}
