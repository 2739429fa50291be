//! From a registry to the endpoints that calls go to, in memory and on paused time.

use sd_core::{
    Balancer, BoxError, Endpoint, EndpointSource, Endpointer, Error, Factory, Instance, Instancer,
    NoEndpoints, Prefix, Registrar, Retry, RoundRobin, Service, async_trait, factory_fn,
};
use sd_memory::Registry;
use sd_tests::{PATIENCE, eventually};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::time::timeout;

const PREFIX: &str = "/svc";
const ADDRESS: &str = "10.0.0.1:80";

fn instancer(registry: &Registry) -> Instancer {
    Instancer::new(registry.client(), Prefix::new(PREFIX).unwrap())
}

/// Makes of an address the number of targets made so far.
fn counting() -> impl Factory<Target = usize> {
    let made = AtomicUsize::new(0);
    factory_fn(move |_| Ok(made.fetch_add(1, Ordering::Relaxed) + 1))
}

fn first<E: Send + Sync + 'static>(source: &impl EndpointSource<Target = E>) -> Arc<Endpoint<E>> {
    source.endpoints()[0].clone()
}

#[tokio::test(start_paused = true)]
async fn what_keeps_the_instances_from_being_known_is_a_typed_error() {
    let registry = Registry::new();
    registry.put(format!("{PREFIX}/a"), ADDRESS).unwrap();
    registry.refuse(Error::permission_denied("no"));
    let endpointer = Endpointer::new(instancer(&registry), counting());
    let refused = timeout(PATIENCE, endpointer.ready()).await.unwrap();
    for none in [refused, endpointer.endpoints().non_empty().map(|_| ())] {
        let Err(NoEndpoints::SourceFailed { why }) = none else {
            panic!("{none:?}");
        };
        assert!(matches!(*why, Error::PermissionDenied { .. }), "{why:?}");
    }
    registry.accept();
    let known = async || endpointer.ready().await.is_ok();
    eventually(PATIENCE, "the instances", known, |known| *known).await;

    // A registry that is away may come back.
    registry.kill();
    let endpointer = Endpointer::new(instancer(&registry), counting());
    let away = endpointer.ready_within(Duration::from_secs(5)).await;
    let Err(NoEndpoints::SourceFailed { why }) = away else {
        panic!("{away:?}");
    };
    assert!(why.is_transient(), "{why:?}");
    registry.restart();
    endpointer.wait_for_endpoints().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_second_attempt_goes_to_another_host() {
    let registry = Registry::new();
    let [twice, other] = ["10.0.0.1:80", "10.0.0.2:80"];
    for (key, address) in [("uuid-1", twice), ("uuid-2", twice), ("uuid-3", other)] {
        registry.put(format!("{PREFIX}/{key}"), address).unwrap();
    }
    let addresses = factory_fn(|instance| Ok(instance.address().to_owned()));
    let endpointer = Endpointer::new(instancer(&registry), addresses);
    endpointer.ready().await.unwrap();
    assert_eq!(endpointer.endpoints().len(), 2);
    let retry: Retry<_, BoxError> = Retry::builder(RoundRobin::new(endpointer))
        .max_attempts(2)
        .build();
    for _ in 0..10 {
        let called = retry.call(async |host: Arc<Endpoint<String>>| {
            if host.address() == twice {
                return Err(BoxError::from("refused"));
            }
            Ok(())
        });
        called.await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_caller_gets_another_target_for_a_process_that_was_started_again() {
    let registry = Registry::new();
    registry.put(format!("{PREFIX}/a"), ADDRESS).unwrap();
    let process = Arc::new(AtomicUsize::new(1));
    let connected_to = process.clone();
    let connect = factory_fn(move |_| Ok(connected_to.load(Ordering::Relaxed)));
    let endpointer = Arc::new(Endpointer::new(instancer(&registry), connect));
    endpointer.ready().await.unwrap();
    process.store(2, Ordering::Relaxed);
    let balancer = RoundRobin::new(endpointer);
    let call = balancer.endpoint().unwrap();
    assert_eq!(**call, 1);
    call.replace_target();
    let look = async || **balancer.endpoint().unwrap();
    eventually(PATIENCE, "the new process", look, |process| *process == 2).await;
}

/// Makes what [`counting`] makes, for one registration.
struct Sessions<F>(F);

#[async_trait]
impl<F: Factory> Factory for Sessions<F> {
    type Target = F::Target;

    async fn make(&self, instance: &Instance) -> Result<F::Target, BoxError> {
        self.0.make(instance).await
    }

    fn is_per_registration(&self) -> bool {
        true
    }
}

#[tokio::test(start_paused = true)]
async fn another_process_at_the_same_address_gets_its_own_session() {
    let registry = Registry::new();
    let service = Service::new(format!("{PREFIX}/a"), ADDRESS).unwrap();
    let register = async || {
        let registrar = Registrar::new(registry.client(), service.clone());
        registrar.register().await.unwrap();
        registrar
    };
    let first_process = register().await;
    let lazy = Endpointer::new(instancer(&registry), counting());
    let sessions = Endpointer::new(instancer(&registry), Sessions(counting()));
    for endpointer in [&lazy, &sessions] {
        endpointer.ready().await.unwrap();
    }
    let lease = first(&sessions).instance().lease().cloned();
    assert_eq!(lease, registry.get(&format!("{PREFIX}/a")).unwrap().lease);
    assert!(lease.is_some());

    // It takes the key over with the same value, as one that was started again does.
    let second_process = register().await;
    let look = async || **first(&sessions);
    eventually(PATIENCE, "another session", look, |made| *made == 2).await;
    assert_ne!(first(&sessions).instance().lease().cloned(), lease);
    drop((first_process, second_process));
    assert_eq!(**first(&lazy), 1);
}

#[tokio::test(start_paused = true)]
async fn what_a_provider_changes_takes_effect_and_the_target_goes_on() {
    let registry = Registry::new();
    let value = |rest: &str| format!(r#"{{"address":"10.0.0.1:80"{rest}}}"#);
    let service = Service::new(format!("{PREFIX}/a"), value("")).unwrap();
    let registrar = Registrar::builder(registry.client(), service)
        .drain(Duration::from_secs(60))
        .build();
    registrar.register().await.unwrap();
    let endpointer = Arc::new(Endpointer::new(instancer(&registry), counting()));
    endpointer.ready().await.unwrap();
    let balancer = RoundRobin::new(endpointer.clone());
    let call = balancer.endpoint().unwrap();
    assert_eq!((call.weight(), call.zone()), (1, None));

    let changed = value(r#","weight":7,"zone":"eu-1","metadata":{"version":"2"}"#);
    registrar.update(changed).await.unwrap();
    let look = async || first(&endpointer);
    let heavier = eventually(PATIENCE, "the weight", look, |it| it.weight() == 7).await;
    assert_eq!(heavier.zone(), Some("eu-1"));
    assert_eq!(heavier.instance().metadata("version"), Some("2"));
    assert!(heavier.shares_target_with(&call));

    // Another one serves, so the one that drains gets no new calls.
    registry.put(format!("{PREFIX}/b"), "10.0.0.2:80").unwrap();
    let look = async || endpointer.endpoints().len();
    eventually(PATIENCE, "both", look, |len| *len == 2).await;
    let draining = tokio::spawn(async move { registrar.deregister().await });
    let look = async || endpointer.endpoints().len();
    eventually(PATIENCE, "one less", look, |len| *len == 1).await;
    for _ in 0..10 {
        assert_eq!(balancer.endpoint().unwrap().address(), "10.0.0.2:80");
    }
    // The call in flight keeps its target, and nobody ends it.
    draining.await.unwrap().unwrap();
    let is_gone = tokio::time::timeout(Duration::from_secs(60), call.removed());
    assert!(is_gone.await.is_err(), "it announced that it drains");
    assert_eq!(**call, 1);
    assert_eq!(**balancer.endpoint().unwrap(), 2, "targets made");
}
