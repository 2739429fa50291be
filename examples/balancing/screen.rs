//! What is seen: on a terminal a picture that moves, elsewhere a line for each act, and a table at
//! the end.

use crate::{
    act::Act,
    fleet::Fleet,
    policy::Policy,
    server::Server,
    traffic::{Stats, Summary},
};
use sd_core::{EjectionStatus, StatusReceiver};
use std::{
    env,
    fmt::Write as _,
    io::{self, IsTerminal, Write as _},
    time::Duration,
};

/// The longest bar, in characters.
const BAR: usize = 40;

pub(crate) struct Screen {
    is_terminal: bool,
    has_colour: bool,
    /// How many lines the last picture has.
    drawn: usize,
    /// The calls a second of the longest bar.
    full: f64,
    total_weight: f64,
    rate: f64,
    policy: Option<Policy>,
    ejections: Option<StatusReceiver<EjectionStatus>>,
    summaries: Vec<(Policy, Act, Summary)>,
}

#[derive(Clone, Copy)]
enum Colour {
    Green,
    Yellow,
    Red,
    Blue,
    Grey,
}

impl Screen {
    pub(crate) fn begin(fleet: &Fleet) -> io::Result<Self> {
        let is_terminal = io::stdout().is_terminal();
        let total_weight: u32 = fleet.servers().map(|server| server.weight()).sum();
        let heaviest = fleet.servers().map(|server| server.weight()).max();
        let total_weight = f64::from(total_weight);
        let rate = fleet.rate();
        let share = f64::from(heaviest.unwrap_or(1)) / total_weight;
        println!(
            "balancing: {rate:.0} calls a second, half of what {} instances can do\n",
            fleet.servers().count()
        );
        Ok(Self {
            is_terminal,
            has_colour: is_terminal && env::var_os("NO_COLOR").is_none(),
            drawn: 0,
            full: 1.3 * rate * share,
            total_weight,
            rate,
            policy: None,
            ejections: None,
            summaries: Vec::new(),
        })
    }

    /// What is shown from here on belongs to `policy`.
    pub(crate) fn begin_policy(
        &mut self,
        policy: Policy,
        ejections: Option<StatusReceiver<EjectionStatus>>,
    ) {
        self.policy = Some(policy);
        self.ejections = ejections;
    }

