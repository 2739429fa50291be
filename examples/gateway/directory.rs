//! The directory: the services that there are.

use crate::{
    names::{KeysOnly, Names},
    process::Diary,
    refusal::Refusal,
    service::Service,
};
use futures::StreamExt;
use sd_core::{
    AddressPolicy, BoxError, Client, ErrorChain, Escaped, FixedInstancer, Health, Instance,
    Instancer, Key, Prefix,
};
use std::{collections::BTreeMap, io, sync::Arc, time::Duration};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};
use tokio_util::task::AbortOnDropHandle;

type Services = BTreeMap<Box<str>, Arc<Service>>;

/// The services that there are. Memory is kept for those only, whatever is asked for.
pub(crate) struct Directory {
    services: watch::Receiver<Arc<Services>>,
    /// `None`: the services are a fixed list.
    registry: Option<Registry>,
}

/// What the services are read from.
struct Registry {
    prefix: Prefix,
    names: Arc<Instancer>,
    task: AbortOnDropHandle<io::Result<()>>,
}

impl Directory {
    /// Follows the services under `prefix`. Each has an instancer of its own, so that its removals are
    /// doubted by themselves, and another one for the keys of all tells which services there are.
    pub(crate) fn follow(
        client: Arc<dyn Client>,
        prefix: Prefix,
        answer_timeout: Duration,
        diary: Diary,
    ) -> Self {
        let names = Instancer::builder(client.clone(), prefix.clone())
            .codec(KeysOnly)
            .address_policy(AddressPolicy::any());
        let names = Arc::new(names.build());
        let (sender, services) = watch::channel(Arc::default());
        let follower = Follower {
            client,
            prefix: prefix.clone(),
            answer_timeout,
            services: sender,
            diary,
        };
        let task = AbortOnDropHandle::new(tokio::spawn(follower.run(names.clone())));
        Self {
            services,
            registry: Some(Registry {
                prefix,
                names,
                task,
            }),
        }
    }

    /// These services, with instances at these addresses.
    pub(crate) fn fixed(
        lists: &BTreeMap<String, Vec<String>>,
        answer_timeout: Duration,
    ) -> Result<Self, BoxError> {
        let mut services = Services::new();
        for (name, addresses) in lists {
            let mut instances = Vec::new();
            for address in addresses {
                let key = Key::new(format!("{name}/{address}"))?;
                instances.push(Instance::new(key, address.as_str()));
            }
            let source = Arc::new(FixedInstancer::new(instances));
            let service = Service::new(name, source, answer_timeout);
            services.insert(name.as_str().into(), Arc::new(service));
        }
        Ok(Self {
            services: watch::channel(Arc::new(services)).1,
            registry: None,
        })
    }

    /// The service of this name.
    ///
    /// # Errors
    /// That there is none, or that it is not known yet.
    pub(crate) fn find(&self, name: &str) -> Result<Arc<Service>, Refusal> {
        if let Some(service) = self.services.borrow().get(name) {
            return Ok(service.clone());
        }
        let is_known = (self.registry.as_ref()).is_none_or(|it| it.names.state().is_some());
        let name = Escaped(name);
        Err(match is_known {
            true => Refusal::unknown(format!("there is no service {name}")),
            false => {
                let why = self
                    .trouble()
                    .unwrap_or_else(|| "it has not answered yet".into());
                Refusal::unavailable(format!("{name}: no service is known: the registry: {why}"))
            }
        })
    }

    /// All services, by their names.
    pub(crate) fn services(&self) -> Arc<Services> {
        self.services.borrow().clone()
    }

    /// Where the services are registered, and whether the registry is followed. `None` if they are a
    /// fixed list.
    pub(crate) fn registry(&self) -> Option<(&Prefix, Option<Health>)> {
        let registry = self.registry.as_ref()?;
        let state = registry.names.state();
        Some((&registry.prefix, state.map(|event| event.health().clone())))
    }

    /// What keeps the gateway from knowing the services.
    pub(crate) fn trouble(&self) -> Option<String> {
        let trouble = self.registry.as_ref()?.names.trouble()?;
        Some(ErrorChain(&trouble).to_string())
    }

    /// Stops following the registry. The services stay as they are.
    pub(crate) async fn stop(&self) {
        if let Some(registry) = &self.registry {
            registry.task.abort();
            registry.names.stop().await;
        }
    }
}

/// Keeps the services those that are registered.
struct Follower {
    client: Arc<dyn Client>,
    prefix: Prefix,
    answer_timeout: Duration,
    services: watch::Sender<Arc<Services>>,
    diary: Diary,
}

impl Follower {
    /// Ends with the instancer, or when nobody reads what it prints.
    async fn run(self, instancer: Arc<Instancer>) -> io::Result<()> {
        let mut names = Names::new(self.prefix.clone());
        let mut events = instancer.subscribe();
        let mut was_live = true;
        loop {
            let forget_at = names.forget_at();
            tokio::select! {
                event = events.next() => {
                    let Some(event) = event else { return Ok(()) };
                    names.apply(&event, Instant::now());
                    let is_live = event.health().is_live();
                    if is_live != was_live {
                        self.diary.note(format!("the registry is {}", event.health()))?;
                        was_live = is_live;
                    }
                }
                () = sleep_until(forget_at.unwrap_or_else(Instant::now)), if forget_at.is_some() => {
                    names.forget(Instant::now());
                }
            }
            self.update_to(&names)?;
        }
    }

    fn update_to(&self, names: &Names) -> io::Result<()> {
        let mut services = Services::clone(&self.services.borrow());
        let before = services.len();
        services.retain(|name, _| names.contains(name));
        let mut has_changed = services.len() < before;
        for name in names.iter() {
            if !services.contains_key(name)
                && let Ok(prefix) = Prefix::new(format!("{}{name}", self.prefix))
            {
                let instancer = Arc::new(Instancer::new(self.client.clone(), prefix));
                let service = Service::new(name, instancer, self.answer_timeout);
                services.insert(name.into(), Arc::new(service));
                has_changed = true;
                self.diary.note(format!("+ service {}", Escaped(name)))?;
            }
        }
        if has_changed {
            for name in self.services.borrow().keys() {
                if !services.contains_key(name) {
                    self.diary.note(format!("- service {}", Escaped(name)))?;
                }
            }
            self.services.send_replace(Arc::new(services));
        }
        Ok(())
    }
}
