//! The world: one etcd, and those who use it, each behind a network of its own.

use super::{
    DEADLINE,
    audit::{Audit, LIFE, Trail},
    checks::{Agreement, settled},
    plan::{CONSUMERS, Cut, Fault, PROVIDERS, Who},
};
use crate::{Consumer, Etcd, Provider, Proxy};
use futures::StreamExt;
use sd_core::{
    Bytes, Codec, DefaultCodec, Deregistered, EndpointSource, Events, Instance, Key, Registrar,
    RegistrarStatus, Service, Ttl,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use tokio::time::{Instant, sleep};
use tokio_util::task::AbortOnDropHandle;

/// Under which all of ours is.
pub(super) const PREFIX: &str = "/svc/";
/// How often the endpoints are looked at, whether or not something has changed.
const LOOK: Duration = Duration::from_millis(20);
/// The TTL of the providers, in seconds: short, but not so short that a busy machine alone costs
/// a lease.
const TTL: u64 = 3;
/// Long enough for an update that finds its registration in doubt.
const WRITTEN: Duration = Duration::from_secs(15);

pub(super) struct World<'a> {
    etcd: &'a Etcd,
    audit: Audit,
    providers: [Option<Member>; PROVIDERS],
    followers: Vec<Follower>,
    lives: u64,
    /// The leases when all agreed last.
    leases: BTreeMap<Key, Option<i64>>,
}

/// A provider and its network, which ends before it does.
struct Member {
    proxy: Proxy,
    provider: Provider,
    instance: Instance,
    life: u64,
}

/// A consumer, its network, and somebody who looks over its shoulder.
struct Follower {
    watcher: AbortOnDropHandle<()>,
    /// A subscription that nobody reads.
    unread: Events,
    consumer: Arc<Consumer>,
    proxy: Proxy,
}

impl<'a> World<'a> {
    pub(super) async fn start(etcd: &'a Etcd, living: impl Iterator<Item = usize>) -> Self {
        let mut world = Self {
            etcd,
            audit: Audit::default(),
            providers: Default::default(),
            followers: Vec::new(),
            lives: 0,
            leases: BTreeMap::new(),
        };
        for n in 0..CONSUMERS {
            let follower = Follower::start(etcd, n, world.audit.clone()).await;
            world.followers.push(follower);
        }
        for slot in living {
            world.join(slot).await;
        }
        world
    }

    // === Faults ===

