//! Names that stand for several addresses.

use super::{
    KEY, OTHER, follows, in_time, instances_are, is_kept_alive, ready, registered, secs, service,
};
use sd_core::Instancer;
use sd_etcd::{EtcdClient, EtcdClientBuilder, Resolve, Tls};
use sd_tests::{Ca, Cluster, Etcd, Proxy};
use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

/// Names as a name server knows them; a name that is not there cannot be resolved.
#[derive(Clone, Default)]
struct Names(Arc<Mutex<HashMap<String, Vec<SocketAddr>>>>);

impl Names {
    fn set(&self, name: &str, addresses: &[SocketAddr]) {
        let mut names = self.0.lock().unwrap();
        names.insert(name.to_owned(), addresses.to_vec());
    }

    fn forget(&self) {
        self.0.lock().unwrap().clear();
    }

    fn builder(&self, endpoints: &[&str]) -> EtcdClientBuilder {
        EtcdClient::builder(endpoints.iter().copied()).resolver(self.clone())
    }

    fn client(&self, endpoints: &[&str]) -> EtcdClient {
        self.builder(endpoints).build().unwrap()
    }
}

#[async_trait::async_trait]
impl Resolve for Names {
    async fn resolve(&self, host: &str, _: u16) -> io::Result<Vec<SocketAddr>> {
        let names = self.0.lock().unwrap();
        let addresses = names.get(host).cloned();
        addresses.ok_or_else(|| io::Error::other("no such name"))
    }
}

fn address(proxy: &Proxy) -> SocketAddr {
    let endpoint = proxy.endpoint();
    endpoint.trim_start_matches("http://").parse().unwrap()
}

/// Row 40: of two addresses one refuses, or accepts and is silent.
#[tokio::test]
async fn each_address_of_a_name_is_tried() {
    let etcd = Etcd::start().await;
    let (refusing, silent) = (
        Proxy::to(etcd.address()).await,
        Proxy::to(etcd.address()).await,
    );
    refusing.refuse().await;
    silent.stall();
    let names = Names::default();
    let dead = [address(&refusing), address(&silent)];
    names.set("etcd.test", &[dead[0], dead[1], etcd.address()]);

    // Each begins with another one of them.
    for round in 0..6 {
        let client = names.client(&["http://etcd.test:2379"]);
        let instancer = ready(&client).await;
        follows(&instancer, &etcd, &format!("/svc/10.0.0.{round}:80")).await;
        instancer.stop().await;
        client.close().await;
    }
}

/// Row 40: the member that a client hangs on freezes.
#[tokio::test]
async fn a_frozen_address_is_left_for_the_next() {
    let cluster = Cluster::start().await;
    let members = cluster.members();
    let names = Names::default();
    names.set("etcd.test", &[members[0].address(), members[1].address()]);
    let client = names.client(&["http://etcd.test:2379"]);
    let instancer = ready(&client).await;
    let _registrar = registered(&client, service(KEY, 20)).await;
    let lease = members[2].entry(KEY).await.unwrap().lease();

    let frozen = usize::from(members[0].client_connections() == 0);
    members[frozen].freeze();
    cluster.leader().await;
    follows(&instancer, &members[2], OTHER).await;
    is_kept_alive(&members[1 - frozen]).await;

    assert_eq!(members[2].entry(KEY).await.unwrap().lease(), lease);
    members[frozen].thaw();
}

/// Row 40: all addresses of a name are dead, and then the next name is tried.
#[tokio::test]
async fn after_all_addresses_the_next_name_is_tried() {
    let (gone, etcd) = (Etcd::start().await, Etcd::start().await);
    let (one, two) = (
        Proxy::to(gone.address()).await,
        Proxy::to(gone.address()).await,
    );
    let names = Names::default();
    names.set("dead.test", &[address(&one), address(&two)]);
    names.set("good.test", &[etcd.address()]);
    one.stall();
    two.stall();

    for _ in 0..3 {
        let client = names.client(&["http://dead.test:2379", "http://good.test:2379"]);
        let instancer = ready(&client).await;
        instances_are(&instancer, &[]).await;
        client.close().await;
    }
}

/// Row 40: an address that changes while nobody answers at the old one.
#[tokio::test]
async fn a_name_is_resolved_again_when_its_addresses_fail() {
    let etcd = Etcd::start().await;
    let proxy = Proxy::to(etcd.address()).await;
    let names = Names::default();
    names.set("etcd.test", &[address(&proxy)]);
    let client = names.client(&["http://etcd.test:2379"]);
    let instancer = ready(&client).await;

    names.set("etcd.test", &[etcd.address()]);
    proxy.refuse().await;
    proxy.drop_connections();

    follows(&instancer, &etcd, OTHER).await;
}

/// Row 44: name servers that are gone; the addresses that were known last are tried.
#[tokio::test]
async fn a_client_reconnects_without_name_servers() {
    let etcd = Etcd::start().await;
    let proxy = Proxy::to(etcd.address()).await;
    let names = Names::default();
    let client = names.client(&["http://etcd.test:2379"]);
    let instancer = Instancer::new(client, super::prefix());
    let unknown = instancer.ready_within(secs(1)).await.unwrap_err();
    assert!(
        unknown.to_string().contains("cannot be resolved"),
        "{unknown}"
    );

    names.set("etcd.test", &[address(&proxy)]);
    in_time(instancer.ready()).await.unwrap();
    names.forget();
    proxy.drop_connections();
    follows(&instancer, &etcd, OTHER).await;
}

/// Row 40: `localhost` is `::1` as well as `127.0.0.1`, where nobody listens on the former.
#[tokio::test]
async fn localhost_works_with_both_families() {
    let etcd = Etcd::start().await;
    let (v4, port) = (etcd.address(), etcd.address().port());
    let by_the_system = EtcdClient::connect([format!("http://localhost:{port}")]).unwrap();
    let names = Names::default();
    let v6 = SocketAddr::from(([0_u16, 0, 0, 0, 0, 0, 0, 1], port));
    names.set("both.test", &[v6, v4]);
    let both = names.client(&["http://both.test:2379"]);

    for client in [by_the_system, both] {
        let instancer = ready(&client).await;
        instances_are(&instancer, &[]).await;
    }
}

/// Row 40: it is the name that the server's certificate is verified for, not the address.
#[tokio::test]
async fn tls_verifies_the_name() {
    let ca = Ca::new();
    // For `localhost` and `127.0.0.1`.
    let etcd = Etcd::setup().tls(&ca).start().await;
    let names = Names::default();
    names.set("localhost", &[etcd.address()]);
    names.set("etcd.test", &[etcd.address()]);
    let to = |endpoint: &str, tls: Tls| names.builder(&[endpoint]).tls(tls).build().unwrap();
    let tls = || Tls::new().ca(ca.pem());

    let named = to("https://localhost:2379", tls());
    let renamed = to("https://etcd.test:2379", tls().domain("localhost"));
    for client in [named, renamed] {
        let instancer = ready(&client).await;
        instances_are(&instancer, &[]).await;
    }

    let another = Instancer::new(to("https://etcd.test:2379", tls()), super::prefix());
    let refused = another.ready_within(secs(2)).await.unwrap_err();
    assert!(refused.to_string().contains("`Tls::domain`"), "{refused}");
}
