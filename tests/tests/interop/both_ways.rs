//! Every format: providers in Go and in Rust in one service, and a consumer of each kind.

use crate::{
    SERVICE,
    consumer::Consumer,
    framework::{
        DUBBO_APP, DUBBO_INTERFACE, Framework, GO_KIT, GO_MICRO, GO_ZERO, GRPC_GO, HERTZ, KITEX,
        KRATOS, Removals, Weight,
    },
    history::View,
    peer::Peer,
};
use sd_core::{
    Advert, Edit, Entry, Error, Format, Instancer, Invalid, Key, LeaseId, Registrar, Result,
    Source, Status,
};
use sd_etcd::EtcdClient;
use sd_tests::{Etcd, PATIENCE, eventually};
use std::{sync::Arc, time::Duration};

/// The shortest lease.
const SHORT: Duration = Duration::from_secs(2);
/// Providers in Go: one that leaves, and one that is killed.
const GO: &str = "10.0.0.1:8001";
const GO_KILLED: &str = "10.0.0.2:8002";
/// Ours.
const OURS: &str = "10.0.1.1:8001";
const OURS_KILLED: &str = "10.0.1.2:8002";

/// One service of a framework, and a consumer of each kind.
struct Fleet {
    framework: Framework,
    etcd: Etcd,
    client: EtcdClient,
    format: Arc<dyn Format>,
    go: Peer,
    ours: Consumer,
    instancer: Arc<Instancer>,
    /// What a consumer would show that is never told of a removal.
    ever: Vec<&'static str>,
    /// How far apart the two were after each change that both show.
    apart: Vec<(Duration, &'static str)>,
}

impl Fleet {
    async fn of(framework: Framework) -> Self {
        let etcd = Etcd::start().await;
        let client = EtcdClient::connect([etcd.endpoint()]).unwrap();
        let format = sd_formats::by_name(framework.format).unwrap();
        let instancer = Arc::new(Instancer::of(client.clone(), &format, SERVICE).unwrap());
        let fleet = Self {
            framework,
            go: Peer::discover(&framework, &etcd),
            ours: Consumer::of(instancer.clone()),
            instancer,
            etcd,
            client,
            format,
            ever: Vec::new(),
            apart: Vec::new(),
        };
        fleet.both_still_show("nothing", &[]).await;
        fleet
    }

    /// Waits until both consumers show these instances after a change.
    async fn both_show(&mut self, what: &'static str, addresses: &[&str]) {
        let apart = self.both_still_show(what, addresses).await;
        self.apart.extend(apart.map(|apart| (apart, what)));
    }

    /// Waits until both consumers show these instances. Returns how far apart they were, if they agree.
    async fn both_still_show(&self, what: &str, addresses: &[&str]) -> Option<Duration> {
        let go = match self.framework.removals {
            Removals::None => self.ever.as_slice(),
            Removals::AllButTheLast if addresses.is_empty() && !self.ever.is_empty() => &[GO],
            Removals::All | Removals::AllButTheLast => addresses,
        };
        let ours = self.ours.history().until_exactly(what, addresses).await;
        let seen = self.go.history().until_exactly(what, go).await;
        (addresses == go).then(|| seen.max(ours) - seen.min(ours))
    }

    /// Waits until both consumers show this weight, as far as the one in Go shows any.
    async fn both_weigh(&mut self, what: &'static str, address: &str, weight: i64) {
        let has = |view: &View| view.weights.get(address) == Some(&weight);
        let ours = self.ours.history().until(what, has).await;
        if self.framework.weight == Weight::Shown {
            let seen = self.go.history().until(what, has).await;
            self.apart.push((seen.max(ours) - seen.min(ours), what));
        }
    }

    /// Says how far apart the two consumers were, at most: a measurement, which depends on what else runs.
    async fn report(&self) {
        let (name, etcd) = (self.framework.name, self.etcd.version().await);
        let how = match self.framework.watches {
            true => "",
            false => "; Go does not watch, it asks",
        };
        let changes = self.apart.len();
        if let Some((apart, what)) = self.apart.iter().max() {
            let ms = apart.as_millis();
            println!(
                "{name}, etcd {etcd}: after {changes} changes both views equal, at most {ms} ms apart ({what}){how}"
            );
        }
    }

    fn registrar(&self, advert: &Advert) -> Registrar {
        Registrar::of(self.client.clone(), &self.format, SERVICE, advert).unwrap()
    }

    /// What etcd has of a provider.
    async fn entry_of(&self, address: &str) -> Entry {
        let state = self.instancer.state().expect("it is known");
        let mut all = state.instances().iter();
        let key = all
            .find(|it| it.address() == address)
            .expect("it is there")
            .key()
            .clone();
        let value = self.etcd.get(key.as_str()).await.expect("it is in etcd");
        Entry::new(key, value)
    }

