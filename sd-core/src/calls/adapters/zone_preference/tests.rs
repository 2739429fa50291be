use super::*;
use crate::{
    calls::{
        endpoint::Endpoint, endpoint_table::EndpointTable, endpointer::FixedEndpointer,
        no_endpoints::NoEndpoints,
    },
    instances::{Instance, testing::quiet},
    registry::Key,
    support::cases,
};
use proptest::prelude::*;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// A zone, `""` for none, and the weights of its endpoints.
type Layout<'a> = [(&'a str, Vec<u32>)];

fn endpoints(layout: &Layout<'_>) -> Vec<Arc<Endpoint<()>>> {
    let zones = layout.iter().flat_map(|(zone, weights)| {
        weights.iter().enumerate().map(move |(n, weight)| {
            let key = Key::new(format!("{zone}/{n:03}")).unwrap();
            let instance = Instance::new(key, format!("{zone}:{n}")).with_weight(*weight);
            Arc::new(Endpoint::new(instance.with_zone(*zone), ()))
        })
    });
    let mut endpoints: Vec<_> = zones.collect();
    endpoints.sort_by_key(|one| one.key().clone());
    endpoints
}

fn selection(zone: &str, client: usize) -> ZoneSelection {
    ZoneSelection {
        zone: zone.into(),
        needed_share: None,
        client: Rendezvous::of(format!("{zone}-client-{client}").as_bytes()),
    }
}

fn keys(endpoints: &[Arc<Endpoint<()>>]) -> Vec<&str> {
    endpoints.iter().map(|one| one.key().as_str()).collect()
}

const CLIENTS: usize = 2000;

/// How many calls each endpoint gets, and the most that it gets from one client, if in each zone
/// `CLIENTS` clients make one call each and spread it by weight; with their `share` in all calls.
fn calls(layout: &Layout<'_>, shares: &BTreeMap<&str, f64>) -> BTreeMap<String, (f64, f64)> {
    let endpoints = endpoints(layout);
    let mut calls = BTreeMap::new();
    for (zone, share) in shares {
        for client in 0..CLIENTS {
            let selection = ZoneSelection {
                needed_share: Some(*share),
                ..selection(zone, client)
            };
            let selected = selection.select(&endpoints).unwrap();
            let all: u32 = selected.iter().map(|one| one.weight()).sum();
            for one in &selected {
                let part = share * f64::from(one.weight()) / f64::from(all);
                let (sum, most) = calls.entry(one.key().to_string()).or_insert((0.0, 0.0_f64));
                *sum += part;
                *most = most.max(part);
            }
        }
    }
    calls
}

