//! A consumer of the soak, and checks of what it shows.

use super::{
    checker::{ConsumerHistory, LIFE},
    plan::PREFIX,
};
use crate::{etcd::Etcd, fleet::Consumer, network::Proxy};
use futures::StreamExt;
use sd_core::{EndpointSource, Events, Instance};
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

/// How often the endpoints are checked, even without changes.
const LOOK: Duration = Duration::from_millis(20);

/// A consumer behind its own proxy, and a task that checks everything that it shows.
pub(super) struct Follower {
    watcher: AbortOnDropHandle<()>,
    /// A subscription that nobody reads.
    unread: Events,
    pub(super) consumer: Arc<Consumer>,
    pub(super) proxy: Proxy,
}

impl Follower {
    pub(super) async fn start(etcd: &Etcd, history: ConsumerHistory) -> Self {
        let proxy = Proxy::to(etcd.address()).await;
        let consumer = Arc::new(Consumer::start(proxy.endpoint(), PREFIX).await);
        let watcher = tokio::spawn(observe(consumer.clone(), history));
        Self {
            watcher: AbortOnDropHandle::new(watcher),
            unread: consumer.instancer().subscribe(),
            consumer,
            proxy,
        }
    }

    /// Checks that it shows exactly the expected instances.
    pub(super) fn look(&self, expected: &[&Instance]) -> Result<(), String> {
        let event = self.consumer.instancer().state().ok_or("knows nothing")?;
        if !event.health().is_live() {
            return Err(format!("is {:?}", event.health()));
        }
        let shown = event.instances().iter().map(|it| unleased(it));
        let shown: Vec<Instance> = shown.collect();
        if !shown.iter().eq(expected.iter().copied()) || event.held().len() > 0 {
            let held: Vec<_> = event.held().collect();
            let (shown, expected) = (brief(&shown), brief(expected.iter().copied()));
            return Err(format!(
                "shows {shown} and holds {held:?} where there is {expected}"
            ));
        }
        let endpoints = self.consumer.endpointer().endpoints();
        let called = endpoints
            .iter()
            .map(|endpoint| unleased(endpoint.instance()));
        if !called.eq(expected.iter().map(|it| (*it).clone())) {
            return Err(format!("has the endpoints {endpoints:?}"));
        }
        if self.unread.latest().map(|latest| latest.version()) != Some(event.version()) {
            return Err("has a subscriber that would not see the newest".to_owned());
        }
        Ok(())
    }

    /// Ends everything, and waits for that.
    pub(super) async fn stop(self) {
        drop(self.watcher);
        self.consumer.endpointer().stop().await;
        self.consumer.instancer().stop().await;
        self.consumer.client().close().await;
    }
}

/// Checks every state of a consumer, and repeatedly its endpoints.
async fn observe(consumer: Arc<Consumer>, mut history: ConsumerHistory) {
    let mut events = consumer.instancer().subscribe();
    let mut next = Instant::now();
    loop {
        tokio::select! {
            event = events.next() => {
                let Some(event) = event else { return };
                history.show(&event);
            }
            () = tokio::time::sleep_until(next) => {
                next = Instant::now() + LOOK;
                let endpoints = consumer.endpointer().endpoints();
                if let Some(event) = consumer.instancer().state() {
                    history.look(event.instances(), |key| {
                        endpoints.iter().any(|endpoint| endpoint.key() == key)
                    });
                }
            }
        }
    }
}

/// The instance as its provider describes it.
fn unleased(instance: &Instance) -> Instance {
    instance.clone().with_lease(None)
}

/// The attributes that distinguish instances.
fn brief<'a>(instances: impl IntoIterator<Item = &'a Instance>) -> String {
    let brief = |it: &Instance| {
        let life = it.metadata(LIFE).unwrap_or("of nobody's");
        format!("{} (life {life}, weight {})", it.key(), it.weight())
    };
    let all: Vec<String> = instances.into_iter().map(brief).collect();
    format!("[{}]", all.join(", "))
}
