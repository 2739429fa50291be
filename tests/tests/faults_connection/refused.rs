//! Credentials that etcd refuses to a provider that is registered.

use super::{KEY, in_time, is_well, prefix, ready, registered, service};
use sd_core::Client;
use sd_etcd::EtcdClient;
use sd_tests::{Etcd, Log, PATIENCE, Proxy, eventually};
use std::time::Duration;
use tokio::time::sleep;
use tracing::Level;

/// Row 30 and row 35: a password that was changed, and an etcd that was restarted since. It is an
/// error that names the cause, asked for again with pauses, and healed without a restart.
#[tokio::test]
async fn a_provider_whose_password_was_changed_says_so_and_heals() {
    let log = Log::capture();
    let etcd = Etcd::setup().token_ttl(300).start().await;
    etcd.enable_auth().await;
    etcd.add_user("discovery", "secret", "/svc/").await;
    let proxy = Proxy::to(etcd.address()).await;
    let builder = EtcdClient::builder([proxy.endpoint()]);
    let client = builder.user("discovery", "secret").build().unwrap();
    let registrar = registered(&client, service(KEY, 4)).await;
    let instancer = ready(&client).await;
    let lease = etcd.entry(KEY).await.unwrap().lease();

    etcd.change_password("discovery", "another").await;
    etcd.restart().await;
    let refused = async || {
        let lines = log.lines().into_iter();
        let lines = lines.filter(|line| line.message.starts_with("etcd refuses the credentials"));
        lines.collect::<Vec<_>>()
    };
    let said = |lines: &Vec<_>| !lines.is_empty();
    let lines = eventually(PATIENCE, "the error to be logged", refused, said).await;
    assert_eq!(lines[0].level, Level::ERROR);
    assert_eq!(lines[0].field("user").unwrap(), "discovery");
    assert!(
        lines[0].field("error").unwrap().contains("password"),
        "{lines:?}"
    );

    // Keep-alives have to be begun anew, and many callers ask, for twice the TTL.
    proxy.drop_connections();
    for _ in 0..80 {
        sleep(Duration::from_millis(100)).await;
        in_time(client.get_entries(&prefix())).await.unwrap_err();
    }
    assert_eq!(refused().await.len(), 1, "it is said once");
    let tried = etcd.metrics().await.calls("Authenticate");
    assert!((1..=8).contains(&tried), "{tried} authentications");
    let update = in_time(registrar.update("10.0.0.1:81")).await.unwrap_err();
    if !etcd.version().await.starts_with("3.7.") {
        let kept = etcd.entry(KEY).await.map(|entry| entry.lease());
        assert_eq!(kept, Some(lease), "keep-alives need no token");
    }
    assert!(
        update.to_string().contains("refused the credentials"),
        "{update}"
    );

    etcd.change_password("discovery", "secret").await;
    let state = async || {
        let stands = etcd.get(KEY).await;
        (is_well(&registrar), stands, super::is_live(&instancer))
    };
    let well = |(registrar, stands, live): &(bool, Option<Vec<u8>>, bool)| {
        *registrar && *live && stands.as_deref() == Some(b"10.0.0.1:81")
    };
    eventually(3 * PATIENCE, "all to be well", state, well).await;
    let lines = log.lines();
    let again = lines.iter().find(|it| it.message == "authenticated again");
    assert!(again.is_some(), "{lines:?}");
}