/// Every zone's callers make an even share of the calls.
fn even(layout: &Layout<'_>) -> BTreeMap<&'static str, f64> {
    let names = ["a", "b", "c", "d", "e", "f"];
    let zones = layout.iter().filter(|(zone, _)| !zone.is_empty()).count();
    let zones = names.iter().take(zones);
    let share = 1.0 / zones.len() as f64;
    zones.map(|zone| (*zone, share)).collect()
}

/// Asserts that every endpoint gets calls by its weight, within 6 standard deviations.
///
/// What an endpoint gets is a sum over independent clients of numbers between 0 and `most`. The
/// variance of such a number is at most its mean times `most`.
fn assert_fair(layout: &Layout<'_>, shares: &BTreeMap<&str, f64>) {
    let weights = layout.iter().flat_map(|(_, weights)| weights);
    let total: u32 = weights.sum();
    let calls = calls(layout, shares);
    for one in endpoints(layout) {
        let (got, most) = calls.get(one.key().as_str()).copied().unwrap_or_default();
        let fair = CLIENTS as f64 * f64::from(one.weight()) / f64::from(total);
        let tolerance = 6.0 * (fair * most).sqrt() + 1e-6;
        assert!(
            (got - fair).abs() <= tolerance,
            "{layout:?}: {} got {got}, not {fair}",
            one.key()
        );
    }
}

#[test]
fn over_all_clients_every_endpoint_gets_its_fair_share() {
    let of = |weight: u32, number: usize| vec![weight; number];
    let layouts: &[&Layout<'_>] = &[
        // Enough everywhere.
        &[("a", of(1, 4)), ("b", of(1, 4)), ("c", of(1, 4))],
        // 2 of 4 are missing in the zone, or 6 of 7, or 1/3 of an endpoint, or 1.25 and 0.25.
        &[("a", of(1, 2)), ("b", of(1, 5)), ("c", of(1, 5))],
        &[("a", of(1, 1)), ("b", of(1, 10)), ("c", of(1, 10))],
        &[("a", of(1, 3)), ("b", of(1, 3)), ("c", of(1, 4))],
        &[
            ("a", of(1, 4)),
            ("b", of(1, 5)),
            ("c", of(1, 9)),
            ("d", of(1, 3)),
        ],
        &[("a", of(1, 2)), ("b", of(1, 10))],
        &[
            ("a", of(1, 1)),
            ("b", of(1, 1)),
            ("c", of(1, 1)),
            ("d", of(1, 1)),
            ("e", of(1, 30)),
        ],
        // Two zones have 1 and 5 to spare, so that half of the clients use one of the former.
        &[
            ("a", of(1, 2)),
            ("b", of(1, 6)),
            ("c", of(1, 10)),
            ("d", of(1, 2)),
        ],
        // Weights: 4 and 20, of which 8 are missing.
        &[("a", of(2, 2)), ("b", of(4, 5))],
        // Endpoints without a zone take what is missing first.
        &[("", of(1, 4)), ("a", of(1, 3)), ("b", of(1, 5))],
        &[("", of(1, 5)), ("a", of(1, 2))],
    ];
    for layout in layouts {
        assert_fair(layout, &even(layout));
    }
}

#[test]
fn callers_that_are_not_spread_evenly_say_so() {
    let layout: &Layout<'_> = &[("a", vec![1; 4]), ("b", vec![1; 4]), ("c", vec![1; 4])];
    let shares = [("a", 0.5), ("b", 0.25), ("c", 0.25)];
    assert_fair(layout, &BTreeMap::from(shares));
    let needed = |share: f64| {
        let endpoints = FixedEndpointer::new(endpoints(layout).iter().map(|one| (**one).clone()));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let _runtime = runtime.enter();
        let nearby = ZonePreference::builder(endpoints, "a")
            .needed_share(share)
            .build();
        nearby.endpoints().len()
    };
    let sizes = [0.0, 0.3, 0.5, 1.0, 7.0, -1.0, f64::NAN].map(needed);
    assert_eq!(sizes, [4, 4, 6, 12, 12, 4, 4]);
}

/// With 3 endpoints in the zone and one third missing, a client uses 3 or 4: for the shares to be
/// right, more than a third of the clients have to use 4.
#[test]
fn a_number_that_is_rounded_leaves_the_local_share_as_it_is() {
    const CLIENTS: usize = 20_000;
    let endpoints = endpoints(&[("a", vec![1; 3]), ("b", vec![1; 3]), ("c", vec![1; 4])]);
    let share = |client| 3.0 / selection("a", client).select(&endpoints).unwrap().len() as f64;
    let mean = (0..CLIENTS).map(share).sum::<f64>() / CLIENTS as f64;
    // A share is 1 or 3/4, so its standard deviation is at most 1/8.
    let tolerance = 6.0 * 0.125 / (CLIENTS as f64).sqrt();
    assert!((mean - 0.9).abs() <= tolerance, "{mean}");
}

/// With two sums of weights, the mean of the shares is a little above the share of the mean: at
/// most by the relative variance of the sum, times the mean sum divided by the smallest.
#[test]
fn if_weights_differ_a_few_calls_too_many_stay_in_the_zone() {
    let layout: &Layout<'_> = &[
        ("a", vec![1, 3]),
        ("b", vec![1, 3, 2, 4, 4]),
        ("c", vec![5, 1, 4, 2]),
    ];
    let endpoints = endpoints(layout);
    let sum = |endpoints: &[Arc<Endpoint<()>>]| {
        f64::from(endpoints.iter().map(|one| one.weight()).sum::<u32>())
    };
    let sums: Vec<f64> = (0..CLIENTS)
        .map(|client| sum(&selection("a", client).select(&endpoints).unwrap()))
        .collect();
    let local = sums.iter().map(|sum| 4.0 / sum).sum::<f64>() / CLIENTS as f64;
    let fair = 4.0 / 10.0;
    let least = sums.iter().copied().fold(f64::INFINITY, f64::min);
    let variance = sums.iter().map(|sum| (sum - 10.0).powi(2)).sum::<f64>() / CLIENTS as f64;
    let most = fair * (1.0 + variance / (10.0 * least));
    // A share is between 4 / 4 and 4 / 30.
    let tolerance = 6.0 * (fair / CLIENTS as f64).sqrt();
    assert!(
        (fair - tolerance..=most + tolerance).contains(&local),
        "{local}, not {fair} to {most}"
    );
}

