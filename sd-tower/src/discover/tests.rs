use super::*;
use futures::{FutureExt, StreamExt};
use proptest::prelude::*;
use sd_core::{
    Endpoint, Endpointer, Endpoints, FixedEndpointer, FixedInstancer, Instance, Key, factory_fn,
};
use sd_test_support::cases;
use std::collections::BTreeMap;
use tower::{Service, ServiceExt, balance::p2c::Balance, load::Load};

fn instance(key: &str, address: &str) -> Instance {
    Instance::new(Key::new(key).unwrap(), address)
}

fn endpoint<T>(key: &str, address: &str, target: T) -> Arc<Endpoint<T>> {
    Arc::new(Endpoint::new(instance(key, address), target))
}

/// The changes that can be read now, in words.
fn changes<S>(discover: &mut DiscoverEndpoints<S>) -> Vec<String>
where
    S: EndpointSource<Target: Clone + fmt::Display>,
{
    let mut changes = Vec::new();
    while let Some(change) = discover.next().now_or_never() {
        changes.push(match change.unwrap().unwrap() {
            Change::Insert(address, target) => format!("+{address} {target}"),
            Change::Remove(address) => format!("-{address}"),
        });
    }
    changes
}

#[test]
fn an_address_is_one_service_however_many_endpoints_it_has() {
    let (a, c) = (endpoint("a", "h:1", 1), endpoint("c", "h:2", 2));
    let b = Arc::new(a.with_instance(instance("b", "h:1")));
    let source = Arc::new(FixedEndpointer::unknown());
    let mut discover = DiscoverEndpoints::new(source.clone());
    assert!(changes(&mut discover).is_empty());
    source.set_shared([a.clone(), b.clone(), c.clone()]);
    assert_eq!(changes(&mut discover), ["+h:1 1", "+h:2 2"]);
    // The other one still is there.
    source.set_shared([b, c.clone()]);
    assert!(changes(&mut discover).is_empty());
    source.set_shared([c]);
    assert_eq!(changes(&mut discover), ["-h:1"]);
}

#[test]
fn an_attribute_is_no_change_and_a_replaced_target_is_an_insert() {
    let old = endpoint("a", "h:1", "old");
    let heavy = Arc::new(old.with_instance(instance("a", "h:1").with_weight(9)));
    let source = Arc::new(FixedEndpointer::unknown());
    source.set_shared([old]);
    let mut discover = DiscoverEndpoints::new(source.clone());
    assert_eq!(changes(&mut discover), ["+h:1 old"]);
    source.set_shared([heavy]);
    assert!(changes(&mut discover).is_empty());
    source.set_shared([endpoint("a", "h:1", "new")]);
    assert_eq!(changes(&mut discover), ["+h:1 new"]);
    source.set_shared([endpoint("a", "h:2", "moved")]);
    assert_eq!(changes(&mut discover), ["+h:2 moved", "-h:1"]);
}

#[test]
fn a_slow_reader_skips_to_the_newest_table() {
    let source = Arc::new(FixedEndpointer::unknown());
    let mut discover = DiscoverEndpoints::new(source.clone());
    assert!(changes(&mut discover).is_empty());
    for n in 0..1000 {
        source.set_shared([endpoint("a", &format!("h:{n}"), n)]);
    }
    assert_eq!(changes(&mut discover), ["+h:999 999"]);
}

/// A source that has ended: its versions will not change.
struct Ended<S>(S);

impl<S: EndpointSource> EndpointSource for Ended<S> {
    type Target = S::Target;

    fn endpoints(&self) -> Endpoints<S::Target> {
        self.0.endpoints()
    }

    fn versions(&self) -> watch::Receiver<u64> {
        watch::channel(self.0.endpoints().version()).1
    }
}

