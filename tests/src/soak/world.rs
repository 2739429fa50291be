//! The world of the soak: one etcd, the providers and consumers on it, and the faults that are
//! injected.

use super::{
    checker::{Checker, ConsumerHistory, Vanished},
    event_log::EventLog,
    follower::Follower,
    measure::{settled, tasks},
    member::{Member, encoded, told},
    plan::{CONSUMERS, Cut, DEADLINE, Fault, PREFIX, PROVIDERS, STALL, STALL_EVERY, Who, key, ttl},
    stalls::StallMonitor,
};
use crate::{etcd::Etcd, network::Proxy};
use sd_core::{Deregistered, Instance, Key};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use tokio::time::{Instant, sleep};

/// Every consumer notices a longer silence of etcd: 4/3 s, and a little for the machine.
const NOTICED: Duration = Duration::from_millis(1_533);
/// How many short-lived tasks there may be at any time.
const PASSING: usize = 3;
/// The error of a measured silence.
const INEXACT: Duration = Duration::from_millis(150);
/// How long after its expiry etcd ends a lease and a consumer notices it, at most.
const ENDED: Duration = Duration::from_millis(1_000);
/// How long an update may take, even if its registration has to be verified first.
const WRITTEN: Duration = Duration::from_secs(15);

pub(super) struct World {
    etcd: Arc<Etcd>,
    checker: Checker,
    events: EventLog,
    stalls: StallMonitor,
    providers: [Option<Member>; PROVIDERS],
    followers: Vec<Follower>,
    lives: u64,
    /// The leases when everything agreed last.
    leases: BTreeMap<Key, Option<i64>>,
    /// When the last fault began.
    began: Instant,
    /// How many tasks each provider has, including its proxy.
    tasks_each: usize,
    /// The number of providers and of tasks when everything agreed first.
    usual: Option<(usize, usize)>,
}

/// Everything agrees.
#[derive(Debug)]
pub(super) struct Agreement {
    /// How long it took.
    pub(super) took: Duration,
    /// Observations that break no promise.
    pub(super) notes: Vec<String>,
}

impl World {
    pub(super) async fn start(etcd: Arc<Etcd>, living: impl Iterator<Item = usize>) -> Self {
        let events = EventLog::default();
        let mut world = Self {
            stalls: StallMonitor::listen(etcd.clone(), events.clone()),
            etcd,
            checker: Checker::default(),
            events,
            providers: Default::default(),
            followers: Vec::new(),
            lives: 0,
            leases: BTreeMap::new(),
            began: Instant::now(),
            tasks_each: 0,
            usual: None,
        };
        for n in 0..CONSUMERS {
            let history = ConsumerHistory::new(n, world.checker.clone(), world.events.clone());
            let follower = Follower::start(&world.etcd, history).await;
            world.followers.push(follower);
        }
        let before = tasks();
        for slot in living {
            world.join(slot).await;
        }
        let more = tasks().saturating_sub(before);
        world.tasks_each = more / world.living().count().max(1);
        world
    }

    // === Faults ===

