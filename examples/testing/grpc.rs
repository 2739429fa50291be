//! The same for a service that calls by gRPC: a receptionist, who has greeters welcome the guests.
//!
//! The channel is the one that is used in production, with its picks, retries, deadlines and
//! streams. Only the network is missing: [`ChannelBuilder::in_process`] calls the service of an
//! instance directly. The fourth habit is to hand on the [`ChannelBuilder`] before it is built.

use crate::greeter::greeter;
use sd_core::{BoxError, Client, Instancer, Prefix};
use sd_example_proto::{GreetRequest, greeter_client::GreeterClient};
use sd_tower::{CallPolicy, Channel, ChannelBuilder};
use std::time::Duration;
use tonic::{Code, Status};

/// Welcomes guests.
struct Receptionist {
    greeters: GreeterClient<Channel>,
}

impl Receptionist {
    fn new(greeters: Channel) -> Self {
        Self {
            greeters: GreeterClient::new(greeters),
        }
    }

    /// How it calls the greeters of a registry.
    fn channel(client: impl Client) -> Result<ChannelBuilder, BoxError> {
        let instancer = Instancer::new(client, Prefix::new("/services/greeter")?);
        // A guest may be welcomed twice.
        let policy = CallPolicy::new()
            .timeout(Duration::from_secs(2))
            .per_try_timeout(Duration::from_secs(1))
            .retry_on([Code::Unavailable])
            .idempotent(true);
        Ok(Channel::builder(instancer).policy(policy))
    }

    async fn welcome(&self, name: &str) -> Result<String, Status> {
        let name = name.to_owned();
        let reply = self.greeters.clone().greet(GreetRequest { name }).await?;
        Ok(reply.into_inner().greeting)
    }
}

/// Welcomes somebody, without a network.
pub(crate) async fn show() -> Result<(), BoxError> {
    let registry = sd_memory::Registry::new();
    registry.put("/services/greeter/a", "10.0.0.1:80")?;
    let greeters = Receptionist::channel(registry.client())?
        .in_process(|instance| Ok(greeter(instance.address().to_owned())))
        .build();
    greeters.ready().await?;
    println!("{}", Receptionist::new(greeters).welcome("Barbara").await?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use sd_memory::Registry;
    use std::{
        collections::BTreeMap,
        future,
        sync::{Arc, Mutex, MutexGuard},
        task::{Context, Poll},
    };
    use tokio::time::Instant;
    use tonic::{
        body::Body,
        codegen::{BoxFuture, Service, http},
    };

    /// All greeters, in place of a network.
    #[derive(Clone, Default)]
    struct World(Arc<Mutex<Greeters>>);

    #[derive(Default)]
    struct Greeters {
        /// The addresses that were called, in order.
        called: Vec<String>,
        /// How those answer that do not greet.
        ill: BTreeMap<String, Ill>,
    }

    #[derive(Clone, Copy)]
    enum Ill {
        Unavailable,
        Hangs,
    }

    impl World {
        fn greeters(&self) -> MutexGuard<'_, Greeters> {
            self.0.lock().expect("no test panics with this lock")
        }

        fn is(&self, address: &str, ill: Ill) {
            self.greeters().ill.insert(address.into(), ill);
        }

        fn called(&self) -> Vec<String> {
            self.greeters().called.clone()
        }
    }

    /// The greeter at an address. Any service will do: this one is the real greeter, unless the
    /// world says otherwise.
    #[derive(Clone)]
    struct Fake {
        address: String,
        world: World,
    }

    impl Service<http::Request<Body>> for Fake {
        type Response = http::Response<Body>;
        type Error = std::convert::Infallible;
        type Future = BoxFuture<Self::Response, Self::Error>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, request: http::Request<Body>) -> Self::Future {
            let mut greeters = self.world.greeters();
            greeters.called.push(self.address.clone());
            match greeters.ill.get(&self.address) {
                None => greeter(self.address.clone()).call(request),
                Some(Ill::Unavailable) => {
                    let status = Status::unavailable("out for lunch");
                    Box::pin(future::ready(Ok(status.into_http())))
                }
                Some(Ill::Hangs) => Box::pin(future::pending()),
            }
        }
    }

    /// A receptionist, and the channel that it calls through.
    fn receptionist(registry: &Registry, world: &World) -> (Receptionist, Channel) {
        let world = world.clone();
        let greeters = Receptionist::channel(registry.client())
            .expect("a prefix")
            .in_process(move |instance| {
                Ok(Fake {
                    address: instance.address().to_owned(),
                    world: world.clone(),
                })
            })
            .build();
        (Receptionist::new(greeters.clone()), greeters)
    }

    /// Two greeters.
    fn registry() -> Registry {
        let registry = Registry::new();
        for (key, address) in [("a", "10.0.0.1:80"), ("b", "10.0.0.2:80")] {
            let key = format!("/services/greeter/{key}");
            registry.put(key, address).expect("an entry");
        }
        registry
    }

    #[tokio::test(start_paused = true)]
    async fn guests_are_welcomed_by_all_greeters() {
        let (registry, world) = (registry(), World::default());
        let (receptionist, greeters) = receptionist(&registry, &world);
        greeters.ready().await.expect("greeters");

        for _ in 0..20 {
            let welcome = receptionist.welcome("Ada").await;
            assert_eq!(welcome.ok().as_deref(), Some("Hello, Ada!"));
        }

        let called = world.called();
        assert_eq!(called.len(), 20);
        for address in ["10.0.0.1:80", "10.0.0.2:80"] {
            assert!(called.contains(&address.into()), "{called:?}");
        }
    }

    /// The policy is under test too: what is answered is made again, as it says.
    #[tokio::test(start_paused = true)]
    async fn a_greeter_that_is_out_costs_no_welcome() {
        let (registry, world) = (registry(), World::default());
        let (receptionist, greeters) = receptionist(&registry, &world);
        greeters.ready().await.expect("greeters");

        world.is("10.0.0.1:80", Ill::Unavailable);

        for _ in 0..20 {
            let welcome = receptionist.welcome("Ada").await;
            welcome.expect("the other one welcomes");
        }
        assert!(world.called().contains(&"10.0.0.1:80".into()));
    }

    /// Deadlines take no time when time is paused, and are exact.
    #[tokio::test(start_paused = true)]
    async fn a_welcome_takes_two_seconds_at_most() {
        let (registry, world) = (registry(), World::default());
        let (receptionist, greeters) = receptionist(&registry, &world);
        greeters.ready().await.expect("greeters");
        world.is("10.0.0.1:80", Ill::Hangs);
        world.is("10.0.0.2:80", Ill::Hangs);
        let began = Instant::now();

        let late = receptionist
            .welcome("Ada")
            .await
            .expect_err("nobody answers");

        assert_eq!(late.code(), Code::DeadlineExceeded);
        assert_eq!(began.elapsed(), Duration::from_secs(2));
    }
}
