//! Wrong, missing and expired credentials, and wrong TLS settings.

use sd_core::{
    Client, Error, Event, Instancer, Prefix, Registrar, RegistrarStatus, Service, Trouble, Ttl,
    Updated, Watch, WatchError,
};
use sd_etcd::{EtcdClient, EtcdClientBuilder, Tls};
use sd_tests::{Ca, Certificate, Etcd, PATIENCE, Proxy, eventually, throughout};
use std::time::Duration;
use tokio::time::{sleep, timeout};

const KEY: &str = "/svc/10.0.0.1:80";
const OTHER: &str = "/svc/10.0.0.2:80";
const THIRD: &str = "/svc/10.0.0.3:80";
/// Longer than providers take to come back.
const GRACE: Duration = Duration::from_secs(6);

/// An etcd on which the user `discovery` with the password `secret` may use `/svc/`. Tokens expire
/// a second after their last use.
async fn guarded() -> Etcd {
    let etcd = Etcd::setup().token_ttl(1).start().await;
    etcd.enable_auth().await;
    etcd.add_user("discovery", "secret", "/svc/").await;
    etcd
}

fn client(endpoint: String, password: &str) -> EtcdClient {
    let builder = EtcdClient::builder([endpoint]);
    builder.user("discovery", password).build().unwrap()
}

fn service(key: &str, ttl: u64) -> Service {
    let address = key.rsplit('/').next().unwrap().to_owned();
    let ttl = Ttl::from_secs(ttl).unwrap();
    Service::new(key, address).unwrap().with_ttl(ttl)
}

fn prefix(prefix: &str) -> Prefix {
    Prefix::new(prefix).unwrap()
}

async fn in_time<T>(future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.expect("in time")
}

async fn ready(client: &EtcdClient) -> Instancer {
    let builder = Instancer::builder(client.clone(), prefix("/svc"));
    let instancer = builder.grace(GRACE).build();
    in_time(instancer.ready()).await.unwrap();
    instancer
}

async fn registered(client: &EtcdClient, service: Service) -> Registrar {
    let registrar = Registrar::new(client.clone(), service);
    in_time(registrar.register()).await.unwrap();
    registrar
}

fn keys(instancer: &Instancer) -> Vec<String> {
    let event = instancer.state().expect("it was ready");
    let instances = event.instances().iter();
    instances.map(|it| it.key().to_string()).collect()
}

async fn instances_are(instancer: &Instancer, expected: &[&str]) {
    let seen = async || keys(instancer);
    eventually(PATIENCE, "the instances", seen, |seen| seen == expected).await;
}

/// The number of calls of the toolkit that etcd has received since `before`.
async fn asked(etcd: &Etcd, before: &sd_tests::Metrics) -> u64 {
    let since = etcd.metrics().await.since(before);
    let methods = [
        "Authenticate",
        "Range",
        "Txn",
        "LeaseGrant",
        "LeaseRevoke",
        "LeaseTimeToLive",
        "LeaseKeepAlive",
        "Watch",
    ];
    methods.iter().map(|method| since.calls(method)).sum()
}

// === Passwords and rights ===

/// faults row 22
#[tokio::test]
async fn a_wrong_password_is_said_at_once_and_not_tried_in_a_storm() {
    let etcd = guarded().await;
    let before = etcd.metrics().await;
    let client = client(etcd.endpoint(), "wrong");
    let registrar = Registrar::new(client.clone(), service(KEY, 2));
    let limited = Registrar::new(client.clone(), service(OTHER, 2));
    let instancer = Instancer::new(client.clone(), prefix("/svc"));
    let limit = PATIENCE;

    for refused in [
        in_time(registrar.register()).await,
        in_time(limited.register_within(2 * limit)).await,
        in_time(instancer.ready()).await,
        in_time(instancer.ready_within(2 * limit)).await,
    ] {
        let Err(Error::Unauthenticated { message, .. }) = refused else {
            panic!("{refused:?}");
        };
        assert!(message.contains(&etcd.endpoint()), "{message}");
        assert!(message.contains("password"), "{message}");
    }

    let status = registrar.status().borrow();
    assert!(matches!(*status, RegistrarStatus::Failed(_)), "{status:?}");
    sleep(Duration::from_secs(3)).await;
    let tried = etcd.metrics().await.since(&before).calls("Authenticate");
    assert!(
        (1..=4).contains(&tried),
        "{tried} authentications for four callers"
    );
}