#[test]
fn a_zone_with_enough_uses_no_other() {
    let endpoints = endpoints(&[("a", vec![1; 3]), ("b", vec![1; 2]), ("c", vec![1; 3])]);
    let selected = selection("a", 1).select(&endpoints).unwrap();
    assert_eq!(keys(&selected), ["a/000", "a/001", "a/002"]);
    let selected = selection("b", 1).select(&endpoints).unwrap();
    assert!(keys(&selected).starts_with(&["b/000", "b/001"]) || selected.len() == 3);
}

#[test]
fn capacity_is_weight_and_what_is_not_up_to_its_weight_counts_less() {
    let mut endpoints = endpoints(&[("a", vec![6]), ("b", vec![1; 6])]);
    assert_eq!(selection("a", 1).select(&endpoints).unwrap().len(), 1);
    // 3 and 6: of 4.5, 1.5 are missing.
    endpoints[0] = Arc::new(endpoints[0].with_weight_factor(0.5));
    let sizes = (0..100).map(|client| selection("a", client).select(&endpoints).unwrap().len());
    assert_eq!(sizes.collect::<BTreeSet<_>>(), BTreeSet::from([2, 3]));
}

async fn of(source: &Arc<FixedEndpointer<()>>, zone: &str, layout: &Layout<'_>) -> usize {
    source.set_shared(endpoints(layout));
    let nearby = ZonePreference::new(source.clone(), zone);
    nearby.endpoints().len()
}

#[tokio::test]
async fn nothing_is_preferred_in_a_small_set_or_without_a_zone() {
    let source = Arc::new(FixedEndpointer::unknown());
    let five: &Layout<'_> = &[("a", vec![1; 3]), ("b", vec![1; 2])];
    let six: &Layout<'_> = &[("a", vec![1; 3]), ("b", vec![1; 3])];
    assert_eq!(of(&source, "a", five).await, 5);
    assert_eq!(of(&source, "a", six).await, 3);
    assert_eq!(of(&source, "", six).await, 6);
    assert_eq!(of(&source, "z", six).await, 6);
    // An instance whose zone is empty has none.
    assert_eq!(
        of(&source, "", &[("", vec![1; 3]), ("b", vec![1; 3])]).await,
        6
    );
}

/// A source in panic while it is told so.
struct Panicking(EndpointTable<()>);

impl Panicking {
    fn set(&self, in_panic: bool) {
        let endpoints = endpoints(&[("a", vec![1; 3]), ("b", vec![1; 3])]);
        let contents = TableContents::new(endpoints, || NoEndpoints::Empty);
        self.0.set(contents.with_panic(in_panic));
    }
}

impl EndpointSource for Panicking {
    type Target = ();

    fn endpoints(&self) -> Endpoints<()> {
        self.0.load()
    }

