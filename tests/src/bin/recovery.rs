//! Measures how long many registrations in one process take to be back after a fault of etcd.
//! Prints the times and asserts nothing, since they depend on the machine.

use futures::future::join_all;
use lexopt::ValueExt;
use sd_core::{Registrar, Service, Ttl};
use sd_etcd::EtcdClient;
use sd_tests::{Consumer, Etcd, Metrics, cli};
use std::{collections::BTreeSet, path::PathBuf, process::ExitCode, time::Duration};
use tokio::time::{Instant, sleep};

const USAGE: &str = "usage: recovery [--services N] [--ttl SECONDS] [--etcd BIN]

  --services N   how many services one process registers; 1000 unless given
  --ttl SECONDS  their TTL; 5 unless given
  --etcd BIN     which etcd; ETCD_BIN or the one on the PATH unless given

One line for each fault. Times count from when etcd answers again (for a lease that is revoked: from
the answer to that) until every key stands at etcd on a lease that lives and every registrar says so,
and until a consumer follows etcd and shows every instance in doubt of none. Then what both sent to
etcd meanwhile.";

const PREFIX: &str = "/svc/";
/// First attempts after a loss are spread over this time.
const JITTER: Duration = Duration::from_millis(100);
/// After this time without a loss, a registrar treats the next loss as a first one.
const APART: Duration = Duration::from_secs(10);
/// A condition that holds for this long counts as lasting.
const LONG: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(5);

struct Options {
    services: usize,
    ttl: Ttl,
    etcd: Option<PathBuf>,
}

impl Options {
    fn parse() -> Result<Self, ExitCode> {
        let options = Self {
            services: 1000,
            ttl: Ttl::from_secs(5).expect("a TTL"),
            etcd: None,
        };
        cli::parse(USAGE, options, |options, name, parser| {
            match name {
                "services" => options.services = parser.value()?.parse()?,
                "ttl" => options.ttl = Ttl::from_secs(parser.value()?.parse()?)?,
                "etcd" => options.etcd = Some(parser.value()?.into()),
                _ => return Ok(false),
            }
            Ok(true)
        })
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let options = match Options::parse() {
        Ok(options) => options,
        Err(exit) => return exit,
    };
    let mut setup = Etcd::setup();
    if let Some(binary) = &options.etcd {
        setup = setup.binary(binary);
    }
    let scene = Scene::start(setup.start().await, &options).await;
    println!(
        "{} services on etcd {}, TTL {}; the first attempt after a loss comes within {JITTER:?}",
        options.services,
        scene.etcd.version().await,
        options.ttl
    );
    let ttl = options.ttl.duration();
    for fault in [
        Fault::Kill(ttl / 5),
        Fault::Kill(ttl + Duration::from_secs(2)),
        Fault::Freeze(ttl + Duration::from_secs(2)),
        Fault::Wipe,
        Fault::Revoke,
    ] {
        println!("{}", scene.suffer(fault).await);
        sleep(APART).await;
    }
    ExitCode::SUCCESS
}

#[derive(Clone, Copy)]
enum Fault {
    Kill(Duration),
    Freeze(Duration),
    Wipe,
    Revoke,
}

/// One etcd, one provider of many services, one consumer.
struct Scene {
    etcd: Etcd,
    consumer: Consumer,
    registrars: Vec<Registrar>,
}

impl Scene {
    async fn start(etcd: Etcd, options: &Options) -> Self {
        let consumer = Consumer::start(etcd.endpoint(), PREFIX).await;
        let client = EtcdClient::connect([etcd.endpoint()]).expect("a URL");
        let registrars: Vec<Registrar> = (0..options.services)
            .map(|n| {
                let address = format!("10.0.{}.{}:80", n / 250, n % 250);
                let service = Service::new(format!("{PREFIX}{n:06}"), address).expect("a key");
                Registrar::new(client.clone(), service.with_ttl(options.ttl))
            })
            .collect();
        for registered in join_all(registrars.iter().map(Registrar::register)).await {
            registered.expect("nothing is wrong yet");
        }
        let scene = Self {
            etcd,
            consumer,
            registrars,
        };
        lasting(Instant::now(), async || scene.is_seen()).await;
        scene
    }

    async fn suffer(&self, fault: Fault) -> String {
        let mut before = self.etcd.metrics().await;
        let what = match fault {
            Fault::Kill(down) => {
                self.etcd.kill();
                sleep(down).await;
                self.etcd.start_again().await;
                before = Metrics::default();
                format!("killed, started again after {down:?}")
            }
            Fault::Freeze(lasting) => {
                self.etcd.freeze();
                sleep(lasting).await;
                self.etcd.thaw();
                self.etcd.revision().await;
                format!("frozen for {lasting:?}")
            }
            Fault::Wipe => {
                self.etcd.wipe().await;
                before = Metrics::default();
                "killed, started again empty".to_owned()
            }
            Fault::Revoke => {
                let leases = self.etcd.leases().await;
                for lease in &leases {
                    self.etcd.revoke(*lease).await;
                }
                format!("{} lease revoked", leases.len())
            }
        };
        let answers = Instant::now();
        let stand = lasting(answers, async || self.stand().await);
        let seen = lasting(answers, async || self.is_seen());
        let (stand, seen) = tokio::join!(stand, seen);
        let asked = self.etcd.metrics().await.since(&before);
        format!(
            "{what:<36} all stand after {:5.2} s, all seen after {:5.2} s; {} grants, {} transactions, \
             {} reads, {} watch and {} keep-alive streams, {} keep-alives",
            stand.as_secs_f64(),
            seen.as_secs_f64(),
            asked.lease_grants(),
            asked.txns(),
            asked.range_requests(),
            asked.calls("Watch"),
            asked.calls("LeaseKeepAlive"),
            asked.keepalives(),
        )
    }

    /// Whether every key is on a valid lease, and every registrar says that it is registered.
    async fn stand(&self) -> bool {
        let entries = self.etcd.entries(PREFIX).await;
        let leases = BTreeSet::from_iter(self.etcd.leases().await);
        let on_lease = entries.iter().filter(|it| leases.contains(&it.lease()));
        let mut registrars = self.registrars.iter();
        on_lease.count() == self.registrars.len()
            && registrars.all(|it| it.status().borrow().is_registered())
    }

    /// Whether the consumer follows etcd and shows all instances, with none held.
    fn is_seen(&self) -> bool {
        let event = self.consumer.instancer().state().expect("it was ready");
        let sure = event.instances().len() - event.held().len();
        event.health().is_live() && sure == self.registrars.len()
    }
}

/// How long after `begin` the condition began to hold for `LONG`. (Right after a fault it may hold
/// only because nobody has noticed the fault.)
async fn lasting(begin: Instant, mut is_well: impl AsyncFnMut() -> bool) -> Duration {
    let mut well_since = None;
    loop {
        let now = Instant::now();
        if !is_well().await {
            well_since = None;
        } else if now - *well_since.get_or_insert(now) > LONG {
            return well_since.unwrap_or(now) - begin;
        }
        sleep(PAUSE).await;
    }
}
