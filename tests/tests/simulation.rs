//! Simulations; see `sd_tests::simulation`. For more seeds: `./run simulate --seeds 0..100000`.

use sd_tests::simulation::{
    Action, Plan, Reload,
    faults::{Fault, Outage},
    shrink, simulate,
};
use std::{ops::Range, time::Duration};

const TEN_MINUTES: Duration = Duration::from_secs(600);

/// Runs the seeds. For each that breaks a promise, prints the steps that cause it and the history.
fn keeps_all_promises(seeds: Range<u64>, horizon: Duration) {
    for seed in seeds {
        let plan = Plan::draw(seed, horizon);
        if simulate(&plan).violation().is_some() {
            let least = shrink(&plan);
            panic!("{least}{}", simulate(&least));
        }
    }
}

#[test]
fn a_few_hundred_seeds_keep_all_promises() {
    keeps_all_promises(0..200, TEN_MINUTES);
}

#[test]
fn hours_keep_all_promises() {
    keeps_all_promises(1_000..1_003, 18 * TEN_MINUTES);
}

#[test]
fn a_seed_repeats_exactly() {
    // Some of these have dozens of providers and consumers.
    for seed in 0..40 {
        let plan = Plan::draw(seed, TEN_MINUTES);
        let (first, second) = (simulate(&plan), simulate(&plan));
        assert!(first.len() > 10, "seed {seed}: {} lines", first.len());
        assert_eq!(first.digest(), second.digest(), "seed {seed}");
    }
}

#[test]
fn seeds_differ() {
    let run = |seed| simulate(&Plan::draw(seed, TEN_MINUTES)).digest();
    assert_ne!(run(1), run(2));
}

/// Found by `./run simulate --seeds 5000..8000`: the lease of a provider that deregistered without
/// an answer expired at the very moment of a check, before the provider that waits for its key
/// could notice.
#[test]
fn who_waits_for_a_key_may_hear_late_that_it_is_free() {
    let steps = [
        (201_864, Action::Join(4)),
        (379_834, Action::Crash(4)),
        (619_856, Action::Join(4)),
        (619_856, Action::Overtake(4)),
        (712_612, Action::Overtake(4)),
        (873_981, Action::Vanish(4)),
        (991_853, Action::Join(4)),
        (1_028_064, Action::Overtake(4)),
        (1_030_175, Action::Fault(Fault::Begin(Outage::Freeze))),
        (1_039_160, Action::Fault(Fault::End)),
        (1_043_825, Action::Fault(Fault::Begin(Outage::Kill))),
    ];
    let plan = Plan::of(5648, 6 * TEN_MINUTES, steps);
    let history = simulate(&plan);
    assert_eq!(history.violation(), None, "{plan}{history}");
}

/// Row 28. Found by `./run simulate --seeds 1819..1820 --hours 0.17`: a registrar that was told to
/// register again while its removal was not confirmed took the key from its successor.
#[test]
fn who_waits_for_its_own_removal_does_not_take_the_key_from_its_successor() {
    let steps = [
        (436_986, Action::Join(2)),
        (571_317, Action::Fault(Fault::Begin(Outage::Freeze))),
        (571_317, Action::Leave(2)),
        (571_317, Action::Join(2)),
        (571_320, Action::Reload(2, Reload::Retry)),
        (572_975, Action::Fault(Fault::End)),
    ];
    let plan = Plan::of(1819, TEN_MINUTES, steps);
    let history = simulate(&plan);
    assert_eq!(history.violation(), None, "{plan}{history}");
}

