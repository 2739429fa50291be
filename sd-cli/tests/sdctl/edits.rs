//! `drain`, `undrain`, `weight`, `set` and `deregister`.

use crate::support::{Provider, on};
use sd_core::Advert;
use sd_tests::{Etcd, PATIENCE, eventually};

const KEY: &str = "/services/hello/10.0.0.1:80";

#[tokio::test]
async fn an_instance_is_edited_on_its_own_lease_and_shown_before_and_after() {
    let etcd = Etcd::start().await;
    let advert = Advert::new("10.0.0.1:80")
        .weight(3)
        .metadata("team", "search");
    let provider = Provider::register(&etcd, "default", "hello", advert).await;
    let lease = etcd.entry(KEY).await.unwrap().lease();

    let drained = on(&etcd, &["drain", "10.0.0.1:80"]).await.succeeded();
    assert!(
        drained.out.contains("status serving -> draining"),
        "{drained:?}"
    );
    let minus = drained
        .out
        .lines()
        .find(|line| line.starts_with("- "))
        .unwrap();
    let plus = drained
        .out
        .lines()
        .find(|line| line.starts_with("+ "))
        .unwrap();
    assert!(
        !minus.contains("draining") && plus.contains("draining"),
        "{drained:?}"
    );
    let value = async || String::from_utf8(etcd.get(KEY).await.unwrap()).unwrap();
    assert!(value().await.contains("draining"));

    let again = on(&etcd, &["-o", "json", "drain", KEY])
        .await
        .succeeded()
        .json();
    assert_eq!(again["changed"], false);
    on(&etcd, &["undrain", KEY]).await.succeeded();
    assert!(!value().await.contains("draining"));
    let dry = on(&etcd, &["weight", "--dry-run", KEY, "9"])
        .await
        .succeeded();
    assert!(
        dry.out.contains("would be changed") && dry.out.contains("weight 3 -> 9"),
        "{dry:?}"
    );
    assert!(value().await.contains(r#""weight":3"#));
    let weighed = on(&etcd, &["-o", "json", "weight", KEY, "9"])
        .await
        .succeeded()
        .json();
    assert_eq!(
        (
            &weighed["before"][0]["weight"],
            &weighed["after"][0]["weight"]
        ),
        (&3.into(), &9.into())
    );
    on(&etcd, &["set", KEY, "shard=7", "team-"])
        .await
        .succeeded();
    let value = value().await;
    assert!(
        value.contains(r#""shard":"7""#) && !value.contains("team"),
        "{value}"
    );
    assert_eq!(
        etcd.entry(KEY).await.unwrap().lease(),
        lease,
        "it is on its own lease"
    );
    assert!(provider.registrar.is_proven());
    provider.client.close().await;
}

#[tokio::test]
async fn what_a_format_cannot_say_is_refused_and_changes_nothing() {
    let etcd = Etcd::start().await;
    let provider = Provider::register(&etcd, "gokit", "hello", Advert::new("10.0.0.1:80")).await;
    let refused = on(&etcd, &["--format", "gokit", "weight", KEY, "3"])
        .await
        .failed();
    assert!(
        refused.err.contains("cannot say anything but the address"),
        "{refused:?}"
    );
    assert_eq!(etcd.get(KEY).await.unwrap(), b"10.0.0.1:80");
    provider.client.close().await;
}

#[tokio::test]
async fn an_address_that_several_have_is_not_guessed() {
    let etcd = Etcd::start().await;
    let json = r#"{"address":"10.0.0.1:80"}"#;
    etcd.put("/services/hello/a", json).await;
    etcd.put("/services/other/a", json).await;
    let refused = on(&etcd, &["drain", "10.0.0.1:80"]).await.failed();
    assert!(refused.err.contains("/services/hello/a") && refused.err.contains("/services/other/a"));
    on(&etcd, &["drain", "--service", "other", "10.0.0.1:80"])
        .await
        .succeeded();
    assert!(
        !String::from_utf8(etcd.get("/services/hello/a").await.unwrap())
            .unwrap()
            .contains("draining")
    );
    let nobody = on(&etcd, &["drain", "10.0.0.2:80"]).await.failed();
    assert!(
        nobody
            .err
            .contains("no instance has the key or the address"),
        "{nobody:?}"
    );
}

#[tokio::test]
async fn one_node_of_an_entry_is_edited_alone() {
    let etcd = Etcd::start().await;
    let node = |n| format!(r#"{{"id":"n{n}","address":"10.0.0.{n}:80","metadata":null}}"#);
    let value = format!(
        r#"{{"name":"hello","version":"1","nodes":[{},{}]}}"#,
        node(1),
        node(2)
    );
    etcd.put("/micro/registry/hello/i", value).await;
    on(
        &etcd,
        &["--format", "gomicro", "weight", "10.0.0.2:80", "7"],
    )
    .await
    .succeeded();
    let listed = on(
        &etcd,
        &["--format", "gomicro", "-o", "json", "list", "hello"],
    )
    .await
    .json();
    assert_eq!(
        (listed[0]["weight"].as_u64(), listed[1]["weight"].as_u64()),
        (Some(1), Some(7))
    );
    on(
        &etcd,
        &[
            "--format",
            "gomicro",
            "weight",
            "/micro/registry/hello/i#n1",
            "5",
        ],
    )
    .await
    .succeeded();
    let listed = on(
        &etcd,
        &["--format", "gomicro", "-o", "json", "list", "hello"],
    )
    .await
    .json();
    assert_eq!(
        (listed[0]["weight"].as_u64(), listed[1]["weight"].as_u64()),
        (Some(5), Some(7))
    );
}

#[tokio::test]
async fn the_entry_of_a_living_instance_is_removed_only_on_demand_and_comes_back() {
    let etcd = Etcd::start().await;
    let provider = Provider::register(&etcd, "default", "hello", Advert::new("10.0.0.1:80")).await;
    let refused = on(&etcd, &["deregister", KEY]).await.failed();
    assert!(
        refused.err.contains("the entry comes back") && refused.err.contains("--yes"),
        "{refused:?}"
    );
    let before = etcd.last_put(KEY).await.unwrap();
    let removed = on(&etcd, &["deregister", "--yes", "10.0.0.1:80"])
        .await
        .succeeded();
    assert!(
        removed.out.contains("its provider puts it back"),
        "{removed:?}"
    );
    let put = async || etcd.last_put(KEY).await;
    eventually(PATIENCE, "the entry to be back", put, |put| {
        put.is_some_and(|put| put != before)
    })
    .await;
    provider.client.close().await;

    etcd.put(KEY, "10.0.0.1:80").await;
    let removed = on(&etcd, &["-o", "json", "deregister", KEY])
        .await
        .succeeded()
        .json();
    assert_eq!(
        (&removed["removed"], &removed["lease_alive"]),
        (&true.into(), &false.into())
    );
    assert_eq!(etcd.get(KEY).await, None);
}