#[tokio::test]
async fn the_end_of_the_source_is_no_end_and_takes_nothing_away() {
    let instancer = FixedInstancer::new([instance("a", "h:1")]);
    let addresses = factory_fn(|instance: &Instance| Ok(instance.address().to_owned()));
    let endpointer = Arc::new(Endpointer::new(instancer, addresses));
    endpointer.ready().await.unwrap();
    let mut discover = DiscoverEndpoints::new(endpointer.clone());
    assert_eq!(changes(&mut discover), ["+h:1 h:1"]);
    endpointer.stop().await;
    let mut ended = DiscoverEndpoints::new(Ended(endpointer));
    assert_eq!(changes(&mut ended), ["+h:1 h:1"]);
    for _ in 0..3 {
        assert!(changes(&mut discover).is_empty());
        assert!(changes(&mut ended).is_empty());
    }
}

proptest! {
    #![proptest_config(cases(1))]

    #[test]
    fn the_changes_lead_from_any_table_to_the_next(
        // Of each key, in each table: its address and its target, if it is there.
        tables in prop::collection::vec(prop::collection::vec(prop::option::of((0..3_usize, 0..2_usize)), 4), 1..6)
    ) {
        // Endpoints of one address share a target, or do not.
        let targets: Vec<Arc<Endpoint<i32>>> = (0..6).map(|n| endpoint("a", "h", n)).collect();
        let source = Arc::new(FixedEndpointer::unknown());
        let mut discover = DiscoverEndpoints::new(source.clone());
        let mut services: BTreeMap<Arc<str>, i32> = BTreeMap::new();
        for table in tables {
            let endpoints: Vec<_> = table.iter().enumerate().filter_map(|(key, place)| {
                let (address, target) = (*place)?;
                let instance = instance(&key.to_string(), &format!("h:{address}"));
                Some(Arc::new(targets[address * 2 + target].with_instance(instance)))
            }).collect();
            let mut expected = BTreeMap::new();
            for endpoint in &endpoints {
                expected.entry(endpoint.address().into()).or_insert(*endpoint.target());
            }
            source.set_shared(endpoints);
            while let Some(change) = discover.next().now_or_never() {
                match change.unwrap().unwrap() {
                    Change::Insert(address, target) => {
                        prop_assert_ne!(services.insert(address, target), Some(target));
                    }
                    Change::Remove(address) => prop_assert!(services.remove(&address).is_some()),
                }
            }
            prop_assert_eq!(&services, &expected);
        }
    }
}

/// A service that answers its name, and is as loaded as it says.
#[derive(Clone)]
struct Named(&'static str, u32);

impl Service<()> for Named {
    type Response = &'static str;
    type Error = Infallible;
    type Future = std::future::Ready<Result<&'static str, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, (): ()) -> Self::Future {
        ready(Ok(self.0))
    }
}

impl Load for Named {
    type Metric = u32;

    fn load(&self) -> u32 {
        self.1
    }
}

#[tokio::test]
async fn towers_balance_calls_the_services_that_there_are() {
    let source = Arc::new(FixedEndpointer::unknown());
    let mut balance = Balance::new(DiscoverEndpoints::new(source.clone()));
    assert!(
        balance.ready().now_or_never().is_none(),
        "nobody to call yet"
    );

    let (idle, busy) = (Named("idle", 1), Named("busy", 9));
    source.set_shared([endpoint("a", "h:1", idle), endpoint("b", "h:2", busy)]);
    let answer = balance.ready().await.unwrap().call(()).await;
    assert_eq!((answer.unwrap(), balance.len()), ("idle", 2));

    source.set_shared([endpoint("b", "h:2", Named("replaced", 9))]);
    let answer = balance.ready().await.unwrap().call(()).await;
    assert_eq!((answer.unwrap(), balance.len()), ("replaced", 1));

    source.set_shared([]);
    assert!(balance.ready().now_or_never().is_none(), "they have gone");

    let waiting = async { balance.ready().await.unwrap().call(()).await };
    let back = async { source.set_shared([endpoint("a", "h:1", Named("back", 1))]) };
    assert_eq!(tokio::join!(waiting, back).0.unwrap(), "back");
}
