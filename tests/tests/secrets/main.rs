//! Secrets: no password, token or key, and no value of an entry, is in what is logged or shown, at any level
//! and by any crate.

mod captured;
mod search;

use captured::Captured;
use sd_core::{
    Bytes, Client, Codec, DefaultCodec, Error, Instance, Instancer, Key, Prefix, Registrar,
    Service, Ttl, Updated,
};
use sd_etcd::{EtcdClient, EtcdClientBuilder, Tls, User};
use sd_tests::{Ca, Certificate, Etcd, PATIENCE, eventually};
use sd_tower::{EtcdResolver, Target};
use search::{Forms, Secret, token_in};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::time::timeout;

const USER: &str = "discovery";
const PASSWORD: &str = "First+Pa55/w0rd-xq";
const NEW_PASSWORD: &str = "Second+Pa55/w0rd-zk";
const WRONG_PASSWORD: &str = "Wrong+Pa55/w0rd-jv";
/// In the metadata of the instance.
const API_KEY: &str = "Api+Key/0123-yw";
const KEY: &str = "/svc/10.0.0.1:80";

/// The value of an instance with a secret in its metadata.
fn value_of_weight(weight: u32, address: &str) -> Bytes {
    let instance = Instance::new(Key::new(KEY).unwrap(), address).with_weight(weight);
    let instance = instance.with_metadata("api-key", API_KEY);
    DefaultCodec.encode(&instance).unwrap()
}

fn value(address: &str) -> Bytes {
    value_of_weight(1, address)
}

fn service(key: &str) -> Service {
    let service = Service::new(key, value("10.0.0.1:80")).unwrap();
    service.with_ttl(Ttl::from_secs(12).unwrap())
}

fn prefix() -> Prefix {
    Prefix::new("/svc").unwrap()
}

async fn in_time<T>(future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.expect("in time")
}

fn identity(tls: Tls, certificate: &Certificate) -> Tls {
    tls.identity(certificate.certificate.as_str(), certificate.key.as_str())
}

/// A certificate's key in one line, as an environment variable may hold it.
fn in_one_line(certificate: &Certificate) -> Certificate {
    Certificate {
        key: certificate.key.replace('\n', ""),
        ..certificate.clone()
    }
}

/// Makes `call` until it fails, and returns the error.
async fn refused<T>(call: impl AsyncFn() -> Result<T, Error>) -> Error {
    let error = async || call().await.err();
    let error = eventually(PATIENCE, "it to be refused", error, Option::is_some).await;
    error.expect("it was refused")
}

/// What builders and clients cannot be made of.
fn build_badly(
    captured: &Captured,
    to: impl Fn() -> EtcdClientBuilder,
    tls: &Tls,
    me: &Certificate,
) {
    let other = Ca::new().client("another");
    let mixed = Certificate {
        certificate: other.certificate,
        ..me.clone()
    };
    for certificate in [mixed, in_one_line(me)] {
        let builder = to().tls(identity(tls.clone(), &certificate));
        captured.show(&builder);
        captured.show_error(&builder.build().unwrap_err());
    }
    for endpoint in [
        format!("https://{USER}:{PASSWORD}@127.0.0.1:2379"),
        format!("{USER}:{PASSWORD}@127.0.0.1:2379"),
    ] {
        let builder = EtcdClient::builder([endpoint]);
        captured.show(&builder);
        captured.show_error(&builder.build().unwrap_err());
    }
    for target in [
        format!("etcd://{USER}:{PASSWORD}@127.0.0.1:2379/hello"),
        format!("etcd://127.0.0.1:2379/hello?password={PASSWORD}"),
        format!("{USER}:{PASSWORD}@127.0.0.1:2379/hello"),
    ] {
        captured.show_error(&target.parse::<Target>().unwrap_err());
    }
}

