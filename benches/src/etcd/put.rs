//! How long a put takes to reach a subscriber, beside a raw watch of the same puts in the same process.
//!
//! Which of two watches was created first matters: of two raw ones it hears of a put 6 µs later, and of a raw one and
//! the toolkit's, which share two processors with etcd, up to 35. So each is the first one for half of the puts, and what
//! is compared is the mean of the medians of both halves. The median of all puts would be that of two humps, 50 µs apart,
//! and would jump from the one to the other as soon as one has a few more puts.

use super::{
    Failure, block_on,
    contender::{SIDES, Side},
    entries, in_time,
    server::Server,
};
use crate::{
    clock::now,
    comparison::{Comparison, Target},
    measure::{Measured, Options},
    output::Output,
    statistics::quantile,
    table::{Cell, Table},
};
use etcd_client::{KeyValue, WatchOptions};
use futures::StreamExt;
use sd_core::{Instancer, Prefix};
use sd_etcd::EtcdClient;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

const SIZES: [usize; 3] = [10, 1000, 10_000];
/// How long half of the puts for a size may take, if they are many.
const LONGEST: Duration = Duration::from_secs(30);

/// What the puts took, in microseconds.
struct Latencies {
    toolkit: Vec<f64>,
    floor: Vec<f64>,
}

impl Latencies {
    /// How much longer the toolkit took, put by put.
    fn differences(&self) -> Vec<f64> {
        let pairs = self.toolkit.iter().zip(&self.floor);
        pairs.map(|(one, other)| one - other).collect()
    }
}

pub(crate) fn run(options: &Options, output: &Output) -> Measured {
    block_on(async {
        let puts = if options.quick { 1000 } else { 10_000 };
        let mut server = Server::start().await?;
        let columns = [
            ("instances", "instances"),
            ("puts", "puts"),
            ("toolkit p50 µs", "toolkit_p50_us"),
            ("p99", "toolkit_p99_us"),
            ("floor p50 µs", "floor_p50_us"),
            ("p99", "floor_p99_us"),
            (
                "difference p50 µs, the toolkit first",
                "toolkit_first_difference_p50_us",
            ),
            ("the floor first", "floor_first_difference_p50_us"),
            ("p99", "difference_p99_us"),
        ];
        let title =
            "put: from a put that is sent to a subscriber, beside a raw watch in the same process";
        let mut table = Table::new(title, columns);
        let mut comparisons = Vec::new();
        let mut known = 0;
        for instances in SIZES {
            server.populate(known..instances).await?;
            known = instances;
            let mut halves = Vec::new();
            for first in SIDES {
                let done = halves.len() * puts / SIDES.len();
                output.progress(&format!("{instances} instances"), done, puts);
                halves.push(measure(&mut server, first, puts / SIDES.len()).await?);
            }
            let [p50, p99] = [0.5, 0.99];
            let mut differences: Vec<_> = halves.iter().map(Latencies::differences).collect();
            let medians = differences.iter_mut().map(|half| quantile(half, p50));
            let medians: Vec<f64> = medians.collect();
            let difference = medians.iter().sum::<f64>() / medians.len() as f64;
            let worst = quantile(&mut differences.concat(), p99);
            let all = |of: fn(&Latencies) -> &Vec<f64>| -> Vec<f64> {
                halves.iter().flat_map(of).copied().collect()
            };
            let (mut toolkit, mut floors) = (all(|half| &half.toolkit), all(|half| &half.floor));
            let floor = quantile(&mut floors, p50);
            table.row([
                Cell::Number(instances as f64, 0),
                Cell::Number(toolkit.len() as f64, 0),
                Cell::Number(quantile(&mut toolkit, p50), 0),
                Cell::Number(quantile(&mut toolkit, p99), 0),
                Cell::Number(floor, 0),
                Cell::Number(quantile(&mut floors, p99), 0),
                Cell::Number(medians[0], 1),
                Cell::Number(medians[1], 1),
                Cell::Number(worst, 0),
            ]);
            let what = |rank: &str| {
                format!("put to subscriber, N = {instances}: paired difference, {rank}")
            };
            comparisons.push(
                Comparison::new(what("p50"), "µs", difference, Target::OfFloor(0.05)).beside(floor),
            );
            comparisons.push(Comparison::new(
                what("p99"),
                "µs",
                worst,
                Target::AtMost(200.0),
            ));
        }
        output.table(&table)?;
        output.compare(&comparisons)?;
        Ok(())
    })
}

