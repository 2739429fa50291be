//! How to test a service that registers itself and calls others: without a registry, without a
//! network, and without waiting.
//!
//! The service is a greeter. It registers under `/services/greeter/`, and calls the services under
//! `/services/translator/` to translate its greetings. This file is about its tests, which begin at
//! `mod tests`.
//!
//! ```text
//! cargo test --bin testing
//! cargo run --bin testing
//! ```
//!
//! The second command runs the greeter for a moment. What to watch for in the first: the tests
//! contain minutes of outage, and all of them together take no time.
//!
//! Three habits make a service testable like this:
//! 1. It takes its [`Client`] as an argument, so that a test can hand it one of `sd-memory` or a
//!    `MockClient`.
//! 2. It also takes the [`Factory`] for the services that it calls, so that a test can replace
//!    them.
//! 3. It uses tokio's clock for all waits, which a test can pause.
//!
//! `testing/grpc.rs` does the same for a service that calls by gRPC (`--features grpc`, which needs
//! `protoc`).

#[cfg(feature = "grpc")]
#[path = "grpc/greeter.rs"]
mod greeter;
#[cfg(feature = "grpc")]
#[path = "testing/grpc.rs"]
mod grpc;

use sd_core::{
    BoxError, Client, Codec, DefaultCodec, Deregistered, Endpointer, Factory, Instance, Instancer,
    Key, Prefix, Registrar, Retry, RetryError, RoundRobin, Service, async_factory_fn, async_trait,
};
use std::{error::Error, fmt, sync::Arc, time::Duration};

// === The service ===

/// A client of one translator.
#[async_trait]
trait Translator: Send + Sync + 'static {
    async fn translate(&self, text: &str) -> Result<String, Unreachable>;
}

/// A translator that did not answer.
#[derive(Debug)]
struct Unreachable;

impl fmt::Display for Unreachable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the translator cannot be reached")
    }
}

impl Error for Unreachable {}

/// Greets people, in whatever language the translators speak.
struct Greeter<T> {
    registrar: Registrar,
    translators: Retry<RoundRobin<Endpointer<T>>, Unreachable>,
}

impl<T: Translator> Greeter<T> {
    /// Finds the translators and registers the greeter at `address`.
    async fn start(
        client: Arc<dyn Client>,
        address: &str,
        translators: impl Factory<Target = T>,
    ) -> Result<Self, BoxError> {
        let instancer = Instancer::new(client.clone(), Prefix::new("/services/translator")?);
        instancer.ready_within(Duration::from_secs(30)).await?;
        let endpointer = Endpointer::new(instancer, translators);
        endpointer.ready().await?;

        // In JSON, because of the version. So draining can be announced too.
        let key = Key::new(format!("/services/greeter/{address}"))?;
        let instance = Instance::new(key.clone(), address).with_metadata("version", "1");
        let service = Service::new(key, DefaultCodec.encode(&instance)?)?;
        let registrar = Registrar::builder(client, service)
            .drain(Duration::from_secs(2))
            .build();
        registrar.register_within(Duration::from_secs(30)).await?;

        let translators = Retry::builder(RoundRobin::new(endpointer))
            .max_attempts(3)
            .per_try_timeout(Duration::from_millis(500))
            .retry_timeouts(true) // a word may be translated twice
            .build();
        Ok(Self {
            registrar,
            translators,
        })
    }

    async fn greet(&self, name: &str) -> Result<String, RetryError<Unreachable>> {
        let hello = self
            .translators
            .call(async |translator| translator.translate("hello").await);
        Ok(format!("{}, {name}!", hello.await?))
    }

    /// Announces draining and deregisters.
    async fn stop(self) -> Result<Deregistered, BoxError> {
        Ok(self.registrar.deregister().await?)
    }
}