    /// Causes a fault, from its beginning to its end.
    pub(super) async fn inject(&mut self, fault: Fault) -> Result<(), String> {
        self.began = Instant::now();
        self.events.note(format!("begins: {fault}"));
        let touched = fault.touches().map(key);
        let living = self.living().map(|member| member.instance.key().clone());
        let steady = living.filter(|key| Some(key) != touched.as_ref()).collect();
        self.checker.steady(steady);
        if fault.touches_all() {
            self.checker.at_least(self.living().count().div_ceil(2));
        }
        match fault {
            Fault::Freeze(lasting) => {
                self.etcd.freeze();
                sleep(lasting).await;
                self.etcd.thaw();
            }
            Fault::Kill(down) => {
                self.etcd.kill();
                sleep(down).await;
                self.etcd.start_again().await;
            }
            Fault::Rebuild { ahead, crashes } => {
                if let Some(slot) = crashes {
                    self.crash(slot);
                }
                if ahead {
                    self.rebuild_ahead().await;
                } else {
                    self.etcd.wipe().await;
                }
            }
            Fault::Compact { consumer, leaves } => {
                cut(&self.followers[consumer].proxy).await;
                self.leave(leaves).await?;
                self.etcd.compact().await;
                self.followers[consumer].proxy.resume();
            }
            Fault::Expire(slot) => {
                let lease = self.member(slot)?.provider.lease();
                self.etcd.revoke(lease.ok_or("there is no lease")?).await;
            }
            Fault::Delete(slot) => {
                self.etcd.delete(key(slot).as_str()).await;
            }
            Fault::Overwrite {
                provider,
                garbage,
                lasting,
            } => self.overwrite(provider, garbage, lasting).await?,
            Fault::CutOff { who, how, lasting } => {
                let proxy = match who {
                    Who::Provider(slot) => &self.member(slot)?.proxy,
                    Who::Consumer(n) => &self.followers[n].proxy,
                };
                match how {
                    Cut::Stall => proxy.stall(),
                    Cut::Reset => proxy.drop_connections(),
                    Cut::Refuse => cut(proxy).await,
                    Cut::Delay(by) => proxy.delay(by),
                }
                sleep(lasting).await;
                proxy.resume();
            }
            Fault::Join(slot) => self.join(slot).await,
            Fault::Leave(slot) => self.leave(slot).await?,
            Fault::Crash(slot) => self.crash(slot),
            Fault::Restart(slot) => {
                self.crash(slot);
                self.join(slot).await;
            }
            Fault::Overtake(slot) => {
                let old = self.providers[slot].take();
                self.join(slot).await;
                if let Some(old) = old {
                    old.leave(&self.etcd, &self.checker, Deregistered::NotOurs)
                        .await?;
                }
            }
            Fault::Update(slot, weight) => self.update(slot, weight).await?,
            Fault::Reload { provider, drops } => {
                self.lives += 1;
                let member = self.providers[provider].take();
                let member = member.ok_or("nobody to reload")?;
                let (life, events) = (self.lives, self.events.clone());
                let reloaded = member.reload(life, drops, &self.checker, events).await?;
                self.providers[provider] = Some(reloaded);
            }
            Fault::Restore { updates, leaves } => {
                let weight = self.member(updates)?.instance.weight();
                let backup = self.etcd.back_up();
                self.update(updates, weight + 1).await?;
                if let Some(slot) = leaves {
                    self.leave(slot).await?;
                    self.checker.returns(&key(slot));
                }
                self.etcd.restore(&backup).await;
            }
            Fault::ExpireAll => {
                for lease in self.etcd.leases().await {
                    self.etcd.revoke(lease).await;
                }
            }
            Fault::CutOffAll(lasting) => {
                self.living().for_each(|member| member.proxy.stall());
                sleep(lasting).await;
                self.living().for_each(|member| member.proxy.resume());
            }
            Fault::Stalls(times) => {
                for _ in 0..times {
                    self.etcd.freeze();
                    sleep(STALL).await;
                    self.etcd.thaw();
                    sleep(STALL_EVERY - STALL).await;
                }
            }
        }
        self.events.note("the fault is over");
        Ok(())
    }

    async fn update(&mut self, slot: usize, weight: u32) -> Result<(), String> {
        let member = self.providers[slot].as_mut().ok_or("nobody to update")?;
        member.instance = member.instance.clone().with_weight(weight);
        let registrar = member.provider.registrar();
        let update = registrar.update(encoded(&member.instance));
        let written = tokio::time::timeout(WRITTEN, update).await;
        let written = written.map_err(|_| format!("no update within {WRITTEN:?}"))?;
        written.map_err(|error| format!("no update: {error}"))?;
        Ok(())
    }

    async fn rebuild_ahead(&self) {
        let known = self.etcd.revision().await;
        let proxies = || {
            let providers = self.living().map(|member| &member.proxy);
            providers.chain(self.followers.iter().map(|follower| &follower.proxy))
        };
        for proxy in proxies() {
            cut(proxy).await;
        }
        self.etcd.wipe().await;
        while self.etcd.put("/strangers", "at work").await <= known + 10 {}
        for proxy in proxies() {
            proxy.resume();
        }
    }