/// faults row 22: no password at all.
#[tokio::test]
async fn who_has_no_user_is_told_to_name_one() {
    let etcd = guarded().await;
    let client = EtcdClient::connect([etcd.endpoint()]).unwrap();
    let registrar = Registrar::new(client.clone(), service(KEY, 2));
    let instancer = Instancer::new(client, prefix("/svc"));

    for refused in [
        in_time(registrar.register()).await,
        in_time(instancer.ready()).await,
    ] {
        let Err(Error::Unauthenticated { message, .. }) = refused else {
            panic!("{refused:?}");
        };
        assert!(message.contains("EtcdClientBuilder::user"), "{message}");
    }
}

/// faults row 22: a watch that is started again after that, on a connection without a user.
#[tokio::test]
async fn a_watch_that_is_refused_for_want_of_a_user_is_started_with_one() {
    let etcd = Etcd::start().await;
    let client = client(etcd.endpoint(), "secret");
    let known = in_time(client.get_entries(&prefix("/svc"))).await.unwrap();
    etcd.add_user("discovery", "secret", "/svc/").await;
    etcd.enable_auth().await;

    let watch = async || client.watch_prefix(&prefix("/svc"), &known.revision).await;
    let is_on = |watch: &Result<Watch, WatchError>| watch.is_ok();
    drop(eventually(PATIENCE, "it to be watched", watch, is_on).await);
}

/// faults row 22: authentication is enabled while clients run that have a password.
#[tokio::test]
async fn who_has_a_password_is_ready_for_the_day_that_it_is_asked_for() {
    let etcd = Etcd::start().await;
    let proxy = Proxy::to(etcd.address()).await;
    let client = client(proxy.endpoint(), "secret");
    let instancer = ready(&client).await;
    let registrar = registered(&client, service(KEY, 12)).await;
    instances_are(&instancer, &[KEY]).await;
    let lease = etcd.entry(KEY).await.unwrap().lease();

    let course = async {
        etcd.add_user("discovery", "secret", "/svc/").await;
        etcd.enable_auth().await;
        // Lists on a connection without a user.
        let second = ready(&client).await;
        assert_eq!(keys(&second), [KEY]);
        let update = in_time(registrar.update("10.0.0.9:80")).await;
        assert_eq!(update.unwrap(), Updated::Written);
        etcd.put(OTHER, "10.0.0.2:80").await;
        instances_are(&instancer, &[KEY, OTHER]).await;

        etcd.disable_auth().await;
        proxy.drop_connections();
        etcd.put(THIRD, "10.0.0.3:80").await;
        instances_are(&instancer, &[KEY, OTHER, THIRD]).await;
        let update = in_time(registrar.update("10.0.0.8:80")).await;
        assert_eq!(update.unwrap(), Updated::Written);
    };
    let seen = async || keys(&instancer);
    let has = |seen: &Vec<String>| seen.contains(&KEY.to_owned());
    throughout(course, "the instance", seen, has).await;

    assert_eq!(etcd.entry(KEY).await.unwrap().lease(), lease);
}

/// faults row 22
#[tokio::test]
async fn a_user_without_rights_hears_so_at_once_and_his_neighbour_nothing() {
    let etcd = guarded().await;
    let client = client(etcd.endpoint(), "secret");
    let neighbour = Registrar::new(client.clone(), service(KEY, 2));
    let registrar = Registrar::new(client.clone(), service("/other/10.0.0.1:80", 2));
    let limited = Registrar::new(client.clone(), service("/other/10.0.0.2:80", 2));
    let instancer = Instancer::new(client.clone(), prefix("/other"));
    let before = etcd.metrics().await;

    let limit = 2 * PATIENCE;
    let (fine, one, two, three, four) = in_time(async {
        tokio::join!(
            neighbour.register(),
            registrar.register(),
            limited.register_within(limit),
            instancer.ready(),
            instancer.ready_within(limit),
        )
    })
    .await;

    fine.unwrap();
    for refused in [one, two, three, four] {
        let Err(Error::PermissionDenied { message, .. }) = refused else {
            panic!("{refused:?}");
        };
        assert!(message.contains("\"discovery\""), "{message}");
    }
    sleep(Duration::from_secs(3)).await;
    let tried = asked(&etcd, &before).await;
    assert!(tried <= 24, "{tried} requests");
    assert!(neighbour.status().borrow().is_registered());
    assert_eq!(etcd.keys("").await, [KEY]);
}

