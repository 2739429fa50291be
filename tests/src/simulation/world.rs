//! The world: one registry, those who use it, and a plan that happens to them.

use super::{
    consumer::Consumer,
    faults::{Fault, Outage, Target},
    history::History,
    invariants::Audit,
    plan::{Deed, Plan},
    provider::{BACK, LONGEST_TTL, Provider},
};
use sd_core::{Error, Status};
use sd_memory::{Calls, Registry};
use std::{collections::BTreeSet, mem, ops::ControlFlow, time::Duration};
use tokio::{
    runtime::Handle,
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_util::task::TaskTracker;

/// How often everything is looked at while nothing happens.
const TICK: Duration = Duration::from_millis(1_000);
/// After the last step everything has come to rest within this.
const REST: Duration = Duration::from_secs(120);
/// In this time the calls are counted.
const WINDOW: Duration = Duration::from_secs(10);
/// Each client makes so many calls in a window at most, and so many more for each deed.
const CALLS: u64 = 25;
const CALLS_PER_DEED: u64 = 4;
/// How long an overtaken provider stays.
const OVERLAP: Duration = Duration::from_secs(3);
/// Whatever was told to end has ended after this.
const END: Duration = Duration::from_secs(60);

pub(super) struct World {
    seed: u64,
    registry: Registry,
    audit: Audit,
    providers: Vec<Option<Provider>>,
    lives: Vec<u32>,
    consumers: Vec<Option<Consumer>>,
    followers: u32,
    strangers: u32,
    tasks: TaskTracker,
    load: Load,
}

/// The calls of the present window.
struct Load {
    began: Instant,
    before: u64,
    deeds: u64,
}

impl World {
    pub(super) fn new(plan: &Plan) -> Self {
        let (providers, consumers) = plan.slots();
        let registry = Registry::new();
        let now = Instant::now();
        Self {
            seed: plan.seed,
            audit: Audit::new(registry.clone(), now),
            registry,
            providers: (0..providers).map(|_| None).collect(),
            lives: vec![0; providers],
            consumers: (0..consumers).map(|_| None).collect(),
            followers: 0,
            strangers: 0,
            tasks: TaskTracker::new(),
            load: Load {
                began: now,
                before: 0,
                deeds: 0,
            },
        }
    }

    /// Lives through `plan` to its end, or until a promise is broken.
    pub(super) async fn live(mut self, plan: &Plan) -> History {
        // What is left of it when it ends early goes with the runtime.
        let _ = self.try_live(plan).await;
        mem::take(&mut self.audit.files().history)
    }

    async fn try_live(&mut self, plan: &Plan) -> ControlFlow<()> {
        let start = Instant::now();
        for step in &plan.steps {
            self.wait_until(start + step.at).await?;
            self.apply(step.deed);
        }
        self.wait_until(start + plan.horizon).await?;
        for fault in [Fault::End, Fault::Delay(Duration::ZERO), Fault::Erase] {
            self.apply(Deed::Fault(fault));
        }
        self.wait_until(Instant::now() + REST).await?;
        self.end().await
    }

    /// Lets time pass and looks again and again whether everything is as promised.
    async fn wait_until(&mut self, then: Instant) -> ControlFlow<()> {
        while Instant::now() < then {
            sleep_until(then.min(Instant::now() + TICK)).await;
            self.check().await?;
        }
        self.verdict()
    }

    fn verdict(&self) -> ControlFlow<()> {
        match self.audit.files().history.violation() {
            Some(_) => ControlFlow::Break(()),
            None => ControlFlow::Continue(()),
        }
    }

    // === What happens ===

    fn apply(&mut self, deed: Deed) {
        self.load.deeds += 1;
        self.audit.files().weather.disturb(Instant::now());
        self.audit.note(deed.to_string());
        match deed {
            Deed::Join(slot) => match &mut self.providers[slot] {
                Some(provider) => provider.join(),
                None => self.start(slot),
            },
            Deed::Leave(slot) => {
                if let Some(provider) = &mut self.providers[slot] {
                    provider.leave();
                }
            }
            Deed::Quit(slot) => self.take(slot, |provider| provider.quit_after(Duration::ZERO)),
            Deed::Crash(slot) => self.take(slot, Provider::crash),
            Deed::Vanish(slot) => self.take(slot, Provider::vanish),
            Deed::Overtake(slot) => {
                if self.providers[slot].is_some() {
                    self.touch(slot);
                    self.take(slot, |provider| provider.quit_after(OVERLAP));
                    self.start(slot);
                }
            }
            Deed::Update(slot) => self.update(slot, Status::Serving),
            Deed::Drain(slot) => self.update(slot, Status::Draining),
            Deed::Follow(slot) => {
                let started = self.consumers[slot].is_some();
                if !started {
                    self.followers += 1;
                    let ids = (self.seed, slot, self.followers);
                    self.consumers[slot] = Some(Consumer::start(ids, &self.registry, &self.audit));
                }
            }
            Deed::Stop(slot) => {
                if let Some(consumer) = self.consumers[slot].take() {
                    self.tasks.spawn(consumer.stop());
                }
            }
            Deed::Abandon(slot) => drop(self.consumers[slot].take()),
            Deed::Fault(fault) => self.fault(fault),
        }
    }

    fn start(&mut self, slot: usize) {
        self.lives[slot] += 1;
        let ids = (self.seed, slot, self.lives[slot]);
        let provider = Provider::start(ids, &self.registry, &self.tasks, &self.audit);
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
        let outage = self.audit.files().weather.outage();
        if matches!(fault, Fault::Begin(_)) && outage.is_some() {
            return;
        }
        let before = self.registry.revision();
        self.audit.files().fault(&fault, now);
        match fault {
            Fault::Begin(Outage::Freeze) => self.registry.freeze(),
            Fault::Begin(Outage::Kill) => self.registry.kill(),
            Fault::Begin(Outage::Refuse) => self.registry.refuse(Error::unavailable("refused")),
            Fault::Begin(Outage::Deny) => self.registry.refuse(Error::PermissionDenied {
                message: "no".into(),
                source: None,
            }),
            Fault::End => {
                self.registry.thaw();
                self.registry.restart();
                self.registry.accept();
            }
            Fault::Disconnect => self.registry.disconnect_watchers(),
            Fault::Compact => self.registry.compact(),
            Fault::Delay(by) => self.registry.delay(by),
            Fault::Rebuild { ahead } => {
                while ahead && self.registry.revision() <= before {
                    self.scribble("/strangers");
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
                    let value = if garbage { "?" } else { "10.99.0.1:80" };
                    let _ = self.registry.put(key, value);
                }
            }
            Fault::Erase => self.erase(),
        }
    }

    fn place(&self, target: Target) -> Option<(sd_core::Key, sd_core::LeaseId)> {
        let provider = self.providers[target.provider].as_ref()?;
        provider.offer(target.offer).place()
    }

    fn touch(&self, slot: usize) {
        let mut files = self.audit.files();
        files.touch(|who| who.slot == slot, Instant::now());
    }

    fn scribble(&mut self, key: &str) {
        self.strangers += 1;
        let _ = self.registry.put(key, self.strangers.to_string());
    }

    fn erase(&mut self) {
        let mut files = self.audit.files();
        files.touch(|_| true, Instant::now());
        let present = files.truth.present();
        let foreign: Vec<_> = present
            .filter(|(_, value)| files.owner(value).is_none())
            .map(|(key, _)| key.clone())
            .collect();
        drop(files);
        for key in foreign {
            self.registry.delete(key);
        }
    }

    // === What must be true ===

    async fn check(&mut self) -> ControlFlow<()> {
        self.check_load();
        let now = Instant::now();
        let calm = self.audit.files().weather.calm(now);
        if calm >= BACK {
            self.check_providers(calm);
        }
        if self.wrong_view(calm).is_some() {
            // What happened this very moment may not have reached everybody.
            sleep(Duration::from_millis(1)).await;
            if let Some(wrong) = self.wrong_view(calm) {
                self.audit.violate(wrong);
            }
        }
        self.verdict()
    }

    fn wrong_view(&self, calm: Duration) -> Option<String> {
        let files = self.audit.files();
        let mut consumers = self.consumers.iter().flatten();
        consumers.find_map(|consumer| consumer.check(calm, &files))
    }

    fn check_providers(&self, calm: Duration) {
        let mut files = self.audit.files();
        let providers = || self.providers.iter().flatten();
        for provider in providers() {
            provider.check(calm, &self.registry, &mut files);
        }
        let followers = self.consumers.iter().flatten().count();
        let watchers = self.registry.watchers();
        if watchers != followers {
            files.violate(format!("{watchers} watches of {followers} consumers"));
        }
        if calm < BACK + LONGEST_TTL {
            return;
        }
        let wanted: BTreeSet<_> = providers().flat_map(Provider::wanted).collect();
        let left_over = files.truth.present().find_map(|(key, value)| {
            let owner = files.owner(value)?;
            (!wanted.contains(&owner)).then(|| format!("{key} of {owner} is still there"))
        });
        if let Some(left_over) = left_over {
            files.violate(left_over);
        }
        let leases: BTreeSet<_> = self.registry.leases().into_iter().collect();
        let used = providers()
            .filter_map(|provider| provider.offer(0).place())
            .count();
        if leases.len() > providers().count() || leases.len() < used {
            files.violate(format!("{} leases of {used} providers", leases.len()));
        }
    }

    /// No fault makes a hot loop.
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
        let allowed = clients * (CALLS + CALLS_PER_DEED * self.load.deeds);
        if made > allowed {
            self.audit.violate(format!(
                "{made} calls of {clients} clients within {WINDOW:?}"
            ));
        }
        self.load = Load {
            began: Instant::now(),
            before: calls,
            deeds: 0,
        };
    }

    /// Ends everything, half of it in order and half by dropping it, and sees that nothing is left.
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
            self.audit.violate(format!("{left} calls never returned"));
        }
        // Those who were killed have left a lease.
        sleep(LONGEST_TTL).await;
        let left = [
            ("entries", self.registry.entries().len()),
            ("leases", self.registry.leases().len()),
            ("watches", self.registry.watchers()),
            ("tasks", Handle::current().metrics().num_alive_tasks()),
            ("views", self.audit.files().views.len()),
        ];
        for (what, count) in left {
            if count > 0 {
                self.audit
                    .violate(format!("{count} {what} are left at the end"));
            }
        }
        self.verdict()
    }
}
