use super::*;
use crate::{
    calls::{
        adapters::Subset, balancer::RoundRobin, endpoint::Endpoint, endpointer::FixedEndpointer,
        no_endpoints::NoEndpoints, pick::PickContext,
    },
    instances::{Instance, testing::quiet},
    registry::Key,
    support::Log,
};
use std::sync::{
    Mutex,
    atomic::{AtomicUsize, Ordering},
};

type Fixed = Arc<FixedEndpointer<()>>;

/// The endpoint `name` in a lane; in none if that is empty.
fn endpoint(name: &str, lane: &str) -> Endpoint<()> {
    let instance = Instance::new(Key::new(name).unwrap(), name);
    let instance = match lane {
        "" => instance,
        lane => instance.with_metadata("version", lane),
    };
    Endpoint::new(instance, ())
}

/// Sets endpoints given as `name:lane`.
fn set(source: &FixedEndpointer<()>, endpoints: &str) {
    let endpoints = endpoints.split(' ').filter(|one| !one.is_empty());
    source.set(endpoints.map(|one| {
        let (name, lane) = one.split_once(':').unwrap();
        endpoint(name, lane)
    }));
}

fn source(endpoints: &str) -> Fixed {
    let source = Arc::new(FixedEndpointer::unknown());
    set(&source, endpoints);
    source
}

/// The names of the endpoints, or why there are none.
fn shown(source: &impl EndpointSource) -> String {
    match source.endpoints().non_empty() {
        Ok(endpoints) => {
            let names: Vec<_> = endpoints.iter().map(|one| one.key().as_str()).collect();
            names.join(" ")
        }
        Err(none) => none.to_string(),
    }
}

/// The endpoint of a call in a lane, or why there is none.
fn picked(balancer: &impl Balancer, lane: Option<&str>) -> String {
    let context = lane.map(|lane| PickContext::new().with_lane(lane));
    match balancer.pick(&context.unwrap_or_default()) {
        Ok(pick) => pick.key().to_string(),
        Err(none) => none.to_string(),
    }
}

const NONE_IN_CANARY: &str = "no endpoints: none is in the lane canary";

#[tokio::test(start_paused = true)]
async fn a_lane_has_the_endpoints_with_its_value_and_follows_them() {
    let source = source("a:v1 b:v2 c:v1 d:");
    let lanes = Lanes::new(source.clone(), "version", LaneFallback::Error);
    let [v1, v2] = ["v1", "v2"].map(|lane| lanes.lane(lane));
    assert_eq!([shown(&v1), shown(&v2)], ["a c", "b"]);
    assert_eq!(shown(&lanes.all()), "a b c d");
    set(&source, "a:v1 b:v2 c:v2 d:v2");
    quiet().await;
    assert_eq!([shown(&v1), shown(&v2)], ["a", "b c d"]);
    assert_eq!((v1.name(), lanes.all().name()), (Some("v1"), None));
    lanes.stop().await;
    set(&source, "a:v1");
    quiet().await;
    assert_eq!([shown(&v1), shown(&v2)], ["a", "b c d"]);
}