/// Found by `./run simulate --seeds 2151..2152 --hours 0.17`: of an instance that announced draining and
/// went, a consumer that was cut off meanwhile hears both at once.
#[test]
fn who_announced_draining_may_go_at_once_for_whoever_was_cut_off() {
    let steps = [
        (492, Action::Follow(1)),
        (624, Action::Join(1)),
        (1_177, Action::Join(0)),
        (2_245, Action::Join(2)),
        (2_692, Action::Follow(2)),
        (4_720, Action::Follow(0)),
        (4_858, Action::Leave(1)),
        (60_772, Action::Overtake(0)),
        (130_013, Action::Crash(2)),
        (130_013, Action::Fault(Fault::Begin(Outage::Stall))),
        (130_039, Action::Fault(Fault::Rebuild { ahead: false })),
        (165_178, Action::Reload(0, Reload::Drop)),
        (168_452, Action::Fault(Fault::Disconnect)),
        (185_283, Action::Fault(Fault::End)),
        (187_023, Action::Fault(Fault::Begin(Outage::Refuse))),
        (210_159, Action::Fault(Fault::End)),
        (210_183, Action::Fault(Fault::Begin(Outage::Freeze))),
        (238_134, Action::Fault(Fault::End)),
        (238_175, Action::Drain(0)),
        (239_569, Action::Fault(Fault::Begin(Outage::Freeze))),
        (295_144, Action::Fault(Fault::End)),
    ];
    let plan = Plan::of(2151, TEN_MINUTES, steps);
    let history = simulate(&plan);
    assert_eq!(history.violation(), None, "{plan}{history}");
}

/// Found by `./run simulate --seeds 3321..3322 --hours 0.17`: a client that panics while draining is
/// announced. The provider deregisters again, and each call has its own limit.
#[test]
fn each_call_to_deregister_has_a_limit_of_its_own() {
    let steps = [
        (45_844, Action::Join(0)),
        (301_216, Action::Reload(0, Reload::Drop)),
        (373_791, Action::ProviderPanic(0)),
        (386_909, Action::Fault(Fault::Begin(Outage::Freeze))),
        (391_286, Action::Overtake(0)),
    ];
    let plan = Plan::of(3321, TEN_MINUTES, steps);
    let history = simulate(&plan);
    assert_eq!(history.violation(), None, "{plan}{history}");
}

/// Found by `./run simulate --seeds 7326..7327 --hours 0.17`: two of four instances vanish and one announces
/// that it goes, while the last one restarts, which it announces too.
#[test]
fn an_announced_restart_makes_up_for_nobody_who_vanishes() {
    let steps = [
        (200, Action::Join(2)),
        (212, Action::Follow(2)),
        (444, Action::Join(1)),
        (93_054, Action::Crash(1)),
        (97_988, Action::Join(0)),
        (102_778, Action::Join(1)),
        (164_115, Action::Crash(1)),
        (164_115, Action::Leave(0)),
        (164_151, Action::Reload(2, Reload::Drop)),
    ];
    let plan = Plan::of(7326, TEN_MINUTES, steps);
    let history = simulate(&plan);
    assert_eq!(history.violation(), None, "{plan}{history}");
}

/// Row 37. Found by `./run simulate --seeds 3394..3395 --hours 0.17`: a provider waited for the end of a lease
/// of its own, with which a restore had brought back what it had put before the registry was rebuilt.
#[test]
fn who_finds_its_own_entry_of_another_history_does_not_wait_for_it() {
    let steps = [
        (48, Action::Fault(Fault::Begin(Outage::Kill))),
        (1_446, Action::Join(0)),
        (2_075, Action::Follow(1)),
        (2_124, Action::Join(4)),
        (2_385, Action::Join(1)),
        (28_637, Action::Fault(Fault::End)),
        (127_301, Action::Leave(0)),
        (127_301, Action::Join(0)),
        (133_177, Action::Fault(Fault::Disconnect)),
        (160_255, Action::Fault(Fault::Backup)),
        (503_096, Action::Fault(Fault::Disconnect)),
        (516_057, Action::Fault(Fault::Rebuild { ahead: false })),
        (523_060, Action::Fault(Fault::Restore { bump: true })),
    ];
    let plan = Plan::of(3394, TEN_MINUTES, steps);
    let history = simulate(&plan);
    assert_eq!(history.violation(), None, "{plan}{history}");
}