/// A translator in this process.
struct Phrasebook(&'static str);

#[async_trait]
impl Translator for Phrasebook {
    async fn translate(&self, _text: &str) -> Result<String, Unreachable> {
        Ok(self.0.into())
    }
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let registry = sd_memory::Registry::new();
    registry.put("/services/translator/fr", "10.0.0.1:80")?;
    registry.put("/services/translator/de", "10.0.0.2:80")?;
    let phrasebooks = async_factory_fn(async |instance: Instance| match instance.address() {
        "10.0.0.1:80" => Ok(Phrasebook("bonjour")),
        "10.0.0.2:80" => Ok(Phrasebook("guten Tag")),
        other => Err(format!("nobody lives at {other}").into()),
    });
    let client = Arc::new(registry.client());
    let greeter = Greeter::start(client, "10.0.0.9:80", phrasebooks).await?;
    for name in ["Ada", "Grace"] {
        println!("{}", greeter.greet(name).await?);
    }
    greeter.stop().await?;
    #[cfg(feature = "grpc")]
    grpc::show().await?;
    println!("\nThe rest of the story is told by: cargo test --bin testing");
    Ok(())
}

// === Its tests ===

#[cfg(test)]
mod tests {
    //! Two replacements for the registry, for two kinds of questions.
    //!
    //! - **What does the service do over time?** Leases expire, the registry is down, peers come
    //!   and go: [`sd_memory::Registry`] has real leases and watches, and its faults are methods.
    //!   With `start_paused`, tokio's clock jumps to the next timer.
    //! - **What does it do with a certain answer?** An error that no registry gives on demand, a
    //!   call that must not be made: [`MockClient`] is scripted call by call.

    use super::*;
    use futures::{StreamExt, stream};
    use sd_core::{
        Batch, EndpointSource, Error, Instances, MockClient, RegistrarStatus, Registration,
        Revision, Snapshot, Status, StopReason, Ttl, Watch, factory_fn,
    };
    use sd_memory::{MemoryClient, Registry};
    use std::{
        collections::HashSet,
        sync::{Mutex, MutexGuard},
    };
    use tokio::time::{Instant, sleep, timeout};

    // --- Fixtures ---

    const GREETER: &str = "/services/greeter/10.0.0.9:80";

    /// All translators, in place of a network.
    #[derive(Clone, Default)]
    struct World(Arc<Mutex<Translators>>);

    #[derive(Default)]
    struct Translators {
        /// The addresses that were called, in order.
        called: Vec<String>,
        down: HashSet<String>,
    }

    impl World {
        fn translators(&self) -> MutexGuard<'_, Translators> {
            self.0.lock().expect("no test panics with this lock")
        }

        /// The addresses that were called since the last time.
        fn called(&self) -> Vec<String> {
            std::mem::take(&mut self.translators().called)
        }

        fn factory(&self) -> impl Factory<Target = Fake> {
            let world = self.clone();
            factory_fn(move |instance| {
                Ok(Fake {
                    address: instance.address().to_owned(),
                    world: world.clone(),
                })
            })
        }
    }

    struct Fake {
        address: String,
        world: World,
    }

    #[async_trait]
    impl Translator for Fake {
        async fn translate(&self, _text: &str) -> Result<String, Unreachable> {
            let mut translators = self.world.translators();
            translators.called.push(self.address.clone());
            match translators.down.contains(&self.address) {
                true => Err(Unreachable),
                false => Ok("bonjour".into()),
            }
        }
    }

    /// A registered translator, and the client that stands for its process.
    async fn translator(registry: &Registry, address: &str) -> (MemoryClient, Registrar) {
        let client = registry.client();
        let key = format!("/services/translator/{address}");
        let value = format!(r#"{{"address":"{address}"}}"#);
        let service = Service::new(key, value).expect("a service");
        let registrar = Registrar::new(client.clone(), service);
        registrar.register().await.expect("a registration");
        (client, registrar)
    }

    async fn greeter(registry: &Registry, world: &World) -> Greeter<Fake> {
        let client = Arc::new(registry.client());
        let started = Greeter::start(client, "10.0.0.9:80", world.factory()).await;
        started.expect("a greeter")
    }

    impl Greeter<Fake> {
        /// The addresses that it may call.
        fn sees(&self) -> Vec<String> {
            let endpoints = self.translators.balancer().source().endpoints();
            endpoints.iter().map(|it| it.address().to_owned()).collect()
        }

        async fn sees_only(&self, addresses: &[&str]) {
            let what = format!("only {addresses:?} to be seen");
            eventually(&what, || self.sees() == addresses).await;
        }
    }

    /// Waits for a condition rather than for a time. At most an hour, which costs nothing on paused
    /// time.
    async fn eventually(what: &str, condition: impl Fn() -> bool) {
        let waiting = async {
            while !condition() {
                sleep(Duration::from_millis(10)).await;
            }
        };
        let limit = Duration::from_secs(60 * 60);
        timeout(limit, waiting)
            .await
            .unwrap_or_else(|_| panic!("waited in vain for {what}"));
    }

    // --- With a registry in memory ---

    /// The simplest test: look into the registry.
    #[tokio::test(start_paused = true)]
    async fn a_greeter_is_registered_from_start_to_stop() {
        let registry = Registry::new();
        let greeter = greeter(&registry, &World::default()).await;
        assert!(registry.get(GREETER).is_some());

        let stopped = greeter.stop().await;

        assert_eq!(stopped.ok(), Some(Deregistered::Removed));
        assert!(registry.get(GREETER).is_none());
        assert!(registry.leases().is_empty(), "its lease went with it");
    }

    /// Peers join while it runs. With `eventually`, as changes take a moment even here.
    #[tokio::test(start_paused = true)]
    async fn a_translator_that_joins_is_called() {
        let (registry, world) = (Registry::new(), World::default());
        let greeter = greeter(&registry, &world).await;
        let alone = greeter.greet("Ada").await.expect_err("nobody translates");
        assert_eq!(alone.stop_reason(), StopReason::NoEndpoints);

        let _one = translator(&registry, "10.0.0.1:80").await;
        let _other = translator(&registry, "10.0.0.2:80").await;
        greeter.sees_only(&["10.0.0.1:80", "10.0.0.2:80"]).await;

        for _ in 0..2 {
            assert_eq!(
                greeter.greet("Ada").await.ok().as_deref(),
                Some("bonjour, Ada!")
            );
        }
        let mut called = world.called();
        called.sort();
        assert_eq!(called, ["10.0.0.1:80", "10.0.0.2:80"]);
    }

    /// A peer dies: first calls to it fail, then its lease expires. `crash` ends a client like a
    /// killed process.
    #[tokio::test(start_paused = true)]
    async fn a_translator_that_crashes_costs_no_greeting() {
        let (registry, world) = (Registry::new(), World::default());
        let _one = translator(&registry, "10.0.0.1:80").await;
        let (other, _registrar) = translator(&registry, "10.0.0.2:80").await;
        let greeter = greeter(&registry, &world).await;

        other.crash();
        world.translators().down.insert("10.0.0.2:80".into());
        for _ in 0..4 {
            greeter
                .greet("Ada")
                .await
                .expect("the other one translates");
        }
        assert!(world.called().contains(&"10.0.0.2:80".into()));

        greeter.sees_only(&["10.0.0.1:80"]).await;
        assert!(registry.get("/services/translator/10.0.0.2:80").is_none());
    }

    /// A peer that announces draining is no longer called, though it is still registered.
    #[tokio::test(start_paused = true)]
    async fn a_translator_that_drains_is_left_alone() {
        let (registry, world) = (Registry::new(), World::default());
        let _one = translator(&registry, "10.0.0.1:80").await;
        let (_client, other) = translator(&registry, "10.0.0.2:80").await;
        let greeter = greeter(&registry, &world).await;

        let draining = r#"{"address":"10.0.0.2:80","status":"draining"}"#;
        other.update(draining).await.expect("an update");

        greeter.sees_only(&["10.0.0.1:80"]).await;
        assert!(registry.get("/services/translator/10.0.0.2:80").is_some());
    }

    /// The other side: what others see of a greeter that stops. A test can use its own `Instancer`,
    /// and measure times exactly, as time is paused.
    #[tokio::test(start_paused = true)]
    async fn a_greeter_announces_that_it_goes() {
        let registry = Registry::new();
        let greeter = greeter(&registry, &World::default()).await;
        let prefix = Prefix::new("/services/greeter").expect("a prefix");
        let others = Arc::new(Instancer::new(registry.client(), prefix));
        others.ready().await.expect("the greeters");
        let seen = || others.state().map(|event| event.instances().clone());
        let status = |seen: Instances| seen.iter().next().map(|it| it.status());

        let began = Instant::now();
        let stopping = tokio::spawn(greeter.stop());
        let announced = || seen().and_then(status) == Some(Status::Draining);
        eventually("it to be seen as draining", announced).await;
        assert!(registry.get(GREETER).is_some());

        let stopped = stopping.await.expect("no panic");
        assert_eq!(stopped.ok(), Some(Deregistered::Removed));
        assert!(began.elapsed() >= Duration::from_secs(2), "time to drain");
        eventually("it to be gone", || {
            seen().is_some_and(|seen| seen.is_empty())
        })
        .await;
    }

    /// Its lease is lost. `expire_lease` does at once what a long pause of the process would do.
    #[tokio::test(start_paused = true)]
    async fn a_greeter_that_lost_its_lease_comes_back() {
        let registry = Registry::new();
        let _greeter = greeter(&registry, &World::default()).await;
        let lease = || registry.get(GREETER).and_then(|stored| stored.lease);
        let before = lease().expect("a lease");

        assert!(registry.expire_lease(&before));
        assert_eq!(lease(), None);

        eventually("another lease", || lease().is_some()).await;
        assert_ne!(lease(), Some(before));
    }

    /// The registry does not answer for a quarter of an hour, in which every lease expires, and the
    /// translator registers again only later. Callers of the greeter notice nothing.
    #[tokio::test(start_paused = true)]
    async fn an_outage_of_the_registry_costs_no_greeting() {
        let (registry, world) = (Registry::new(), World::default());
        let client = registry.client();
        let service = Service::new("/services/translator/a", "10.0.0.1:80").expect("a service");
        let before = client.register(&service).await.expect("a registration");
        let greeter = greeter(&registry, &world).await;

        registry.freeze();
        for _ in 0..15 {
            sleep(Duration::from_secs(60)).await;
            let greeting = greeter.greet("Ada").await;
            greeting.expect("what it knew still holds");
        }
        registry.thaw();
        assert!(registry.entries().is_empty(), "all leases ran out");
        for _ in 0..10 {
            sleep(Duration::from_secs(1)).await;
            let greeting = greeter.greet("Ada").await;
            greeting.expect("after trouble, removals are not believed at once");
        }
        assert!(registry.get(GREETER).is_some(), "the greeter is back");

        let again = before.reclaim(service.value.clone()).await;
        // Held, since a dropped registration ends.
        let _held = again.expect("the translator is back");
        for _ in 0..60 {
            sleep(Duration::from_secs(1)).await;
            greeter.greet("Ada").await.expect("it never went");
        }
    }

    /// Somebody else registers under its key: the greeter reports that, and does not retake it.
    #[tokio::test(start_paused = true)]
    async fn a_greeter_does_not_fight_for_its_key() {
        let registry = Registry::new();
        let greeter = greeter(&registry, &World::default()).await;

        registry.put(GREETER, "10.0.0.66:80").expect("a key");

        let mut status = greeter.registrar.status();
        let taken = |status: &RegistrarStatus| matches!(status, RegistrarStatus::Taken { .. });
        status.wait_for(taken).await.expect("a status");
        sleep(2 * Ttl::DEFAULT.duration()).await;
        let stands = registry.get(GREETER).expect("an entry");
        assert_eq!(stands.value, "10.0.0.66:80");
        assert_eq!(greeter.stop().await.ok(), Some(Deregistered::NotOurs));
    }

    // --- With a mock ---

    /// A registry without entries, in which nothing happens.
    fn quiet() -> MockClient {
        let mut client = MockClient::new();
        client
            .expect_get_entries()
            .returning(|_| Ok(Snapshot::new(Vec::new(), Revision::new(1_u64))));
        client.expect_watch_prefix().returning(|_, after| {
            let stands = Ok(Batch::new(Vec::new(), after.clone()));
            Ok(Watch::new(stream::iter([stands]).chain(stream::pending())))
        });
        client
    }

    /// A registration that is never lost.
    fn registered(service: &Service) -> sd_core::Result<Registration> {
        let lease = 7.into();
        Ok(Registration::detached(service.key.under(&lease), lease))
    }

    async fn start(client: MockClient) -> Result<Greeter<Fake>, BoxError> {
        let factory = World::default().factory();
        Greeter::start(Arc::new(client), "10.0.0.9:80", factory).await
    }

    /// How often is it called? `times` is checked when the mock is dropped.
    #[tokio::test(start_paused = true)]
    async fn a_greeter_without_rights_says_so_at_once() {
        let mut client = quiet();
        client
            .expect_register()
            .times(1)
            .returning(|_| Err(Error::permission_denied("not for greeters")));
        let began = Instant::now();

        let refused = start(client).await.err().expect("no greeter");

        assert!(
            refused.to_string().contains("not for greeters"),
            "{refused}"
        );
        assert_eq!(began.elapsed(), Duration::ZERO, "it did not wait");
    }

    /// Answers that differ from call to call: expectations apply in order.
    #[tokio::test(start_paused = true)]
    async fn a_greeter_waits_for_a_registry_that_is_not_up_yet() {
        let mut client = quiet();
        let down = |_: &Service| Err(Error::unavailable("connection refused"));
        client.expect_register().times(2).returning(down);
        client.expect_register().times(1).returning(registered);
        client
            .expect_deregister()
            .times(1)
            .returning(|_| Ok(Deregistered::Removed));

        let greeter = start(client).await.expect("a greeter");
        greeter.stop().await.expect("an end");
    }

    /// An answer that a registry gives only in an outage.
    #[tokio::test(start_paused = true)]
    async fn a_greeter_says_when_its_end_is_not_confirmed() {
        let mut client = quiet();
        client.expect_register().returning(registered);
        client
            .expect_deregister()
            .returning(|_| Ok(Deregistered::Unconfirmed));

        let greeter = start(client).await.expect("a greeter");

        let stopped = greeter.stop().await;
        assert_eq!(stopped.ok(), Some(Deregistered::Unconfirmed));
    }
}
