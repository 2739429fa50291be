//! `bench-fleet`.

use crate::support::{on, run, sdctl};
use sd_tests::Etcd;

#[tokio::test]
async fn a_fleet_is_measured_and_nothing_stays_of_it() {
    let etcd = Etcd::start().await;
    for format in ["default", "gokit"] {
        let fleet = [
            "--providers",
            "20",
            "--consumers",
            "3",
            "--time",
            "500ms",
            "--rate",
            "100",
        ];
        let arguments = [
            &["--format", format, "-o", "json", "bench-fleet"][..],
            &fleet,
        ]
        .concat();
        let measured = on(&etcd, &arguments).await.succeeded().json();
        let count = |phase: usize| measured[phase]["count"].as_u64().unwrap();
        assert_eq!(
            (count(0), count(1), count(3), count(4)),
            (20, 3, 20, 3),
            "{measured}"
        );
        // go-kit's addresses have no weight that could change.
        assert_eq!(count(2) > 0, format == "default", "{measured}");
        assert_eq!(etcd.keys("").await, [""; 0]);
        assert_eq!(etcd.leases().await, [0; 0]);
    }
}

#[tokio::test]
async fn an_etcd_elsewhere_is_not_loaded_without_being_asked() {
    let refused = run(sdctl(&["--etcd", "http://192.0.2.1:2379", "bench-fleet"]))
        .await
        .failed();
    assert!(
        refused.err.contains("not on this host") && refused.err.contains("--yes"),
        "{refused:?}"
    );
}
