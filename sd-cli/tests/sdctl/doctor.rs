//! `doctor`: a dozen planted faults, and a healthy fleet.

use crate::support::{Provider, on, run, sdctl};
use sd_core::Advert;
use sd_tests::{Cluster, Etcd};
use serde_json::Value;
use std::time::Duration;

/// The findings but for the faults of the release of etcd, which the machine chooses.
fn findings(json: &Value) -> Vec<(String, String, String)> {
    let text = |finding: &Value, field: &str| finding[field].as_str().unwrap().to_owned();
    let findings = json
        .as_array()
        .unwrap()
        .iter()
        .filter(|it| it["check"] != "version");
    findings
        .map(|it| (text(it, "severity"), text(it, "check"), text(it, "subject")))
        .collect()
}

async fn examined(etcd: &Etcd, arguments: &[&str]) -> Vec<(String, String, String)> {
    let arguments = [&["-o", "json"][..], arguments, &["doctor"]].concat();
    findings(&on(etcd, &arguments).await.json())
}

fn advert(n: u8) -> Advert {
    Advert::new(format!("10.0.0.{n}:80")).weight(1)
}

#[tokio::test]
async fn nothing_is_said_of_a_healthy_fleet() {
    let etcd = Etcd::start().await;
    let one = Provider::register(&etcd, "default", "hello", advert(1)).await;
    let two = Provider::register(&etcd, "default", "hello", advert(2)).await;
    let three = Provider::register(&etcd, "default", "search", advert(1)).await;
    assert_eq!(examined(&etcd, &[]).await, []);
    let ended = on(&etcd, &["doctor"]).await.succeeded();
    let version = etcd.version().await;
    // Older releases have faults that are known: those are noted, and nothing else.
    match version.starts_with("3.4.") || version.starts_with("3.5.") {
        true => assert!(
            ended.out.lines().all(|line| {
                line.starts_with("    ") || line.starts_with("note [version] etcd 3.")
            }),
            "{ended:?}"
        ),
        false => assert_eq!(ended.out, "nothing is wrong\n"),
    }
    assert_eq!(etcd.leases().await.len(), 3, "it leaves no lease");
    assert_eq!(etcd.keys("").await.len(), 3, "it leaves no key");
    for provider in [one, two, three] {
        provider.client.close().await;
    }
}

#[tokio::test]
async fn nothing_is_said_of_a_healthy_fleet_of_any_format() {
    let etcd = Etcd::start().await;
    for format in sd_formats::all() {
        // Each alone: several have the same keys.
        let name = format.name();
        let fleet = [1, 2].map(|n| Advert::new(format!("10.0.0.{n}:80")));
        let fleet = fleet.map(|advert| Provider::register(&etcd, name, "hello", advert));
        let fleet = futures::future::join_all(fleet).await;
        assert_eq!(examined(&etcd, &["--format", name]).await, [], "{name}");
        for provider in fleet {
            provider.client.close().await;
        }
    }
}

