//! Fleets that move while they are called. `docs/migration.md` has the steps; each names the test that runs it.

use crate::{
    SERVICE,
    consumer::Consumer,
    framework::{GO_KIT, KRATOS},
    history::View,
    load::{Load, Server},
    peer::Peer,
};
use futures::future::join_all;
use sd_core::{
    Advert, DefaultFormat, Endpointer, Format, Instancer, MergedInstancer, Need, ReadyWhen,
    Registrar, RegistrarGroup, Source, factory_fn,
};
use sd_etcd::EtcdClient;
use sd_formats::{GoKit, Kratos};
use sd_tests::{Etcd, PATIENCE, eventually, throughout};
use std::{sync::Arc, time::Duration};
use tokio::time::sleep;

const SIZE: usize = 10;
/// How many calls are made at least between two steps.
const CALLS: usize = 20;

fn connect(etcd: &Etcd) -> EtcdClient {
    EtcdClient::connect([etcd.endpoint()]).unwrap()
}

fn registrar(client: &EtcdClient, format: &dyn Format, address: &str) -> Registrar {
    Registrar::of(client.clone(), format, SERVICE, &Advert::new(address)).unwrap()
}

fn follow(client: &EtcdClient, format: &dyn Format) -> Instancer {
    Instancer::of(client.clone(), format, SERVICE).unwrap()
}

fn endpoints_of(source: impl Source) -> Arc<Endpointer<String>> {
    let factory = factory_fn(|instance| Ok(instance.address().to_owned()));
    Arc::new(Endpointer::new(source, factory))
}

async fn servers(size: usize) -> Vec<Server> {
    join_all((0..size).map(|_| Server::start())).await
}

fn addresses(servers: &[Server]) -> Vec<&str> {
    servers.iter().map(Server::address).collect()
}

/// Providers in Go at these addresses. Their ids are the addresses, so that each has one key in every registry.
async fn kratos_at(etcd: &Etcd, servers: &[Server]) -> Vec<Peer> {
    let register = servers.iter().map(async |server| {
        let address = server.address();
        Peer::register(&KRATOS, etcd, address, &["--id", address]).await
    });
    join_all(register).await
}

#[tokio::test]
#[ignore = "needs the programs in Go: ./run interop"]
async fn ten_instances_move_from_kratos_to_ours_under_load() {
    let etcd = Etcd::start().await;
    let (client, kratos) = (connect(&etcd), Kratos::default());
    let old = servers(SIZE).await;
    let peers = kratos_at(&etcd, &old).await;

    // The consumers: one in Go, and one of ours that joins.
    let in_go = Peer::discover(&KRATOS, &etcd);
    let endpointer = endpoints_of(follow(&client, &kratos));
    let ours = Consumer::of_endpoints(&endpointer);
    let all = addresses(&old);
    for history in [in_go.history(), ours.history()] {
        history.until_exactly("all providers in Go", &all).await;
    }
    let calls_in_go = Load::on_shown_by(in_go.history());
    let calls = Load::through(&endpointer);

    // One provider after the other.
    let mut new = Vec::new();
    for (peer, server) in peers.into_iter().zip(old) {
        let successor = Server::start().await;
        let registrar = registrar(&client, &kratos, successor.address());
        registrar.register_within(PATIENCE).await.unwrap();
        for history in [in_go.history(), ours.history()] {
            let is_there = |view: &View| view.shows(successor.address());
            history.until("the successor", is_there).await;
        }
        calls.until_more(CALLS).await;
        calls_in_go.until_more(CALLS).await;
        peer.leave().await;
        for history in [in_go.history(), ours.history()] {
            let is_gone = |view: &View| !view.shows(server.address());
            history.until("the predecessor to be gone", is_gone).await;
        }
        new.push((successor, registrar));
    }

    let all: Vec<_> = new.iter().map(|(server, _)| server.address()).collect();
    for (whose, history) in [("Kratos", in_go.history()), ("ours", ours.history())] {
        history.until_exactly("all of ours", &all).await;
        history.always("all of them", |view| {
            (SIZE..=SIZE + 1).contains(&view.addresses.len())
        });
        history.always("each once", |view| !view.is_doubled());
        assert!(
            history.errors().is_empty(),
            "{whose}: {:?}",
            history.errors()
        );
    }
    calls_in_go
        .assert_none_failed("move to ours, what Kratos shows")
        .await;
    calls.assert_none_failed("move to ours, through ours").await;
    client.close().await;
}

