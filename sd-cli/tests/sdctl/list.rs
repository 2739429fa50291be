//! `list` and `get`.

use crate::support::{Provider, on};
use sd_core::{Advert, Status, Ttl};
use sd_tests::Etcd;
use std::time::Duration;

#[tokio::test]
async fn services_and_instances_are_listed_with_what_etcd_knows_of_them() {
    let etcd = Etcd::start().await;
    let ttl = Ttl::from_secs(60).unwrap();
    let advert = Advert::new("10.0.0.1:80")
        .weight(3)
        .zone("eu-1")
        .version("1.4")
        .ttl(ttl);
    let advert = advert.metadata("team", "search");
    let one = Provider::register(&etcd, "default", "hello", advert).await;
    let draining = Advert::new("10.0.0.2:80")
        .weight(1)
        .status(Status::Draining);
    let _two = Provider::register(&etcd, "default", "hello", draining).await;
    etcd.put("/services/hello/x", "no address").await;
    etcd.put("/services/other/10.0.0.9:80", "10.0.0.9:80").await;
    etcd.put("/elsewhere/hello/10.0.0.9:80", "10.0.0.9:80")
        .await;

    let services = on(&etcd, &["list"]).await.succeeded();
    let hello: Vec<_> = services.line("hello").split_whitespace().collect();
    assert_eq!(hello, ["hello", "2", "1", "1", "0", "1"], "{services:?}");
    assert_eq!(services.out.lines().count(), 3);

    let listed = on(&etcd, &["list", "hello"]).await.succeeded();
    let first: Vec<_> = listed.line("10.0.0.1:80").split_whitespace().collect();
    assert_eq!(first[..5], ["10.0.0.1:80", "3", "eu-1", "serving", "1.4"]);
    assert_eq!((first[6], first[8]), ("60s", "/services/hello/10.0.0.1:80"));
    assert!(listed.line("/services/hello/x").contains("unreadable"));
    assert!(!listed.out.contains("10.0.0.9"), "{listed:?}");
    assert!(!listed.out.contains('\x1b'), "no colours but on a terminal");

    let listed = on(&etcd, &["-o", "json", "list", "hello"])
        .await
        .succeeded()
        .json();
    let first = &listed[0];
    assert_eq!(
        (first["weight"].as_u64(), &first["metadata"]["team"]),
        (Some(3), &"search".into())
    );
    let key = "/services/hello/10.0.0.1:80";
    let entry = etcd.entry(key).await.unwrap();
    assert_eq!(first["lease"], format!("{:x}", entry.lease()));
    assert_eq!(first["created_revision"], entry.create_revision());
    let left = first["left_seconds"].as_i64().unwrap();
    assert!((30..=60).contains(&left), "{left}");
    assert_eq!(
        (
            listed[1]["status"].as_str(),
            listed[2]["unreadable"].is_string()
        ),
        (Some("draining"), true)
    );
    assert!(listed[2].get("lease").is_none(), "{listed}");

    let lines = on(&etcd, &["-o", "jsonl", "list", "--instances"])
        .await
        .succeeded();
    assert_eq!(lines.out.lines().count(), 4);

    let wide = on(&etcd, &["-o", "wide", "list", "hello"])
        .await
        .succeeded();
    assert!(wide.line("10.0.0.1:80").contains("team=search"));

    let got = on(&etcd, &["get", key]).await.succeeded();
    assert!(got.line("lease").contains("of 60s left"), "{got:?}");
    assert!(got.out.contains(r#""zone": "eu-1""#), "{got:?}");
    let got = on(&etcd, &["-o", "json", "get", key])
        .await
        .succeeded()
        .json();
    assert_eq!(
        (&got["value"]["zone"], &got["instances"][0]["weight"]),
        (&"eu-1".into(), &3.into())
    );
    one.client.close().await;
}

#[tokio::test]
async fn what_is_not_there_is_said_with_what_to_do() {
    let etcd = Etcd::start().await;
    let listed = on(&etcd, &["list", "hello"]).await.failed();
    assert!(
        listed.err.contains("no instance of hello is registered"),
        "{listed:?}"
    );
    assert!(
        on(&etcd, &["list"])
            .await
            .succeeded()
            .out
            .starts_with("SERVICE")
    );
    let got = on(&etcd, &["get", "/services/hello/a"]).await.failed();
    assert!(
        got.err.contains("there is no entry") && got.err.contains("sdctl list"),
        "{got:?}"
    );
    etcd.kill();
    let listed = on(&etcd, &["--timeout", "1s", "list"]).await.failed();
    assert!(listed.err.contains("is etcd there?"), "{listed:?}");
    assert!(
        listed.err.contains("Connection refused") && !listed.err.contains("transport::Error"),
        "{listed:?}"
    );
}

#[tokio::test]
async fn every_format_is_listed() {
    let etcd = Etcd::start().await;
    for format in sd_formats::all() {
        // Each alone: several have the same keys.
        let name = format.name();
        let provider = Provider::register(&etcd, name, "hello", Advert::new("10.0.0.1:80")).await;
        let services = on(&etcd, &["--format", name, "-o", "json", "list"])
            .await
            .succeeded()
            .json();
        assert_eq!(services[0]["service"], "hello", "{name}: {services}");
        let listed = on(&etcd, &["--format", name, "-o", "json", "list", "hello"])
            .await
            .succeeded();
        let listed = listed.json();
        assert_eq!(listed[0]["address"], "10.0.0.1:80", "{name}: {listed}");
        provider.client.close().await;
    }
}

#[tokio::test]
async fn very_many_leases_are_asked_for_on_demand() {
    let etcd = Etcd::start().await;
    for n in 0..1_001 {
        let address = format!("10.0.{}.{}:80", n / 256, n % 256);
        etcd.put_leased(
            format!("/services/hello/{address}"),
            address,
            Duration::from_secs(600),
        )
        .await;
    }
    let listed = on(&etcd, &["-o", "json", "list", "hello"])
        .await
        .succeeded();
    assert!(
        listed.err.contains("1001 leases was not asked for"),
        "{}",
        listed.err
    );
    let listed = listed.json();
    assert!(listed[0]["lease"].is_string() && listed[0].get("left_seconds").is_none());
    let listed = on(&etcd, &["-o", "json", "list", "--leases", "hello"])
        .await
        .succeeded();
    assert!(
        listed
            .json()
            .as_array()
            .unwrap()
            .iter()
            .all(|row| row["ttl_seconds"] == 600)
    );
}

/// What others wrote moves no cursor and begins no line of its own.
#[tokio::test]
async fn text_from_outside_is_escaped() {
    let etcd = Etcd::start().await;
    let value = r#"{"address":"10.0.0.1:80","zone":"a\u001b[2Jb","id":"x\ny"}"#;
    etcd.put("/services/hello/a\nb", value).await;
    for arguments in [
        &["-o", "wide", "list", "hello"][..],
        &["get", "/services/hello/a\nb"],
    ] {
        let ended = on(&etcd, arguments).await.succeeded();
        assert!(!ended.out.contains('\x1b'), "{ended:?}");
        assert!(ended.out.contains(r"/services/hello/a\nb"), "{ended:?}");
    }
}

/// More than fits into one answer of etcd.
#[tokio::test]
async fn a_large_service_is_listed_whole() {
    let etcd = Etcd::start().await;
    let mut client = etcd.client().await;
    for chunk in (0..12_000).collect::<Vec<_>>().chunks(100) {
        let puts = chunk.iter().map(|n| {
            let address = format!("10.{}.{}.{}:80", n / 65_536, n / 256 % 256, n % 256);
            etcd_client::TxnOp::put(format!("/services/hello/{address}"), address, None)
        });
        let txn = etcd_client::Txn::new().and_then(puts.collect::<Vec<_>>());
        client.txn(txn).await.unwrap();
    }
    let listed = on(&etcd, &["-o", "jsonl", "list", "hello"])
        .await
        .succeeded();
    assert_eq!(listed.out.lines().count(), 12_000);
}