/// faults row 22: a user who may only read. Up to 3.6.5, etcd itself does not check rights within
/// nested transactions (GHSA-rfx7-8w68-q57q).
#[tokio::test]
async fn a_user_who_may_only_read_registers_nothing() {
    let etcd = guarded().await;
    etcd.add_reader("reader", "secret", "/svc/").await;
    etcd.put(OTHER, "10.0.0.2:80").await;
    let builder = EtcdClient::builder([etcd.endpoint()]);
    let client = builder.user("reader", "secret").build().unwrap();
    let instancer = ready(&client).await;
    let absent = Registrar::new(client.clone(), service(KEY, 60));
    let present = Registrar::new(client.clone(), service(OTHER, 60).with_value("10.0.0.3:80"));

    let refused = in_time(async { tokio::join!(absent.register(), present.register()) }).await;

    for refused in [refused.0, refused.1] {
        assert!(
            matches!(refused, Err(Error::PermissionDenied { .. })),
            "{refused:?}"
        );
    }
    assert_eq!(etcd.keys("").await, [OTHER]);
    assert_eq!(etcd.get(OTHER).await.unwrap(), b"10.0.0.2:80");
    instances_are(&instancer, &[OTHER]).await;
}

/// faults row 22: the right is withdrawn from a registered provider, for one service and for
/// several.
#[tokio::test]
async fn who_lost_the_right_to_write_is_told_so_by_the_next_update() {
    let etcd = guarded().await;
    let client = client(etcd.endpoint(), "secret");
    let one = registered(&client, service(KEY, 60)).await;
    let other = registered(&client, service(OTHER, 60)).await;

    etcd.withdraw("discovery", "/svc/").await;
    let alone = in_time(one.update("10.0.0.8:80")).await;
    let together =
        in_time(async { tokio::join!(one.update("10.0.0.9:80"), other.update("10.0.0.9:80")) });
    let together = together.await;

    for update in [alone, together.0, together.1] {
        assert!(
            matches!(update, Err(Error::PermissionDenied { .. })),
            "{update:?}"
        );
    }
    assert_eq!(etcd.get(KEY).await.unwrap(), b"10.0.0.1:80");
    assert_eq!(etcd.get(OTHER).await.unwrap(), b"10.0.0.2:80");

    etcd.grant("discovery", "/svc/").await;
    for key in [KEY, OTHER] {
        let value = || etcd.get(key);
        let is_new = |value: &Option<Vec<u8>>| value.as_deref() == Some(b"10.0.0.9:80");
        eventually(PATIENCE, "the new value", value, is_new).await;
    }
}

/// faults row 22 and row 8: one of two keys on a lease may no longer be read, and the other is deleted.
#[tokio::test]
async fn a_key_that_may_not_be_read_does_not_hide_the_loss_of_another() {
    // What is deleted before may be put back before the right to it is withdrawn.
    for is_hidden_key_deleted in [false, true] {
        let etcd = guarded().await;
        let proxy = Proxy::to(etcd.address()).await;
        let client = client(proxy.endpoint(), "secret");
        let _hidden = registered(&client, service(OTHER, 6)).await;
        let registrar = registered(&client, service(KEY, 6)).await;
        let lease = etcd.entry(KEY).await.unwrap().lease();

        etcd.withdraw("discovery", "/svc/").await;
        etcd.grant("discovery", KEY).await;
        // The watch of both keys, which has been permitted, does not come back.
        proxy.drop_connections();
        if is_hidden_key_deleted {
            etcd.delete(OTHER).await;
        }
        etcd.delete(KEY).await;

        let back = || etcd.get(KEY);
        eventually(PATIENCE, "it to be back", back, Option::is_some).await;
        assert_eq!(etcd.entry(KEY).await.unwrap().lease(), lease);
        assert!(registrar.status().borrow().is_registered());
        let mut standing = vec![KEY];
        standing.extend((!is_hidden_key_deleted).then_some(OTHER));
        assert_eq!(etcd.keys("").await, standing);
    }
}

/// Whether `trouble` is that of a missing right.
fn is_denied(trouble: &Option<Trouble>) -> bool {
    matches!(
        trouble,
        Some(
            Trouble::List(Error::PermissionDenied { .. })
                | Trouble::Watch(WatchError::Interrupted(Error::PermissionDenied { .. }))
        )
    )
}

