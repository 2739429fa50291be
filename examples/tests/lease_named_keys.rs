//! The output of `lease_named_keys`.

mod shown;

use shown::shown;
use std::collections::BTreeSet;

const PROGRAM: &str = env!("CARGO_BIN_EXE_lease_named_keys");

fn is_the_story(output: &str) {
    // The provider's keys, in order.
    let mut stood = Vec::new();
    let mut stands = BTreeSet::new();
    for line in output.lines() {
        if let Some(entry) = line.strip_prefix("  + ") {
            let key = entry.split(' ').next().unwrap_or_default();
            assert!(stands.insert(key), "{key} comes twice:\n{output}");
            // Not a HelloWorld.
            let lease = key.strip_prefix("Hello").unwrap_or_default();
            assert!(lease.parse::<u64>().is_ok(), "{lease}:\n{output}");
            if entry.ends_with("  10.0.0.1:8080") {
                assert!(output.contains(&format!("{lease}.\n")), "{output}");
                stood.push(key);
            } else {
                assert!(entry.ends_with("  10.0.0.2:8080"), "{output}");
            }
        } else if let Some(key) = line.strip_prefix("  - ") {
            assert!(stands.remove(key), "{key} goes twice:\n{output}");
        }
    }
    let different: BTreeSet<_> = stood.iter().collect();
    assert_eq!((stood.len(), different.len()), (3, 3), "{output}");
    assert!(output.contains("  10.0.0.2:8080\n"), "{output}");
    assert!(stands.is_empty(), "{stands:?} remain:\n{output}");
}

#[test]
fn the_key_follows_its_lease_in_memory() {
    is_the_story(&shown(PROGRAM, &[]));
}

#[cfg(feature = "etcd")]
#[tokio::test(flavor = "multi_thread")]
async fn the_key_follows_its_lease_on_etcd() {
    let etcd = sd_tests::Etcd::start().await;
    let url = etcd.endpoint();

    is_the_story(&shown(PROGRAM, &["--etcd", &url]));

    assert_eq!(etcd.keys("Hello").await, [""; 0]);
}
