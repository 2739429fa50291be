//! Wrong credentials, rights and certificates.

use crate::*;
use sd_core::{Client, RegistrarStatus};
use sd_etcd::Tls;
use sd_tests::Ca;

#[tokio::test(start_paused = true)]
async fn rights_are_missing() {
    let monitor = Monitor::start();
    let registry = Registry::new();
    registry.refuse(Error::PermissionDenied {
        message: "no".into(),
        source: None,
    });

    monitor.reset();
    let _instancer = Instancer::new(registry.client(), prefix());
    let registrar = Registrar::new(registry.client(), service());
    registrar.register().await.unwrap_err();
    tokio::time::sleep(Duration::from_secs(600)).await;

    monitor.shows("credentials or rights are wrong").await;
}

/// etcd's error depends on the mistake. The advice for the operator is in the document.
#[tokio::test]
async fn tls_does_not_fit() {
    let (ca, other) = (Ca::new(), Ca::new());
    let strict = Etcd::setup().tls(&ca).client_certificates().start().await;
    let etcd = Etcd::setup().tls(&ca).start().await;
    let to = |endpoint: String| EtcdClient::builder([endpoint]);
    let plain = etcd.endpoint().replace("https", "http");
    for (builder, told) in [
        (
            to(etcd.endpoint()).tls(Tls::new().ca(other.pem())),
            "`Tls::ca`",
        ),
        (
            to(strict.endpoint()).tls(Tls::new().ca(ca.pem())),
            "`Tls::identity`",
        ),
        (to(plain), "https://"),
    ] {
        let monitor = Monitor::start();

        monitor.reset();
        let client = builder.build().unwrap();
        let _instancer = Instancer::new(client.clone(), prefix());
        let registrar = Registrar::new(client, service());
        let _ = registrar.register_within(Duration::from_secs(1)).await;

        monitor.shows("TLS does not fit").await;
        let advice = Row::of("TLS does not fit").advice;
        let advice = advice.iter().find(|it| it.contains(told)).unwrap();
        for line in monitor.log.lines() {
            if line.level > Level::WARN {
                continue;
            }
            assert!(
                line.field("error").is_some_and(|it| it.contains(advice)),
                "{line:?}"
            );
        }
    }
}

#[tokio::test]
async fn a_token_expires() {
    let monitor = Monitor::start();
    let etcd = Etcd::setup().token_ttl(1).start().await;
    etcd.enable_auth().await;
    etcd.add_user("discovery", "secret", "/services/").await;
    let builder = EtcdClient::builder([etcd.endpoint()]).user("discovery", "secret");
    let client = builder.build().unwrap();
    let instancer = Instancer::new(client.clone(), prefix());
    instancer.ready().await.unwrap();
    let ttl = Ttl::from_secs(12).unwrap();
    let registrar = Registrar::new(client.clone(), service().with_ttl(ttl));
    registrar.register().await.unwrap();

    monitor.reset();
    // Kept alive and verified every four seconds, each time with an expired token.
    let second = Instancer::new(client, prefix());
    second.ready().await.unwrap();
    tokio::time::sleep(Duration::from_secs(9)).await;

    monitor.shows("a token expires").await;
    assert!(registrar.status().borrow().is_registered());
    let mut lines = monitor.log.lines().into_iter();
    let other = lines.find(|it| it.message != "listed");
    assert!(other.is_none(), "{other:?}");
}

#[tokio::test]
async fn keep_alives_are_refused() {
    let monitor = Monitor::start();
    let etcd = Etcd::setup().token_ttl(1).start().await;
    etcd.enable_auth().await;
    etcd.add_user("provider", "secret", "/services/").await;
    let proxy = Proxy::to(etcd.address()).await;
    let builder = EtcdClient::builder([proxy.endpoint()]).user("provider", "secret");
    let registrar = Registrar::new(builder.build().unwrap(), service());
    registrar.register().await.unwrap();

    monitor.reset();
    etcd.change_password("provider", "another").await;
    proxy.drop_connections();
    tokio::time::sleep(3 * Ttl::MIN.duration()).await;
    if registrar.is_proven() {
        // Up to 3.6 etcd asks for no credentials there.
        assert!(!etcd.version().await.starts_with("3.7."));
        return;
    }

    monitor.shows("keep-alives are refused").await;
}

