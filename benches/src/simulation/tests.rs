//! What the simulation promises of itself, and what it shows of the balancers.

use super::{
    contender::Contender,
    history::End,
    history::History,
    scenario::{Odd, Scenario},
    virtual_time::VirtualTime,
};
use std::time::Duration;

const SEED: u64 = 1;

fn simulate(scenario: &Scenario, contender: &Contender) -> History {
    VirtualTime::new().simulate(scenario, contender, SEED)
}

/// The scenario until the odd period has lasted for 10 s.
fn shortened(scenario: Scenario) -> Scenario {
    let end = scenario.odd_during.0 + Duration::from_secs(10);
    Scenario { end, ..scenario }
}

#[test]
fn the_same_seed_gives_the_same_history() {
    let mut time = VirtualTime::new();
    for contender in Contender::all() {
        for odd in [Odd::Failing, Odd::New(10.0)] {
            let scenario = shortened(Scenario::new(odd, 0.03));
            let [one, same, other] =
                [SEED, SEED, SEED + 1].map(|seed| time.simulate(&scenario, &contender, seed));
            assert!(one == same && one != other, "{contender:?}");
        }
    }
}

/// A Poisson process that is split at random is one for each instance, so each is a queue M/M/c
/// of its own, and the mean time in it is known.
#[test]
fn random_splitting_gives_the_times_that_queueing_theory_does() {
    let scenario = Scenario::new(Odd::Well, 0.6);
    let history = simulate(&scenario, &Contender::RANDOM);
    let arrivals = scenario.arrivals() * scenario.end.as_secs_f64();
    // The standard deviation of a Poisson distribution is the root of its mean.
    assert!((history.len() as f64 - arrivals).abs() < 6.0 * arrivals.sqrt());

    // Erlang's C formula: the probability to wait.
    let workers = scenario.workers;
    let load = scenario.utilisation * workers as f64;
    let term = |n: usize| load.powi(n as i32) / (1..=n).product::<usize>() as f64;
    let all_busy = term(workers) / (1.0 - scenario.utilisation);
    let waits = all_busy / ((0..workers).map(term).sum::<f64>() + all_busy);
    let service = scenario.service.as_secs_f64();
    let expected = service + waits * service / (workers as f64 - load);

    // The means of long periods are about independent of each other, so that their spread says how
    // far the mean of all may be off.
    let means: Vec<_> = (5..70)
        .map(|n| {
            let second = Duration::from_secs(n);
            history
                .during(second..second + Duration::from_secs(1))
                .mean_latency()
        })
        .collect();
    let count = means.len() as f64;
    let mean = means.iter().sum::<f64>() / count;
    let variance = means.iter().map(|one| (one - mean).powi(2)).sum::<f64>() / (count - 1.0);
    let error = (variance / count).sqrt();
    assert!(error < expected / 100.0, "{error}");
    assert!(
        (mean - expected).abs() < 4.0 * error,
        "{mean} ± {error}, not {expected}"
    );
}

#[test]
fn an_instance_that_fails_does_so_only_while_it_is_odd() {
    let scenario = Scenario::new(Odd::Failing, 0.2);
    let history = simulate(&scenario, &Contender::ROUND_ROBIN);
    let (from, until) = scenario.odd_during;
    let failed = |period| history.during(period).part(End::Failed);
    // Round robin sends each tenth call there.
    assert!((failed(from..until) - 0.1).abs() < 1e-3);
    assert_eq!(failed(Duration::ZERO..from), 0.0);
    assert_eq!(failed(until..scenario.end), 0.0);
}

#[test]
fn every_call_ends_and_no_caller_waits_for_longer_than_it_said() {
    // More calls than can be served.
    let scenario = shortened(Scenario::new(Odd::Well, 1.5));
    let history = simulate(&scenario, &Contender::ROUND_ROBIN);
    assert_eq!(history.latency(1.0), scenario.timeout);
    assert!(history.part(End::TimedOut) > 0.0 && history.part(End::Answered) > 0.0);
    assert_eq!(
        history.part(End::TimedOut) + history.part(End::Answered),
        1.0
    );
}

#[test]
fn a_new_instance_gets_calls_only_once_it_is_there() {
    let scenario = Scenario::new(Odd::New(10.0), 0.2);
    let history = simulate(&scenario, &Contender::RANDOM);
    let (from, until) = scenario.odd_during;
    let part = |period| history.during(period).part_of(Scenario::ODD_ONE);
    assert_eq!(part(Duration::ZERO..from), 0.0);
    assert!(part(from..until) > 0.09);
}

#[test]
fn by_load_a_slow_instance_costs_a_fifth_of_what_it_does_in_turn() {
    let scenario = Scenario::new(Odd::Slow(10.0), 0.6);
    let p99 = |contender| {
        let history = simulate(&scenario, &contender);
        history.during(scenario.odd_period()).latency(0.99)
    };
    let in_turn = p99(Contender::ROUND_ROBIN);
    for contender in [Contender::LEAST_LOADED, Contender::PEAK_EWMA] {
        let by_load = p99(contender);
        assert!(
            5 * by_load <= in_turn,
            "{contender:?}: {by_load:?} of {in_turn:?}"
        );
    }
}

/// One of ten fails at once, for longer than an ejection lasts.
#[test]
fn with_an_ejection_few_calls_fail_and_who_is_well_again_is_eased_in() {
    let scenario = Scenario::new(Odd::Failing, 0.2);
    for (contender, deviations) in [
        (Contender::WEIGHTED, 6.0),
        (Contender::LEAST_LOADED, 6.0),
        // Choices by latency hang together: with twelve seeds they were from 9 % to 12 %.
        (Contender::PEAK_EWMA, 12.0),
    ] {
        let history = simulate(&scenario, &contender.adapted());
        let failed = history.during(scenario.odd_period()).part(End::Failed);
        // It comes back once while it still fails.
        assert!(failed > 0.0 && failed < 0.005, "{contender:?}: {failed}");

        let part = |from, until| history.during(from..until).part_of(Scenario::ODD_ONE);
        let second = Duration::from_secs(1);
        let back = history.first_to(Scenario::ODD_ONE, scenario.odd_during.1);
        let parts = [0, 10].map(|n| part(back + n * second, back + (n + 10) * second));
        // By weight alone it would be 2 % and 5 %; latency attracts twice as many at most.
        assert!(
            parts[0] < 0.06 && parts[0] < parts[1],
            "{contender:?}: {parts:?}"
        );

        let period = scenario.last_period();
        let calls = history.during(period.clone()).len() as f64;
        let part = part(period.start, period.end);
        // Standard deviations of as many random choices of one in ten.
        let bound = deviations * (0.1 * 0.9 / calls).sqrt();
        assert!((part - 0.1).abs() < bound, "{contender:?}: {part}");
    }
}

#[test]
fn with_a_slow_start_a_cold_instance_costs_no_call() {
    let scenario = Scenario::new(Odd::New(3.0), 0.6);
    let timed_out = |contender| {
        let history = simulate(&scenario, &contender);
        history.during(scenario.odd_period()).part(End::TimedOut)
    };
    assert!(timed_out(Contender::WEIGHTED) > 0.0);
    assert_eq!(timed_out(Contender::WEIGHTED.adapted()), 0.0);
}
