//! The world: one registry, its providers and consumers, and the execution of a plan.

use super::{
    consumer::Consumer,
    faults::{Fault, Outage, Target},
    foreign::GARBAGE,
    history::History,
    invariants::Checker,
    plan::{Action, PUT_RIGHT, Plan},
    provider::{BACK, LONGEST_TTL, OVERLAP, Provider, RELOAD_LIVES},
};
use sd_core::{Error, Status};
use sd_memory::{Backup, Calls, Registry};
use std::{collections::BTreeSet, mem, ops::ControlFlow, time::Duration};
use tokio::{
    runtime::Handle,
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

/// How often to check everything while nothing happens.
const TICK: Duration = Duration::from_millis(1_000);
/// How long to wait after the last step before the final checks.
const REST: Duration = Duration::from_secs(120);
/// The window in which calls are counted.
const WINDOW: Duration = Duration::from_secs(10);
/// The maximum number of calls per client and window, and per action in addition.
const CALLS: u64 = 25;
const CALLS_PER_ACTION: u64 = 4;
/// A registry that stalls does so for so long, and as often as this.
const STALL: Duration = Duration::from_millis(1_300);
const STALL_EVERY: Duration = Duration::from_secs(6);
/// Whatever was told to end has ended after this.
const END: Duration = Duration::from_secs(60);

pub(super) struct World {
    seed: u64,
    registry: Registry,
    checker: Checker,
    providers: Vec<Option<Provider>>,
    lives: Vec<u32>,
    consumers: Vec<Option<Consumer>>,
    followers: u32,
    strangers: u32,
    tasks: TaskTracker,
    /// The last backup, and how often the registry had been rebuilt by then.
    backup: Option<(Backup, u32)>,
    rebuilds: u32,
    stalls: Option<AbortOnDropHandle<()>>,
    load: Load,
}

/// The calls of the current window.
struct Load {
    began: Instant,
    before: u64,
    actions: u64,
}

impl World {
    pub(super) fn new(plan: &Plan) -> Self {
        let (providers, consumers) = plan.slots();
        let registry = Registry::new();
        let now = Instant::now();
        Self {
            seed: plan.seed,
            checker: Checker::new(registry.clone(), plan, now),
            registry,
            providers: (0..providers).map(|_| None).collect(),
            lives: vec![0; providers],
            consumers: (0..consumers).map(|_| None).collect(),
            followers: 0,
            strangers: 0,
            tasks: TaskTracker::new(),
            backup: None,
            rebuilds: 0,
            stalls: None,
            load: Load {
                began: now,
                before: 0,
                actions: 0,
            },
        }
    }

    /// Runs `plan` to its end, or until a promise is broken.
    pub(super) async fn run(mut self, plan: &Plan) -> History {
        // If it ends early, the rest ends with the runtime.
        let _ = self.try_run(plan).await;
        mem::take(&mut self.checker.state().history)
    }

    async fn try_run(&mut self, plan: &Plan) -> ControlFlow<()> {
        let start = Instant::now();
        for step in &plan.steps {
            self.wait_until(start + step.at).await?;
            self.apply(step.action);
        }
        self.wait_until(start + plan.horizon).await?;
        for fault in PUT_RIGHT {
            self.apply(Action::Fault(fault));
        }
        self.wait_until(Instant::now() + REST).await?;
        self.end().await
    }

    /// Waits until `then`, and checks all promises repeatedly.
    async fn wait_until(&mut self, then: Instant) -> ControlFlow<()> {
        while Instant::now() < then {
            sleep_until(then.min(Instant::now() + TICK)).await;
            self.check().await?;
        }
        self.verdict()
    }

    fn verdict(&self) -> ControlFlow<()> {
        match self.checker.state().history.violation() {
            Some(_) => ControlFlow::Break(()),
            None => ControlFlow::Continue(()),
        }
    }

    // === Actions ===

    fn apply(&mut self, action: Action) {
        self.load.actions += 1;
        self.checker.state().outages.disturb(Instant::now());
        self.checker.note(action.to_string());
        match action {
            Action::Join(slot) => match &mut self.providers[slot] {
                Some(provider) => provider.join(),
                None => self.start(slot),
            },
            Action::Leave(slot) => {
                if let Some(provider) = &mut self.providers[slot] {
                    provider.leave();
                }
            }
            Action::Quit(slot) => self.take(slot, |provider| provider.quit_after(Duration::ZERO)),
            Action::Crash(slot) => self.take(slot, Provider::crash),
            Action::Vanish(slot) => self.take(slot, Provider::vanish),
            Action::Overtake(slot) => {
                if self.providers[slot].is_some() {
                    self.touch(slot);
                    self.take(slot, |provider| provider.quit_after(OVERLAP));
                    self.start(slot);
                }
            }
            Action::Reload(slot, how) => {
                if let Some(provider) = &mut self.providers[slot] {
                    provider.reload(how, (self.seed, slot, self.lives[slot]));
                    self.lives[slot] += RELOAD_LIVES;
                    self.touch(slot);
                }
            }
            Action::Update(slot) => self.update(slot, Status::Serving),
            Action::Drain(slot) => self.update(slot, Status::Draining),
            Action::Follow(slot) => {
                let started = self.consumers[slot].is_some();
                if !started {
                    self.followers += 1;
                    let ids = (self.seed, slot, self.followers);
                    self.consumers[slot] =
                        Some(Consumer::start(ids, &self.registry, &self.checker));
                }
            }
            Action::Stop(slot) => {
                if let Some(consumer) = self.consumers[slot].take() {
                    self.tasks.spawn(consumer.stop());
                }
            }
            Action::Abandon(slot) => drop(self.consumers[slot].take()),
            Action::ProviderPanic(slot) => {
                self.providers[slot].iter().for_each(Provider::panic_next);
            }
            Action::ConsumerPanic(slot) => {
                self.consumers[slot].iter().for_each(Consumer::panic_next);
            }
            Action::Fault(fault) => self.fault(fault),
        }
    }

    fn start(&mut self, slot: usize) {
        self.lives[slot] += 1;
        let ids = (self.seed, slot, self.lives[slot]);
        let provider = Provider::start(ids, &self.registry, &self.tasks, &self.checker);
        self.providers[slot] = Some(provider);
    }

    fn take(&mut self, slot: usize, end: impl FnOnce(Provider)) {
        if let Some(provider) = self.providers[slot].take() {
            end(provider);
        }
    }

    fn update(&mut self, slot: usize, status: Status) {
        if let Some(provider) = &mut self.providers[slot] {
            provider.update(status);
        }
    }

    fn fault(&mut self, fault: Fault) {
        let now = Instant::now();
        let outage = self.checker.state().outages.outage();
        if matches!(fault, Fault::Begin(_)) && outage.is_some() {
            return;
        }
        if matches!(fault, Fault::Restore { .. }) && self.backup.is_none() {
            return;
        }
        let before = self.registry.revision();
        self.checker.state().fault(&fault, now);
        match fault {
            Fault::Begin(Outage::Freeze) => self.registry.freeze(),
            Fault::Begin(Outage::Kill) => self.registry.kill(),
            Fault::Begin(Outage::Refuse) => self.registry.refuse(Error::unavailable("refused")),
            Fault::Begin(Outage::Deny) => self.registry.refuse(Error::PermissionDenied {
                message: "no".into(),
                source: None,
            }),
            Fault::Begin(Outage::Stall) => {
                let stalls = tokio::spawn(stall(self.registry.clone()));
                self.stalls = Some(AbortOnDropHandle::new(stalls));
            }
            Fault::End => {
                self.stalls = None;
                self.registry.thaw();
                self.registry.restart();
                self.registry.accept();
            }
            Fault::Disconnect => self.registry.disconnect_watchers(),
            Fault::Compact => self.registry.compact(),
            Fault::Delay(by) => self.registry.delay(by),
            Fault::Rebuild { ahead } => {
                self.rebuilds += 1;
                while ahead && self.registry.revision() <= before {
                    self.put_foreign("/strangers");
                }
            }
            Fault::Expire(target) => {
                if let Some((_, lease)) = self.place(target) {
                    self.touch(target.provider);
                    self.registry.expire_lease(&lease);
                }
            }
            Fault::Delete(target) => {
                if let Some((key, _)) = self.place(target) {
                    self.touch(target.provider);
                    self.registry.delete(key);
                }
            }
            Fault::Overwrite { target, garbage } => {
                if let Some((key, _)) = self.place(target) {
                    self.touch(target.provider);
                    let value = if garbage { GARBAGE } else { "10.99.0.1:80" };
                    let _ = self.registry.put(key, value);
                }
            }
            Fault::Erase => self.erase(),
            Fault::ExpireAll => {
                self.touch_all();
                for lease in self.registry.leases() {
                    self.registry.expire_lease(&lease);
                }
            }
            Fault::CutOff => self.providers.iter().flatten().for_each(Provider::cut_off),
            Fault::Reconnect => {
                self.touch_all();
                let providers = self.providers.iter().flatten();
                providers.for_each(Provider::reconnect);
            }
            Fault::Backup => self.backup = Some((self.registry.backup(), self.rebuilds)),
            Fault::Restore { bump } => {
                if let Some((backup, rebuilds)) = &self.backup {
                    let is_older = *rebuilds == self.rebuilds;
                    self.checker.state().restore(backup, bump, is_older);
                }
            }
        }
    }

    fn place(&self, target: Target) -> Option<(sd_core::Key, sd_core::LeaseId)> {
        let provider = self.providers[target.provider].as_ref()?;
        provider.offer(target.offer).place()
    }

    fn touch(&self, slot: usize) {
        let mut state = self.checker.state();
        state.touch(|who| who.slot == slot, Instant::now());
    }

    fn touch_all(&self) {
        self.checker.state().touch(|_| true, Instant::now());
    }

    fn put_foreign(&mut self, key: &str) {
        self.strangers += 1;
        let _ = self.registry.put(key, self.strangers.to_string());
    }

    fn erase(&mut self) {
        self.touch_all();
        let state = self.checker.state();
        let present = state.registry_log.present();
        let foreign: Vec<_> = present
            .filter(|(_, value)| state.owner(value).is_none())
            .map(|(key, _)| key.clone())
            .collect();
        drop(state);
        for key in foreign {
            self.registry.delete(key);
        }
    }

    // === Checks ===

    async fn check(&mut self) -> ControlFlow<()> {
        self.check_load();
        self.restart_consumers();
        for provider in self.providers.iter().flatten() {
            provider.check_proof(&self.registry, &mut self.checker.state());
        }
        let now = Instant::now();
        let calm = self.checker.state().outages.calm(now);
        if calm >= BACK {
            self.check_providers(calm);
        }
        if self.wrong_view(calm).is_some() {
            // An action of this very moment may not have reached everybody.
            sleep(Duration::from_millis(1)).await;
            if let Some(wrong) = self.wrong_view(calm) {
                self.checker.violate(wrong);
            }
        }
        self.verdict()
    }

    /// Consumers end only by a panic of foreign code, and start again.
    fn restart_consumers(&mut self) {
        for slot in 0..self.consumers.len() {
            let Some(consumer) =
                self.consumers[slot].take_if(|consumer| consumer.has_ended(&self.checker.state()))
            else {
                continue;
            };
            if !consumer.has_panicked() {
                self.checker
                    .violate(format!("the consumer {slot} has ended by itself"));
            }
            self.tasks.spawn(consumer.stop());
            self.apply(Action::Follow(slot));
        }
    }

    fn wrong_view(&self, calm: Duration) -> Option<String> {
        let state = self.checker.state();
        let mut consumers = self.consumers.iter().flatten();
        consumers.find_map(|consumer| consumer.check(calm, &state))
    }

    fn check_providers(&self, calm: Duration) {
        let mut state = self.checker.state();
        let providers = || self.providers.iter().flatten();
        for provider in providers() {
            provider.check(calm, &self.registry, &mut state);
        }
        let followers = self.consumers.iter().flatten().count();
        let watchers = self.registry.watchers();
        if watchers != followers {
            state.violate(format!("{watchers} watches of {followers} consumers"));
        }
        if calm < BACK + LONGEST_TTL {
            return;
        }
        let wanted: BTreeSet<_> = providers().flat_map(Provider::wanted).collect();
        let left_over = state.registry_log.present().find_map(|(key, value)| {
            let owner = state.owner(value)?;
            (!wanted.contains(&owner)).then(|| format!("{key} of {owner} is still there"))
        });
        if let Some(left_over) = left_over {
            state.violate(left_over);
        }
        let leases: BTreeSet<_> = self.registry.leases().into_iter().collect();
        let used = providers()
            .filter_map(|provider| provider.offer(0).place())
            .count();
        if leases.len() > providers().count() || leases.len() < used {
            state.violate(format!("{} leases of {used} providers", leases.len()));
        }
    }

    /// Checks that no fault causes a hot loop.
    fn check_load(&mut self) {
        if self.load.began.elapsed() < WINDOW {
            return;
        }
        let Calls {
            lists,
            watches,
            registers,
            reclaims,
            removals,
            keep_alives,
            ..
        } = self.registry.calls();
        let calls = lists + watches + registers + reclaims + removals + keep_alives;
        let made = calls - self.load.before;
        let clients = (2 * self.providers.len() + self.consumers.len()) as u64;
        let allowed = clients * (CALLS + CALLS_PER_ACTION * self.load.actions);
        if made > allowed {
            self.checker.violate(format!(
                "{made} calls of {clients} clients within {WINDOW:?}"
            ));
        }
        self.load = Load {
            began: Instant::now(),
            before: calls,
            actions: 0,
        };
    }

    /// Ends everything, half of it in order and half by dropping it, and checks that nothing is
    /// left.
    async fn end(&mut self) -> ControlFlow<()> {
        for (n, provider) in mem::take(&mut self.providers).into_iter().enumerate() {
            match provider {
                Some(provider) if n % 2 == 0 => provider.quit_after(Duration::ZERO),
                Some(provider) => provider.vanish(),
                None => {}
            }
        }
        for (n, consumer) in mem::take(&mut self.consumers).into_iter().enumerate() {
            match consumer {
                Some(consumer) if n % 2 == 0 => drop(self.tasks.spawn(consumer.stop())),
                other => drop(other),
            }
        }
        self.tasks.close();
        if timeout(END, self.tasks.wait()).await.is_err() {
            let left = self.tasks.len();
            self.checker.violate(format!("{left} calls never returned"));
        }
        // Killed providers have left leases.
        sleep(LONGEST_TTL).await;
        let left = [
            ("entries", self.registry.entries().len()),
            ("leases", self.registry.leases().len()),
            ("watches", self.registry.watchers()),
            ("tasks", Handle::current().metrics().num_alive_tasks()),
            ("views", self.checker.state().views.len()),
        ];
        for (what, count) in left {
            if count > 0 {
                self.checker
                    .violate(format!("{count} {what} are left at the end"));
            }
        }
        self.verdict()
    }
}

/// Stalls the registry again and again.
async fn stall(registry: Registry) {
    loop {
        registry.freeze();
        sleep(STALL).await;
        registry.thaw();
        sleep(STALL_EVERY - STALL).await;
    }
}
