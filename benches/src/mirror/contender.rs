//! Those that are measured, each in a process of its own.

use super::{
    fleet::PREFIX,
    process::{cpu_time, memory},
};
use allocation_counter::AllocationInfo;
use etcd_client::{Client, GetOptions, KeyValue};
use sd_core::{Client as _, Endpointer, Instance, Instancer, Prefix, Source, factory_fn};
use sd_etcd::EtcdClient;
use serde_json::{Value, json};
use std::{
    env,
    error::Error,
    io,
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{runtime::Runtime, time::sleep};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// As many entries a page as `sd-etcd` asks for.
const PAGE: i64 = 1_000;
/// How long idle instancers are watched.
const IDLE: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Contender {
    RawMemory,
    InstancerMemory,
    EndpointerMemory,
    RawList,
    InstancerList,
    IdleClient,
    IdleInstancers,
}

use Contender::*;

const ALL: [Contender; 7] = [
    RawMemory,
    InstancerMemory,
    EndpointerMemory,
    RawList,
    InstancerList,
    IdleClient,
    IdleInstancers,
];

/// What was measured: bytes and seconds.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Figures {
    /// More than before, when there was only a connected client.
    pub(super) resident: f64,
    pub(super) peak: f64,
    pub(super) heap: f64,
    /// That are still there.
    pub(super) allocations: f64,
    pub(super) time: f64,
    pub(super) cpu: f64,
}

impl Figures {
    fn json(&self) -> Value {
        json!([
            self.resident,
            self.peak,
            self.heap,
            self.allocations,
            self.time,
            self.cpu
        ])
    }

    fn of_json(text: &str) -> serde_json::Result<Self> {
        let [resident, peak, heap, allocations, time, cpu] = serde_json::from_str(text)?;
        Ok(Self {
            resident,
            peak,
            heap,
            allocations,
            time,
            cpu,
        })
    }
}

impl Contender {
    pub(super) fn name(self) -> &'static str {
        match self {
            RawMemory | RawList => "raw pages",
            InstancerMemory | InstancerList => "instancer",
            EndpointerMemory => "instancer and endpointer",
            IdleClient => "client without instancers",
            IdleInstancers => "instancers",
        }
    }

    /// Measures it in a process of its own.
    pub(super) fn run(self, endpoint: &str, number: usize) -> Result<Figures> {
        let mut process = Command::new(env::current_exe()?);
        process
            .args(["--mirror", &format!("{self:?}"), endpoint])
            .arg(number.to_string())
            .stderr(Stdio::inherit());
        let output = process.output()?;
        if !output.status.success() {
            return Err(format!("{self:?} failed").into());
        }
        Ok(Figures::of_json(str::from_utf8(&output.stdout)?)?)
    }
}

/// Runs the contender of this name in this process, and prints what was measured as JSON.
///
/// # Errors
/// There is none of this name, or etcd does not answer.
pub fn run_contender(name: &str, endpoint: &str, number: usize) -> Result<()> {
    let mut all = ALL.into_iter();
    let contender = all.find(|contender| format!("{contender:?}") == name);
    let contender = contender.ok_or_else(|| format!("no contender {name:?}"))?;
    let runtime = runtime()?;
    let mut figures = Err("not measured".into());
    let mut measure = || figures = runtime.block_on(contender.measure(endpoint, number));
    let counted = match contender {
        // What is timed is not slowed down.
        RawList | InstancerList => {
            measure();
            AllocationInfo::default()
        }
        // Counts this thread, in which everything runs.
        _ => allocation_counter::measure(measure),
    };
    let (mut figures, kept) = figures?;
    figures.heap = counted.bytes_current as f64;
    figures.allocations = counted.count_current as f64;
    println!("{}", figures.json());
    drop(kept);
    Ok(())
}

pub(super) fn runtime() -> io::Result<Runtime> {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build()
}

/// What stays until all is measured.
type Kept = Box<dyn std::any::Any>;

