//! Time to read the entries of each format.

use crate::{
    comparison::{Comparison, Target},
    measure::{Measured, Options},
    output::Output,
    rounds::{Times, Work},
    table::{Cell, Table},
};
use futures::{StreamExt, future, stream};
use sd_core::{
    Advert, Batch, Client, Deregistered, Entry, Error, Format, Instancer, LeaseId, Prefix,
    Registration, Result, Revision, Service, Snapshot, Watch, WatchError, async_trait,
};
use std::{hint::black_box, sync::Arc};
use tokio::runtime::{Builder, Runtime};

/// So many entries an instancer reads at once.
const MANY: usize = 100_000;
/// So many are enough to tell what one costs.
const FEW: usize = 1_000;
const SERVICE: &str = "hello";

pub(crate) fn run(options: &Options, output: &Output) -> Measured {
    let formats = sd_formats::all();
    let decoding = formats.iter().map(|format| decoding(format));
    let decoding = decoding.collect::<Result<_>>()?;
    let title = "formats: processor time to decode an entry";
    let (table, _) = measure(title, 1, decoding, &formats, options, output);
    output.table(&table)?;
    let reading = formats.iter().map(reading);
    let reading = reading.collect::<Result<_>>()?;
    let title = format!("formats: processor time until an instancer shows {MANY} entries");
    let (table, times) = measure(&title, MANY, reading, &formats, options, output);
    output.table(&table)?;
    let nanos = (0..formats.len()).map(|n| times.nanos(n).value / MANY as f64);
    let slowest = nanos.clone().fold(0.0, f64::max);
    let what = format!("reading {MANY} entries in the slowest format beside the default one");
    let slowest = Comparison::new(what, "ns an entry", slowest, Target::OfFloor(2.0));
    output.compare(
        &nanos
            .take(1)
            .map(|default| slowest.clone().beside(default))
            .collect::<Vec<_>>(),
    )?;
    Ok(())
}

fn measure(
    title: &str,
    entries: usize,
    work: Vec<Work>,
    formats: &[Arc<dyn Format>],
    options: &Options,
    output: &Output,
) -> (Table, Times) {
    let rounds = options.rounds;
    let progress = |round| output.progress(title, round, rounds);
    let times = Times::measure(vec![work], rounds, progress);
    let title = format!("{title} (median of {rounds} rounds)");
    let columns = [
        ("format", "format"),
        ("ns an entry", "entry_ns"),
        ("±", "entry_ns_spread"),
        ("of the default", "of_default"),
    ];
    let mut table = Table::new(title, columns)
        .with("entries", entries)
        .with("rounds", rounds);
    for (n, format) in formats.iter().enumerate() {
        let nanos = times.nanos(n);
        table.row([
            Cell::Text(format.name().to_owned()),
            Cell::Number(nanos.value / entries as f64, 0),
            Cell::Number(nanos.spread / entries as f64, 0),
            Cell::Number(times.ratio(n, 0).value, 2),
        ]);
    }
    (table, times)
}

/// The entries of a service: each with an address, and of the rest of what a provider usually says what the format
/// can say.
fn entries(format: &dyn Format, count: usize) -> Result<Vec<Entry>> {
    let richest = |n: usize| {
        let address = format!("10.{}.{}.{}:8080", n >> 16, n >> 8 & 255, n & 255);
        let bare = Advert::new(address);
        let weighted = bare.clone().weight(3);
        let rich = weighted.clone().zone("eu-1").metadata("shard", "7");
        let mut adverts = [rich, weighted, bare].into_iter();
        adverts.find_map(|advert| format.service(SERVICE, &advert).ok())
    };
    let entry = |n: usize| {
        let service = richest(n).ok_or_else(|| Error::unsupported("an address"))?;
        let lease = LeaseId::from(7_587_849_142_468_224_212 + n as i64);
        let key = service.key.under(&lease);
        Ok(Entry::new(key, service.value).with_lease(lease))
    };
    let mut entries: Vec<_> = (0..count).map(entry).collect::<Result<_>>()?;
    // As a registry lists them.
    entries.sort_by(|one, other| one.key.cmp(&other.key));
    Ok(entries)
}

/// Decodes one entry after the other.
fn decoding(format: &dyn Format) -> Result<Work> {
    let (codec, entries) = (format.codec(SERVICE)?, entries(format, FEW)?);
    let mut next = entries.into_iter().cycle();
    Ok(Box::new(move |times| {
        for entry in next.by_ref().take(times as usize) {
            black_box(codec.decode(&entry).is_ok());
        }
    }))
}

/// Starts an instancer, and waits until it shows all entries.
fn reading(format: &Arc<dyn Format>) -> Result<Work> {
    let entries = entries(format, MANY)?;
    let (client, format) = (Fixed(entries.into()), format.clone());
    let runtime = current_thread()?;
    Ok(Box::new(move |times| {
        for _ in 0..times {
            runtime.block_on(async {
                let instancer = Instancer::of(client.clone(), &format, SERVICE);
                let instancer = instancer.expect("it was asked before");
                instancer.ready().await.expect("it does not end");
                let state = instancer.state().expect("it is ready");
                assert_eq!(state.instances().len(), MANY);
                instancer.stop().await;
            });
        }
    }))
}

fn current_thread() -> Result<Runtime> {
    let runtime = Builder::new_current_thread().enable_time().build();
    runtime.map_err(|error| Error::unavailable("no runtime").with_source(error))
}

/// A registry in which nothing changes, and that costs next to nothing.
#[derive(Clone)]
struct Fixed(Arc<[Entry]>);

#[async_trait]
impl Client for Fixed {
    async fn get_entries(&self, _: &Prefix) -> Result<Snapshot> {
        Ok(Snapshot::new(self.0.to_vec(), Revision::new(1)))
    }

    async fn watch_prefix(&self, _: &Prefix, after: &Revision) -> Result<Watch, WatchError> {
        let begins = Ok(Batch::new(Vec::new(), after.clone()));
        let silence = stream::pending();
        Ok(Watch::new(
            stream::once(future::ready(begins)).chain(silence),
        ))
    }

    async fn register(&self, _: &Service) -> Result<Registration> {
        Err(Error::unsupported("register"))
    }

    async fn deregister(&self, _: &Service) -> Result<Deregistered> {
        Ok(Deregistered::NotOurs)
    }

    fn lease_id(&self) -> Option<LeaseId> {
        None
    }
}
