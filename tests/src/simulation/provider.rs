//! A simulated provider: one run of a process, with a client and one or two registrars.

use super::{
    foreign::PanickyClient,
    invariants::{Checker, CheckerState, OfferId},
    offer::{DEREGISTER, Offer},
    plan::Reload,
};
use futures::future::join_all;
use sd_core::{Status, Ttl};
use sd_memory::{ClientOptions, Registry};
use std::{sync::Arc, time::Duration};
use tokio::{
    task::AbortHandle,
    time::{sleep, timeout},
};
use tokio_util::task::TaskTracker;

/// The longest TTL of a service.
pub(super) const LONGEST_TTL: Duration = Duration::from_secs(30);
/// How long after the last fault providers are registered again, and those that have left are gone.
pub(super) const BACK: Duration = Duration::from_secs(20);
/// How long a dropped registrar goes on deregistering at most.
const VANISHED: Duration = Duration::from_secs(8);
/// How long registrars stay that were replaced, where they stay for a while.
pub(super) const OVERLAP: Duration = Duration::from_secs(3);
/// How many registrars a loop makes that gives each of them a moment only.
const TRIES: u32 = 3;
/// How many lives a reload takes at most.
pub(super) const RELOAD_LIVES: u32 = TRIES + 1;

/// Who a provider is: the seed of the run, its slot and its life.
pub(super) type Ids = (u64, usize, u32);

pub(super) struct Provider {
    client: PanickyClient,
    ttl: Ttl,
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
        ids: Ids,
        registry: &Registry,
        tasks: &TaskTracker,
        checker: &Checker,
    ) -> Self {
        let (_, mut drawn) = terms(ids);
        let mut options = ClientOptions::default();
        if drawn.u32(..4) == 0 {
            // So that the registrar's own timeout ends a deregistration.
            options = options.with_deregister_timeout(2 * DEREGISTER);
        }
        let client = PanickyClient::new(registry.client_with(options));
        let ttl = Ttl::from_secs(drawn.u64(5..=LONGEST_TTL.as_secs())).expect("within bounds");
        let mut provider = Self {
            offers: offers(ids, &client, ttl, checker),
            client,
            ttl,
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

    /// Makes new registrars of its keys, and registers them. `ids` is the first of
    /// [`RELOAD_LIVES`] lives that are free.
    pub(super) fn reload(&mut self, how: Reload, ids: Ids) {
        let (seed, slot, mut life) = ids;
        let mut next = |provider: &mut Self| {
            life += 1;
            let (_, mut drawn) = terms((seed, slot, life));
            if drawn.bool() {
                provider.ttl = Ttl::from_secs(drawn.u64(5..=30)).expect("within bounds");
            }
            let ids = (seed, slot, life);
            offers(ids, &provider.client, provider.ttl, &provider.checker)
        };
        let tries: Vec<_> = match how {
            Reload::Retry => (0..TRIES).map(|_| next(self)).collect(),
            _ => Vec::new(),
        };
        let new = next(self);
        self.cancel_joins();
        self.cancel_calls();
        let old = std::mem::replace(&mut self.offers, new);
        match how {
            Reload::Drain => self.replaced(old, Duration::ZERO),
            Reload::Overlap => self.replaced(old, OVERLAP),
            Reload::Drop | Reload::Retry => self.dropped(&old),
        }
        self.joined = false;
        if tries.is_empty() {
            return self.join();
        }
        self.joined = true;
        for offers in &tries {
            self.dropped(offers);
        }
        let (offers, checker) = (self.offers.clone(), self.checker.clone());
        let tried = async move {
            for (n, tried) in (1..).zip(tries) {
                let joins = join_all(tried.iter().map(|offer| offer.join(&checker)));
                let _ = timeout(Duration::from_millis(7 * n), joins).await;
                for offer in &tried {
                    checker.state().deregistering(offer.who());
                }
            }
            join_all(offers.iter().map(|offer| offer.join(&checker))).await;
        };
        let call = self.tasks.spawn(tried);
        self.joins.push(call.abort_handle());
    }

    /// Deregisters what others have replaced.
    fn replaced(&self, old: Vec<Arc<Offer>>, pause: Duration) {
        for offer in old {
            let checker = self.checker.clone();
            checker.state().deregistering(offer.who());
            self.tasks.spawn(async move {
                sleep(pause).await;
                offer.leave(&checker).await;
            });
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
            self.client.inner.close().await;
            self.cancel_calls();
        });
    }

    /// Ends like a killed process.
    pub(super) fn crash(mut self) {
        self.client.inner.crash();
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
        self.dropped(&self.offers);
    }

    /// `offers` are being dropped.
    fn dropped(&self, offers: &[Arc<Offer>]) {
        let whos: Vec<_> = offers.iter().map(|offer| offer.who()).collect();
        let checker = self.checker.clone();
        for who in &whos {
            checker.state().deregistering(*who);
        }
        self.tasks.spawn(async move {
            sleep(VANISHED).await;
            for who in whos {
                checker.state().must_not_put(who);
            }
        });
    }

    /// The next call of its client panics.
    pub(super) fn panic_next(&self) {
        self.client.panic_next();
    }

    /// It and the registry do not hear each other any more.
    pub(super) fn cut_off(&self) {
        self.client.inner.cut_off();
    }

    /// They do again.
    pub(super) fn reconnect(&self) {
        self.client.inner.reconnect();
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

    /// What must be true at any time.
    pub(super) fn check_proof(&self, registry: &Registry, state: &mut CheckerState) {
        for offer in &self.offers {
            offer.check_proof(registry, state);
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

/// What the terms of all lives of a slot are drawn from, and those of one life.
fn terms((seed, slot, life): Ids) -> (fastrand::Rng, fastrand::Rng) {
    let slot_seed = seed ^ (slot as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let with_seed = fastrand::Rng::with_seed;
    (
        with_seed(slot_seed),
        with_seed(slot_seed ^ u64::from(life + 1)),
    )
}

/// The offers of one life: under the same keys in each.
fn offers(ids: Ids, client: &PanickyClient, ttl: Ttl, checker: &Checker) -> Vec<Arc<Offer>> {
    let (_, slot, life) = ids;
    let (mut fixed, mut drawn) = terms(ids);
    (0..fixed.usize(1..=2))
        .map(|offer| {
            let who = OfferId { slot, life, offer };
            Offer::new(who, client, ttl, &mut fixed, &mut drawn, checker)
        })
        .map(Arc::new)
        .collect()
}
