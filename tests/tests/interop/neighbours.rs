//! What is written in one format, beside the consumers of all others: every format, under neighbouring names, with all
//! that it can say.

use crate::{
    SERVICE,
    framework::{
        DUBBO_APP, DUBBO_INTERFACE, Framework, GO_KIT, GO_MICRO, GO_ZERO, GRPC_GO, HERTZ, KITEX,
        KRATOS, Removals,
    },
    peer::Peer,
};
use sd_core::{Advert, Edit, Registrar, Status};
use sd_etcd::EtcdClient;
use sd_formats::Format;
use sd_tests::{Etcd, PATIENCE, eventually};

/// Names that begin as [`SERVICE`] does, that it begins with, and that lie below it.
const NEIGHBOURS: [&str; 8] = ["sv", "svc2", "svcX", "svc-b", "svc.b", "svc_", "svc/b", "b"];
const NEIGHBOUR: &str = "10.0.2.1:9000";
const OURS: &str = "10.0.1.1:8001";

/// A service of one framework: a provider in Go, and its consumer.
struct Fleet {
    framework: Framework,
    provider: Peer,
    consumer: Peer,
    address: String,
}

impl Fleet {
    async fn of(framework: Framework, etcd: &Etcd, number: usize) -> Self {
        let address = format!("10.0.0.{number}:8001");
        let provider = Peer::register(&framework, etcd, &address, &[]).await;
        let consumer = Peer::discover(&framework, etcd);
        let what = framework.name;
        consumer.history().until_exactly(what, &[&address]).await;
        Self {
            framework,
            provider,
            consumer,
            address,
        }
    }

    /// It showed its own instance at all times, nobody else's, and nothing went wrong.
    fn assert_undisturbed(&mut self) {
        let name = self.framework.name;
        let own = [self.address.as_str(), OURS];
        self.consumer.history().always(name, |view| {
            let is_own = |shown: &String| own.contains(&shown.as_str());
            view.shows(&self.address) && view.addresses.iter().all(is_own) && !view.is_doubled()
        });
        assert!(
            self.provider.is_running() && self.consumer.is_running(),
            "{name} has ended"
        );
        let errors = self.consumer.history().errors();
        assert!(errors.is_empty(), "{name}: {errors:?}");
    }
}

/// An instance with as much as `format` can say, in values that a careless consumer would trip over.
fn rich(format: &dyn Format, service: &str, address: &str) -> Advert {
    let mut rich = Advert::new(address);
    for say in [
        |it: Advert| it.weight(7),
        |it: Advert| it.zone("eu-1"),
        |it: Advert| it.metadata("a", "<b> \"null\" 日本\u{2028}\n"),
        |it: Advert| it.metadata("methods", "A,B"),
        |it: Advert| it.address("http://10.0.2.9:9"),
        |it: Advert| it.id("null"),
        |it: Advert| it.version("{}"),
        |it: Advert| it.status(Status::Draining),
    ] {
        let richer = say(rich.clone());
        if format.service(service, &richer).is_ok() {
            rich = richer;
        }
    }
    rich
}

/// Registers instances of every neighbour in every format that can have it, and edits them.
async fn neighbours(client: &EtcdClient) -> Vec<Registrar> {
    let mut all = Vec::new();
    for format in sd_formats::all() {
        for name in NEIGHBOURS {
            let plain = Advert::new(NEIGHBOUR);
            // Another entry also where the key is the address.
            let rich = rich(&format, name, "10.0.2.2:9000");
            if format.service(name, &plain).is_err() {
                continue;
            }
            for advert in [plain, rich] {
                let registrar = Registrar::of(client.clone(), &format, name, &advert).unwrap();
                registrar.register_within(PATIENCE).await.unwrap();
                for edit in [
                    Edit::new().weight(0),
                    Edit::new().weight(u32::MAX),
                    Edit::new().status(Status::Draining),
                    Edit::new().metadata("b", "null"),
                ] {
                    // Not every format can say every edit.
                    let _ = registrar.edit(&edit).await;
                }
                all.push(registrar);
            }
        }
    }
    all
}

/// No value that the toolkit writes breaks or feeds a consumer of another service, whatever the format.
async fn nobody_is_disturbed(frameworks: &[Framework]) {
    let etcd = Etcd::start().await;
    let client = EtcdClient::connect([etcd.endpoint()]).unwrap();
    let mut fleets = Vec::new();
    for (number, framework) in frameworks.iter().enumerate() {
        fleets.push(Fleet::of(*framework, &etcd, number + 1).await);
    }
    let neighbours = neighbours(&client).await;
    assert!(neighbours.len() > 100, "{}", neighbours.len());

    // All consumers have seen all that by the time at which they see this, and they see this.
    let mut own = Vec::new();
    for fleet in &fleets {
        let format = sd_formats::by_name(fleet.framework.format).unwrap();
        let ours = Registrar::of(client.clone(), &format, SERVICE, &Advert::new(OURS)).unwrap();
        ours.register_within(PATIENCE).await.unwrap();
        own.push(ours);
    }
    for fleet in &fleets {
        let (what, both) = (fleet.framework.name, [&*fleet.address, OURS]);
        fleet.consumer.history().until_exactly(what, &both).await;
    }
    for registrar in neighbours.iter().chain(&own) {
        registrar.deregister().await.unwrap();
    }
    for fleet in &mut fleets {
        if fleet.framework.removals != Removals::None {
            let (what, one) = (fleet.framework.name, [&*fleet.address]);
            fleet.consumer.history().until_exactly(what, &one).await;
        }
        fleet.assert_undisturbed();
    }
    client.close().await;
}

#[tokio::test]
#[ignore = "needs the programs in Go: ./run interop"]
async fn no_neighbour_in_any_format_disturbs_a_consumer() {
    let fleets = [
        GO_KIT,
        GRPC_GO,
        KRATOS,
        KITEX,
        HERTZ,
        GO_MICRO,
        DUBBO_INTERFACE,
    ];
    nobody_is_disturbed(&fleets).await;
}

/// Apart from the others, since `gokit` and `dubbo-app` have the same keys, and so have `grpc` and `gozero`.
#[tokio::test]
#[ignore = "needs the programs in Go: ./run interop"]
async fn no_neighbour_disturbs_a_consumer_of_go_zero_or_dubbo() {
    nobody_is_disturbed(&[GO_ZERO, DUBBO_APP]).await;
}

/// What the two tests above would see if the toolkit wrote such values.
#[tokio::test]
#[ignore = "needs the programs in Go: ./run interop"]
async fn a_bare_address_under_a_neighbours_name_blinds_kratos_and_null_ends_it() {
    let etcd = Etcd::start().await;
    let mut fleet = Fleet::of(KRATOS, &etcd, 1).await;
    etcd.put("/microservices/svc2/a", NEIGHBOUR).await;
    let errors = || std::future::ready(fleet.consumer.history().errors());
    eventually(PATIENCE, "an error", errors, |errors| !errors.is_empty()).await;
    etcd.put("/microservices/svc2/a", "null").await;
    let ended = || std::future::ready(!fleet.consumer.is_running());
    eventually(PATIENCE, "the end", ended, |ended| *ended).await;
}
