//! What changes under a running client: passwords, certificates, members.

use super::{
    KEY, OTHER, follows, in_time, is_kept_alive, is_live, is_well, keys, ready, registered, secs,
    service,
};
use sd_core::{Client, Registrar, Updated};
use sd_etcd::{EtcdClient, Tls, User};
use sd_tests::{Ca, Certificate, Cluster, Etcd, PATIENCE, Proxy, eventually, throughout};
use std::{
    fs,
    path::Path,
    sync::{Arc, Mutex},
};

const THIRD: &str = "/svc/10.0.0.3:80";

// === Passwords ===

/// A password that can be changed.
#[derive(Clone)]
struct Vault(Arc<Mutex<String>>);

impl Vault {
    fn new(password: &str) -> Self {
        Self(Arc::new(Mutex::new(password.to_owned())))
    }

    fn set(&self, password: &str) {
        password.clone_into(&mut self.0.lock().unwrap());
    }

    fn client(&self, endpoint: String) -> EtcdClient {
        let vault = self.clone();
        let source = move || {
            let password = vault.0.lock().unwrap().clone();
            async move { std::io::Result::Ok(User::new("discovery", password)) }
        };
        let builder = EtcdClient::builder([endpoint]);
        builder.credentials(source).build().unwrap()
    }
}

async fn guarded() -> Etcd {
    let etcd = Etcd::setup().token_ttl(300).start().await;
    etcd.enable_auth().await;
    etcd.add_user("discovery", "first", "/svc/").await;
    etcd
}

/// Row 35: the source learns the new password before etcd, after it, and with a restart in between.
#[tokio::test]
async fn a_changed_password_is_followed_without_a_restart() {
    let etcd = guarded().await;
    let vault = Vault::new("first");
    let client = vault.client(etcd.endpoint());
    let instancer = ready(&client).await;
    let registrar = registered(&client, service(KEY, 6)).await;
    follows(&instancer, &etcd, OTHER).await;
    let lease = etcd.entry(KEY).await.unwrap().lease();

    let course = async {
        vault.set("second");
        etcd.change_password("discovery", "second").await;
        let written = in_time(registrar.update("10.0.0.1:81")).await;
        assert_eq!(written.unwrap(), Updated::Written);

        etcd.change_password("discovery", "third").await;
        etcd.restart().await;
        vault.set("third");
        follows(&instancer, &etcd, THIRD).await;
        is_kept_alive(&etcd).await;
    };
    let seen = async || keys(&instancer);
    let has = |seen: &Vec<String>| seen.contains(&KEY.to_owned());
    throughout(course, "the instance", seen, has).await;

    let live = async || is_live(&instancer) && is_well(&registrar);
    eventually(PATIENCE, "all to be well", live, |well| *well).await;
    assert_eq!(etcd.entry(KEY).await.unwrap().lease(), lease);
}

/// Row 35: a source that fails for a while.
#[tokio::test]
async fn a_source_without_credentials_is_asked_again() {
    let etcd = guarded().await;
    let vault = Arc::new(Mutex::new(None));
    let source = {
        let vault = vault.clone();
        move || {
            let password: Option<String> = vault.lock().unwrap().clone();
            let user = password.map(|password| User::new("discovery", password));
            async move { user.ok_or("the vault is sealed") }
        }
    };
    let builder = EtcdClient::builder([etcd.endpoint()]);
    let client = builder.credentials(source).build().unwrap();
    let registrar = Registrar::new(client, service(KEY, 6));

    let refused = registrar.register_within(secs(1)).await.unwrap_err();
    assert!(
        refused.to_string().contains("the vault is sealed"),
        "{refused}"
    );

    *vault.lock().unwrap() = Some("first".to_owned());
    in_time(registrar.register()).await.unwrap();
    assert_eq!(etcd.keys("/svc/").await, [KEY]);
}

// === Certificates ===

fn write(dir: &Path, certificate: &Certificate) {
    fs::write(dir.join("client.pem"), &certificate.certificate).unwrap();
    fs::write(dir.join("client.key"), &certificate.key).unwrap();
}

