use super::*;
use crate::{
    calls::{
        adapters::{Ejection, Reachable},
        balancer::{Balancer, RoundRobin},
        connectivity::{Connectable, Connectivity},
        endpointer::FixedEndpointer,
        observer::{EndedCall, Outcome},
    },
    instances::{Instance, testing::quiet},
    registry::Key,
    support::Log,
};
use std::{
    collections::BTreeMap,
    io,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

#[derive(Default)]
struct Ended(AtomicU64);

impl Observer for Ended {
    fn ended(&self, _: &EndedCall) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// The observers that were given, by address, and how often the function was called.
#[derive(Default, Clone)]
struct Given(Arc<Mutex<GivenObservers>>);

#[derive(Default)]
struct GivenObservers {
    by_address: BTreeMap<String, Arc<Ended>>,
    calls: usize,
}

impl Given {
    fn observer<E>(&self) -> impl FnMut(&Endpoint<E>) -> Arc<Ended> + Send + 'static {
        let given = self.clone();
        move |endpoint| {
            let mut given = given.0.lock().unwrap();
            given.calls += 1;
            let observer = given.by_address.entry(endpoint.address().to_owned());
            observer.or_default().clone()
        }
    }

    fn calls(&self) -> usize {
        self.0.lock().unwrap().calls
    }

    fn ended(&self) -> BTreeMap<String, u64> {
        let given = self.0.lock().unwrap();
        let ended = given.by_address.iter();
        ended
            .map(|(address, ended)| (address.clone(), ended.0.load(Ordering::Relaxed)))
            .collect()
    }
}

fn endpoint<E>(name: &str, target: E) -> Arc<Endpoint<E>> {
    let instance = Instance::new(Key::new(name).unwrap(), format!("{name}:80"));
    Arc::new(Endpoint::new(instance, target))
}

#[tokio::test(start_paused = true)]
async fn each_endpoint_is_observed_by_what_the_function_gives_for_it() {
    let (a, b) = (endpoint("a", ()), endpoint("b", ()));
    let source = Arc::new(FixedEndpointer::unknown());
    source.set_shared([a.clone(), b.clone()]);
    let given = Given::default();
    let observed = Arc::new(Observed::new(source.clone(), given.observer()));
    let balancer = RoundRobin::new(Ejection::new(observed.clone()));
    for _ in 0..6 {
        balancer.endpoint().unwrap().report(Outcome::Success);
    }
    assert_eq!(
        given.ended(),
        [("a:80".into(), 3), ("b:80".into(), 3)].into()
    );
    // What is picked past it is not.
    let pick = RoundRobin::new(source.clone()).endpoint().unwrap();
    pick.report(Outcome::Success);
    assert_eq!(given.ended().values().sum::<u64>(), 6);

    // An endpoint that did not change keeps its observer and stays the same.
    let before = observed.endpoints()[1].clone();
    let heavier = a.instance().as_ref().clone().with_weight(2);
    source.set_shared([Arc::new(a.with_instance(heavier)), b]);
    quiet().await;
    assert_eq!(observed.endpoints()[0].weight(), 2);
    assert!(Arc::ptr_eq(&observed.endpoints()[1], &before));
    assert_eq!(given.calls(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_function_that_panics_costs_the_observer_only() {
    let log = Log::capture();
    let source = Arc::new(FixedEndpointer::unknown());
    source.set_shared([endpoint("a", ()), endpoint("b", ())]);
    let mut given = Given::default().observer();
    let observed = Observed::new(source, move |endpoint| match endpoint.address() {
        "a:80" => panic!("not this one"),
        _ => given(endpoint),
    });
    assert_eq!(observed.endpoints().len(), 2);
    let text = log.text();
    assert!(
        text.len() == 1 && text[0].contains("no observer") && text[0].contains("not this one"),
        "{text:?}"
    );
}

struct Down;

impl Connectable for Down {
    fn connectivity(&self) -> watch::Receiver<Connectivity> {
        let failing = Connectivity::Failing {
            cause: Arc::new(io::Error::from(io::ErrorKind::ConnectionRefused)),
            since: Instant::now(),
            next_attempt: None,
        };
        watch::channel(failing).1
    }
}

#[tokio::test(start_paused = true)]
async fn the_state_of_its_source_is_passed_on() {
    let source = Arc::new(FixedEndpointer::unknown());
    source.set_shared([endpoint("a", Down)]);
    let reachable = Reachable::new(source);
    let observed = Observed::new(reachable, Given::default().observer());
    quiet().await;
    assert!(observed.endpoints().in_panic());
    assert_eq!(observed.endpoints().len(), 1);
}