/// faults row 22: rights are withdrawn and granted again.
///
/// Etcd 3.4 to 3.6 let a provider without rights keep its lease; with 3.7.3 the lease ends.
#[tokio::test]
async fn who_loses_a_right_keeps_what_it_knows_and_goes_on_when_it_is_back() {
    let etcd = guarded().await;
    let proxy = Proxy::to(etcd.address()).await;
    let consumer = client(proxy.endpoint(), "secret");
    let instancer = ready(&consumer).await;
    let provider = client(etcd.endpoint(), "secret");
    let registrar = registered(&provider, service(KEY, 2)).await;
    instances_are(&instancer, &[KEY]).await;

    let course = async {
        etcd.withdraw("discovery", "/svc/").await;
        let before = etcd.metrics().await;
        proxy.drop_connections();
        let trouble = async || instancer.trouble();
        eventually(PATIENCE, "the trouble", trouble, is_denied).await;
        let update = in_time(registrar.update("10.0.0.9:80")).await;
        assert!(
            matches!(update, Err(Error::PermissionDenied { .. })),
            "{update:?}"
        );
        // Longer than the lease.
        sleep(Duration::from_secs(4)).await;
        assert!(!instancer.state().unwrap().health().is_live());
        let tried = asked(&etcd, &before).await;
        assert!(tried <= 32, "{tried} requests");

        etcd.grant("discovery", "/svc/").await;
        let value = || etcd.get(KEY);
        let is_new = |value: &Option<Vec<u8>>| value.as_deref() == Some(b"10.0.0.9:80");
        eventually(2 * PATIENCE, "the new value", value, is_new).await;
        let state = async || instancer.state().unwrap();
        let is_followed = |event: &Event| {
            let mut addresses = event.instances().iter().map(|it| it.address());
            event.health().is_live() && addresses.next() == Some("10.0.0.9:80")
        };
        eventually(2 * PATIENCE, "news of it", state, is_followed).await;
    };
    let seen = async || keys(&instancer);
    throughout(course, "the instance", seen, |seen| *seen == [KEY]).await;

    let lease = etcd.entry(KEY).await.unwrap().lease();
    assert_eq!(etcd.leases().await, [lease]);
    assert!(registrar.status().borrow().is_registered());
}

/// faults row 22: the password of a running client is changed. With etcd 3.7.3 the lease expires,
/// as nobody may keep it alive.
#[tokio::test]
async fn a_password_that_is_changed_makes_no_storm() {
    let etcd = guarded().await;
    let client = client(etcd.endpoint(), "secret");
    let instancer = ready(&client).await;
    let registrar = registered(&client, service(KEY, 2)).await;
    instances_are(&instancer, &[KEY]).await;

    etcd.change_password("discovery", "another").await;
    let before = etcd.metrics().await;
    sleep(Duration::from_secs(6)).await;
    let tried = etcd.metrics().await.since(&before).calls("Authenticate");
    assert!(tried <= 11, "{tried} authentications");

    etcd.change_password("discovery", "secret").await;
    let state = async || {
        let status = registrar.status().borrow().is_registered();
        (status, etcd.get(KEY).await.is_some(), keys(&instancer))
    };
    let is_well =
        |(status, stands, seen): &(bool, bool, Vec<String>)| *status && *stands && *seen == [KEY];
    eventually(2 * PATIENCE, "all to be well", state, is_well).await;
}

// === Tokens ===

/// faults row 23, for watches
#[tokio::test]
async fn a_watch_outlives_its_token() {
    let etcd = guarded().await;
    let client = client(etcd.endpoint(), "secret");
    let instancer = ready(&client).await;
    etcd.put(KEY, "10.0.0.1:80").await;
    instances_are(&instancer, &[KEY]).await;
    let before = etcd.metrics().await;

    sleep(Duration::from_secs(4)).await;
    etcd.put(OTHER, "10.0.0.2:80").await;
    instances_are(&instancer, &[KEY, OTHER]).await;
    let idle = etcd.metrics().await.since(&before);
    assert_eq!(
        (idle.calls("Authenticate"), asked(&etcd, &before).await),
        (0, 0)
    );

    // On the stream whose token has expired.
    let second = ready(&client).await;
    etcd.put(THIRD, "10.0.0.3:80").await;
    for instancer in [&instancer, &second] {
        instances_are(instancer, &[KEY, OTHER, THIRD]).await;
        let live = async || instancer.state().unwrap().health().is_live();
        eventually(PATIENCE, "it to be followed", live, |live| *live).await;
    }

    let renewed = etcd.metrics().await.since(&before).calls("Authenticate");
    assert_eq!(renewed, 1, "one for the list of the second");
}

