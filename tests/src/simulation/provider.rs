//! A provider: one life of a process with a client and one or two registrars of its own.

use super::{
    invariants::{Checker, CheckerState, OfferId},
    offer::{DEREGISTER, Offer},
};
use sd_core::{Status, Ttl};
use sd_memory::{ClientOptions, MemoryClient, Registry};
use std::{sync::Arc, time::Duration};
use tokio::{task::AbortHandle, time::sleep};
use tokio_util::task::TaskTracker;

/// The longest time to live of any.
pub(super) const LONGEST_TTL: Duration = Duration::from_secs(30);
/// By then, after trouble, providers are back, and those who have left are gone.
pub(super) const BACK: Duration = Duration::from_secs(20);
/// A registrar that was dropped has deregistered after this, or does no more.
const VANISHED: Duration = Duration::from_secs(8);

pub(super) struct Provider {
    client: MemoryClient,
    offers: Vec<Arc<Offer>>,
    joined: bool,
    joins: Vec<AbortHandle>,
    calls: Vec<AbortHandle>,
    /// Whatever goes on without it.
    tasks: TaskTracker,
    checker: Checker,
}

impl Provider {
    /// The next life of the provider that has this slot. Its terms are drawn from the seed alone, so
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
            // Then it is the registrar's own bound that ends a deregistration.
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

    /// Registers everything that is not.
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

    /// Deregisters everything, and stays.
    pub(super) fn leave(&mut self) {
        self.joined = false;
        self.cancel_joins();
        for offer in self.offers.clone() {
            let checker = self.checker.clone();
            self.tasks.spawn(async move { offer.leave(&checker).await });
        }
    }

    /// Deregisters everything after a while, and ends.
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

    /// Is killed.
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

    /// Drops all it has.
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

    /// The offer at this place.
    pub(super) fn offer(&self, place: usize) -> &Offer {
        &self.offers[place % self.offers.len()]
    }

    /// Those who want to be registered.
    pub(super) fn wanted(&self) -> impl Iterator<Item = OfferId> {
        let offers = self.offers.iter().filter(|_| self.joined);
        offers.map(|offer| offer.who())
    }

    /// What must be true once nothing has happened for long. The dead may hold keys for as long as
    /// their leases last.
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
