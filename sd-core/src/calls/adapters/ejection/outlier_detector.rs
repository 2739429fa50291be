//! The outlier detector: which addresses are ejected, and when they return. A state machine without
//! I/O.

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;

use super::{
    call_counts::CallCounts,
    options::Options,
    outliers,
    status::{EjectedEndpoint, EjectionReason},
};
use crate::calls::derived::Nudge;
use std::{collections::BTreeMap, sync::Arc};
use tokio::time::Instant;

pub(super) struct OutlierDetector {
    options: Options,
    nudge: Nudge,
    /// The addresses of the set, and those that have left it while they were ejected.
    hosts: BTreeMap<Arc<str>, HostRecord>,
    /// How many of them are in the set.
    present: usize,
    last_sweep: Instant,
}

/// What is known of one address.
struct HostRecord {
    counts: Arc<CallCounts>,
    is_present: bool,
    /// How many times the base time its last ejection took, less the sweep intervals without an
    /// ejection since.
    multiplier: u32,
    /// Since when it may be picked, as far as this adapter says.
    used_since: Instant,
    ejected: Option<EjectedEndpoint>,
}

/// What the detector has decided.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Change {
    Ejected(EjectedEndpoint),
    Returned(EjectedEndpoint),
    /// The address had left the set before its ejection was over.
    Forgotten(EjectedEndpoint),
}

impl OutlierDetector {
    pub(super) fn new(options: Options, nudge: Nudge, now: Instant) -> Self {
        Self {
            options,
            nudge,
            hosts: BTreeMap::new(),
            present: 0,
            last_sweep: now,
        }
    }