#[tokio::test]
async fn each_planted_fault_of_a_fleet_is_found_with_what_to_do() {
    let etcd = Etcd::start().await;
    let provider = Provider::register(&etcd, "default", "hello", advert(1)).await;
    let put = async |key: &str, value: &str| {
        etcd.put_leased(format!("/services/{key}"), value, Duration::from_secs(600))
            .await;
    };
    put(
        "unreadable/a",
        r#"{"id":"1","name":"unreadable","endpoints":["grpc://10.0.1.1:80"]}"#,
    )
    .await;
    put("partly/a", r#"{"address":"10.0.1.2:80","weight":-1}"#).await;
    put("twice/a", r#"{"address":"10.0.1.3:80"}"#).await;
    put("twice/b", r#"{"address":"10.0.1.3:80"}"#).await;
    put("nowhere/a", "0.0.0.0:80").await;
    put("metadata/a", "169.254.169.254:80").await;
    put("loop/a", "127.0.0.1:80").await;
    put(
        "drained/a",
        r#"{"address":"10.0.1.4:80","status":"draining"}"#,
    )
    .await;
    put("hello-admin/a", "10.0.1.5:80").await;
    etcd.put(b"/services/binary/\xff", "10.0.1.8:80").await;
    etcd.put("/services/stays/a", "10.0.1.6:80").await;
    // Nobody renews it: two thirds of it have to pass.
    etcd.put_leased("/services/ends/a", "10.0.1.7:80", Duration::from_secs(9))
        .await;
    let lease = etcd.entry("/services/ends/a").await.unwrap().lease();
    let left = async || etcd.seconds_left(lease).await;
    sd_tests::eventually(sd_tests::PATIENCE, "a lease to be low", left, |left| {
        *left <= 2
    })
    .await;

    let json = on(&etcd, &["-o", "json", "doctor"]).await;
    assert_eq!(json.status.code(), Some(3), "{json:?}");
    let json = json.json();
    let found = findings(&json);
    let has = |severity: &str, check: &str, subject: &str| {
        let is_it = |it: &&(String, String, String)| {
            it.0 == severity && it.1 == check && it.2.contains(subject)
        };
        assert_eq!(
            found.iter().filter(is_it).count(),
            1,
            "{check} of {subject}: {found:#?}"
        );
    };
    has("warning", "unreadable", "/services/unreadable/a");
    has("warning", "ignored", "/services/partly/a");
    has("warning", "duplicate", "twice 10.0.1.3:80");
    has("warning", "unreadable", "/services/nowhere/a");
    has("warning", "unreadable", "/services/metadata/a");
    has("warning", "uncallable", "/services/loop/a");
    has("warning", "nobody-serves", "drained");
    has("note", "names", "hello");
    has("warning", "unreadable", "keys");
    has("warning", "no-lease", "/services/stays/a");
    has("warning", "lease-ending", "/services/ends/a");
    let advice = json
        .as_array()
        .unwrap()
        .iter()
        .find(|it| it["subject"] == "/services/unreadable/a");
    assert!(
        advice.unwrap()["advice"]
            .as_str()
            .unwrap()
            .contains("kratos"),
        "{json}"
    );
    assert!(
        !found.iter().any(|it| it.2.ends_with("/10.0.0.1:80")),
        "{found:#?}"
    );

    // Alone, and by connecting to it.
    let ended = on(&etcd, &["-o", "json", "doctor", "--connect", "loop"])
        .await
        .json();
    assert!(
        findings(&ended).iter().any(|it| it.1 == "unreachable"),
        "{ended}"
    );
    provider.client.close().await;
}

#[tokio::test]
async fn a_full_etcd_is_found() {
    let etcd = Etcd::setup().quota(1 << 20).start().await;
    etcd.fill_quota().await;
    let found = examined(&etcd, &[]).await;
    let checks: Vec<_> = found.iter().map(|it| (&*it.0, &*it.1)).collect();
    assert!(
        checks.contains(&("error", "alarm")) && checks.contains(&("warning", "quota")),
        "{found:?}"
    );
    assert_eq!(on(&etcd, &["doctor"]).await.status.code(), Some(4));
}

#[tokio::test]
async fn missing_rights_are_found_and_nothing_is_written_to_find_them() {
    let etcd = Etcd::start().await;
    etcd.enable_auth().await;
    etcd.add_reader("reader", "secret", "/services/").await;
    etcd.add_user("stranger", "secret", "/elsewhere/").await;
    let examined = async |user: &str| {
        let mut command = sdctl(&[
            "--etcd",
            &etcd.endpoint(),
            "--user",
            user,
            "-o",
            "json",
            "doctor",
        ]);
        command.env("SDCTL_PASSWORD", "secret");
        let json = run(command).await.json();
        let rights = json
            .as_array()
            .unwrap()
            .iter()
            .filter(|it| it["check"] == "rights" && it["subject"] == "/services/");
        rights
            .map(|it| {
                it["message"]
                    .as_str()
                    .unwrap()
                    .split(" there")
                    .next()
                    .unwrap()
                    .to_owned()
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(examined("reader").await, ["this user may not write"]);
    assert_eq!(
        examined("stranger").await,
        ["this user may not read", "this user may not write"]
    );
    assert_eq!(etcd.keys("").await, [""; 0]);
}

#[tokio::test]
async fn a_member_that_is_down_is_found_by_its_endpoint_and_by_what_the_cluster_says() {
    let cluster = Cluster::start().await;
    let endpoints = cluster.endpoints();
    let of = async |endpoints: &str| {
        let command = sdctl(&[
            "--etcd",
            endpoints,
            "--timeout",
            "1s",
            "-o",
            "json",
            "doctor",
        ]);
        findings(&run(command).await.json())
    };
    assert_eq!(of(&endpoints.join(",")).await, []);

    // One that is of no use yet.
    let mut client = cluster.members()[0].client().await;
    // etcd wants to have known its members for a while first.
    let add = async || {
        let mut client = client.clone();
        let added = client.member_add(["http://127.0.0.1:1"], None).await;
        added.ok()?.member().map(etcd_client::Member::id)
    };
    let added = sd_tests::eventually(sd_tests::PATIENCE, "a fourth member", add, Option::is_some);
    let added = added.await.unwrap();
    let found = of(&endpoints.join(",")).await;
    let found: Vec<_> = found.iter().map(|it| (&*it.0, &*it.1)).collect();
    assert_eq!(found, [("warning", "member"), ("note", "cluster")]);
    client.member_remove(added).await.unwrap();

    let down = (cluster.leader().await + 1) % 3;
    let up = &endpoints[(down + 1) % 3];
    cluster.members()[down].kill();
    let found = of(&endpoints.join(",")).await;
    let expected = (
        "error".to_owned(),
        "member".to_owned(),
        endpoints[down].clone(),
    );
    assert_eq!(found, std::slice::from_ref(&expected));
    let found = of(up).await;
    assert_eq!(found, [("warning".to_owned(), expected.1, expected.2)]);

    // Without a majority nobody leads, and nobody can register.
    cluster.members()[cluster.leader().await].kill();
    let found = of(&endpoints.join(",")).await;
    assert!(
        found.iter().any(|it| it.0 == "error" && it.1 == "lease"),
        "{found:?}"
    );
}

#[tokio::test]
async fn an_etcd_that_is_not_there_is_a_finding() {
    let etcd = Etcd::start().await;
    etcd.kill();
    let ended = on(&etcd, &["--timeout", "1s", "doctor"]).await;
    assert_eq!(ended.status.code(), Some(4), "{ended:?}");
    assert!(ended.out.contains("[member]"), "{ended:?}");
}

#[tokio::test]
async fn endpoints_of_two_clusters_are_found() {
    let (one, other) = (Etcd::start().await, Etcd::start().await);
    let endpoints = [one.endpoint(), other.endpoint()].join(",");
    let ended = run(sdctl(&["--etcd", &endpoints, "-o", "json", "doctor"])).await;
    assert_eq!(ended.status.code(), Some(4), "{ended:?}");
    let found = findings(&ended.json());
    let is_told = found.iter().any(|it| it.0 == "error" && it.1 == "cluster");
    assert!(is_told, "{found:?}");
}
