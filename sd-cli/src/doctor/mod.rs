//! What is wrong with a fleet and its etcd, and what to do about it.
//!
//! `facts` is what was found out, `gather` asks etcd for it; `cluster` and `fleet` make findings of it, without I/O.
//! `versions` knows the faults of etcd's releases.

mod cluster;
mod facts;
mod finding;
mod fleet;
mod gather;
mod versions;

pub(crate) use finding::{Finding, Severity};
pub(crate) use gather::{Options, gather};

use facts::Facts;

/// All findings, the worst first.
pub(crate) fn findings(facts: &Facts) -> Vec<Finding> {
    let mut findings = cluster::findings(facts);
    findings.extend(fleet::findings(facts));
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    findings
}