#[tokio::test]
#[ignore = "needs the programs in Go: ./run interop"]
async fn ten_instances_of_both_kinds_move_between_two_etcds_under_load() {
    let (from, to) = (Etcd::start().await, Etcd::start().await);
    let (at_from, at_to, kratos) = (connect(&from), connect(&to), Kratos::default());
    let (of_go, of_ours) = (servers(SIZE / 2).await, servers(SIZE / 2).await);
    let all = [addresses(&of_go), addresses(&of_ours)].concat();
    let peers = kratos_at(&from, &of_go).await;
    let groups: Vec<_> = of_ours.iter().map(|_| RegistrarGroup::new()).collect();
    for (group, server) in groups.iter().zip(&of_ours) {
        let registrar = registrar(&at_from, &kratos, server.address());
        group.add("from", registrar, Need::Required).unwrap();
        group.register_within(PATIENCE).await.unwrap();
    }
    let in_go = Peer::discover(&KRATOS, &from);
    let members = [("from", follow(&at_from, &kratos))];
    let union = Arc::new(MergedInstancer::new(ReadyWhen::Any, members).unwrap());
    let endpointer = endpoints_of(union.clone());
    let ours = Consumer::of_endpoints(&endpointer);
    for history in [in_go.history(), ours.history()] {
        history.until_exactly("all in one etcd", &all).await;
    }
    let calls_in_go = Load::on_shown_by(in_go.history());
    let calls = Load::through(&endpointer);

    // Our consumers follow both; the new one is empty.
    union.add("to", follow(&at_to, &kratos)).unwrap();
    let both_known = || std::future::ready(union.members());
    eventually(PATIENCE, "both members", both_known, |members| {
        members.iter().all(|member| member.trouble.is_none())
    })
    .await;

    // Every provider is in both. One in Go needs a second registration under its id.
    let again = kratos_at(&to, &of_go).await;
    for (group, server) in groups.iter().zip(&of_ours) {
        let registrar = registrar(&at_to, &kratos, server.address());
        group.add("to", registrar, Need::Required).unwrap();
        group.register_within(PATIENCE).await.unwrap();
        calls.until_more(CALLS).await;
    }

    // Consumers in Go follow one: they go over once the new one has all.
    let in_go_again = Peer::discover(&KRATOS, &to);
    in_go_again
        .history()
        .until_exactly("all in the other etcd", &all)
        .await;
    let calls_in_go_again = Load::on_shown_by(in_go_again.history());
    calls_in_go
        .assert_none_failed("move to another etcd, what Kratos shows of the old")
        .await;
    in_go.history().always("all of them, each once", |view| {
        view.addresses.len() == SIZE && !view.is_doubled()
    });
    in_go.leave().await;

    // Every provider leaves the old one.
    for peer in peers {
        peer.leave().await;
        calls.until_more(CALLS).await;
    }
    for group in &groups {
        group.remove("from").await.unwrap().unwrap();
        calls.until_more(CALLS).await;
    }
    assert!(from.keys("/microservices").await.is_empty());

    // Our consumers leave the old one, which goes for good.
    assert!(union.remove("from"));
    from.kill();
    calls.until_more(CALLS).await;
    calls_in_go_again.until_more(CALLS).await;
    calls_in_go_again
        .assert_none_failed("move to another etcd, what Kratos shows of the new")
        .await;
    calls
        .assert_none_failed("move to another etcd, through ours")
        .await;
    for history in [ours.history(), in_go_again.history()] {
        history.until_exactly("all in the other etcd", &all).await;
        history.always("all of them, each once", |view| {
            view.addresses.len() == SIZE && !view.is_doubled()
        });
        assert!(history.errors().is_empty(), "{:?}", history.errors());
    }
    drop(again);
    at_to.close().await;
}

