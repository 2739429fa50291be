//! Providers whose claim etcd does not confirm any more, and clients whose tasks do not run.

use futures::future::join_all;
use sd_core::{
    Client, Deregistered, Error, Lost, Prefix, Registrar, RegistrarStatus, Service, Ttl,
};
use sd_etcd::{EtcdClient, Tls};
use sd_tests::{Ca, Certificate, Etcd, Log, PATIENCE, Proxy, eventually, throughout};
use std::{fs, time::Duration};
use tokio::{
    runtime::Runtime,
    time::{sleep, timeout},
};

const MANY: usize = 20;
/// Longer than what a registrar pauses at most once its registry answers again, or may be asked
/// again with other credentials.
const HEALED: Duration = Duration::from_secs(60);
const UNPROVEN: &str = "lease unproven: no keep-alive was confirmed for its TTL";

fn service(key: &str, ttl: u64) -> Service {
    let ttl = Ttl::from_secs(ttl).unwrap();
    Service::new(key, "10.0.0.1:80").unwrap().with_ttl(ttl)
}

async fn providers(client: &EtcdClient, ttl: u64) -> Vec<Registrar> {
    let registrars: Vec<_> = (0..MANY)
        .map(|n| Registrar::new(client.clone(), service(&format!("/svc/{n}"), ttl)))
        .collect();
    for registered in join_all(registrars.iter().map(Registrar::register)).await {
        registered.unwrap();
    }
    registrars
}

async fn proven_are(registrars: &[Registrar], expected: usize) {
    let proven = async || registrars.iter().filter(|it| it.is_proven()).count();
    eventually(HEALED, "so many proven", proven, |n| *n == expected).await;
}

async fn standing_are(etcd: &Etcd, expected: usize) {
    let standing = async || etcd.keys("/svc/").await.len();
    eventually(HEALED, "so many standing", standing, |n| *n == expected).await;
}

fn unproven_lines(log: &Log) -> Vec<String> {
    let lines = log.lines().into_iter().filter(|it| it.message == UNPROVEN);
    lines.map(|it| it.to_string()).collect()
}

/// Row 30: a cable is out, as the case that was found: status, log and probe say so, and it heals.
#[tokio::test]
async fn who_is_cut_off_for_longer_than_its_ttl_is_unproven_until_it_is_back() {
    let log = Log::capture();
    let etcd = Etcd::start().await;
    let proxy = Proxy::to(etcd.address()).await;
    let client = EtcdClient::connect([proxy.endpoint()]).unwrap();
    let registrars = providers(&client, 2).await;
    proven_are(&registrars, MANY).await;
    log.clear();

    proxy.stall();
    standing_are(&etcd, 0).await;

    for registrar in &registrars {
        assert!(!registrar.is_proven());
        let status = registrar.status();
        let said = async || status.borrow().clone();
        let unproven = |status: &RegistrarStatus| {
            matches!(
                status,
                RegistrarStatus::Registered {
                    unproven: Some(_),
                    ..
                }
            )
        };
        eventually(
            PATIENCE,
            "an unproven status",
            async || (*said().await).clone(),
            unproven,
        )
        .await;
    }
    let lines = unproven_lines(&log);
    assert_eq!(lines.len(), 1, "once for all: {lines:?}");
    assert!(
        lines[0].contains("services=20") && lines[0].contains("error="),
        "{lines:?}"
    );

    proxy.resume();
    proven_are(&registrars, MANY).await;
    standing_are(&etcd, MANY).await;
    client.close().await;
}

/// Row 30: a frozen etcd.
#[tokio::test]
async fn who_has_a_frozen_etcd_is_unproven_until_it_answers() {
    let etcd = Etcd::start().await;
    let client = EtcdClient::connect([etcd.endpoint()]).unwrap();
    let registrars = providers(&client, 2).await;

    etcd.freeze();
    proven_are(&registrars, 0).await;
    let status = registrars[0].status().borrow();
    assert!(status.is_registered(), "silence is no loss: {status}");
    etcd.thaw();

    proven_are(&registrars, MANY).await;
    standing_are(&etcd, MANY).await;
    client.close().await;
}

