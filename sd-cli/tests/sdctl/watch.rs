//! `watch`.

use crate::support::{Provider, Running, on, sdctl};
use rustix::process::Signal;
use sd_core::{Advert, Edit, Status};
use sd_tests::{Etcd, PATIENCE, eventually};
use std::process::Stdio;

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

/// However much changes at once, what is held is bounded, and the newest is shown.
#[tokio::test]
async fn many_changes_are_followed_in_bounded_memory() {
    const KEYS: usize = 2_000;
    const ROUNDS: usize = 10;
    let etcd = Etcd::start().await;
    let mut command = sdctl(&["--etcd", &etcd.endpoint(), "watch", "hello"]);
    command.stdout(Stdio::null());
    let mut watch = command.spawn().unwrap();
    // A second one that is read tells how far it has come.
    let read = Running::on(&etcd, &["-o", "jsonl", "watch", "hello"]);
    let mut client = etcd.client().await;
    let numbers: Vec<_> = (0..KEYS).collect();
    for round in 1..=ROUNDS {
        for chunk in numbers.chunks(100) {
            let puts = chunk.iter().map(|n| {
                let address = format!("10.0.{}.{}:80", n / 256, n % 256);
                let value = format!(r#"{{"address":"{address}","weight":{round}}}"#);
                etcd_client::TxnOp::put(format!("/services/hello/{address}"), value, None)
            });
            let txn = etcd_client::Txn::new().and_then(puts.collect::<Vec<_>>());
            client.txn(txn).await.unwrap();
        }
    }
    read.prints(r#""weight":10"#).await;
    let newest = async || {
        let newest = r#""weight":10"#;
        read.out()
            .iter()
            .filter(|line| line.contains(newest))
            .count()
    };
    eventually(PATIENCE, "the newest of all", newest, |count| {
        *count == KEYS
    })
    .await;
    for pid in [
        watch.id().unwrap(),
        read.pid().as_raw_nonzero().get().try_into().unwrap(),
    ] {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let peak = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))
            .unwrap();
        let kilobytes: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
        assert!(kilobytes < 200_000, "{kilobytes} kB");
    }
    watch.kill().await.unwrap();
    read.told(Signal::INT).await.succeeded();
}
