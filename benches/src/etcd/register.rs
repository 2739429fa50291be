//! Registering a thousand services from one process, and keeping them registered.

use super::{
    Failure, block_on,
    contender::{Contender, SIDES, Side, took, usage},
    megabytes, millis,
    resources::{self, Resources, median},
    server::{Asked, Server},
};
use crate::{
    comparison::{Comparison, Target},
    measure::{Measured, Options},
    output::Output,
};
use std::time::Duration;

const SERVICES: usize = 1000;
/// How long they are kept.
const KEPT: Duration = Duration::from_secs(10);

/// What one round found.
pub(super) struct Registered {
    pub(super) registering: Resources,
    pub(super) connections: usize,
    pub(super) leases: usize,
    /// `None` if it was not to be measured.
    pub(super) keeping: Option<Resources>,
    /// How long it took to end all of them, and the processor time of that.
    pub(super) ending: (Duration, Duration),
}

pub(crate) fn run(options: &Options, output: &Output) -> Measured {
    block_on(async {
        let rounds = if options.quick { 3 } else { 9 };
        let server = Server::start().await?;
        // Most of the memory of a small process is the program itself.
        let one = measure(&server, Side::Toolkit, 1, None).await?;
        let mut all = Vec::new();
        for round in 0..rounds {
            output.progress("the toolkit and its floor in turn", round, rounds);
            for side in SIDES {
                // Once is enough for each, as it takes long.
                let is_kept = round == 0 && (side == Side::Toolkit || !options.quick);
                let kept = is_kept.then_some(KEPT);
                all.push(measure(&server, side, SERVICES, kept).await?);
            }
        }
        let registering: Vec<_> = all.iter().map(|it| it.registering).collect();
        let keeping: Vec<_> = all.iter().filter_map(|it| it.keeping).collect();
        let title = format!(
            "register: {SERVICES} services of one process, beside as many puts at once (median of \
             {rounds} rounds)"
        );
        output.table(&resources::table(title, &registering).with("phase", "register"))?;
        let title = format!(
            "register: keeping {SERVICES} services for {} s, beside one lease",
            KEPT.as_secs()
        );
        output.table(&resources::table(title, &keeping).with("phase", "keep"))?;
        output.compare(&comparisons(&one, &all, &registering, &keeping))?;
        Ok(())
    })
}

fn comparisons(
    one: &Registered,
    all: &[Registered],
    registering: &[Resources],
    keeping: &[Resources],
) -> [Comparison; 5] {
    let of = |what: &str| format!("register {SERVICES}: {what}");
    let toolkit = || all.iter().filter(|it| it.registering.side == Side::Toolkit);
    let most = |of: fn(&Registered) -> usize| toolkit().map(of).max().unwrap_or(0) as f64;
    let time = |side| median(registering, side, |it| millis(it.took));
    [
        Comparison::new(of("time"), "ms", time(Side::Toolkit), Target::OfFloor(0.3))
            .beside(time(Side::Floor)),
        Comparison::new(
            of("connections"),
            "",
            most(|it| it.connections),
            Target::AtMost(2.0),
        ),
        Comparison::new(of("leases"), "", most(|it| it.leases), Target::AtMost(1.0)),
        Comparison::new(
            of("peak memory, above that of a process that registers one"),
            "MB",
            median(registering, Side::Toolkit, |it| megabytes(it.peak))
                - megabytes(one.registering.peak),
            Target::AtMost(10.0),
        ),
        Comparison::new(
            format!("keep {SERVICES} for {} s: CPU", KEPT.as_secs()),
            "ms",
            median(keeping, Side::Toolkit, |it| millis(it.cpu)),
            Target::AtMost(10.0),
        )
        .beside(median(keeping, Side::Floor, |it| millis(it.cpu))),
    ]
}

/// Registers `services` in a process, and keeps them for `kept`.
pub(super) async fn measure(
    server: &Server,
    side: Side,
    services: usize,
    kept: Option<Duration>,
) -> Result<Registered, Failure> {
    let before = server.counted().await?;
    let arguments = [
        server.etcd.endpoint(),
        "/registered/".to_owned(),
        services.to_string(),
    ];
    let mut contender = Contender::start(&format!("register-{}", side.name()), &arguments)?;
    let started = usage(&contender.said("started").await?)?;
    let ready = contender.said("ready").await?;
    let done = usage(&ready)?;
    let registering = Resources {
        side,
        took: took(&ready)?,
        cpu: done.cpu - started.cpu,
        asked: server.since(&before).await?,
        peak: done.peak,
    };
    let (connections, leases) = (server.connections(), server.etcd.leases().await.len());
    let keeping = match kept {
        Some(kept) => Some(keep(server, side, kept, &mut contender).await?),
        None => None,
    };
    let before = contender.usage().await?;
    contender.close();
    let ended = contender.said("ended").await?;
    let ending = (took(&ended)?, usage(&ended)?.cpu - before.cpu);
    contender.end().await?;
    let gone = async || server.etcd.leases().await.len();
    sd_tests::eventually(sd_tests::PATIENCE, "no lease", gone, |leases| *leases == 0).await;
    Ok(Registered {
        registering,
        connections,
        leases,
        keeping,
        ending,
    })
}

async fn keep(
    server: &Server,
    side: Side,
    kept: Duration,
    contender: &mut Contender,
) -> Result<Resources, Failure> {
    // What registering has left to do: its own keys are watched from now on.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (before, counted) = (contender.usage().await?, server.counted().await?);
    tokio::time::sleep(kept).await;
    let after = contender.usage().await?;
    let asked: Asked = server.since(&counted).await?;
    Ok(Resources {
        side,
        took: kept,
        cpu: after.cpu - before.cpu,
        asked,
        peak: after.peak,
    })
}