    async fn overwrite(&self, slot: usize, garbage: bool, lasting: Duration) -> Result<(), String> {
        let key = key(slot);
        let value: &[u8] = if garbage { &[0xff] } else { b"10.9.9.9:80" };
        self.etcd.put(key.as_str(), value).await;
        sleep(lasting).await;
        match self.etcd.get(key.as_str()).await {
            Some(now) if now == value => {}
            now => {
                let now = now.map(|now| String::from_utf8_lossy(&now).into_owned());
                return Err(format!("{key} was fought over, it holds {now:?}"));
            }
        }
        self.etcd.delete(key.as_str()).await;
        Ok(())
    }

    async fn join(&mut self, slot: usize) {
        self.lives += 1;
        let member = Member::start(&self.etcd, slot, self.lives, self.events.clone());
        self.providers[slot] = Some(member.await);
    }

    async fn leave(&mut self, slot: usize) -> Result<(), String> {
        match self.providers[slot].take() {
            Some(member) => {
                member
                    .leave(&self.etcd, &self.checker, Deregistered::Removed)
                    .await
            }
            None => Err(format!("p{slot} is not there to leave")),
        }
    }

    fn crash(&mut self, slot: usize) {
        if let Some(member) = self.providers[slot].take() {
            self.checker.ended(member.instance.key(), member.life);
            // The proxy first, so that the provider cannot deregister.
            drop(member.proxy);
            drop(member.provider);
        }
    }

    fn member(&self, slot: usize) -> Result<&Member, String> {
        let member = self.providers[slot].as_ref();
        member.ok_or_else(|| format!("p{slot} is not there"))
    }

    fn living(&self) -> impl Iterator<Item = &Member> {
        self.providers.iter().flatten()
    }

    // === Checks ===

    /// Waits until everything agrees. From then until the next fault, every consumer must show
    /// every instance.
    pub(super) async fn agree(&mut self) -> Result<Agreement, String> {
        let settled = settled(DEADLINE, async || match self.checker.verdict() {
            // There is nothing to wait for.
            Err(_) => Ok(()),
            Ok(()) => self.look().await,
        })
        .await;
        // A broken promise is reported before a missing agreement.
        self.checker.verdict()?;
        let mut notes: Vec<String> = Vec::new();
        for vanished in self.checker.vanished() {
            let note = self.explain(&vanished)?;
            // One note, even if several consumers do not see it.
            if !notes.iter().any(|it| it.contains(vanished.key.as_str())) {
                notes.push(note);
            }
        }
        let took = settled?;
        self.events.note("all agree");
        if self.usual.is_none() {
            self.usual = Some((self.living().count(), tasks()));
        }
        self.leases = self.leases_now().collect();
        let living = self.living().map(|member| member.instance.key().clone());
        self.checker.steady(living.collect());
        Ok(Agreement { took, notes })
    }

    fn leases_now(&self) -> impl Iterator<Item = (Key, Option<i64>)> {
        self.living()
            .map(|member| (member.instance.key().clone(), member.provider.lease()))
    }

    /// Explains why a consumer did not see a running provider. If the machine was too busy to keep
    /// the lease alive and no consumer could notice that, returns a note. Otherwise fails with the
    /// broken promise.
    fn explain(&self, vanished: &Vanished) -> Result<String, String> {
        let Vanished {
            from,
            key,
            at,
            doubt,
        } = vanished;
        let what = format!("c{from} did not see {key}, which lives");
        let then = self.leases.get(key).copied().flatten();
        let now = self.leases_now().find(|(it, _)| it == key);
        let now = now.and_then(|(_, lease)| lease);
        let (Some(then), Some(now)) = (then, now) else {
            return Err(format!("{what}; its lease was {then:?} and is {now:?}"));
        };
        if then == now {
            return Err(format!("{what} and had its lease {then} all the while"));
        }
        let ttl = ttl(key);
        let what = format!("{what}: its lease {then} was lost, it has {now} now");
        if let Some(doubt) = doubt {
            return Err(format!(
                "{what}, but removals were to be held back ({doubt})"
            ));
        }
        let since = *at - ttl - ENDED;
        let silent = self.stalls.total(since, *at);
        let of_etcd = self.stalls.of_etcd(since, *at);
        let measured = format!(
            "etcd or this process was silent for {silent:.2?} in the {:?} before, etcd for {of_etcd:.2?} \
             at a time; a TTL of {ttl:?} bears {:.2?}",
            *at - since,
            ttl * 2 / 3
        );
        if of_etcd > NOTICED {
            return Err(format!(
                "{what}, and it did not know of trouble: {measured}"
            ));
        }
        if silent + INEXACT < ttl * 2 / 3 {
            return Err(format!(
                "{what}, and the machine was not too busy: {measured}"
            ));
        }
        Ok(format!(
            "{what}, since the machine was too busy: {measured}"
        ))
    }

