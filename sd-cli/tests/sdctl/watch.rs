//! `watch`.

use crate::support::{Provider, Running, on};
use rustix::process::Signal;
use sd_core::{Advert, Edit, Status};
use sd_tests::Etcd;

#[tokio::test]
async fn each_change_is_a_line_and_an_outage_is_told() {
    let etcd = Etcd::start().await;
    let advert = Advert::new("10.0.0.1:80").weight(3);
    let one = Provider::register(&etcd, "default", "hello", advert).await;
    let watch = Running::on(&etcd, &["watch", "hello"]);
    watch.prints("+ hello 10.0.0.1:80").await;

    one.registrar
        .edit(&Edit::new().weight(5).status(Status::Draining))
        .await
        .unwrap();
    watch
        .prints("status serving -> draining, weight 3 -> 5")
        .await;
    etcd.put("/services/hello/x", "no address").await;
    watch.prints("! hello unreadable").await;
    etcd.delete("/services/hello/x").await;
    watch.prints("- hello unreadable").await;
    etcd.put("/services/other/10.0.0.9:80", "10.0.0.9:80").await;

    etcd.kill();
    watch.prints("* etcd does not answer").await;
    etcd.start_again().await;
    watch.prints("* etcd answers again").await;
    one.registrar.deregister().await.unwrap();
    watch.prints("- hello 10.0.0.1:80").await;

    let ended = watch.told(Signal::INT).await.succeeded();
    assert!(!ended.out.contains("10.0.0.9"), "{ended:?}");
    assert_eq!(
        ended
            .out
            .lines()
            .filter(|line| line.contains(" + "))
            .count(),
        1,
        "{ended:?}"
    );
    one.client.close().await;
}

#[tokio::test]
async fn a_wiped_etcd_is_a_gap_after_which_only_the_difference_is_told() {
    let etcd = Etcd::start().await;
    for n in 1..=3 {
        etcd.put(
            format!("/services/hello/10.0.0.{n}:80"),
            format!("10.0.0.{n}:80"),
        )
        .await;
    }
    let watch = Running::on(&etcd, &["-o", "jsonl", "watch"]);
    watch.prints("10.0.0.3:80").await;
    etcd.wipe().await;
    for n in 2..=4 {
        etcd.put(
            format!("/services/hello/10.0.0.{n}:80"),
            format!("10.0.0.{n}:80"),
        )
        .await;
    }
    watch.prints("10.0.0.4:80").await;
    let ended = watch.told(Signal::TERM).await.succeeded();
    let events: Vec<serde_json::Value> = ended
        .out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert!(events.iter().any(|it| it["event"] == "gap"), "{ended:?}");
    let removed = |it: &&serde_json::Value| it["event"] == "removed";
    let removed = events
        .iter()
        .filter(removed)
        .map(|it| it["instance"]["address"].as_str().unwrap());
    assert!(
        removed.clone().any(|address| address == "10.0.0.1:80"),
        "{ended:?}"
    );
}

#[tokio::test]
async fn a_count_ends_it() {
    let etcd = Etcd::start().await;
    for n in 1..=3 {
        etcd.put(
            format!("/services/hello/10.0.0.{n}:80"),
            format!("10.0.0.{n}:80"),
        )
        .await;
    }
    let ended = on(&etcd, &["watch", "--count", "2"]).await.succeeded();
    assert_eq!(ended.out.lines().count(), 2, "{ended:?}");
}

#[tokio::test]
async fn a_format_without_a_root_asks_for_one() {
    let etcd = Etcd::start().await;
    let ended = on(&etcd, &["--format", "grpc", "watch"]).await.failed();
    assert!(ended.err.contains("grpc?root=PATH"), "{ended:?}");
    let ended = on(&etcd, &["watch", "--live"]).await.failed();
    assert!(ended.err.contains("needs a terminal"), "{ended:?}");
}
