//! The instances, each registered by a registrar of its own, and the endpointer of their caller.

use crate::{act::Act, server::Server};
use sd_core::{
    BoxError, Codec, DefaultCodec, Endpointer, Instance, Instancer, Key, Prefix, Registrar,
    Service, Status, factory_fn,
};
use sd_memory::Registry;
use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

const SERVICE: &str = "/services/shop";

/// Name, weight and speed. The size of an instance is in proportion to its weight.
const INSTANCES: [(&str, u32, f64); 12] = [
    ("anna", 1, 1.0),
    ("ben", 1, 0.8),
    ("cleo", 1, 1.2),
    ("dina", 2, 1.0),
    ("emil", 2, 0.8),
    ("finn", 2, 1.0),
    ("gail", 2, 1.2),
    ("hugo", 3, 1.0),
    ("ivan", 3, 1.0),
    ("jane", 3, 0.8),
    ("kim", 4, 1.2),
    ("luis", 4, 1.0),
];

/// Which instance has which part in the acts.
const SLOW: &str = "gail";
const FAILING: &str = "ivan";
const DRAINING: &str = "luis";

pub(crate) struct Fleet {
    members: Vec<Member>,
    endpointer: Arc<Endpointer<Arc<Server>>>,
    is_one_draining: AtomicBool,
}

struct Member {
    server: Arc<Server>,
    registrar: Registrar,
    key: Key,
}

impl Member {
    /// Tells its callers whether it wants new calls.
    async fn announce(&self, status: Status) -> Result<(), BoxError> {
        let value = value(&self.key, &self.server, status)?;
        self.registrar.update(value).await?;
        Ok(())
    }
}

fn value(key: &Key, server: &Server, status: Status) -> Result<sd_core::Bytes, BoxError> {
    let instance = Instance::new(key.clone(), format!("{}:80", server.name()))
        .with_weight(server.weight())
        .with_status(status);
    Ok(DefaultCodec.encode(&instance)?)
}

impl Fleet {
    pub(crate) async fn start() -> Result<Self, BoxError> {
        let registry = Registry::new();
        let prefix = Prefix::new(SERVICE)?;
        let mut members = Vec::new();
        for (name, weight, speed) in INSTANCES {
            let server = Arc::new(Server::new(name, weight, speed));
            let key = prefix.key(name)?;
            let service = Service::new(key.clone(), value(&key, &server, Status::Serving)?)?;
            let registrar = Registrar::new(registry.client(), service);
            registrar.register().await?;
            members.push(Member {
                server,
                registrar,
                key,
            });
        }
        let servers: HashMap<_, _> = members
            .iter()
            .map(|member| {
                (
                    format!("{}:80", member.server.name()),
                    member.server.clone(),
                )
            })
            .collect();
        // In place of a connection: the server itself.
        let factory = factory_fn(move |instance| {
            let server = servers.get(instance.address());
            server.cloned().ok_or_else(|| "nobody is there".into())
        });
        let endpointer = Endpointer::new(Instancer::new(registry.client(), prefix), factory);
        endpointer.ready().await?;
        Ok(Self {
            members,
            endpointer: Arc::new(endpointer),
            is_one_draining: AtomicBool::new(false),
        })
    }

    pub(crate) fn servers(&self) -> impl Iterator<Item = &Arc<Server>> {
        self.members.iter().map(|member| &member.server)
    }

    pub(crate) fn endpointer(&self) -> &Arc<Endpointer<Arc<Server>>> {
        &self.endpointer
    }

    pub(crate) fn is_draining(&self, server: &Server) -> bool {
        server.name() == DRAINING && self.is_one_draining.load(Ordering::Relaxed)
    }

    /// The calls a second that are made: half of what all instances can do.
    pub(crate) fn rate(&self) -> f64 {
        self.servers().map(|server| server.capacity()).sum::<f64>() / 2.0
    }

    /// Every instance is well again.
    pub(crate) async fn reset(&self) -> Result<(), BoxError> {
        self.play(Act::AllWell).await
    }

    /// Does to the instances what happens in `act`.
    pub(crate) async fn play(&self, act: Act) -> Result<(), BoxError> {
        for member in &self.members {
            let has_part = |part| member.server.name() == part;
            let is_slow = act == Act::OneSlow && has_part(SLOW);
            member.server.slow_down(if is_slow { 10 } else { 1 });
            member
                .server
                .fail(act == Act::OneFails && has_part(FAILING));
            if has_part(DRAINING) {
                let status = match act {
                    Act::OneDrains => Status::Draining,
                    _ => Status::Serving,
                };
                let is_draining = status == Status::Draining;
                self.is_one_draining.store(is_draining, Ordering::Relaxed);
                member.announce(status).await?;
            }
        }
        Ok(())
    }

    pub(crate) async fn stop(self) -> Result<(), BoxError> {
        for member in self.members {
            member.registrar.deregister().await?;
        }
        self.endpointer.stop().await;
        Ok(())
    }
}