    fn policy_name(&self) -> &'static str {
        self.policy.map_or("", Policy::name)
    }

    /// The time between two pictures.
    pub(crate) fn frame(&self) -> Duration {
        Duration::from_millis(if self.is_terminal { 100 } else { 1000 })
    }

    /// Draws the present state over the picture before.
    pub(crate) fn draw(&mut self, fleet: &Fleet, act: Act, stats: &Stats) -> io::Result<()> {
        if !self.is_terminal {
            return Ok(());
        }
        let rates = stats.rates();
        let summary = stats.summary();
        let mut picture = String::new();
        let title = self.painted(Colour::Green, self.policy_name());
        let _ = writeln!(picture, "{title}: {}\n", act.title());
        let _ = writeln!(
            picture,
            "  {:<5} weight  {:<BAR$}  calls/s  in flight",
            "", "calls in the last second (| fair share)"
        );
        for server in fleet.servers() {
            let rate = rates.get(server.name()).copied().unwrap_or(0.0);
            let line = self.line(fleet, server, rate);
            let _ = writeln!(picture, "{line}");
        }
        let Summary {
            p50, p99, failed, ..
        } = summary;
        let failed = format!("{failed:.1} % failed");
        let failed = match summary.failed {
            0.0 => failed,
            _ => self.painted(Colour::Red, &failed),
        };
        let _ = writeln!(
            picture,
            "\n  p50 {}   p99 {}   {failed}",
            milliseconds(p50),
            milliseconds(p99)
        );
        let mut out = io::stdout().lock();
        if self.drawn > 0 {
            write!(out, "\x1b[{}A", self.drawn)?;
        }
        self.drawn = picture.lines().count();
        for line in picture.lines() {
            writeln!(out, "{line}\x1b[K")?;
        }
        out.flush()
    }

    fn line(&self, fleet: &Fleet, server: &Server, rate: f64) -> String {
        let length = |rate: f64| ((rate / self.full * BAR as f64).round() as usize).min(BAR);
        let fair = length(self.rate * f64::from(server.weight()) / self.total_weight);
        let bar: String = (0..=BAR)
            .map(|at| match (at == fair, at < length(rate)) {
                (true, _) => '|',
                (false, true) => '█',
                (false, false) => ' ',
            })
            .collect();
        let (colour, state) = if server.is_failing() {
            (Colour::Red, "fails")
        } else if server.is_slow() {
            (Colour::Yellow, "slow")
        } else if fleet.is_draining(server) {
            (Colour::Blue, "drains")
        } else {
            (Colour::Green, "")
        };
        let state = match (self.is_ejected(server), state) {
            (false, state) => state.to_owned(),
            (true, "") => "ejected".to_owned(),
            (true, state) => format!("{state}, ejected"),
        };
        let is_idle = rate < 1.0 && state.is_empty();
        let colour = if is_idle { Colour::Grey } else { colour };
        let bar = self.painted(colour, &bar);
        let state = self.painted(colour, &state);
        format!(
            "  {:<5} {:>6}  {bar} {rate:>7.0}  {:>9}  {state}",
            server.name(),
            server.weight(),
            server.in_flight()
        )
    }

    fn is_ejected(&self, server: &Server) -> bool {
        let address = format!("{}:80", server.name());
        self.ejections.as_ref().is_some_and(|status| {
            let status = status.borrow();
            status.ejected.iter().any(|one| *one.address == *address)
        })
    }

    fn painted(&self, colour: Colour, text: &str) -> String {
        if !self.has_colour || text.is_empty() {
            return text.to_owned();
        }
        let code = match colour {
            Colour::Green => 32,
            Colour::Yellow => 33,
            Colour::Red => 31,
            Colour::Blue => 34,
            Colour::Grey => 90,
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }

    /// Keeps the result of an act for the table.
    pub(crate) fn act_is_over(&mut self, act: Act, stats: &Stats) -> io::Result<()> {
        let summary = stats.summary();
        self.summaries
            .extend(self.policy.map(|policy| (policy, act, summary)));
        if self.is_terminal {
            return Ok(());
        }
        let Summary {
            calls,
            p50,
            p99,
            failed,
        } = summary;
        writeln!(
            io::stdout().lock(),
            "{:<16} {:<50} {calls:>6} calls  p50 {}  p99 {}  {failed:>4.1} % failed",
            self.policy_name(),
            act.title(),
            milliseconds(p50),
            milliseconds(p99)
        )
    }

    /// Prints the table.
    pub(crate) fn end(self) -> io::Result<()> {
        let mut out = io::stdout().lock();
        write!(out, "\n{:<16}", "p99, % failed")?;
        for act in Act::ALL {
            write!(out, "  {:>17}", act.name())?;
        }
        writeln!(out)?;
        for policy in Policy::ALL {
            let of = |act| {
                let found = self
                    .summaries
                    .iter()
                    .find(|(of, played, _)| *of == policy && *played == act);
                found.map(|(_, _, summary)| *summary)
            };
            if of(Act::AllWell).is_none() {
                continue;
            }
            write!(out, "{:<16}", policy.name())?;
            for summary in Act::ALL.map(of) {
                match summary {
                    Some(Summary { p99, failed, .. }) => {
                        write!(out, "  {} {failed:>5.1} %", milliseconds(p99))?;
                    }
                    None => write!(out, "  {:>17}", "-")?,
                }
            }
            writeln!(out)?;
        }
        Ok(())
    }
}

/// Eight characters and a unit, so that columns are straight.
fn milliseconds(time: Duration) -> String {
    format!("{:>6.0} ms", time.as_secs_f64() * 1000.0)
}