/// From Kratos' format to the toolkit's own, once all providers are ours. The consumer in Go sees all of them as long
/// as it is there.
#[tokio::test]
#[ignore = "needs the programs in Go: ./run interop"]
async fn ten_instances_move_from_one_format_to_another_under_load() {
    let etcd = Etcd::start().await;
    let client = connect(&etcd);
    let (kratos, own) = (Kratos::default(), DefaultFormat::default());
    let servers = servers(SIZE).await;
    let all = addresses(&servers);
    let groups: Vec<_> = servers.iter().map(|_| RegistrarGroup::new()).collect();
    for (group, server) in groups.iter().zip(&servers) {
        let registrar = registrar(&client, &kratos, server.address());
        group.add("kratos", registrar, Need::Required).unwrap();
        group.register_within(PATIENCE).await.unwrap();
    }
    let in_go = Peer::discover(&KRATOS, &etcd);
    let members = [("kratos", follow(&client, &kratos))];
    let union = Arc::new(MergedInstancer::new(ReadyWhen::Any, members).unwrap());
    let endpointer = endpoints_of(union.clone());
    let ours = Consumer::of_endpoints(&endpointer);
    for history in [in_go.history(), ours.history()] {
        history.until_exactly("all in Kratos' format", &all).await;
    }
    let calls_in_go = Load::on_shown_by(in_go.history());
    let calls = Load::through(&endpointer);

    // Our consumers read both formats, and every provider writes both.
    union.add("own", follow(&client, &own)).unwrap();
    for (group, server) in groups.iter().zip(&servers) {
        let registrar = registrar(&client, &own, server.address());
        group.add("own", registrar, Need::Required).unwrap();
        group.register_within(PATIENCE).await.unwrap();
        calls.until_more(CALLS).await;
        calls_in_go.until_more(CALLS).await;
    }
    let twice = || std::future::ready(union.state().map_or(0, |event| event.instances().len()));
    eventually(PATIENCE, "all under two keys", twice, |known| {
        *known == 2 * SIZE
    })
    .await;

    // The consumers in Go end, then the entries in their format.
    calls_in_go
        .assert_none_failed("move to another format, what Kratos shows")
        .await;
    in_go.history().always("all of them, each once", |view| {
        view.addresses.len() == SIZE && !view.is_doubled()
    });
    in_go.leave().await;
    for group in &groups {
        group.remove("kratos").await.unwrap().unwrap();
        calls.until_more(CALLS).await;
    }
    assert!(union.remove("kratos"));
    eventually(PATIENCE, "all under one key", twice, |known| *known == SIZE).await;
    ours.history()
        .until_exactly("all in the own format", &all)
        .await;
    ours.history().always("all of them, each once", |view| {
        view.addresses.len() == SIZE && !view.is_doubled()
    });
    calls
        .assert_none_failed("move to another format, through ours")
        .await;
    client.close().await;
}

/// A limit of Kratos 2: its provider registers again five times, for three seconds each, and then never.
#[tokio::test]
#[ignore = "needs the programs in Go: ./run interop"]
async fn after_a_long_outage_ours_are_back_and_a_provider_of_kratos_is_not() {
    const OUTAGE: Duration = Duration::from_secs(35);
    let (etcd, servers) = (Etcd::start().await, servers(2).await);
    let (client, kratos) = (connect(&etcd), Kratos::default());
    let mut in_go = kratos_at(&etcd, &servers[..1]).await.remove(0);
    let ours = registrar(&client, &kratos, servers[1].address());
    ours.register_within(PATIENCE).await.unwrap();

    etcd.kill();
    sleep(OUTAGE).await;
    etcd.start_again().await;
    let shown = || etcd.keys("/microservices/");
    let is_ours = |keys: &Vec<String>| keys.len() == 1 && keys[0].ends_with(servers[1].address());
    eventually(2 * PATIENCE, "ours to be back, alone", shown, is_ours).await;
    // Longer than it waited between its attempts.
    let a_while = sleep(Duration::from_secs(6));
    throughout(a_while, "ours alone", shown, is_ours).await;
    assert!(in_go.is_running(), "it does not even end");

    // What the guide says to do.
    drop(in_go);
    let _again = kratos_at(&etcd, &servers[..1]).await;
    eventually(PATIENCE, "both", shown, |keys| keys.len() == 2).await;
    client.close().await;
}

/// Where the key is the address, a provider in Go that leaves deletes the key of its successor at the same address.
#[tokio::test]
#[ignore = "needs the programs in Go: ./run interop"]
async fn a_provider_in_go_that_leaves_takes_our_key_at_its_address_and_it_is_put_back() {
    let (etcd, server) = (Etcd::start().await, Server::start().await);
    let client = connect(&etcd);
    let in_go = Peer::register(&GO_KIT, &etcd, server.address(), &[]).await;
    let ours = registrar(&client, &GoKit::default(), server.address());
    ours.register_within(PATIENCE).await.unwrap();
    let key = etcd.keys("/services/").await.remove(0);
    let (lease, put) = etcd.last_put(&*key).await.expect("it is ours");
    in_go.leave().await;
    let last_put = || etcd.last_put(&*key);
    let is_back = |last: &Option<_>| last.is_some_and(|(on, at)| on == lease && at > put);
    eventually(PATIENCE, "our key to be back", last_put, is_back).await;
    client.close().await;
}