#[tokio::test(start_paused = true)]
async fn a_lane_stays_valid_while_it_comes_and_goes_and_shows_its_fallback_meanwhile() {
    for (fallback, instead) in [
        (LaneFallback::All, "a b"),
        (LaneFallback::Lane("stable".into()), "b"),
        (LaneFallback::Lane("other".into()), NONE_IN_CANARY),
        (LaneFallback::Lane("canary".into()), NONE_IN_CANARY),
        (LaneFallback::Error, NONE_IN_CANARY),
    ] {
        let source = source("a: b:stable");
        let canary = Lanes::new(source.clone(), "version", fallback).lane("canary");
        assert_eq!(shown(&canary), instead);
        for _ in 0..2 {
            set(&source, "a: b:stable c:canary");
            quiet().await;
            assert_eq!(shown(&canary), "c");
            set(&source, "a: b:stable");
            quiet().await;
            assert_eq!(shown(&canary), instead);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn without_any_endpoints_a_lane_says_why_its_source_has_none() {
    let source = Arc::new(FixedEndpointer::<()>::unknown());
    let lanes = Lanes::new(source.clone(), "version", LaneFallback::Error);
    let canary = lanes.lane("canary");
    let balancer = lanes.balancer(RoundRobin::new);
    for none in [NoEndpoints::Unknown, NoEndpoints::Unreadable { entries: 7 }] {
        source.set_none(none.clone());
        quiet().await;
        assert_eq!(shown(&canary), none.to_string());
        assert_eq!(picked(&balancer, Some("canary")), none.to_string());
        assert_eq!(picked(&balancer, None), none.to_string());
    }
    lanes.stop().await;
    let none = canary.endpoints().non_empty().err();
    assert!(matches!(none, Some(NoEndpoints::Ended { .. })));
}

#[tokio::test(start_paused = true)]
async fn metadata_cannot_make_lanes_without_limit() {
    let log = Log::capture();
    let source = source("b:l2 c:l3");
    let lanes = Lanes::builder(source.clone(), "version", LaneFallback::Error)
        .default_lane("main")
        .most_lanes(2)
        .build();
    let present = || {
        let present = lanes.0.tables.present().borrow().clone();
        present
            .iter()
            .map(|lane| lane.to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(present(), ["l2", "l3"]);
    set(&source, "a:l1 b:l2 c:l3 d:l\n4 e:main");
    quiet().await;
    assert_eq!(
        present(),
        ["l2", "l3", "main"],
        "what is there stays, and what has a name comes"
    );
    let line = "WARN too many lanes: endpoints of further ones count as without a lane \
                metadata=version lanes=2 lane=l\\n4";
    assert_eq!(log.text(), [line]);
    for _ in 0..3 {
        set(&source, "b:l2 c:l3 d:l\n4");
        quiet().await;
        set(&source, "b:l2");
        quiet().await;
    }
    assert_eq!(log.text().len(), 1, "said once");
    set(&source, "b:l2 d:l4");
    quiet().await;
    assert_eq!(present(), ["l2", "l4"], "there is room again");
    set(&source, "a:l1 b:l2 d:l4");
    quiet().await;
    assert_eq!(shown(&lanes.lane("l1")), "a");
    quiet().await;
    assert_eq!(present(), ["l1", "l2", "l4"], "the program has named it");
}

#[tokio::test(start_paused = true)]
async fn tables_of_lanes_that_nobody_needs_are_dropped() {
    let source = source("");
    let lanes = Lanes::new(source.clone(), "version", LaneFallback::All);
    let kept = lanes.lane("kept");
    let balancer = lanes.balancer(RoundRobin::new);
    for n in 0..100 {
        set(&source, &format!("a:tenant-{n}"));
        quiet().await;
        drop(lanes.lane(format!("asked-{n}")));
    }
    set(&source, "b:");
    quiet().await;
    // The balancer has dropped its own by now.
    set(&source, "a: b:");
    quiet().await;
    assert_eq!(format!("{lanes:?}"), "Lanes { present: {}, .. }");
    let tables = lanes.0.tables.lock().keys().cloned().collect::<Vec<_>>();
    assert_eq!(tables, [Arc::from("kept")]);
    assert_eq!(shown(&kept), "a b");
    assert_eq!(picked(&balancer, Some("tenant-99")).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_balancer_picks_from_the_lane_of_the_call() {
    let source = source("a:stable b:canary c:");
    let of = |fallback, default: Option<&str>| {
        let lanes = Lanes::builder(source.clone(), "version", fallback);
        let lanes = match default {
            Some(lane) => lanes.default_lane(lane),
            None => lanes,
        };
        lanes.build().balancer(RoundRobin::new)
    };
    let stable = || LaneFallback::Lane("stable".into());
    let beta = "no endpoints: none is in the lane be\\nta";
    // For each of them, calls in a lane, in one that is not there, and without a lane.
    for (balancer, elsewhere, without) in [
        (of(LaneFallback::All, None), "a b c", "a b c"),
        (of(LaneFallback::All, Some("stable")), "a b c", "a"),
        (of(LaneFallback::All, Some("other")), "a b c", "a b c"),
        (of(stable(), None), "a", "a b c"),
        (of(stable(), Some("canary")), "a", "b"),
        (of(stable(), Some("other")), "a", "a"),
        (of(LaneFallback::Error, None), beta, "a b c"),
        (of(LaneFallback::Error, Some("canary")), beta, "b"),
        (of(LaneFallback::Error, Some("be\nta")), beta, beta),
    ] {
        let all = |lane| {
            let mut all: Vec<_> = (0..6).map(|_| picked(&balancer, lane)).collect();
            all.sort();
            all.dedup();
            all.join(" ")
        };
        assert_eq!(all(Some("canary")), "b");
        assert_eq!(all(Some("be\nta")), elsewhere);
        assert_eq!(all(None), without);
    }
}

#[tokio::test(start_paused = true)]
async fn the_balancer_of_a_lane_is_made_when_it_comes_and_dropped_when_it_goes() {
    let source = source("a:stable");
    let made = Arc::new(Mutex::new(Vec::new()));
    let living = Arc::new(AtomicUsize::new(0));
    /// A balancer that counts itself.
    struct Counted(RoundRobin<Lane<Fixed>>, Arc<AtomicUsize>);
    impl Balancer for Counted {
        type Target = ();
        fn pick(&self, context: &PickContext<'_>) -> Result<crate::calls::Pick<()>, NoEndpoints> {
            self.0.pick(context)
        }
        fn versions(&self) -> watch::Receiver<u64> {
            self.0.versions()
        }
    }
    impl Drop for Counted {
        fn drop(&mut self) {
            self.1.fetch_sub(1, Ordering::Relaxed);
        }
    }
    let lanes = Lanes::new(source.clone(), "version", LaneFallback::Error);
    let (names, count) = (made.clone(), living.clone());
    let balancer = lanes.balancer(move |lane| {
        names.lock().unwrap().push(lane.name().map(str::to_owned));
        count.fetch_add(1, Ordering::Relaxed);
        Counted(RoundRobin::new(lane), count.clone())
    });
    let steps = [
        ("a:stable", "", NONE_IN_CANARY, 2),
        ("a:stable b:canary", "canary", "b", 3),
        ("a:stable b:canary c:", "", "b", 3),
        ("a:stable c:", "", NONE_IN_CANARY, 2),
        ("a:stable d:canary", "canary", "d", 3),
    ];
    assert_eq!(
        std::mem::take(&mut *made.lock().unwrap()),
        [None, Some("stable".to_owned())]
    );
    for (endpoints, new, canary, number) in steps {
        set(&source, endpoints);
        quiet().await;
        let made: Vec<_> = std::mem::take(&mut *made.lock().unwrap());
        assert_eq!(made.iter().flatten().cloned().collect::<String>(), new);
        assert_eq!(picked(&balancer, Some("canary")), canary);
        assert_eq!(picked(&balancer, Some("stable")), "a");
        assert_eq!(living.load(Ordering::Relaxed), number);
    }
    balancer.stop().await;
    set(&source, "e:canary f:new");
    quiet().await;
    assert_eq!(
        picked(&balancer, Some("canary")),
        "e",
        "the balancers go on"
    );
    drop((balancer, lanes));
    quiet().await;
    assert_eq!(
        (living.load(Ordering::Relaxed), Arc::strong_count(&source)),
        (0, 1)
    );
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_for_an_endpoint_hears_of_it() {
    let source = source("");
    let lanes = Lanes::builder(source.clone(), "version", LaneFallback::Error)
        .default_lane("stable")
        .build();
    // Adapters in between, which derive their tables later than the lanes.
    let balancer = lanes.balancer(|lane| RoundRobin::new(Subset::new(Subset::new(lane, 1), 1)));
    for (lane, endpoints, found) in [
        (None, "a:stable", "a"),
        (Some("canary"), "a:stable b:canary", "b"),
        (None, "c:stable", "c"),
    ] {
        let waiting = async {
            let mut versions = balancer.versions();
            while picked(&balancer, lane) != found {
                versions.changed().await.unwrap();
            }
        };
        let (waiting, set) = (
            tokio::time::timeout(std::time::Duration::from_secs(60), waiting),
            async {
                quiet().await;
                set(&source, endpoints);
            },
        );
        let (heard, ()) = tokio::join!(waiting, set);
        heard.expect("a new version");
    }
}

#[tokio::test(start_paused = true)]
async fn the_version_changes_with_anything_that_changes_a_pick() {
    let source = Arc::new(FixedEndpointer::unknown());
    let lanes = Lanes::builder(source.clone(), "version", LaneFallback::Error)
        .default_lane("v1")
        .most_lanes(1)
        .build();
    // What the balancers pick from is changed here, whatever the lane has.
    let inner = Arc::new(FixedEndpointer::new([]));
    let picks_from = inner.clone();
    let balancer = lanes.balancer(move |_| RoundRobin::new(picks_from.clone()));
    let mut versions = balancer.versions();
    let mut changes = async || {
        quiet().await;
        let has_changed = versions.has_changed().unwrap();
        versions.borrow_and_update();
        has_changed
    };
    changes().await;
    assert!(!changes().await);
    source.set_none(NoEndpoints::Unreadable { entries: 7 });
    assert!(changes().await, "another reason");
    set(&source, "a:v1 b:v2");
    assert!(changes().await, "a lane");
    for endpoints in ["c:", "d:", ""] {
        set(&inner, endpoints);
        assert!(changes().await, "another endpoint below a balancer");
    }
    set(&inner, "c:");
    changes().await;
    let too_many = "no endpoints: none is in the lane v2";
    assert_eq!(picked(&balancer, Some("v2")), too_many);
    assert!(!changes().await);
    let _named = lanes.lane("v2");
    assert!(
        changes().await,
        "a lane, although the endpoints are the same"
    );
    assert_eq!(picked(&balancer, Some("v2")), "c");
}

#[tokio::test(start_paused = true)]
async fn a_lane_whose_balancer_cannot_be_made_gets_the_fallback() {
    let log = Log::capture();
    let source = source("a:stable b:bad c:worse");
    let lanes = Lanes::new(
        source.clone(),
        "version",
        LaneFallback::Lane("stable".into()),
    );
    let balancer = lanes.balancer(|lane| {
        assert!(!matches!(lane.name(), Some("bad" | "worse")), "a bug");
        RoundRobin::new(lane)
    });
    assert_eq!(picked(&balancer, Some("bad")), "a");
    let line = |lane| {
        format!("ERROR the balancer of a lane failed to be made lane={lane} why=panicked: a bug")
    };
    assert_eq!(log.text(), [line("bad"), line("worse")]);
    set(&source, "a:stable b:bad d:good");
    quiet().await;
    assert_eq!(picked(&balancer, Some("good")), "d");
}

#[tokio::test(start_paused = true)]
async fn lanes_end_with_the_last_who_holds_them() {
    let source = source("a:v1");
    let lane = Lanes::new(source.clone(), "version", LaneFallback::All).lane("v1");
    quiet().await;
    set(&source, "a:v1 b:v1");
    quiet().await;
    assert_eq!(shown(&lane), "a b");
    let balancer = lane.lanes().balancer(RoundRobin::new);
    drop(lane);
    set(&source, "c:v1 d:v2");
    quiet().await;
    assert_eq!(picked(&balancer, Some("v1")), "c");
    assert_eq!(picked(&balancer, Some("v2")), "d");
    drop(balancer);
    quiet().await;
    assert_eq!(Arc::strong_count(&source), 1);
}