/// Clients with wrong credentials and certificates: nobody serves them.
async fn connect_badly(
    captured: &Captured,
    etcd: &Etcd,
    tls: &Tls,
    strangers: [&Certificate; 2],
    me: &Certificate,
) {
    let to = || EtcdClient::builder([etcd.endpoint()]);
    let mine = || identity(tls.clone(), me);
    let mut builders = vec![
        to().tls(mine()).user(USER, WRONG_PASSWORD),
        to().tls(mine()),
        to().tls(mine())
            .credentials(|| async { Err::<User, _>(std::io::Error::other("no vault")) }),
        to().tls(identity(Tls::new().ca(Ca::new().pem()), me))
            .user(USER, PASSWORD),
    ];
    let with_certificate = |it| to().tls(identity(tls.clone(), it)).user(USER, PASSWORD);
    builders.extend(strangers.map(with_certificate));
    for builder in builders {
        captured.show(&builder);
        let client = builder.build().unwrap();
        captured.show(&client);
        let registrar = Registrar::new(client.clone(), service(KEY));
        let instancer = Instancer::new(client.clone(), prefix());
        let error = refused(async || client.get_entries(&prefix()).await).await;
        captured.show_error(&error);
        let limit = Duration::from_secs(1);
        let (registered, ready) = tokio::join!(
            registrar.register_within(limit),
            instancer.ready_within(limit)
        );
        captured.show_error(&registered.unwrap_err());
        captured.show_error(&ready.unwrap_err());
        captured.show(&(&registrar, &instancer));
        captured.show(&*registrar.status().borrow());
        in_time(client.close()).await;
    }
}