/// faults row 23, for leases
#[tokio::test]
async fn a_lease_outlives_its_token() {
    let etcd = guarded().await;
    let client = client(etcd.endpoint(), "secret");
    // Verified and kept alive every four seconds: each time with a token that has expired.
    let registrar = registered(&client, service(KEY, 12)).await;
    let lease = etcd.entry(KEY).await.unwrap().lease();
    let before = etcd.metrics().await;

    let beats = async || {
        let since = etcd.metrics().await.since(&before);
        (since.keepalives(), since.calls("LeaseTimeToLive"))
    };
    let is_enough = |(beats, looks): &(u64, u64)| *beats >= 3 && *looks >= 3;
    let (beats, _) = eventually(PATIENCE, "three beats", beats, is_enough).await;

    let renewed = etcd.metrics().await.since(&before).calls("Authenticate");
    assert!(renewed <= beats, "{renewed} authentications for {beats}");
    assert_eq!(etcd.leases().await, [lease]);
    assert_eq!(etcd.entry(KEY).await.unwrap().lease(), lease);
    assert!(registrar.status().borrow().is_registered());
    let written = in_time(registrar.update("10.0.0.9:80")).await;
    assert_eq!(written.unwrap(), Updated::Written);
    assert_eq!(etcd.entry(KEY).await.unwrap().lease(), lease);
}

// === TLS ===

fn shown(tls: Tls, certificate: &Certificate) -> Tls {
    tls.identity(certificate.certificate.as_str(), certificate.key.as_str())
}

/// faults row 24, with correct settings.
#[tokio::test]
async fn with_certificates_and_a_password_all_goes_as_without() {
    let ca = Ca::new();
    let setup = Etcd::setup().tls(&ca).client_certificates();
    let etcd = setup.token_ttl(1).start().await;
    etcd.enable_auth().await;
    etcd.add_user("discovery", "secret", "/svc/").await;
    let tls = shown(Tls::new().ca(ca.pem()), &ca.client("whoever"));
    let builder = EtcdClient::builder([etcd.endpoint()]).tls(tls);
    let client = builder.user("discovery", "secret").build().unwrap();

    let instancer = ready(&client).await;
    let registrar = registered(&client, service(KEY, 2)).await;
    instances_are(&instancer, &[KEY]).await;
    assert_eq!(etcd.client_connections(), 2);
    etcd.restart().await;
    etcd.put(OTHER, "10.0.0.2:80").await;
    instances_are(&instancer, &[KEY, OTHER]).await;
    in_time(registrar.deregister()).await.unwrap();

    assert_eq!(etcd.keys("/svc/").await, [OTHER]);
}

/// The mistake, the options with it, and the text that the error must contain.
type Case = (&'static str, EtcdClientBuilder, &'static str);

