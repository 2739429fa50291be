//! A provider of the soak, and checks that etcd agrees with it.

use super::{
    checker::{Checker, LIFE},
    event_log::EventLog,
    plan::{key, ttl},
};
use crate::{etcd::Etcd, fleet::Provider, network::Proxy};
use sd_core::{
    Bytes, Codec, DefaultCodec, Deregistered, Instance, Key, Registrar, RegistrarStatus, Service,
    StatusReceiver, Ttl,
};
use sd_etcd::EtcdClient;
use std::time::Duration;
use tokio_util::task::AbortOnDropHandle;

/// A provider behind its own proxy, which is dropped before the provider.
pub(super) struct Member {
    pub(super) proxy: Proxy,
    pub(super) provider: Provider,
    pub(super) instance: Instance,
    pub(super) life: u64,
    _status_recorder: AbortOnDropHandle<()>,
}

impl Member {
    pub(super) async fn start(etcd: &Etcd, slot: usize, life: u64, events: EventLog) -> Self {
        let proxy = Proxy::to(etcd.address()).await;
        let instance = Instance::new(key(slot), format!("10.0.0.{slot}:80"))
            .with_metadata(LIFE, life.to_string());
        let client = EtcdClient::connect([proxy.endpoint()]).expect("a URL");
        Self::on(client, proxy, instance, life, events).await
    }

    async fn on(
        client: EtcdClient,
        proxy: Proxy,
        instance: Instance,
        life: u64,
        events: EventLog,
    ) -> Self {
        let key = instance.key();
        let ttl = Ttl::from_secs(ttl(key).as_secs()).expect("a TTL");
        let service = Service::new(key.as_str(), encoded(&instance))
            .expect("a key")
            .with_ttl(ttl);
        let provider = Provider::on(client, key.as_str(), |client| {
            // Below a third of the consumers' grace period.
            Registrar::builder(client, service)
                .backoff(Duration::from_millis(100), Duration::from_secs(1))
                .build()
        })
        .await;
        let status = provider.registrar().status();
        let status_recorder = tokio::spawn(record_status(key.clone(), status, events));
        Self {
            proxy,
            provider,
            instance,
            life,
            _status_recorder: AbortOnDropHandle::new(status_recorder),
        }
    }

    /// The same provider with a new registrar on the client that it has; the old one is dropped, or
    /// deregisters, once the new one has registered.
    pub(super) async fn reload(
        self,
        life: u64,
        drops: bool,
        checker: &Checker,
        events: EventLog,
    ) -> Result<Self, String> {
        let Self {
            proxy,
            provider: old,
            instance,
            life: old_life,
            ..
        } = self;
        let instance = instance.with_metadata(LIFE, life.to_string());
        let client = old.client().clone();
        let new = Self::on(client, proxy, instance, life, events).await;
        let key = new.instance.key();
        checker.ended(key, old_life);
        if !drops {
            let outcome = old.registrar().deregister().await;
            if !matches!(outcome, Ok(Deregistered::NotOurs)) {
                return Err(format!("{key} reloads with {outcome:?}"));
            }
        }
        Ok(new)
    }

    /// Whether it stands at etcd as it believes; gives the lease.
    pub(super) async fn look(&self, etcd: &Etcd) -> Result<Option<i64>, String> {
        let key = self.instance.key();
        let status = self.provider.registrar().status().borrow();
        let RegistrarStatus::Registered { lease, .. } = &*status else {
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
        // After a stall, the lease may have expired without etcd having reported it yet.
        match lease {
            Some(lease) if etcd.seconds_left(lease).await < 1 => Err(format!(
                "the lease {lease} of {key} has hardly a second left"
            )),
            lease => Ok(lease),
        }
    }

    /// Deregisters and ends. Checks the outcome, and that the lease is gone at once.
    pub(super) async fn leave(
        self,
        etcd: &Etcd,
        checker: &Checker,
        expected: Deregistered,
    ) -> Result<(), String> {
        checker.ended(self.instance.key(), self.life);
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

/// Records the statuses of a provider.
async fn record_status(key: Key, mut status: StatusReceiver<RegistrarStatus>, events: EventLog) {
    loop {
        let now = told(&status.borrow_and_update());
        events.note(format!("{key} {now}"));
        if status.changed().await.is_err() {
            return;
        }
    }
}

/// A status in words.
pub(super) fn told(status: &RegistrarStatus) -> String {
    match status {
        RegistrarStatus::Registered { lease, .. } => format!("stands on the lease {lease}"),
        RegistrarStatus::Reclaiming {
            lost,
            attempt,
            error,
        } => {
            let error = error.as_ref().map(|error| format!(", after: {error}"));
            let error = error.unwrap_or_default();
            format!("was lost ({lost:?}), attempt {attempt} to put it back{error}")
        }
        status => format!("is {status:?}"),
    }
}

pub(super) fn encoded(instance: &Instance) -> Bytes {
    DefaultCodec.encode(instance).expect("text in, text out")
}
