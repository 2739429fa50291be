//! `watch`.

use crate::support::{Provider, Running, on, sdctl};
use rustix::process::Signal;
use sd_core::{Advert, Edit, Status};
use sd_tests::{Etcd, PATIENCE};
use std::{collections::BTreeMap, process::Stdio};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    time::timeout,
};

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

/// Whoever reads its output slowly, or not at all for a while, costs no memory: of each instance the newest is kept.
#[tokio::test]
async fn many_changes_are_followed_in_bounded_memory_though_nobody_reads() {
    const KEYS: usize = 200;
    const ROUNDS: usize = 300;
    const AT_ONCE: usize = 50;
    // Kilobytes. All changes together have more than twice as much.
    const MOST: u64 = 60_000;
    let etcd = Etcd::start().await;
    let mut command = sdctl(&["--etcd", &etcd.endpoint(), "-o", "jsonl", "watch", "hello"]);
    let mut watch = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines();
    etcd.put("/services/hello/first", "10.1.0.0:80").await;
    assert!(lines.next_line().await.unwrap().is_some(), "it watches");
    let mut client = etcd.client().await;
    let text = "x".repeat(2_000);
    let numbers: Vec<_> = (0..KEYS).collect();
    for round in 1..=ROUNDS {
        for chunk in numbers.chunks(AT_ONCE) {
            let puts = chunk.iter().map(|n| {
                let value = format!(
                    r#"{{"address":"10.0.0.{n}:80","weight":{round},"metadata":{{"text":"{text}"}}}}"#
                );
                etcd_client::TxnOp::put(format!("/services/hello/{n}"), value, None)
            });
            let txn = etcd_client::Txn::new().and_then(puts.collect::<Vec<_>>());
            client.txn(txn).await.unwrap();
        }
    }
    etcd.put("/services/hello/last", "10.1.0.0:80").await;
    let (mut newest, mut printed) = (BTreeMap::new(), 0);
    let read = async {
        while let Some(line) = lines.next_line().await.unwrap() {
            let event: serde_json::Value = serde_json::from_str(&line).unwrap();
            let instance = &event["instance"];
            if instance["key"] == "/services/hello/last" {
                return;
            }
            printed += 1;
            let key = instance["key"].as_str().unwrap().to_owned();
            newest.insert(key, instance["weight"].as_u64().unwrap());
        }
        panic!("it has ended");
    };
    timeout(PATIENCE, read).await.expect("the newest of all");
    assert_eq!(newest.len(), KEYS);
    assert!(
        newest.values().all(|weight| *weight == ROUNDS as u64),
        "{newest:?}"
    );
    assert!(
        printed < KEYS * ROUNDS,
        "nobody has read, and nothing was skipped"
    );
    let status = std::fs::read_to_string(format!("/proc/{}/status", watch.id().unwrap())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let peak = peak.unwrap().trim().trim_end_matches(" kB");
    let peak: u64 = peak.parse().unwrap();
    assert!(peak < MOST, "{peak} kB");
    watch.kill().await.unwrap();
}
