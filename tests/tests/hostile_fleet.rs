//! All hostile writers at once; see `sd_tests::hostile`. For the whole minute, with other seeds:
//! `./run hostile --minutes 1`.

use sd_tests::{
    Etcd,
    hostile::{Attack, Hostile},
};

const SEED: u64 = 7;

/// Hostile rows 1 and 2 and 3 and 4 and 5 and 6 and 7 and 8 and 9 and 12: a fleet of which 5 % are
/// hostile is served throughout.
#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_with_hostile_writers_is_served_throughout() {
    let etcd = Etcd::start().await;
    let hostile = Hostile::new(env!("CARGO_BIN_EXE_hostile"), SEED);

    let summary = hostile.run(&etcd).await;

    println!("{summary}");
    assert_eq!(summary.broken(), [""; 0]);
    for attack in Attack::ALL {
        let steps = summary.written.get(&attack).copied().unwrap_or_default();
        assert!(steps > 0, "{attack:?} was not carried out");
    }
    assert!(summary.interruptions > 0);
}
