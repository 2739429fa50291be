//! A simulated provider: one run of a process, with a client and one or two registrars.

use super::{
    invariants::{Checker, CheckerState, OfferId},
    offer::{DEREGISTER, Offer},
};
use sd_core::{Status, Ttl};
use sd_memory::{ClientOptions, MemoryClient, Registry};
use std::{sync::Arc, time::Duration};
use tokio::{task::AbortHandle, time::sleep};
use tokio_util::task::TaskTracker;

/// The longest TTL of a service.
pub(super) const LONGEST_TTL: Duration = Duration::from_secs(30);
/// How long after the last fault providers are registered again, and those that have left are gone.
pub(super) const BACK: Duration = Duration::from_secs(20);
/// How long a dropped registrar goes on deregistering at most.
const VANISHED: Duration = Duration::from_secs(8);

pub(super) struct Provider {
    client: MemoryClient,
    offers: Vec<Arc<Offer>>,
    joined: bool,
    joins: Vec<AbortHandle>,
    calls: Vec<AbortHandle>,
    /// The tasks that go on when the provider is dropped.
    tasks: TaskTracker,
    checker: Checker,
}

impl Provider {
    /// The next run of the provider in this slot. Its options are drawn from the seed alone, so
    /// that they do not depend on what happened before.
    pub(super) fn start(
        (seed, slot, life): (u64, usize, u32),
        registry: &Registry,
        tasks: &TaskTracker,
        checker: &Checker,
    ) -> Self {
        let slot_seed = seed ^ (slot as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut fixed = fastrand::Rng::with_seed(slot_seed);
        let mut drawn = fastrand::Rng::with_seed(slot_seed ^ u64::from(life + 1));
        let mut options = ClientOptions::default();
        if drawn.u32(..4) == 0 {
            // So that the registrar's own timeout ends a deregistration.
            options = options.with_deregister_timeout(2 * DEREGISTER);
        }
        let client = registry.client_with(options);
        let ttl = Ttl::from_secs(drawn.u64(5..=LONGEST_TTL.as_secs())).expect("within bounds");
        let offers = (0..fixed.usize(1..=2))
            .map(|offer| {
                let who = OfferId { slot, life, offer };
                Offer::new(who, &client, ttl, &mut fixed, &mut drawn, checker)
            })
            .map(Arc::new)
            .collect();
        let mut provider = Self {
            client,
            offers,
            joined: false,
            joins: Vec::new(),
            calls: Vec::new(),
            tasks: tasks.clone(),
            checker: checker.clone(),
        };
        provider.join();
        provider
    }

    /// Registers all offers that are not registered.
    pub(super) fn join(&mut self) {
        if std::mem::replace(&mut self.joined, true) {
            return;
        }
        for offer in self.offers.clone() {
            let checker = self.checker.clone();
            let call = self.tasks.spawn(async move { offer.join(&checker).await });
            self.joins.push(call.abort_handle());
        }
    }

    /// Deregisters all offers, and stays.
    pub(super) fn leave(&mut self) {
        self.joined = false;
        self.cancel_joins();
        for offer in self.offers.clone() {
            let checker = self.checker.clone();
            self.tasks.spawn(async move { offer.leave(&checker).await });
        }
    }

    /// Deregisters all offers after a pause, and ends.
    pub(super) fn quit_after(mut self, pause: Duration) {
        self.joined = false;
        let (tasks, checker) = (self.tasks.clone(), self.checker.clone());
        tasks.spawn(async move {
            sleep(pause).await;
            self.cancel_joins();
            for offer in &self.offers {
                offer.leave(&checker).await;
            }
            self.client.close().await;
            self.cancel_calls();
        });
    }

    /// Ends like a killed process.
    pub(super) fn crash(mut self) {
        self.client.crash();
        self.cancel_joins();
        self.cancel_calls();
        let mut state = self.checker.state();
        for offer in &self.offers {
            state.deregistering(offer.who());
            state.must_not_put(offer.who());
        }
    }

    /// Drops everything it has.
    pub(super) fn vanish(mut self) {
        self.cancel_joins();
        self.cancel_calls();
        let whos: Vec<_> = self.offers.iter().map(|offer| offer.who()).collect();
        let checker = self.checker.clone();
        for who in &whos {
            checker.state().deregistering(*who);
        }
        self.tasks.clone().spawn(async move {
            sleep(VANISHED).await;
            for who in whos {
                checker.state().must_not_put(who);
            }
        });
    }

    /// Writes another value.
    pub(super) fn update(&mut self, status: Status) {
        for offer in self.offers.clone() {
            let checker = self.checker.clone();
            let call = self
                .tasks
                .spawn(async move { offer.update(status, &checker).await });
            self.calls.push(call.abort_handle());
        }
        self.calls.retain(|call| !call.is_finished());
    }

    /// The offer at this index.
    pub(super) fn offer(&self, place: usize) -> &Offer {
        &self.offers[place % self.offers.len()]
    }

    /// The offers that should be registered.
    pub(super) fn wanted(&self) -> impl Iterator<Item = OfferId> {
        let offers = self.offers.iter().filter(|_| self.joined);
        offers.map(|offer| offer.who())
    }

    /// Checks what must hold after `calm` time without faults. Killed providers may hold keys until
    /// their leases expire.
    pub(super) fn check(&self, calm: Duration, registry: &Registry, state: &mut CheckerState) {
        let buried = calm >= BACK + LONGEST_TTL;
        for offer in &self.offers {
            offer.check((self.joined, buried), registry, state);
        }
    }

    fn cancel_joins(&mut self) {
        for join in self.joins.drain(..) {
            join.abort();
        }
    }

    fn cancel_calls(&mut self) {
        for call in self.calls.drain(..) {
            call.abort();
        }
    }
}
