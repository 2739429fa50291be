//! Balancers side by side: who gets the calls when an instance is slow, fails, drains and returns.
//!
//! A dozen instances of different size and speed register in a registry in the process. Calls come
//! at random times, as many as half of the instances' capacity. For each balancer, one act follows
//! the other: all is well, one instance becomes ten times slower, another fails every call at once,
//! a third one drains, and all are well again.
//!
//! ```text
//! cargo run --release --bin balancing
//! cargo run --release --bin balancing -- --only least-loaded --seconds 10
//! ```
//!
//! What to watch for: each instance has a bar, its calls in the last second. The mark `|` is its
//! fair share by weight. Round robin and random ignore weights, so that small instances have a
//! queue (`in flight`). Weighted balancers keep to the marks, whatever the state of an instance.
//! `least-loaded` sends a slow instance only what it can do. With ejection, the instance that fails
//! gets nothing for a while, and is eased in when it is back. The table at the end compares them.
//!
//! The instances are simulated (a number of workers, and a time for each call), everything else is
//! the toolkit's.

#[path = "balancing/act.rs"]
mod act;
mod console;
#[path = "balancing/fleet.rs"]
mod fleet;
#[path = "balancing/policy.rs"]
mod policy;
#[path = "balancing/screen.rs"]
mod screen;
#[path = "balancing/server.rs"]
mod server;
#[path = "balancing/traffic.rs"]
mod traffic;

use act::Act;
use fleet::Fleet;
use lexopt::{
    Arg::{Long, Short},
    ValueExt,
};
use policy::Policy;
use screen::Screen;
use sd_core::BoxError;
use std::{process::ExitCode, time::Duration};
use tokio::time::{Instant, sleep};
use traffic::Traffic;

const USAGE: &str = "usage: balancing [OPTIONS]

Shows how each balancer spreads calls over a dozen instances, of which one becomes slow,
one fails and one drains.

  --only NAME    show one balancer: round-robin, random, weighted, weighted-random,
                 consistent-hash, least-loaded, peak-ewma, ejecting
  --seconds N    the length of an act in seconds (default: 4)
  -h, --help     print this";

#[tokio::main]
async fn main() -> ExitCode {
    console::end(run().await)
}

async fn run() -> Result<(), BoxError> {
    let Some(options) = Options::parse()? else {
        println!("{USAGE}");
        return Ok(());
    };
    let fleet = Fleet::start().await?;
    let mut screen = Screen::begin(&fleet)?;
    let ended = tokio::select! {
        played = play(&fleet, &options, &mut screen) => played,
        interrupted = tokio::signal::ctrl_c() => interrupted.map_err(BoxError::from),
    };
    screen.end()?;
    fleet.stop().await?;
    ended
}

async fn play(fleet: &Fleet, options: &Options, screen: &mut Screen) -> Result<(), BoxError> {
    for policy in &options.policies {
        fleet.reset().await?;
        let chooser = policy.chooser(fleet.endpointer());
        let traffic = Traffic::start(chooser.servers, fleet.rate());
        screen.begin_policy(*policy, chooser.ejections);
        for act in Act::ALL {
            fleet.play(act).await?;
            traffic.stats().restart();
            let end = Instant::now() + options.act;
            while Instant::now() < end {
                sleep(screen.frame().min(options.act)).await;
                screen.draw(fleet, act, traffic.stats())?;
            }
            screen.act_is_over(act, traffic.stats())?;
        }
        traffic.stop().await;
    }
    Ok(())
}

struct Options {
    policies: Vec<Policy>,
    act: Duration,
}

impl Options {
    /// `None` if only help is asked for.
    fn parse() -> Result<Option<Self>, BoxError> {
        let mut options = Self {
            policies: Policy::ALL.to_vec(),
            act: Duration::from_secs(4),
        };
        let mut arguments = lexopt::Parser::from_env();
        while let Some(argument) = arguments.next()? {
            match argument {
                Long("only") => {
                    options.policies = vec![arguments.value()?.parse_with(Policy::named)?]
                }
                Long("seconds") => {
                    let seconds: f64 = arguments.value()?.parse()?;
                    options.act = Duration::try_from_secs_f64(seconds)?;
                }
                Short('h') | Long("help") => return Ok(None),
                other => return Err(format!("{}\n\n{USAGE}", other.unexpected()).into()),
            }
        }
        Ok(Some(options))
    }
}
