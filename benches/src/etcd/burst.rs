//! A thousand changes at once, until all is quiet.

use super::{
    Failure, block_on,
    contender::{Contender, SIDES, Side},
    millis,
    resources::{self, Resources, median},
    server::Server,
};
use crate::{
    comparison::{Comparison, Target},
    measure::{Measured, Options},
    output::Output,
};
use std::time::Duration;

const INSTANCES: usize = 10_000;
const CHANGES: usize = 1000;
/// After the last change, what is done later is done: tables are rebuilt, etcd's counters are up to date.
const SETTLE: Duration = Duration::from_millis(500);

pub(crate) fn run(options: &Options, output: &Output) -> Measured {
    block_on(async {
        let rounds = if options.quick { 3 } else { 9 };
        let mut server = Server::start().await?;
        output.progress("filling etcd", 0, rounds);
        server.populate(0..INSTANCES).await?;
        server.mark(0..1).await?;
        let mut all = Vec::new();
        for round in 0..rounds {
            output.progress("the toolkit and its floor in turn", round, rounds);
            for side in SIDES {
                all.push(measure(&mut server, side).await?);
            }
        }
        let title = format!(
            "burst: {CHANGES} changes at {INSTANCES} instances as fast as etcd takes them, until all are seen \
             (median of {rounds} rounds)"
        );
        output.table(&resources::table(title, &all))?;
        let compared = |what: &str, most, of: &dyn Fn(&Resources) -> f64| {
            let what = format!("{CHANGES} changes at N = {INSTANCES}: {what}");
            Comparison::new(
                what,
                "ms",
                median(&all, Side::Toolkit, of),
                Target::OfFloor(most),
            )
            .beside(median(&all, Side::Floor, of))
        };
        output.compare(&[
            compared("time until quiet", 1.2, &|it| millis(it.took)),
            compared("CPU", 2.0, &|it| millis(it.cpu)),
        ])?;
        Ok(())
    })
}

async fn measure(server: &mut Server, side: Side) -> Result<Resources, Failure> {
    let mut contender = follower(&server.etcd.endpoint(), side, Followers::ONE)?;
    contender.said("ready").await?;
    // Now its watch is open.
    let (mark, _) = server.mark(0..1).await?;
    contender.seen(mark).await?;
    tokio::time::sleep(SETTLE).await;
    let (before, counted) = (contender.usage().await?, server.counted().await?);
    let (mark, sent) = server.burst(CHANGES, INSTANCES).await?;
    let seen = contender.seen(mark).await?;
    tokio::time::sleep(SETTLE).await;
    let after = contender.usage().await?;
    Ok(Resources {
        side,
        took: seen.saturating_sub(sent),
        cpu: after.cpu - before.cpu,
        asked: server.since(&counted).await?,
        peak: after.peak,
    })
}

/// Who follows in one process.
#[derive(Debug, Clone, Copy)]
pub(super) struct Followers {
    pub(super) clients: usize,
    pub(super) services: usize,
    pub(super) subscribers: usize,
    pub(super) registers: bool,
}

impl Followers {
    pub(super) const ONE: Self = Self {
        clients: 1,
        services: 1,
        subscribers: 1,
        registers: false,
    };
}

/// Starts a process that follows. The floor is always one watch.
pub(super) fn follower(etcd: &str, side: Side, followers: Followers) -> Result<Contender, Failure> {
    let Followers {
        clients,
        services,
        subscribers,
        registers,
    } = followers;
    let arguments = [
        etcd.to_owned(),
        clients.to_string(),
        services.to_string(),
        subscribers.to_string(),
        registers.to_string(),
    ];
    Contender::start(&format!("follow-{}", side.name()), &arguments)
}