    /// The events since the last fault began, and the current state.
    pub(super) fn account(&self) -> Vec<String> {
        let mut lines = self.events.around(self.began);
        let now = Instant::now() - self.began;
        let end = lines.len();
        for member in self.living() {
            let status = member.provider.registrar().status().borrow();
            let (key, status) = (member.instance.key(), told(&status));
            lines.push(format!(
                "{key} {status}; its client is at lease {:?}",
                member.provider.lease()
            ));
        }
        for (n, follower) in self.followers.iter().enumerate() {
            let seen = follower.consumer.view();
            lines.push(format!("c{n} sees {seen:?}"));
        }
        for line in &mut lines[end..] {
            *line = format!("{:+8.3} s  now: {line}", now.as_secs_f64());
        }
        lines
    }

    /// The longest time for which the machine did not let this process run.
    pub(super) fn stalled(&self) -> Duration {
        self.stalls.of_ours()
    }

    async fn look(&self) -> Result<(), String> {
        let mut leases = BTreeSet::new();
        for member in self.living() {
            leases.extend(member.look(&self.etcd).await?);
        }
        let expected: Vec<&Instance> = self.living().map(|member| &member.instance).collect();
        let keys = self.etcd.keys(PREFIX).await;
        if !keys.iter().eq(expected.iter().map(|it| it.key().as_str())) {
            return Err(format!("etcd has the keys {keys:?}"));
        }
        let granted = BTreeSet::from_iter(self.etcd.leases().await);
        if granted != leases {
            return Err(format!("etcd has the leases {granted:?}, not {leases:?}"));
        }
        for (n, follower) in self.followers.iter().enumerate() {
            let agreed = follower.look(&expected);
            agreed.map_err(|why| format!("c{n} {why}"))?;
        }
        self.look_at_load(expected.len()).await
    }

    /// Checks that there are no more watches, streams, connections and tasks than needed.
    async fn look_at_load(&self, providers: usize) -> Result<(), String> {
        let metrics = self.etcd.metrics().await;
        let watches = (metrics.watchers(), metrics.watch_streams());
        let streams = metrics.keepalive_streams();
        let connections = self.etcd.client_connections();
        let consumers = self.followers.len();
        // One connection each: providers watch their own key on that for leases, and consumers write nothing.
        let watching = (providers + consumers) as u64;
        if watches != (watching, watching)
            || streams != providers as u64
            || connections != providers + consumers
        {
            return Err(format!(
                "{providers} providers and {consumers} consumers have {} watches on {} streams, \
                 {streams} keep-alive streams and {connections} connections",
                watches.0, watches.1
            ));
        }
        let (now, usual) = (tasks(), self.tasks_of(providers));
        if now > usual {
            return Err(format!(
                "{now} tasks, where {usual} were enough for as many"
            ));
        }
        Ok(())
    }

    /// The maximum number of tasks with `providers` providers.
    fn tasks_of(&self, providers: usize) -> usize {
        match self.usual {
            Some((then, tasks)) if providers < then => {
                tasks - (then - providers) * self.tasks_each + PASSING
            }
            Some((then, tasks)) => tasks + (providers - then) * self.tasks_each + PASSING,
            None => usize::MAX,
        }
    }

    /// Ends everything, and waits for that.
    pub(super) async fn stop(&mut self) -> Result<(), String> {
        self.began = Instant::now();
        self.events.note("everything stops");
        self.checker.steady(BTreeSet::new());
        for member in self.providers.iter_mut().filter_map(Option::take) {
            member
                .leave(&self.etcd, &self.checker, Deregistered::Removed)
                .await?;
        }
        for follower in self.followers.drain(..) {
            follower.stop().await;
        }
        self.stalls.stop();
        self.checker.verdict()
    }
}

/// Resets all connections and refuses new ones.
async fn cut(proxy: &Proxy) {
    proxy.refuse().await;
    proxy.drop_connections();
}