    /// Whether the format has a weight that can be changed.
    fn has_weight(&self) -> bool {
        self.framework.weight != Weight::Unsayable
    }
}

/// All that happens to an instance, on both sides.
async fn both_ways(framework: Framework) {
    let mut fleet = Fleet::of(framework).await;

    let weight: &[&str] = match fleet.has_weight() {
        true => &["--weight", "30"],
        false => &[],
    };
    let go = Peer::register(&framework, &fleet.etcd, GO, weight).await;
    fleet.ever.push(GO);
    fleet.both_show("a provider in Go joins", &[GO]).await;
    if fleet.has_weight() {
        fleet.both_weigh("its weight", GO, 30).await;
    }

    let ours = joins_changes_and_announces(&mut fleet).await;
    if matches!(framework.weight, Weight::Shown | Weight::Hidden) {
        // An operator's change of an entry that is written by the library in Go.
        let entry = fleet.entry_of(GO).await;
        let codec = fleet.format.codec(SERVICE).unwrap();
        let edited = codec.edit(&entry, &Edit::new().weight(40)).unwrap();
        fleet.etcd.edit(edited.key.as_str(), edited.value).await;
        fleet
            .both_weigh(
                "an operator changes the weight of the provider in Go",
                GO,
                40,
            )
            .await;
        fleet.both_still_show("no other address", &[GO, OURS]).await;
    }
    ours.deregister().await.unwrap();
    fleet.both_show("ours leaves", &[GO]).await;

    crashes(&mut fleet).await;

    go.leave().await;
    fleet.both_show("the provider in Go leaves", &[]).await;
    assert!(fleet.go.is_running(), "the consumer in Go has ended");
    fleet.report().await;
    fleet.client.close().await;
}

/// Ours joins, gets another weight, and announces draining where the format can say it.
async fn joins_changes_and_announces(fleet: &mut Fleet) -> Registrar {
    let has_weight = fleet.has_weight();
    let weight = |weight| match has_weight {
        true => Advert::new(OURS).weight(weight),
        false => Advert::new(OURS),
    };
    let ours = fleet.registrar(&weight(50));
    ours.register_within(PATIENCE).await.unwrap();
    fleet.ever.push(OURS);
    fleet.both_show("ours joins", &[GO, OURS]).await;

    let before = fleet.entry_of(OURS).await;
    let edited = ours.edit(&Edit::new().weight(70)).await;
    match fleet.framework.weight {
        Weight::Unsayable => assert_unsayable(edited),
        Weight::InKey | Weight::Shown | Weight::Hidden => drop(edited.unwrap()),
    }
    fleet.both_still_show("no other address", &[GO, OURS]).await;
    if fleet.has_weight() {
        fleet.both_weigh("ours gets another weight", OURS, 70).await;
        assert_ne!(fleet.entry_of(OURS).await, before);
    }

    let before = fleet.entry_of(OURS).await;
    let edited = ours.edit(&Edit::new().status(Status::Draining)).await;
    if fleet.framework.draining {
        edited.unwrap();
        let is_drained = async || {
            let state = fleet.instancer.state().expect("it is known");
            let mut all = state.instances().iter();
            all.any(|it| it.address() == OURS && it.status() == Status::Draining)
        };
        eventually(PATIENCE, "ours to drain", is_drained, |it| *it).await;
    } else {
        assert_unsayable(edited);
        assert_eq!(fleet.entry_of(OURS).await, before, "nothing is written");
    }
    ours
}

/// What nobody deregisters goes with its lease.
async fn crashes(fleet: &mut Fleet) {
    // As if ours had been killed: its entry, on a lease that nobody keeps alive.
    let service = fleet
        .format
        .service(SERVICE, &Advert::new(OURS_KILLED))
        .unwrap();
    let key: Key = service.key.under(&LeaseId::from(1));
    fleet
        .etcd
        .put_leased(key.as_str(), service.value, SHORT)
        .await;
    fleet.ever.push(OURS_KILLED);
    fleet.both_show("ours is there", &[GO, OURS_KILLED]).await;
    fleet.both_show("ours was killed", &[GO]).await;

    let killed = Peer::register(&fleet.framework, &fleet.etcd, GO_KILLED, &[]).await;
    fleet.ever.push(GO_KILLED);
    fleet
        .both_show("another in Go joins", &[GO, GO_KILLED])
        .await;
    killed.kill();
    fleet.both_show("it was killed", &[GO]).await;
}

fn assert_unsayable<T: std::fmt::Debug>(edited: Result<T>) {
    let is_said = matches!(edited, Err(Error::Invalid(Invalid::Unsayable { .. })));
    assert!(is_said, "{edited:?}");
}

macro_rules! both_ways {
    ($($name:ident: $framework:expr;)*) => {$(
        #[tokio::test]
        #[ignore = "needs the programs in Go: ./run interop"]
        async fn $name() {
            both_ways($framework).await;
        }
    )*};
}

both_ways! {
    go_kit_both_ways: GO_KIT;
    grpc_go_both_ways: GRPC_GO;
    go_zero_both_ways: GO_ZERO;
    kratos_both_ways: KRATOS;
    kitex_both_ways: KITEX;
    hertz_both_ways: HERTZ;
    go_micro_both_ways: GO_MICRO;
    dubbo_applications_both_ways: DUBBO_APP;
    dubbo_interfaces_both_ways: DUBBO_INTERFACE;
}