/// Row 35: certificates are read again for each connection.
#[tokio::test]
async fn a_renewed_certificate_is_used_by_the_next_connection() {
    let (ca, other) = (Ca::new(), Ca::new());
    let etcd = Etcd::setup().tls(&ca).client_certificates().start().await;
    let proxy = Proxy::to(etcd.address()).await;
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    fs::write(dir.join("ca.pem"), ca.pem()).unwrap();
    write(dir, &ca.client("discovery"));
    let tls = Tls::new()
        .ca_file(dir.join("ca.pem"))
        .identity_files(dir.join("client.pem"), dir.join("client.key"));
    let endpoint = proxy.endpoint().replace("http", "https");
    let client = EtcdClient::builder([endpoint]).tls(tls).build().unwrap();
    let instancer = ready(&client).await;
    let registrar = registered(&client, service(KEY, 20)).await;
    let lease = etcd.entry(KEY).await.unwrap().lease();

    // One that etcd does not take.
    write(dir, &other.client("discovery"));
    proxy.drop_connections();
    let trouble = async || format!("{:?}", instancer.trouble());
    let names = |trouble: &String| trouble.contains("Tls::identity");
    eventually(PATIENCE, "the certificate to be refused", trouble, names).await;

    // Half of the next.
    fs::write(dir.join("client.pem"), "half").unwrap();
    let trouble = async || format!("{:?}", instancer.trouble());
    let names = |trouble: &String| trouble.contains("cannot be used");
    eventually(PATIENCE, "the half to be refused", trouble, names).await;

    write(dir, &ca.client("discovery"));
    follows(&instancer, &etcd, OTHER).await;
    is_kept_alive(&etcd).await;
    assert_eq!(etcd.entry(KEY).await.unwrap().lease(), lease);
    assert!(registrar.status().borrow().is_registered());
}

/// Row 35: what is missing at the start is said at once.
#[tokio::test]
async fn certificates_that_cannot_be_read_are_refused_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let tls = Tls::new().ca_file(dir.path().join("none.pem"));
    let builder = EtcdClient::builder(["https://127.0.0.1:1"]).tls(tls);
    let refused = builder.build().unwrap_err().to_string();
    assert!(refused.contains("none.pem"), "{refused}");
}

// === Members ===

/// Row 35: the members that a client was given are replaced, one after the other.
#[tokio::test]
async fn members_are_replaced_under_a_running_client() {
    let cluster = Cluster::start().await;
    let [first, second, third] = cluster.members();
    let client = EtcdClient::connect([first.endpoint()]).unwrap();
    let instancer = ready(&client).await;
    let registrar = registered(&client, service(KEY, 20)).await;
    assert_eq!(first.client_connections(), 2);
    let lease = second.entry(KEY).await.unwrap().lease();

    for nonsense in [vec![], vec!["https://127.0.0.1:1"], vec!["127.0.0.1"]] {
        client.set_endpoints(nonsense).unwrap_err();
    }
    client
        .set_endpoints([first.endpoint(), second.endpoint()])
        .unwrap();
    assert_eq!(first.client_connections(), 2, "it is still one of them");

    client
        .set_endpoints([second.endpoint(), third.endpoint()])
        .unwrap();
    follows(&instancer, second, OTHER).await;
    let left = async || first.client_connections();
    eventually(PATIENCE, "the first to be left", left, |count| *count == 0).await;
    let taken = async || second.client_connections() + third.client_connections();
    eventually(PATIENCE, "the others", taken, |count| *count == 2).await;

    first.kill();
    cluster.leader().await;
    follows(&instancer, second, THIRD).await;
    let written = in_time(registrar.update("10.0.0.1:81")).await;
    assert_eq!(written.unwrap(), Updated::Written);
    assert_eq!(second.entry(KEY).await.unwrap().lease(), lease);
}

/// Row 35: members that were never given are learnt from the cluster.
#[tokio::test]
async fn members_are_learnt_from_the_cluster() {
    let cluster = Cluster::start().await;
    let [first, second, third] = cluster.members();
    let builder = EtcdClient::builder([first.endpoint()]).follow_members(secs(1));
    let client = builder.build().unwrap();
    let instancer = ready(&client).await;
    let registrar = registered(&client, service(KEY, 20)).await;
    let lease = second.entry(KEY).await.unwrap().lease();
    let known = async || format!("{client:?}");
    let all = |known: &String| {
        let endpoints = [first, second, third].map(Etcd::endpoint);
        endpoints.iter().all(|endpoint| known.contains(endpoint))
    };
    eventually(PATIENCE, "the members to be known", known, all).await;

    first.kill();
    cluster.leader().await;

    follows(&instancer, second, OTHER).await;
    let written = in_time(registrar.update("10.0.0.1:81")).await;
    assert_eq!(written.unwrap(), Updated::Written);
    assert_eq!(second.entry(KEY).await.unwrap().lease(), lease);
    assert!(client.lease_id().is_some());
}