#[tokio::test]
async fn a_provider_may_not_read_its_keys() {
    let monitor = Monitor::start();
    let etcd = Etcd::start().await;
    if etcd.version().await.starts_with("3.4.") {
        // Up to 3.4.25, etcd does not check this right.
        return;
    }
    etcd.enable_auth().await;
    etcd.add_user("provider", "secret", "/services/").await;
    let builder = EtcdClient::builder([etcd.endpoint()]).user("provider", "secret");
    let client = builder.build().unwrap();
    let ttl = Ttl::from_secs(12).unwrap();
    let registrar = Registrar::new(client, service().with_ttl(ttl));
    registrar.register().await.unwrap();

    monitor.reset();
    etcd.withdraw("provider", "/services/").await;

    monitor.shows("a provider may not read its keys").await;
    let is_shown = |status: &RegistrarStatus| {
        matches!(
            status,
            RegistrarStatus::Registered {
                unverified: Some(_),
                ..
            }
        )
    };
    registrar.status().wait_for(is_shown).await.unwrap();
}

#[tokio::test]
async fn a_user_is_given_to_an_etcd_without_users() {
    let monitor = Monitor::start();
    let etcd = Etcd::start().await;
    let builder = EtcdClient::builder([etcd.endpoint()]).user("discovery", "secret");
    let client = builder.build().unwrap();

    monitor.reset();
    let instancer = Instancer::new(client.clone(), prefix());
    instancer.ready().await.unwrap();
    let registrar = Registrar::new(client, service());
    registrar.register().await.unwrap();

    monitor
        .shows("a user is given to an etcd without users")
        .await;
}

/// hostile row 10: an etcd, or whoever answers in its place, says that it has no users.
#[tokio::test]
async fn an_etcd_has_no_users_although_they_are_required() {
    let monitor = Monitor::start();
    let etcd = Etcd::start().await;
    let builder = EtcdClient::builder([etcd.endpoint()]).user("discovery", "secret");
    let client = builder.require_auth().build().unwrap();

    monitor.reset();
    let refused = client.get_entries(&prefix()).await.unwrap_err();
    assert!(
        matches!(refused, Error::Unauthenticated { .. }),
        "{refused}"
    );
    let refused = client.register(&service()).await.unwrap_err();
    assert!(
        matches!(refused, Error::Unauthenticated { .. }),
        "{refused}"
    );
    assert_eq!(etcd.keys("/services/").await, [] as [&str; 0]);

    monitor
        .shows("users are required of an etcd that has none")
        .await;

    // It has users from now on.
    etcd.enable_auth().await;
    etcd.add_user("discovery", "secret", "/services/").await;
    let listed = async || client.get_entries(&prefix()).await.is_ok();
    eventually(PATIENCE, "a list", listed, |it| *it).await;
}

/// hostile row 10
#[tokio::test]
async fn a_password_goes_over_the_network_in_plain_text() {
    let monitor = Monitor::start();
    let local = EtcdClient::builder(["http://127.0.0.1:1", "http://localhost:1"]);
    let local = local.user("discovery", "secret").build().unwrap();
    let nobody = EtcdClient::connect(["http://10.0.0.1:1"]).unwrap();
    assert!(monitor.log.lines().is_empty(), "{:?}", monitor.log.lines());

    let client = EtcdClient::builder(["http://127.0.0.1:1", "http://10.0.0.1:1"]);
    let client = client.user("discovery", "secret").build().unwrap();
    monitor
        .shows("a password goes over the network in plain text")
        .await;
    monitor.reset();
    client.set_endpoints(["http://10.0.0.2:1"]).unwrap();
    monitor
        .shows("a password goes over the network in plain text")
        .await;
    drop((local, nobody));
}