/// faults row 24
#[tokio::test]
async fn each_misfit_of_tls_says_what_to_check() {
    let (ca, other) = (Ca::new(), Ca::new());
    let setup = || Etcd::setup();
    let strict = setup().tls(&ca).client_certificates().start().await;
    let etcd = setup().tls(&ca).start().await;
    let plain = setup().start().await;
    let before = plain.metrics().await;
    let trusting = || Tls::new().ca(ca.pem());
    let to = |endpoint: String| EtcdClient::builder([endpoint]);
    let in_plain_text = |etcd: &Etcd| to(etcd.endpoint().replace("https", "http"));
    let cases: [Case; 7] = [
        (
            "another CA",
            to(etcd.endpoint()).tls(Tls::new().ca(other.pem())),
            "`Tls::ca`",
        ),
        (
            "another host",
            to(etcd.endpoint()).tls(trusting().domain("etcd.example")),
            "`Tls::domain`",
        ),
        (
            "no client certificate",
            to(strict.endpoint()).tls(trusting()),
            "`Tls::identity`",
        ),
        (
            "a stranger's client certificate",
            to(strict.endpoint()).tls(shown(trusting(), &other.client("stranger"))),
            "`Tls::identity`",
        ),
        ("plain text to TLS", in_plain_text(&etcd), "https://"),
        (
            "plain text to TLS with certificates",
            in_plain_text(&strict),
            "https://",
        ),
        (
            "TLS to plain text",
            to(plain.endpoint().replace("http", "https")).tls(trusting()),
            "http://",
        ),
    ];

    for (case, builder, named) in cases {
        let client = builder.build().unwrap();
        let registrar = Registrar::new(client.clone(), service(KEY, 2));
        let instancer = Instancer::new(client.clone(), prefix("/svc"));
        let limit = Duration::from_secs(2);
        let (registered, ready) = tokio::join!(
            registrar.register_within(limit),
            instancer.ready_within(limit)
        );

        for refused in [registered, ready] {
            let Err(error @ Error::Unavailable { .. }) = refused else {
                panic!("{case}: {refused:?}");
            };
            let text = error.to_string();
            let advice = text.split_once('(').map_or("", |(_, advice)| advice);
            assert!(advice.contains(named), "{case}: {text}");
            assert!(text.contains("127.0.0.1"), "{case}: {text}");
        }
    }

    assert_eq!(asked(&plain, &before).await, 0, "nothing in plain text");
}

/// faults row 24: mistakes that can be found without a connection.
#[tokio::test]
async fn tls_that_cannot_work_is_refused_before_anything_is_sent() {
    let ca = Ca::new();
    let other = Ca::new();
    let to = |endpoint: &str| EtcdClient::builder([endpoint]);
    let https = "https://127.0.0.1:1";
    let (me, another) = (ca.client("a"), ca.client("b"));
    let mixed = Tls::new()
        .ca(other.pem())
        .identity(me.certificate.as_str(), another.key.as_str());

    for (builder, named) in [
        (to(https).tls(Tls::new().ca("no PEM")), "`Tls::ca`"),
        (
            to(https).tls(Tls::new().ca(ca.pem()).identity("no", "PEM")),
            "key",
        ),
        (to(https).tls(mixed), "certificate"),
        (
            to("http://127.0.0.1:1").tls(Tls::new().ca(ca.pem())),
            "https://",
        ),
        (
            EtcdClient::builder([https, "http://127.0.0.1:2"]).tls(Tls::new().ca(ca.pem())),
            "https://",
        ),
        (
            EtcdClient::builder([https, "http://127.0.0.1:2"]),
            "https://",
        ),
    ] {
        let refused = builder.build().map(|_| ()).unwrap_err();

        assert!(matches!(refused, Error::Invalid(_)), "{refused:?}");
        assert!(refused.to_string().contains(named), "{refused}");
    }
}

/// faults row 24: without a CA, the system's CAs are trusted (feature `tls-roots`), or none, which
/// is an error at once.
#[tokio::test]
async fn tls_without_a_ca_trusts_no_private_one() {
    let etcd = Etcd::setup().tls(&Ca::new()).start().await;

    for builder in [
        EtcdClient::builder([etcd.endpoint()]),
        EtcdClient::builder([etcd.endpoint()]).tls(Tls::new()),
    ] {
        let error = match builder.build() {
            Err(error) => error,
            Ok(client) => {
                let instancer = Instancer::new(client, prefix("/svc"));
                let limit = Duration::from_secs(1);
                instancer.ready_within(limit).await.unwrap_err()
            }
        };

        assert!(error.to_string().contains("CA"), "{error}");
    }
}

/// faults row 24: members may have different certificates, so that they can be rotated one by one.
#[tokio::test]
async fn a_member_with_a_bad_certificate_is_left_for_another() {
    let (ca, other) = (Ca::new(), Ca::new());
    let (bad, good) = tokio::join!(
        Etcd::setup().tls(&other).start(),
        Etcd::setup().tls(&ca).start()
    );
    let endpoints = [bad.endpoint(), good.endpoint()];
    let builder = EtcdClient::builder(endpoints).tls(Tls::new().ca(ca.pem()));
    let client = builder.build().unwrap();

    let instancer = ready(&client).await;
    let _registrar = registered(&client, service(KEY, 2)).await;

    instances_are(&instancer, &[KEY]).await;
    assert_eq!(good.keys("").await, [KEY]);
    assert_eq!(bad.keys("").await, [""; 0]);
}
