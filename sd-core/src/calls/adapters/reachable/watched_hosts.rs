//! The hosts that are watched, and which of them cannot be reached.

use super::status::{ReachableStatus, UnreachableEndpoint};
use crate::{
    calls::{
        adapters::fault_log::FaultLog,
        connectivity::{Connectable, Connectivity},
        derived::Nudge,
        endpoint::Endpoint,
        host::Host,
    },
    registry::{ErrorChain, Escaped},
    support::catch,
};
use std::{collections::HashMap, sync::Arc};
use tokio::{sync::watch, time::Instant};
use tokio_util::task::AbortOnDropHandle;

/// Reads the state of each host, and has the table derived again when one begins or ends to fail.
pub(super) struct WatchedHosts<E> {
    hosts: HashMap<HostId, WatchedHost<E>>,
    /// Counts the updates.
    update: u64,
    nudge: Nudge,
    log: FaultLog,
}

/// Where a host is in memory. A watched host stays there.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct HostId(usize);

impl HostId {
    fn of<E>(host: &Arc<Host<E>>) -> Self {
        Self(Arc::as_ptr(host).addr())
    }
}

struct WatchedHost<E> {
    _host: Arc<Host<E>>,
    address: Arc<str>,
    /// `None` if the target panicked when it was asked.
    connectivity: Option<watch::Receiver<Connectivity>>,
    /// Nudges when the host begins or ends to fail.
    _watch: Option<AbortOnDropHandle<()>>,
    unreachable: Option<UnreachableEndpoint>,
    /// The last update in which the host was present.
    seen: u64,
}

impl<E: Connectable> WatchedHosts<E> {
    /// Watches the hosts of these endpoints and no others, and reads their states. Logs those that
    /// begin or end to fail.
    pub(super) fn update(
        &mut self,
        endpoints: &[Arc<Endpoint<E>>],
        now: Instant,
    ) -> ReachableStatus {
        self.update += 1;
        let mut status = ReachableStatus::default();
        for endpoint in endpoints {
            let host = self
                .hosts
                .entry(HostId::of(endpoint.host()))
                .or_insert_with(|| WatchedHost::new(endpoint, &self.nudge));
            if host.seen == self.update {
                continue;
            }
            host.seen = self.update;
            host.read(&mut self.log, now);
            match &host.unreachable {
                None => status.reachable += 1,
                Some(unreachable) => status.unreachable.push(unreachable.clone()),
            }
        }
        status
            .unreachable
            .sort_by(|one, other| one.address.cmp(&other.address));
        let (update, log) = (self.update, &mut self.log);
        self.hosts.retain(|_, host| {
            let is_present = host.seen == update;
            if !is_present {
                log.forget(&host.address);
            }
            is_present
        });
        status
    }
}

impl<E> WatchedHosts<E> {
    pub(super) fn new(nudge: Nudge) -> Self {
        Self {
            hosts: HashMap::new(),
            update: 0,
            nudge,
            log: FaultLog::new(),
        }
    }

    /// Whether the endpoint's host was failing at the last update.
    pub(super) fn is_unreachable(&self, endpoint: &Endpoint<E>) -> bool {
        let host = self.hosts.get(&HostId::of(endpoint.host()));
        host.is_some_and(|host| host.unreachable.is_some())
    }
}

impl<E: Connectable> WatchedHost<E> {
    fn new(endpoint: &Endpoint<E>, nudge: &Nudge) -> Self {
        let address: Arc<str> = endpoint.address().into();
        // Foreign code, which must not end the adapter.
        let connectivity = catch(|| endpoint.target().connectivity())
            .inspect_err(|why| {
                tracing::error!(
                    address = %Escaped(&address),
                    why = %ErrorChain(why),
                    "the target of an endpoint failed to tell its connectivity, it is used"
                );
            })
            .ok();
        let watch = connectivity.clone().map(|connectivity| {
            // Before the table is derived: a change after this is noticed.
            let is_failing = connectivity.borrow().is_failing();
            tokio::spawn(watch(connectivity, is_failing, nudge.clone()))
        });
        Self {
            _host: endpoint.host().clone(),
            _watch: watch.map(AbortOnDropHandle::new),
            address,
            connectivity,
            unreachable: None,
            seen: 0,
        }
    }
}

impl<E> WatchedHost<E> {
    fn read(&mut self, log: &mut FaultLog, now: Instant) {
        let Some(connectivity) = &self.connectivity else {
            return;
        };
        let state = connectivity.borrow().clone();
        let address = &self.address;
        if let Connectivity::Failing { cause, since, .. } = state {
            if self.unreachable.is_none() && log.begins(address, now) {
                tracing::warn!(
                    address = %Escaped(address),
                    error = %ErrorChain(&cause),
                    "endpoint unreachable"
                );
            }
            self.unreachable = Some(UnreachableEndpoint {
                address: address.clone(),
                since,
                cause,
            });
        } else if let Some(unreachable) = self.unreachable.take()
            && log.ends(address, now)
        {
            let after = now.saturating_duration_since(unreachable.since);
            tracing::info!(address = %Escaped(address), ?after, "endpoint reachable again");
        }
    }
}

/// Nudges whenever the state has become failing, or is so no longer. Ends with the target.
async fn watch(
    mut connectivity: watch::Receiver<Connectivity>,
    mut was_failing: bool,
    nudge: Nudge,
) {
    loop {
        match connectivity
            .wait_for(|state| state.is_failing() != was_failing)
            .await
        {
            Ok(_) => was_failing = !was_failing,
            Err(_) => return,
        }
        nudge.derive_again();
    }
}