/// hostile row 11: nothing that the toolkit or a crate below it logs at `TRACE`, and no `Debug` and no error,
/// holds a secret, in whatever form.
#[tokio::test]
async fn no_secret_is_logged_or_shown() {
    let captured = Captured::start();
    let ca = Ca::new();
    let setup = Etcd::setup().tls(&ca).client_certificates();
    let etcd = setup.token_ttl(1).start().await;
    etcd.enable_auth().await;
    etcd.add_user(USER, PASSWORD, "/svc/").await;
    let (me, stranger, expired) = (
        ca.client("me"),
        Ca::new().client("stranger"),
        ca.expired_client("me"),
    );
    let tls = Tls::new().ca(ca.pem());
    let to = || EtcdClient::builder([etcd.endpoint()]);
    let known = Arc::new(Mutex::new(PASSWORD));
    let source = known.clone();
    let builder = to().tls(identity(tls.clone(), &me)).credentials(move || {
        let password = *source.lock().unwrap();
        async move { std::io::Result::Ok(User::new(USER, password)) }
    });
    captured.show(&(&builder, &tls, User::new(USER, PASSWORD), service(KEY)));

    // All goes well.
    let client = builder.build().unwrap();
    let instancer = Instancer::new(client.clone(), prefix());
    in_time(instancer.ready()).await.unwrap();
    let registrar = Registrar::new(client.clone(), service(KEY));
    captured.show(&(&client, &instancer, &registrar));
    in_time(registrar.register()).await.unwrap();
    let seen = async || instancer.state().unwrap();
    let event = eventually(PATIENCE, "the instance", seen, |it| {
        it.instances().len() == 1
    })
    .await;
    let listed = in_time(client.get_entries(&prefix())).await.unwrap();
    captured.show(&(&event, &listed));
    captured.show(&*registrar.status().borrow());
    let update = in_time(registrar.update(value("10.0.0.2:80"))).await;
    assert_eq!(update.unwrap(), Updated::Written);

    // A token expires; etcd restarts and knows none; somebody edits, takes and deletes the key.
    let before = etcd.metrics().await;
    let authenticated = async || etcd.metrics().await.since(&before).calls("Authenticate");
    eventually(PATIENCE, "another token", authenticated, |it| *it > 0).await;
    etcd.restart().await;
    let update = async || registrar.update(value("10.0.0.3:80")).await;
    let is_written = |it: &Result<Updated, Error>| matches!(it, Ok(Updated::Written));
    eventually(PATIENCE, "an update", update, is_written)
        .await
        .unwrap();
    etcd.edit(KEY, value_of_weight(2, "10.0.0.3:80")).await;
    let status = async || registrar.status().borrow().to_string();
    let edited = eventually(PATIENCE, "the edit", status, |it| it.contains("edited")).await;
    captured.show(&(edited, registrar.status().borrow().clone()));
    etcd.put(KEY, value("10.0.0.5:80")).await;
    let taken = eventually(PATIENCE, "the taking", status, |it| it.contains("taken")).await;
    captured.show(&(taken, registrar.status().borrow().clone()));
    // What cannot be read, and an attribute that cannot.
    etcd.put("/svc/bad", format!("{{\"address\":7,\"x\":\"{API_KEY}\"}}"))
        .await;
    etcd.put("/svc/like", format!("{API_KEY}:{API_KEY}")).await;
    let odd = format!("{{\"address\":\"h:1\",\"zone\":[\"{API_KEY}\"],\"status\":\"{API_KEY}\"}}");
    etcd.put("/svc/odd", odd).await;
    eventually(PATIENCE, "junk", seen, |it| {
        it.unreadable() == 2 && it.instances().len() == 2
    })
    .await;
    etcd.delete(KEY).await;
    let stands = async || registrar.status().borrow().is_registered();
    eventually(PATIENCE, "it to be registered", stands, |it| *it).await;

    // The password is changed, first at etcd and then at the source.
    etcd.change_password(USER, NEW_PASSWORD).await;
    let error = refused(async || client.get_entries(&prefix()).await).await;
    captured.show_error(&error);
    *known.lock().unwrap() = NEW_PASSWORD;
    eventually(2 * PATIENCE, "an update", update, is_written)
        .await
        .unwrap();

    build_badly(&captured, to, &tls, &me);
    connect_badly(&captured, &etcd, &tls, [&stranger, &expired], &me).await;
    let wrong = in_time(registrar.update(Bytes::from(format!("not an address: {API_KEY}")))).await;
    captured.show_error(&wrong.unwrap_err());
    let resolver = EtcdResolver::new(|client| client.user(USER, PASSWORD));
    captured.show(&resolver);
    in_time(registrar.deregister()).await.unwrap();
    captured.show(&*registrar.status().borrow());
    in_time(client.close()).await;

    let secrets = [
        Secret::text("the password", PASSWORD),
        Secret::text("the new password", NEW_PASSWORD),
        Secret::text("a wrong password", WRONG_PASSWORD),
        Secret::text("metadata", API_KEY),
    ];
    let keys = [&me, &stranger, &expired].map(|it| Secret::key("a client's key", &it.key));
    let secrets: Vec<_> = secrets
        .into_iter()
        .chain(keys.into_iter().flatten())
        .collect();
    let mut found = BTreeMap::new();
    for line in captured.lines() {
        let text = Forms::of(&line.text);
        let secret = secrets.iter().find(|it| it.is_in(&text));
        let what = secret.map(Secret::name);
        if let Some(what) = what.or_else(|| token_in(&text).map(|_| "a token")) {
            found.insert((what, line.target), line.text);
        }
    }
    assert!(found.is_empty(), "{found:#?}");
    captured.assert_has_all_of(&["sd_core", "sd_etcd", "h2", "hyper_util", "rustls", "shown"]);
}

/// The token is not known, but what one looks like.
#[tokio::test]
async fn tokens_look_as_the_search_expects() {
    let etcd = Etcd::setup().token_ttl(1).start().await;
    etcd.enable_auth().await;
    etcd.add_user(USER, PASSWORD, "/svc/").await;
    let mut auth = etcd.client().await.auth_client();
    let answer = auth
        .authenticate(USER.into(), PASSWORD.into())
        .await
        .unwrap();
    let token = answer.token();
    for shown in [format!("token={token}"), format!("{:?}", token.as_bytes())] {
        assert_eq!(token_in(&Forms::of(&shown)).as_deref(), Some(token));
    }
}