    /// Replaces the set of addresses, decides who is ejected now and who returns, and says when to
    /// call it again at the latest.
    pub(super) fn advance<'a>(
        &mut self,
        addresses: impl Iterator<Item = &'a str>,
        now: Instant,
    ) -> (Vec<Change>, Instant) {
        self.set_addresses(addresses, now);
        let mut changes = Vec::new();
        self.end_ejections(now, &mut changes);
        self.eject_for_consecutive_failures(now, &mut changes);
        if self.next_sweep() <= now {
            self.sweep(now, &mut changes);
        }
        (changes, self.wake_at())
    }

    fn set_addresses<'a>(&mut self, addresses: impl Iterator<Item = &'a str>, now: Instant) {
        for host in self.hosts.values_mut() {
            host.is_present = false;
        }
        for address in addresses {
            if let Some(host) = self.hosts.get_mut(address) {
                host.is_present = true;
                continue;
            }
            let most_consecutive = self.options.consecutive_failures;
            let host = HostRecord {
                counts: Arc::new(CallCounts::new(most_consecutive, self.nudge.clone())),
                is_present: true,
                multiplier: 0,
                used_since: now,
                ejected: None,
            };
            self.hosts.insert(address.into(), host);
        }
        self.hosts
            .retain(|_, host| host.is_present || host.ejected.is_some());
        self.present = self.hosts.values().filter(|host| host.is_present).count();
    }

    /// Ends the ejections that are over, and those for which the set has no more room.
    fn end_ejections(&mut self, now: Instant, changes: &mut Vec<Change>) {
        let ejected = self.hosts.values().filter_map(|host| host.ejected.as_ref());
        let over = ejected.filter(|one| one.until <= now);
        let over: Vec<_> = over.map(|one| one.address.clone()).collect();
        changes.extend(over.iter().filter_map(|address| self.end(address, now)));

        let mut left: Vec<_> = self.ejected().cloned().collect();
        left.sort_by_key(|one| one.until);
        let excess = left.len().saturating_sub(self.most_ejected());
        let early = left.iter().take(excess);
        changes.extend(early.filter_map(|one| self.end(&one.address, now)));
    }

    fn end(&mut self, address: &str, now: Instant) -> Option<Change> {
        let host = self.hosts.get_mut(address)?;
        let ejected = host.ejected.take()?;
        if !host.is_present {
            self.hosts.remove(address);
            return Some(Change::Forgotten(ejected));
        }
        host.used_since = now;
        // Calls that were under way when it was ejected count no more.
        host.counts.reset();
        Some(Change::Returned(ejected))
    }

    fn eject_for_consecutive_failures(&mut self, now: Instant, changes: &mut Vec<Change>) {
        let Some(most) = self.options.consecutive_failures else {
            return;
        };
        let failing = self.candidates().filter_map(|(address, host)| {
            let failures = host.counts.consecutive_failures();
            (failures >= most).then(|| (failures, address.clone()))
        });
        let mut failing: Vec<_> = failing.collect();
        failing.sort_by(|(one, _), (other, _)| other.cmp(one));
        for (failures, address) in failing {
            let reason = EjectionReason::ConsecutiveFailures { failures };
            changes.extend(self.eject(&address, reason, now));
        }
    }

    fn sweep(&mut self, now: Instant, changes: &mut Vec<Change>) {
        let last_sweep = std::mem::replace(&mut self.last_sweep, now);
        let (addresses, samples): (Vec<_>, Vec<_>) = self
            .candidates()
            .map(|(address, host)| (address.clone(), host.counts.take()))
            .unzip();
        let by_rate = self.options.success_rate.as_ref();
        let by_rate = by_rate.map(|rule| outliers::by_success_rate(&samples, rule));
        let by_percentage = self.options.failure_percentage.as_ref();
        let by_percentage =
            by_percentage.map(|rule| outliers::by_failure_percentage(&samples, rule));
        let outliers = by_rate.into_iter().chain(by_percentage).flatten();
        for (index, reason) in outliers {
            changes.extend(self.eject(&addresses[index], reason, now));
        }
        for host in self.hosts.values_mut() {
            if host.ejected.is_none() && host.used_since <= last_sweep {
                host.multiplier = host.multiplier.saturating_sub(1);
            }
        }
    }

    /// Ejects an address, if there is room for it and it is not ejected already.
    fn eject(
        &mut self,
        address: &Arc<str>,
        reason: EjectionReason,
        now: Instant,
    ) -> Option<Change> {
        let is_full = self.ejected().count() >= self.most_ejected();
        let host = self.hosts.get_mut(address)?;
        if is_full || host.ejected.is_some() {
            return None;
        }
        let (base, longest) = (
            self.options.ejection_time,
            self.options.longest_ejection_time,
        );
        // Not further than to the longest time, so that it also falls soon.
        if base.saturating_mul(host.multiplier) < longest {
            host.multiplier = host.multiplier.saturating_add(1);
        }
        let ejected = EjectedEndpoint {
            address: address.clone(),
            reason,
            since: now,
            until: now + base.saturating_mul(host.multiplier).min(longest),
        };
        host.ejected = Some(ejected.clone());
        Some(Change::Ejected(ejected))
    }

    /// Those that may be ejected.
    fn candidates(&self) -> impl Iterator<Item = (&Arc<str>, &HostRecord)> {
        let is_candidate = |host: &HostRecord| host.is_present && host.ejected.is_none();
        self.hosts
            .iter()
            .filter(move |(_, host)| is_candidate(host))
    }

    /// How many addresses of the set may be ejected at one time.
    fn most_ejected(&self) -> usize {
        let percent = usize::from(self.options.max_ejection_percent);
        (self.present * percent / 100).max(1)
    }

    fn next_sweep(&self) -> Instant {
        self.last_sweep + self.options.sweep_interval
    }

    fn wake_at(&self) -> Instant {
        let ejected = self.hosts.values().filter_map(|host| host.ejected.as_ref());
        let ends = ejected.map(|one| one.until);
        ends.fold(self.next_sweep(), Instant::min)
    }

    /// The ejected addresses of the set, in their order.
    pub(super) fn ejected(&self) -> impl Iterator<Item = &EjectedEndpoint> {
        let present = self.hosts.values().filter(|host| host.is_present);
        present.filter_map(|host| host.ejected.as_ref())
    }

    pub(super) fn is_ejected(&self, address: &str) -> bool {
        let host = self.hosts.get(address);
        host.is_some_and(|host| host.ejected.is_some())
    }

    /// How many addresses are in the set.
    pub(super) fn present(&self) -> usize {
        self.present
    }

    /// The counts of an address of the set.
    pub(super) fn counts(&self, address: &str) -> Option<&Arc<CallCounts>> {
        self.hosts.get(address).map(|host| &host.counts)
    }
}