impl Contender {
    async fn measure(self, endpoint: &str, number: usize) -> Result<(Figures, Kept)> {
        match self {
            RawMemory | RawList => {
                let mut client = Client::connect([endpoint], None).await?;
                client.get("/", None).await?;
                let meter = Meter::start()?;
                let entries = raw_pages(&client).await?;
                assert_eq!(entries.len(), number);
                Ok((meter.stop()?, Box::new((client, entries))))
            }
            InstancerMemory | InstancerList | EndpointerMemory => {
                let client = connected(endpoint).await?;
                let meter = Meter::start()?;
                let instancer = Arc::new(Instancer::new(client.clone(), Prefix::new(PREFIX)?));
                instancer.ready().await?;
                let mut endpointer = None;
                if self == EndpointerMemory {
                    let factory = factory_fn(|_: &Instance| Ok(()));
                    let follower = Endpointer::new(instancer.clone(), factory);
                    follower.ready().await?;
                    endpointer = Some(follower);
                }
                let known = instancer.state().map(|state| state.instances().len());
                assert_eq!(known, Some(number));
                let mut figures = meter.stop()?;
                if self != InstancerList {
                    sleep(Duration::from_secs(1)).await;
                    (figures.resident, figures.peak) = meter.memory()?;
                }
                Ok((figures, Box::new((client, instancer, endpointer))))
            }
            IdleClient | IdleInstancers => {
                let client = connected(endpoint).await?;
                let meter = Meter::start()?;
                let number = if self == IdleClient { 1 } else { number };
                let follow = |n| {
                    let prefix = Prefix::new(format!("{PREFIX}{n}"))?;
                    Ok(Instancer::new(client.clone(), prefix))
                };
                let instancers = (0..number).map(follow);
                let instancers = instancers.collect::<Result<Vec<_>>>()?;
                for instancer in &instancers {
                    instancer.until(|state| state.health().is_live()).await?;
                }
                sleep(Duration::from_secs(2)).await;
                let memory = meter.memory()?;
                let idle = Meter::start()?;
                sleep(IDLE).await;
                let mut figures = idle.stop()?;
                (figures.resident, figures.peak) = memory;
                Ok((figures, Box::new((client, instancers))))
            }
        }
    }
}

async fn connected(endpoint: &str) -> Result<EtcdClient> {
    let client = EtcdClient::connect([endpoint])?;
    client.get_entries(&Prefix::new("/none")?).await?;
    Ok(client)
}

/// All entries as etcd's client reads them, at one revision, page by page.
async fn raw_pages(client: &Client) -> Result<Vec<KeyValue>> {
    let mut kv = client.kv_client();
    let (mut from, mut revision) = (PREFIX.as_bytes().to_vec(), 0);
    let mut entries = Vec::new();
    loop {
        let get = GetOptions::new()
            .with_range("/services/hello0")
            .with_limit(PAGE)
            .with_revision(revision);
        let mut page = kv.get(from, Some(get)).await?;
        revision = page.header().map_or(0, |header| header.revision());
        entries.extend(page.take_kvs());
        let Some(last) = entries.last().filter(|_| page.more()) else {
            return Ok(entries);
        };
        from = [last.key(), &[0]].concat();
    }
}

/// What the process takes from now on.
struct Meter {
    memory: f64,
    time: Instant,
    cpu: Duration,
}

impl Meter {
    fn start() -> Result<Self> {
        Ok(Self {
            memory: memory()?.0,
            time: Instant::now(),
            cpu: cpu_time(),
        })
    }

    fn stop(&self) -> Result<Figures> {
        let (time, cpu) = (self.time.elapsed(), cpu_time() - self.cpu);
        let (resident, peak) = self.memory()?;
        Ok(Figures {
            resident,
            peak,
            time: time.as_secs_f64(),
            cpu: cpu.as_secs_f64(),
            ..Figures::default()
        })
    }

    fn memory(&self) -> Result<(f64, f64)> {
        let (resident, peak) = memory()?;
        Ok((resident - self.memory, peak - self.memory))
    }
}