/// Row 30: the password of a running provider is changed. What etcd keeps alive without credentials
/// (up to 3.6, on an open connection) stays proven; nothing that is gone does.
#[tokio::test]
async fn a_changed_password_leaves_nobody_proven_whose_key_is_gone() {
    let log = Log::capture();
    let etcd = Etcd::setup().token_ttl(1).start().await;
    etcd.enable_auth().await;
    etcd.add_user("discovery", "secret", "/svc/").await;
    let proxy = Proxy::to(etcd.address()).await;
    let builder = EtcdClient::builder([proxy.endpoint()]).user("discovery", "secret");
    let client = builder.build().unwrap();
    let registrars = providers(&client, 3).await;
    proven_are(&registrars, MANY).await;
    log.clear();

    etcd.change_password("discovery", "another").await;
    proxy.drop_connections();
    let look = async || {
        // In this order: what is proven now has to be there then.
        let proven = registrars.iter().filter(|it| it.is_proven()).count();
        (proven, etcd.keys("/svc/").await.len())
    };
    let is_true = |(proven, standing): &(usize, usize)| proven <= standing;
    throughout(sleep(Duration::from_secs(9)), "the truth", look, is_true).await;
    if etcd.keys("/svc/").await.is_empty() {
        let lines = unproven_lines(&log);
        assert!(lines[0].starts_with("ERROR"), "{lines:?}");
        assert!(lines[0].contains("password"), "{lines:?}");
        let refused = log.lines();
        let refused = refused
            .iter()
            .find(|it| it.message.starts_with("keep-alives are refused"));
        assert!(refused.is_some(), "{:?}", log.text());
    }

    etcd.change_password("discovery", "secret").await;
    proven_are(&registrars, MANY).await;
    standing_are(&etcd, MANY).await;
    client.close().await;
}

/// Row 30, and row 35: a certificate has expired, etcd's or the provider's own. The new one is used
/// without a restart.
#[tokio::test]
async fn an_expired_certificate_is_the_cause_that_is_shown_until_it_is_renewed() {
    let ca = Ca::new();
    let etcd = Etcd::setup().tls(&ca).client_certificates().start().await;
    let proxy = Proxy::to(etcd.address()).await;
    let dir = tempfile::tempdir().unwrap();
    let [certificate, key] = ["client.pem", "client.key"].map(|name| dir.path().join(name));
    let present = |with: &Certificate| {
        fs::write(&certificate, &with.certificate).unwrap();
        fs::write(&key, &with.key).unwrap();
    };
    present(&ca.client("provider"));
    let tls = Tls::new().ca(ca.pem()).identity_files(&certificate, &key);
    let endpoint = proxy.endpoint().replace("http", "https");
    let client = EtcdClient::builder([endpoint]).tls(tls).build().unwrap();
    let registrar = Registrar::new(client.clone(), service("/svc/a", 2));
    registrar.register().await.unwrap();

    for (is_etcds, advice) in [
        (true, "check the dates of the server's certificate"),
        (false, "check `Tls::identity`"),
    ] {
        match is_etcds {
            true => etcd.show(&ca.expired_server()),
            false => present(&ca.expired_client("provider")),
        }
        proxy.drop_connections();

        let mut status = registrar.status();
        let names_it = |status: &RegistrarStatus| {
            let text = status.to_string();
            text.contains("unproven") && text.contains(advice)
        };
        let named = timeout(HEALED, status.wait_for(names_it)).await;
        assert!(named.is_ok(), "{}", registrar.status().borrow());
        assert!(!registrar.is_proven());

        match is_etcds {
            true => etcd.show(&ca.server()),
            false => present(&ca.client("provider")),
        }
        timeout(HEALED, registrar.wait_proven()).await.unwrap();
        standing_are(&etcd, 1).await;
    }
    client.close().await;
}