    fn versions(&self) -> watch::Receiver<u64> {
        self.0.versions()
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_preferred_in_panic_and_the_panic_is_passed_on() {
    let source = Arc::new(Panicking(EndpointTable::new()));
    let nearby = ZonePreference::new(source.clone(), "a");
    let none = nearby.endpoints().non_empty().err();
    assert!(matches!(none, Some(NoEndpoints::Unknown)));
    for in_panic in [false, true, false] {
        source.set(in_panic);
        quiet().await;
        let endpoints = nearby.endpoints();
        assert_eq!(endpoints.in_panic(), in_panic);
        assert_eq!(endpoints.len(), if in_panic { 6 } else { 3 });
    }
    nearby.stop().await;
}

fn any_layout() -> impl Strategy<Value = Vec<(&'static str, Vec<u32>)>> {
    let weights = |fewest: usize| proptest::collection::vec(0..9_u32, fewest..8);
    (weights(0), weights(1), weights(0), weights(0))
        .prop_map(|(none, a, b, c)| vec![("", none), ("a", a), ("b", b), ("c", c)])
}

proptest! {
    #![proptest_config(cases(4))]

    #[test]
    fn the_own_zone_is_always_used_and_of_the_others_no_more_than_is_missing(
        layout in any_layout(),
        client in 0..1000_usize,
        share in proptest::option::of(0.0..=1.0_f64),
    ) {
        let all = endpoints(&layout);
        let selection = ZoneSelection { needed_share: share, ..selection("a", client) };
        let selected = selection.select(&all).unwrap();
        let (own, others): (Vec<_>, Vec<_>) =
            selected.iter().cloned().partition(|one| one.zone() == Some("a"));
        prop_assert_eq!(own.len(), layout[1].1.len());
        prop_assert!(keys(&selected).is_sorted());
        let known: BTreeSet<_> = keys(&all).into_iter().collect();
        let used: BTreeSet<_> = keys(&selected).into_iter().collect();
        prop_assert!(used.is_subset(&known) && used.len() == selected.len());

        let capacity = |endpoints: &[Arc<Endpoint<()>>]| {
            endpoints.iter().map(|one| one.effective_weight()).sum::<u64>() as f64
        };
        let zones: BTreeSet<_> = all.iter().filter_map(|one| one.zone()).collect();
        let zones = zones.iter().filter(|zone| !zone.is_empty()).count();
        let needed = share.unwrap_or(1.0 / zones as f64) * capacity(&all);
        let missing = needed - capacity(&own);
        // One endpoint more than is missing at most, for the rounding.
        let heaviest = all.iter().map(|one| one.effective_weight()).max().unwrap() as f64;
        let lightest = all.iter().map(|one| one.effective_weight()).min().unwrap() as f64;
        prop_assert!(missing > 0.0 || others.is_empty());
        prop_assert!(others.len() as f64 <= (missing / lightest).max(0.0) + 1.0);
        prop_assert!((others.len() + 1) as f64 >= missing / heaviest);
    }
}

/// An endpoint that goes is replaced, or changes what is missing, by one. If the numbers of the zones
/// are rounded anew, two of these differ by one more.
#[test]
fn one_endpoint_more_or_less_moves_few() {
    const CLIENTS: usize = 200;
    let all = endpoints(&[
        ("a", vec![1; 3]),
        ("b", vec![1; 5]),
        ("c", vec![1; 6]),
        ("d", vec![1; 4]),
    ]);
    let mut moved = 0;
    for client in 0..CLIENTS {
        let selection = selection("a", client);
        let before = selection.select(&all).unwrap();
        let before: BTreeSet<_> = keys(&before).into_iter().collect();
        for gone in 0..all.len() {
            let mut left = all.clone();
            let gone = left.remove(gone);
            let after = selection.select(&left).unwrap();
            let after = keys(&after).into_iter().collect();
            let moves = before.symmetric_difference(&after);
            let moves = moves.filter(|key| **key != gone.key().as_str()).count();
            assert!(moves <= 4, "{gone:?}: {before:?}, {after:?}");
            moved += moves;
        }
    }
    assert!(moved <= CLIENTS * all.len(), "{moved}");
}