    /// Lives through a fault, from its beginning to its end.
    pub(super) async fn suffer(&mut self, fault: Fault) -> Result<(), String> {
        let touched = fault.touches().map(key);
        let living = self.living().map(|member| member.instance.key().clone());
        let steady = living.filter(|key| Some(key) != touched.as_ref()).collect();
        self.audit.steady(steady);
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
                    old.leave(self.etcd, &self.audit, Deregistered::NotOurs)
                        .await?;
                }
            }
            Fault::Update(slot, weight) => {
                let member = self.providers[slot].as_mut().ok_or("nobody to update")?;
                member.instance = member.instance.clone().with_weight(weight);
                let update = member
                    .provider
                    .registrar()
                    .update(encoded(&member.instance));
                let written = tokio::time::timeout(WRITTEN, update).await;
                let written = written.map_err(|_| format!("no update within {WRITTEN:?}"))?;
                written.map_err(|error| format!("no update: {error}"))?;
            }
        }
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
        self.providers[slot] = Some(Member::start(self.etcd, slot, self.lives).await);
    }

    async fn leave(&mut self, slot: usize) -> Result<(), String> {
        match self.providers[slot].take() {
            Some(member) => {
                member
                    .leave(self.etcd, &self.audit, Deregistered::Removed)
                    .await
            }
            None => Err(format!("p{slot} is not there to leave")),
        }
    }

    fn crash(&mut self, slot: usize) {
        if let Some(member) = self.providers[slot].take() {
            self.audit.ended(member.instance.key(), member.life);
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
        let agreement = settled(DEADLINE, async || match self.audit.verdict() {
            // There is nothing to wait for.
            Err(_) => Ok(()),
            Ok(()) => self.look().await,
        })
        .await;
        self.audit
            .verdict()
            .map_err(|why| format!("{why}{}", self.replaced_leases()))?;
        self.leases = self.leases_now().collect();
        let living = self.living().map(|member| member.instance.key().clone());
        self.audit.steady(living.collect());
        agreement
    }

    fn leases_now(&self) -> impl Iterator<Item = (Key, Option<i64>)> {
        self.living()
            .map(|member| (member.instance.key().clone(), member.provider.lease()))
    }

    /// Whether etcd itself took something away, or the toolkit just did not show it.
    fn replaced_leases(&self) -> String {
        let replaced: Vec<String> = self
            .leases_now()
            .filter(|(key, now)| self.leases.get(key).is_some_and(|then| then != now))
            .map(|(key, _)| key.to_string())
            .collect();
        format!("; other leases than before: {replaced:?}")
    }

    async fn look(&self) -> Result<(), String> {
        let mut leases = BTreeSet::new();
        for member in self.living() {
            leases.extend(member.look(self.etcd).await?);
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

    /// No more watches, streams and connections than those who are there need.
    async fn look_at_load(&self, providers: usize) -> Result<(), String> {
        let metrics = self.etcd.metrics().await;
        let connections = self.etcd.client_connections();
        let watches = metrics.watchers() as usize;
        let streams = metrics.keepalive_streams() as usize;
        let consumers = self.followers.len();
        if streams != providers || connections > 2 * (providers + consumers) {
            return Err(format!(
                "{providers} providers and {consumers} consumers have {streams} keep-alive \
                 streams and {connections} connections"
            ));
        }
        // Those who have registered may follow their keys.
        if watches < consumers || watches > consumers + providers {
            return Err(format!("{watches} watches of {consumers} consumers"));
        }
        Ok(())
    }

    /// Ends everything, and waits for that.
    pub(super) async fn stop(mut self) -> Result<(), String> {
        self.audit.steady(BTreeSet::new());
        for member in self.providers.iter_mut().filter_map(Option::take) {
            member
                .leave(self.etcd, &self.audit, Deregistered::Removed)
                .await?;
        }
        for follower in self.followers.drain(..) {
            drop(follower.watcher);
            follower.consumer.endpointer().stop().await;
            follower.consumer.instancer().stop().await;
            follower.consumer.client().close().await;
        }
        self.audit.verdict()
    }
}

impl Member {
    async fn start(etcd: &Etcd, slot: usize, life: u64) -> Self {
        let proxy = Proxy::to(etcd.address()).await;
        let instance = Instance::new(key(slot), format!("10.0.0.{slot}:80"))
            .with_metadata(LIFE, life.to_string());
        let service = Service::new(instance.key().as_str(), encoded(&instance))
            .expect("a key")
            .with_ttl(Ttl::from_secs(TTL).expect("a TTL"));
        let provider = Provider::with(proxy.endpoint(), instance.key().as_str(), |client| {
            // Below a third of the consumers' grace period.
            Registrar::builder(client, service)
                .backoff(Duration::from_millis(100), Duration::from_secs(1))
                .build()
        })
        .await;
        Self {
            proxy,
            provider,
            instance,
            life,
        }
    }

    /// Whether it stands at etcd as it believes; gives the lease.
    async fn look(&self, etcd: &Etcd) -> Result<Option<i64>, String> {
        let key = self.instance.key();
        let status = self.provider.registrar().status().borrow().clone();
        let RegistrarStatus::Registered { lease, .. } = status else {
            return Err(format!("the registrar of {key} is {status:?}"));
        };
        let lease = lease.as_str().parse().ok();
        let entry = etcd.entry(key.as_str()).await;
        let entry = entry.ok_or_else(|| format!("{key} is not at etcd"))?;
        let value = encoded(&self.instance);
        if entry.value() != value || Some(entry.lease()) != lease {
            return Err(format!(
                "{entry:?} stands where {value:?} should, on {lease:?}"
            ));
        }
        Ok(lease)
    }

    /// Ends in good order: with the entry goes the lease, at once.
    async fn leave(self, etcd: &Etcd, audit: &Audit, expected: Deregistered) -> Result<(), String> {
        audit.ended(self.instance.key(), self.life);
        let key = self.instance.key();
        let lease = self.provider.lease();
        let outcome = self.provider.registrar().deregister().await;
        self.provider.client().close().await;
        if !matches!(&outcome, Ok(outcome) if *outcome == expected) {
            return Err(format!("{key} leaves with {outcome:?}"));
        }
        let leases = etcd.leases().await;
        match lease.filter(|lease| leases.contains(lease)) {
            Some(lease) => Err(format!("{key} has left, its lease {lease} has not")),
            None => Ok(()),
        }
    }
}

impl Follower {
    async fn start(etcd: &Etcd, n: usize, audit: Audit) -> Self {
        let proxy = Proxy::to(etcd.address()).await;
        let consumer = Arc::new(Consumer::start(proxy.endpoint(), PREFIX).await);
        let watcher = tokio::spawn(look_over(n, consumer.clone(), audit));
        Self {
            watcher: AbortOnDropHandle::new(watcher),
            unread: consumer.instancer().subscribe(),
            consumer,
            proxy,
        }
    }

    /// Whether it sees just what is there.
    fn look(&self, expected: &[&Instance]) -> Result<(), String> {
        let event = self.consumer.instancer().state().ok_or("knows nothing")?;
        if !event.health().is_live() {
            return Err(format!("is {:?}", event.health()));
        }
        let shown: Vec<&Instance> = event.instances().iter().map(|it| &**it).collect();
        if shown != expected || event.held().len() > 0 {
            let held: Vec<_> = event.held().collect();
            let (shown, expected) = (brief(&shown), brief(expected));
            return Err(format!(
                "shows {shown} and holds {held:?} where there is {expected}"
            ));
        }
        let endpoints = self.consumer.endpointer().endpoints();
        let called = endpoints.iter().map(|endpoint| &**endpoint.instance());
        if !called.eq(expected.iter().copied()) {
            return Err(format!("has the endpoints {endpoints:?}"));
        }
        if self.unread.latest().map(|latest| latest.version()) != Some(event.version()) {
            return Err("has a subscriber that would not see the newest".to_owned());
        }
        Ok(())
    }
}

/// Looks at everything that a consumer shows, and at its endpoints all the time.
async fn look_over(n: usize, consumer: Arc<Consumer>, audit: Audit) {
    let mut trail = Trail::new(audit.clone());
    let mut events = consumer.instancer().subscribe();
    let mut next = Instant::now();
    loop {
        tokio::select! {
            event = events.next() => {
                let Some(event) = event else { return };
                if let Err(why) = trail.show(&event) {
                    audit.broken(format!("c{n} {why}"));
                }
            }
            () = tokio::time::sleep_until(next) => {
                next = Instant::now() + LOOK;
                let endpoints = consumer.endpointer().endpoints();
                let has = |key: &Key| endpoints.iter().any(|endpoint| endpoint.key() == key);
                if let Some(key) = audit.missing(has) {
                    audit.broken(format!("c{n} has no endpoint of {key}, which stands"));
                }
            }
        }
    }
}

/// What tells instances apart.
fn brief(instances: &[&Instance]) -> String {
    let brief = |it: &&Instance| {
        let life = it.metadata(LIFE).unwrap_or("of nobody's");
        format!("{} (life {life}, weight {})", it.key(), it.weight())
    };
    let all: Vec<String> = instances.iter().map(brief).collect();
    format!("[{}]", all.join(", "))
}

/// Nothing gets through, and whoever tries is told.
async fn cut(proxy: &Proxy) {
    proxy.refuse().await;
    proxy.drop_connections();
}

fn key(slot: usize) -> Key {
    Key::new(format!("{PREFIX}p{slot}")).expect("a key")
}

fn encoded(instance: &Instance) -> Bytes {
    DefaultCodec.encode(instance).expect("text in, text out")
}