/// An etcd with long election timeouts keeps no lease for less than one and a half of them.
#[tokio::test]
async fn a_longer_ttl_than_asked_for_is_shown_and_logged_once() {
    let log = Log::capture();
    let setup = Etcd::setup().flag("--election-timeout=4000");
    let etcd = setup.flag("--heartbeat-interval=400").start().await;
    let client = EtcdClient::connect([etcd.endpoint()]).unwrap();
    let registrars = providers(&client, 2).await;

    let granted = Duration::from_secs(6);
    for registrar in &registrars {
        let shown = |status: &RegistrarStatus| match status {
            RegistrarStatus::Registered { ttl, .. } => *ttl == Some(granted),
            _ => false,
        };
        let mut status = registrar.status();
        let shown = timeout(PATIENCE, status.wait_for(shown)).await;
        assert!(shown.is_ok(), "{registrar:?}");
    }
    let before = etcd.metrics().await.keepalives();
    sleep(granted).await;
    let sent = etcd.metrics().await.keepalives() - before;
    assert!((2..=4).contains(&sent), "{sent} keep-alives in a TTL");
    proven_are(&registrars, MANY).await;
    let told = log
        .text()
        .into_iter()
        .filter(|it| it.contains("longer TTL"));
    assert_eq!(told.count(), 1, "{:?}", log.text());
    client.close().await;
}

fn runtime() -> Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build().unwrap()
}

async fn in_time<T>(future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.expect("in time")
}

/// Row 36.
#[test]
fn a_client_whose_runtime_is_gone_answers_and_its_handles_know() {
    let (gone, runtime) = (runtime(), runtime());
    let etcd = runtime.block_on(Etcd::start());
    let prefix = Prefix::new("/svc").unwrap();
    let (client, mut registration, registrar, mut watch) = gone.block_on(async {
        let client = EtcdClient::connect([etcd.endpoint()]).unwrap();
        let registration = client.register(&service("/svc/a", 2)).await.unwrap();
        let registrar = Registrar::new(client.clone(), service("/svc/b", 2));
        registrar.register().await.unwrap();
        let list = client.get_entries(&prefix).await.unwrap();
        let watch = client.watch_prefix(&prefix, &list.revision).await.unwrap();
        (client, registration, registrar, watch)
    });
    drop(gone);

    runtime.block_on(async {
        use futures::StreamExt;
        assert_eq!(in_time(registration.lost()).await, Lost::Closed);
        let ended = async {
            loop {
                match watch.next().await {
                    Some(Ok(_)) => {}
                    ended => return ended,
                }
            }
        };
        assert!(matches!(in_time(ended).await, Some(Err(_)) | None));
        assert!(!registrar.is_proven());
        let status = registrar.status().borrow();
        assert!(matches!(*status, RegistrarStatus::RuntimeEnded), "{status}");
        let again = in_time(client.register(&service("/svc/a", 2))).await;
        assert!(matches!(again, Err(Error::Closed)), "{again:?}");
        let removed = in_time(client.deregister(&service("/svc/a", 2))).await;
        assert!(matches!(removed, Err(Error::Closed)), "{removed:?}");
        let removed = in_time(registrar.deregister()).await;
        assert!(!matches!(removed, Ok(Deregistered::Removed)), "{removed:?}");
        in_time(client.close()).await;
    });
}

/// Row 36.
#[test]
fn a_client_whose_runtime_is_not_driven_answers_within_a_bound() {
    let (undriven, runtime) = (runtime(), runtime());
    let etcd = runtime.block_on(Etcd::start());
    let (client, registration, registrar) = undriven.block_on(async {
        let client = EtcdClient::connect([etcd.endpoint()]).unwrap();
        let registration = client.register(&service("/svc/a", 2)).await.unwrap();
        let registrar = Registrar::new(client.clone(), service("/svc/b", 2));
        registrar.register().await.unwrap();
        (client, registration, registrar)
    });

    runtime.block_on(async {
        let unproven = in_time(registration.proof().until_unproven());
        let [a, c] = ["/svc/a", "/svc/c"].map(|key| service(key, 2));
        let register = in_time(client.register(&c));
        let removed = client.deregister(&a);
        let (_, registered, removed) = tokio::join!(unproven, register, in_time(removed));
        assert!(
            matches!(registered, Err(Error::Timeout { .. })),
            "{registered:?}"
        );
        assert!(
            matches!(removed, Ok(Deregistered::Unconfirmed)),
            "{removed:?}"
        );
        assert!(!registrar.is_proven());
        let removed = in_time(registrar.deregister()).await;
        assert!(
            matches!(removed, Ok(Deregistered::Unconfirmed)),
            "{removed:?}"
        );
        in_time(client.close()).await;
    });
}