/// What `puts` puts take where the watch of `first` is created before the other one.
async fn measure(server: &mut Server, first: Side, puts: usize) -> Result<Latencies, Failure> {
    server.mark(0..1).await?;
    let ((mut toolkit, _follower), (mut floor, _watcher)) = match first {
        Side::Toolkit => (subscriber(server).await?, watcher(server).await?),
        Side::Floor => {
            let floor = watcher(server).await?;
            (subscriber(server).await?, floor)
        }
    };
    let mut all = Latencies {
        toolkit: Vec::with_capacity(puts),
        floor: Vec::with_capacity(puts),
    };
    /// Not counted: connections and caches are new.
    const WARM_UP: usize = 50;
    let begun = Instant::now();
    for n in 0..WARM_UP + puts {
        if begun.elapsed() > LONGEST {
            break;
        }
        let (mark, sent) = server.mark(0..1).await?;
        let seen = in_time("a change", async {
            (at(&mut toolkit, mark).await, at(&mut floor, mark).await)
        });
        let (toolkit, floor) = seen.await?;
        if n >= WARM_UP {
            let [toolkit, floor] = [toolkit, floor].map(|at| at.ok_or("a watch has ended"));
            all.toolkit.push(super::server::latency(sent, toolkit?));
            all.floor.push(super::server::latency(sent, floor?));
        }
    }
    Ok(all)
}

type Seen = mpsc::UnboundedReceiver<(u32, Duration)>;

async fn at(seen: &mut Seen, mark: u32) -> Option<Duration> {
    loop {
        let (seen, at) = seen.recv().await?;
        if seen == mark {
            return Some(at);
        }
    }
}

async fn subscriber(server: &Server) -> Result<(Seen, AbortOnDropHandle<()>), Failure> {
    let client = EtcdClient::connect([server.etcd.endpoint()])?;
    let instancer = Instancer::new(client, Prefix::new(entries::prefix(0))?);
    let live = instancer.subscribe();
    let mut events = instancer.subscribe();
    super::first_change::until_live(live).await?;
    let (sender, seen) = mpsc::unbounded_channel();
    let task = tokio::spawn(async move {
        let key = entries::mark_key(0);
        while let Some(event) = events.next().await {
            let at = now();
            let mark = event.instances().get(&key).map(|it| it.weight() - 1);
            if let Some(mark) = mark
                && sender.send((mark, at)).is_err()
            {
                return;
            }
        }
        drop(instancer);
    });
    Ok((seen, AbortOnDropHandle::new(task)))
}

async fn watcher(server: &Server) -> Result<(Seen, AbortOnDropHandle<()>), Failure> {
    let mut client = etcd_client::Client::connect([server.etcd.endpoint()], None).await?;
    let options = WatchOptions::new().with_prefix();
    let mut watch = client.watch(entries::prefix(0), Some(options)).await?;
    let (sender, seen) = mpsc::unbounded_channel();
    let task = tokio::spawn(async move {
        while let Ok(Some(response)) = watch.message().await {
            let at = now();
            for entry in response.0.events.into_iter().filter_map(|event| event.kv) {
                if let Some(mark) = entries::mark(KeyValue(entry).value())
                    && sender.send((mark, at)).is_err()
                {
                    return;
                }
            }
        }
    });
    Ok((seen, AbortOnDropHandle::new(task)))
}
