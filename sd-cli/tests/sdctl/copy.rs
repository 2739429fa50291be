//! `copy`.

use crate::support::{Provider, Running, on};
use rustix::process::Signal;
use sd_core::{Advert, Edit};
use sd_tests::{Etcd, PATIENCE, eventually};

const KRATOS: &str = "/microservices/hello/10.0.0.1:80";

#[tokio::test]
async fn instances_are_copied_once_on_a_lease_that_ends_and_nobody_is_overwritten() {
    let (here, there) = (Etcd::start().await, Etcd::start().await);
    here.put(
        "/services/hello/10.0.0.1:80",
        r#"{"address":"10.0.0.1:80","weight":3}"#,
    )
    .await;
    here.put("/services/hello/10.0.0.2:80", "10.0.0.2:80").await;
    here.put("/services/hello/x", "garbage").await;
    there
        .put("/services/hello/10.0.0.2:80", "somebody else")
        .await;
    let to = there.endpoint();
    let copied = on(&here, &["copy", "hello", "--to-etcd", &to, "--ttl", "5min"])
        .await
        .succeeded();
    assert!(
        copied
            .line("/services/hello/10.0.0.1:80")
            .contains("copied"),
        "{copied:?}"
    );
    assert!(
        copied.line("/services/hello/10.0.0.2:80").contains("left"),
        "{copied:?}"
    );
    assert!(
        copied.line("/services/hello/x").contains("refused"),
        "{copied:?}"
    );
    let copy = there.entry("/services/hello/10.0.0.1:80").await.unwrap();
    assert_eq!(copy.value(), br#"{"address":"10.0.0.1:80","weight":3}"#);
    let left = there.seconds_left(copy.lease()).await;
    assert!((200..=300).contains(&left), "{left}");
    assert_eq!(
        there.get("/services/hello/10.0.0.2:80").await.unwrap(),
        b"somebody else"
    );

    let same = on(&here, &["copy", "hello"]).await.failed();
    assert!(same.err.contains("onto itself"), "{same:?}");
    let nothing = on(&here, &["copy", "nobody", "--to-etcd", &to])
        .await
        .failed();
    assert!(nothing.err.contains("nothing to copy"), "{nothing:?}");
}

#[tokio::test]
async fn a_copy_in_another_format_changes_and_goes_with_its_source() {
    let etcd = Etcd::start().await;
    let advert = Advert::new("10.0.0.1:80").weight(3).version("1.4");
    let provider = Provider::register(&etcd, "default", "hello", advert).await;
    let copy = Running::on(
        &etcd,
        &["copy", "--to-format", "kratos", "--follow", "--ttl", "4s"],
    );
    let value = async || String::from_utf8(etcd.get(KRATOS).await.unwrap_or_default()).unwrap();
    let copied = eventually(PATIENCE, "the copy", value, |value| {
        value.contains(r#""weight":"3""#)
    })
    .await;
    assert!(copied.contains("grpc://10.0.0.1:80"), "{copied}");
    provider
        .registrar
        .edit(&Edit::new().weight(7))
        .await
        .unwrap();
    eventually(PATIENCE, "the change", value, |value| {
        value.contains(r#""weight":"7""#)
    })
    .await;
    // Consumers of the other format see it as one of theirs.
    let listed = on(
        &etcd,
        &["--format", "kratos", "-o", "json", "list", "hello"],
    )
    .await
    .json();
    assert_eq!(
        (&listed[0]["weight"], &listed[0]["version"]),
        (&7.into(), &"1.4".into())
    );

    // While the source's etcd is away the copy stays.
    provider.registrar.deregister().await.unwrap();
    eventually(PATIENCE, "its end", value, String::is_empty).await;
    provider.registrar.register().await.unwrap();
    eventually(PATIENCE, "its return", value, |value| !value.is_empty()).await;
    let ended = copy.told(Signal::INT).await.succeeded();
    assert!(ended.out.contains("updated"), "{ended:?}");
    assert_eq!(value().await, "", "copies end with what keeps them");
    provider.client.close().await;
}

#[tokio::test]
async fn a_provider_that_has_moved_wins_over_its_copy() {
    let etcd = Etcd::start().await;
    let old = Provider::register(&etcd, "default", "hello", Advert::new("10.0.0.1:80")).await;
    let moved = Provider::register(
        &etcd,
        "kratos",
        "hello",
        Advert::new("10.0.0.1:80").version("2"),
    )
    .await;
    let copy = Running::on(
        &etcd,
        &[
            "-o",
            "jsonl",
            "copy",
            "hello",
            "--to-format",
            "kratos",
            "--follow",
        ],
    );
    copy.prints(r#""event":"left""#).await;
    assert!(moved.registrar.is_proven());
    let value = async || String::from_utf8(etcd.get(KRATOS).await.unwrap_or_default()).unwrap();
    assert!(value().await.contains(r#""version":"2""#));
    // Once it is gone, the copy takes its place.
    moved.registrar.deregister().await.unwrap();
    copy.prints(r#""event":"copied""#).await;
    assert!(value().await.contains(r#""version":"""#));
    copy.told(Signal::TERM).await.succeeded();
    for provider in [old, moved] {
        provider.client.close().await;
    }
}
