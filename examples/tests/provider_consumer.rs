//! Provider and consumer, side by side as processes, while things happen to both and to etcd.

mod program;

use program::Program;
use rustix::process::Signal;
use sd_tests::{Etcd, PATIENCE, eventually};

/// A provider with a short lease, and its address.
async fn start_provider(etcd: &str) -> (Program, String) {
    let arguments = ["--etcd", etcd, "--ttl", "3"];
    let program = Program::start("provider", env!("CARGO_BIN_EXE_provider"), &arguments);
    program.prints("registered as /services/hello/").await;
    let first = &program.lines()[0];
    let address = first
        .strip_prefix("provider at http://")
        .and_then(|rest| rest.strip_suffix('/'))
        .unwrap_or_else(|| panic!("not an address: {first}"));
    let address = address.to_owned();
    (program, address)
}

fn start_consumer(etcd: &str, more: &[&str]) -> Program {
    let arguments = [&["--etcd", etcd], more].concat();
    Program::start("consumer", env!("CARGO_BIN_EXE_consumer"), &arguments)
}

/// As somebody at three terminals would try it (faults row 4 among others).
#[tokio::test]
async fn a_consumer_keeps_going_while_providers_and_etcd_come_and_go() {
    let etcd = Etcd::start().await;
    let url = &*etcd.endpoint();
    let (one, at_one) = start_provider(url).await;
    let (two, at_two) = start_provider(url).await;
    let consumer = start_consumer(url, &[]);

    consumer.prints(&format!("+ {at_one} joined")).await;
    consumer.prints(&format!("+ {at_two} joined")).await;
    consumer.prints(&format!("hello from {at_one}")).await;
    consumer.prints(&format!("hello from {at_two}")).await;

    // One crashes: its calls are answered by the other, until its lease runs out.
    two.kill().await;
    consumer
        .prints(&format!("hello from {at_one}, after {at_two} failed"))
        .await;
    consumer.prints(&format!("- {at_two} left")).await;

    let (_three, at_three) = start_provider(url).await;
    consumer.prints(&format!("+ {at_three} joined")).await;
    consumer.prints(&format!("hello from {at_three}")).await;

    // etcd is down: no provider leaves, and the calls go on.
    let before = consumer.lines().len();
    etcd.kill();
    consumer.prints_after(before, "stale since").await;
    let seen = consumer.lines().len();
    consumer
        .prints_after(seen, &format!("hello from {at_one}"))
        .await;
    consumer
        .prints_after(seen, &format!("hello from {at_three}"))
        .await;
    etcd.start_again().await;
    consumer.prints_after(before, "live again").await;

    // A provider that is told to stop removes its key before it ends, without waiting for its
    // lease.
    let key = format!("/services/hello/{at_one}");
    let registered = || etcd.get(&*key);
    eventually(PATIENCE, "the key in etcd", registered, Option::is_some).await;
    let (status, lines) = one.told(Signal::TERM).await;
    assert!(status.success(), "{lines:#?}");
    assert_eq!(etcd.get(&*key).await, None);
    consumer.prints(&format!("- {at_one} left")).await;
    let seen = consumer.lines().len();
    consumer
        .prints_after(seen, &format!("hello from {at_three}"))
        .await;

    let (status, lines) = consumer.told(Signal::INT).await;
    assert!(status.success(), "{lines:#?}");
    let failed: Vec<_> = lines.iter().filter(|it| it.contains("! call")).collect();
    assert!(failed.is_empty(), "calls failed: {failed:#?}");
    let left: Vec<_> = lines.iter().filter(|it| it.contains("- ")).collect();
    assert_eq!(left.len(), 2, "others have left: {left:#?}");
}

#[tokio::test]
async fn provider_and_consumer_wait_for_an_etcd_that_is_not_there_yet() {
    let etcd = Etcd::start().await;
    etcd.kill();
    let url = &*etcd.endpoint();
    let consumer = start_consumer(url, &[]);
    let arguments = ["--etcd", url];
    let provider = Program::start("provider", env!("CARGO_BIN_EXE_provider"), &arguments);
    consumer.prints("waiting for etcd").await;
    provider.prints("not registered yet").await;

    etcd.start_again().await;

    provider.prints("registered as").await;
    consumer.prints("joined").await;
    consumer.prints("hello from").await;
    let another = start_consumer(url, &["--count", "2"]);
    another.prints("2 of 2 calls were answered").await;
    let (status, lines) = provider.told(Signal::INT).await;
    assert!(status.success(), "{lines:#?}");
    assert_eq!(etcd.keys("/").await, [""; 0]);
    assert_eq!(etcd.leases().await, [0; 0]);
}
