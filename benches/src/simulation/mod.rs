//! A simulation of queues: what each balancer makes of one instance that is not like the others.
//!
//! Calls arrive at random, a balancer of the toolkit picks an instance for each, and the instance
//! serves it on one of a few workers, or has it wait in a queue. Time is virtual: the clock of tokio
//! is paused and moved from event to event, so that the balancers see the time of the simulation,
//! and a minute takes less than a second. The same seed gives the same history.
//!
//! The model is that of queueing theory, M/M/c at each instance: arrivals are a Poisson process,
//! service times are exponential (Kleinrock, *Queueing Systems*, 1975, section 3.5). One client
//! makes all calls, and makes none again, so that each balancer is seen alone.

mod contender;
mod history;
mod host;
mod scenario;
mod simulator;
#[cfg(test)]
mod tests;
mod virtual_time;

use crate::{
    measure::{Measured, Options},
    output::Output,
    table::{Cell, Table},
};
use contender::Contender;
use history::{End, History};
use scenario::Scenario;
use virtual_time::VirtualTime;

pub(crate) fn run(options: &Options, output: &Output) -> Measured {
    let mut time = VirtualTime::new();
    for scenario in Scenario::all() {
        output.table(&table(&mut time, &scenario, options.seed, output))?;
    }
    Ok(())
}

fn table(time: &mut VirtualTime, scenario: &Scenario, seed: u64, output: &Output) -> Table {
    let title = format!("simulation: {scenario}");
    let columns = [
        ("balancer", "balancer"),
        ("over", "adapters"),
        ("p50 ms", "p50_ms"),
        ("p99 ms", "p99_ms"),
        ("p99.9 ms", "p99_9_ms"),
        ("failed %", "failed_percent"),
        ("timed out %", "timed_out_percent"),
        ("its part %", "odd_part_percent"),
        ("at the end %", "odd_part_at_end_percent"),
    ];
    let mut table = Table::new(title, columns)
        .with("scenario", scenario.name())
        .with("utilisation", scenario.utilisation)
        .with("seed", seed);
    let contenders = Contender::all();
    for (n, contender) in contenders.iter().enumerate() {
        output.progress(&scenario.to_string(), n, contenders.len());
        let history = time.simulate(scenario, contender, seed);
        let [odd, end] = [scenario.odd_period(), scenario.last_period()];
        let seen = history.during(odd);
        let latency = |rank| Cell::Number(seen.latency(rank).as_secs_f64() * 1000.0, 1);
        let percent = |part: f64, decimals| Cell::Number(100.0 * part, decimals);
        let part_of = |history: &History| percent(history.part_of(Scenario::ODD_ONE), 1);
        table.row([
            Cell::Text(contender.name().to_owned()),
            match contender.adapters() {
                Some(adapters) => Cell::Text(adapters.to_owned()),
                None => Cell::Empty,
            },
            latency(0.5),
            latency(0.99),
            latency(0.999),
            percent(seen.part(End::Failed), 2),
            percent(seen.part(End::TimedOut), 2),
            part_of(&seen),
            part_of(&history.during(end)),
        ]);
    }
    table
}
