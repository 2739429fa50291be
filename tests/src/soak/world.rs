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

/// Of a silence of etcd that is longer every consumer knows: 4/3 s, and a little for the machine.
const NOTICED: Duration = Duration::from_millis(1_533);
/// So many tasks come and go all the time.
const PASSING: usize = 3;
/// How far off a measured silence may be.
const INEXACT: Duration = Duration::from_millis(150);
/// How much later than it may etcd ends a lease, and a consumer hears of it.
const ENDED: Duration = Duration::from_millis(1_000);
/// Long enough for an update that finds its registration in doubt.
const WRITTEN: Duration = Duration::from_secs(15);

pub(super) struct World {
    etcd: Arc<Etcd>,
    checker: Checker,
    events: EventLog,
    stalls: StallMonitor,
    providers: [Option<Member>; PROVIDERS],
    followers: Vec<Follower>,
    lives: u64,
    /// The leases when all agreed last.
    leases: BTreeMap<Key, Option<i64>>,
    /// When the last fault began.
    began: Instant,
    /// How many tasks a provider comes with, its network included.
    tasks_each: usize,
    /// For how many providers there were how many tasks when all agreed first.
    usual: Option<(usize, usize)>,
}

/// All agree.
#[derive(Debug)]
pub(super) struct Agreement {
    /// How long it took.
    pub(super) took: Duration,
    /// What is worth a word, and breaks no promise.
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

    /// Lives through a fault, from its beginning to its end.
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
            // The network first, so that nobody hears of it.
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

    /// Waits until all agree. From then on every instance is to be seen at all times, until the
    /// next fault.
    pub(super) async fn agree(&mut self) -> Result<Agreement, String> {
        let settled = settled(DEADLINE, async || match self.checker.verdict() {
            // There is nothing to wait for.
            Err(_) => Ok(()),
            Ok(()) => self.look().await,
        })
        .await;
        // What may not happen at all comes before what has not happened yet.
        self.checker.verdict()?;
        let mut notes: Vec<String> = Vec::new();
        for vanished in self.checker.vanished() {
            let note = self.explain(&vanished)?;
            // What three consumers do not see is worth one word.
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

    /// Source fault it is that a consumer did not see a provider that lives. The machine's, if that
    /// was too busy to keep the lease alive and no consumer could know of trouble: that is worth a
    /// word. Else a promise was broken; says how.
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

    /// What happened in the last fault, and since; and how it stands now.
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

    /// For how long the machine did not let this process run, at the longest.
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

    /// As many watches, streams, connections and tasks as those who are there need, and no more.
    async fn look_at_load(&self, providers: usize) -> Result<(), String> {
        let metrics = self.etcd.metrics().await;
        let watches = (metrics.watchers(), metrics.watch_streams());
        let streams = metrics.keepalive_streams();
        let connections = self.etcd.client_connections();
        let consumers = self.followers.len();
        // One connection each: providers read nothing, and consumers write nothing.
        if watches != (consumers as u64, consumers as u64)
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

    /// How many tasks there are at most while so many providers live.
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

/// Nothing gets through, and whoever tries is told.
async fn cut(proxy: &Proxy) {
    proxy.refuse().await;
    proxy.drop_connections();
}
