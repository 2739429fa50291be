//! What an operator sees: each fault of docs/operations.md is provoked, and leaves the lines and
//! moves the metrics that its row there names.

use sd_core::{
    Endpointer, Error, Instancer, Prefix, Registrar, Service, Ttl, factory_fn, telemetry,
};
use sd_etcd::EtcdClient;
use sd_memory::Registry;
use sd_tests::{Consumer, Etcd, PATIENCE, Provider, Proxy, eventually};
use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex},
    time::Duration,
};
use tracing::{
    Level,
    field::{Field, Visit},
    span,
};

const DOCUMENT: &str = include_str!("../../docs/operations.md");
const KEY: &str = "/services/hello/a";
const ADDRESS: &str = "10.0.0.1:80";

/// So often a line may be there for one fault: once for each of two clients with two connections.
const MOST_LINES: usize = 4;

// === Faults of a real etcd ===

#[tokio::test]
async fn etcd_is_killed_and_restarted() {
    let desk = Desk::open();
    let etcd = Etcd::start().await;
    let (consumer, provider) = fleet(etcd.endpoint()).await;

    desk.begins();
    etcd.kill();
    consumer.sees("trouble", |view| !view.live).await;
    etcd.start_again().await;

    desk.shows("etcd is killed, and restarted").await;
    consumer.settles_on(&[ADDRESS]).await;
    drop(provider);
}

#[tokio::test]
async fn etcd_is_frozen() {
    let desk = Desk::open();
    let etcd = Etcd::start().await;
    let (consumer, _provider) = fleet(etcd.endpoint()).await;

    desk.begins();
    etcd.freeze();
    consumer.sees("trouble", |view| !view.live).await;
    etcd.thaw();

    desk.shows("etcd is frozen").await;
}

#[tokio::test]
async fn etcd_is_not_there_at_the_start() {
    let desk = Desk::open();
    let nobody = "http://127.0.0.1:1";
    let client = EtcdClient::connect([nobody]).unwrap();

    desk.begins();
    let _instancer = Instancer::new(client.clone(), prefix());
    let registrar = Registrar::new(client, service());
    let _ = registrar.register_within(Duration::from_secs(1)).await;

    desk.shows("etcd is not there at the start").await;
}

#[tokio::test]
async fn etcd_comes_back_empty() {
    let desk = Desk::open();
    let etcd = Etcd::start().await;
    let (consumer, _provider) = fleet(etcd.endpoint()).await;
    // Nobody will put it back.
    etcd.put("/services/hello/z", "10.0.0.9:80").await;
    consumer.settles_on(&[ADDRESS, "10.0.0.9:80"]).await;

    desk.begins();
    etcd.wipe().await;

    desk.shows("etcd comes back empty").await;
    desk.shows("an instance does not come back").await;
    consumer.settles_on(&[ADDRESS]).await;
}

#[tokio::test]
async fn the_history_is_compacted_meanwhile() {
    let desk = Desk::open();
    let etcd = Etcd::start().await;
    let proxy = Proxy::to(etcd.address()).await;
    etcd.put(KEY, ADDRESS).await;
    let consumer = Consumer::start(proxy.endpoint(), "/services/hello").await;
    // Once it sees this, its watch is there.
    etcd.put("/services/hello/b", "10.0.0.2:80").await;
    consumer.settles_on(&[ADDRESS, "10.0.0.2:80"]).await;

    desk.begins();
    proxy.refuse().await;
    proxy.drop_connections();
    consumer.sees("trouble", |view| !view.live).await;
    etcd.put("/services/hello/c", "10.0.0.3:80").await;
    etcd.put("/other", "x").await;
    etcd.compact().await;
    proxy.resume();

    desk.shows("the history was compacted meanwhile").await;
}

#[tokio::test]
async fn a_lease_is_revoked() {
    let desk = Desk::open();
    let etcd = Etcd::start().await;
    let provider = Provider::start(etcd.endpoint(), KEY, ADDRESS).await;
    let lease = provider.stands(&etcd).await;

    desk.begins();
    etcd.revoke(lease).await;

    desk.shows("a lease is lost").await;
}

#[tokio::test]
async fn a_key_is_deleted() {
    let desk = Desk::open();
    let etcd = Etcd::start().await;
    let provider = Provider::start(etcd.endpoint(), KEY, ADDRESS).await;
    provider.stands(&etcd).await;

    desk.begins();
    assert!(etcd.delete(KEY).await);

    desk.shows("a key is deleted by hand").await;
}

#[tokio::test]
async fn a_key_is_taken() {
    let desk = Desk::open();
    let etcd = Etcd::start().await;
    let provider = Provider::start(etcd.endpoint(), KEY, ADDRESS).await;
    provider.stands(&etcd).await;

    desk.begins();
    etcd.put(KEY, "10.0.0.66:80").await;

    desk.shows("a key is taken").await;
    let line = desk
        .log
        .lines()
        .into_iter()
        .find(|it| it.level == Level::WARN);
    let owner = line.unwrap().fields.get("owner").cloned();
    assert_eq!(owner.as_deref(), Some("10.0.0.66:80"));
}

#[tokio::test]
async fn a_deregistration_is_not_answered() {
    let desk = Desk::open();
    let etcd = Etcd::start().await;
    let provider = Provider::start(etcd.endpoint(), KEY, ADDRESS).await;
    provider.stands(&etcd).await;

    desk.begins();
    etcd.freeze();
    provider.registrar().deregister().await.unwrap();
    provider.client().close().await;

    desk.shows("a deregistration is not answered").await;
    etcd.thaw();
}

// === Faults that any registry can have ===

#[tokio::test(start_paused = true)]
async fn rights_are_missing() {
    let desk = Desk::open();
    let registry = Registry::new();
    registry.refuse(Error::PermissionDenied {
        message: "no".into(),
        source: None,
    });

    desk.begins();
    let _instancer = Instancer::new(registry.client(), prefix());
    let registrar = Registrar::new(registry.client(), service());
    registrar.register().await.unwrap_err();
    tokio::time::sleep(Duration::from_secs(600)).await;

    desk.shows("credentials or rights are wrong").await;
}

#[tokio::test(start_paused = true)]
async fn the_quota_is_used_up() {
    let desk = Desk::open();
    let registry = Registry::new();
    registry.refuse(Error::Exhausted {
        message: "database space exceeded".into(),
        source: None,
    });

    desk.begins();
    let registrar = Registrar::new(registry.client(), service());
    let _ = registrar.register_within(Duration::from_secs(600)).await;

    desk.shows("etcd's quota is used up").await;
}

#[tokio::test(start_paused = true)]
async fn an_entry_cannot_be_read() {
    let desk = Desk::open();
    let registry = Registry::new();
    let instancer = Instancer::new(registry.client(), prefix());
    instancer.ready().await.unwrap();

    desk.begins();
    registry.put(KEY, "{").unwrap();

    desk.shows("an entry cannot be read").await;
}

#[tokio::test(start_paused = true)]
async fn a_factory_fails() {
    let desk = Desk::open();
    let registry = Registry::new();
    registry.put(KEY, ADDRESS).unwrap();

    desk.begins();
    let factory = factory_fn(|_| Err::<(), _>("no such host".into()));
    let endpointer = Endpointer::new(Instancer::new(registry.client(), prefix()), factory);
    endpointer.ready().await.unwrap();
    tokio::time::sleep(Duration::from_secs(600)).await;

    desk.shows("no endpoint can be made").await;
}

#[tokio::test(start_paused = true)]
async fn endpoints_are_invalidated() {
    let desk = Desk::open();
    let registry = Registry::new();
    registry.put(KEY, ADDRESS).unwrap();
    let factory = factory_fn(|instance| Ok(instance.address().to_owned()));
    let endpointer = Endpointer::builder(Instancer::new(registry.client(), prefix()), factory)
        .invalidate_on_error(Duration::from_secs(30))
        .start();
    endpointer.ready().await.unwrap();

    desk.begins();
    registry.kill();
    tokio::time::sleep(Duration::from_secs(600)).await;

    desk.shows("the registry is away for long").await;
}

// === What is left ===

#[tokio::test(start_paused = true)]
async fn whoever_is_dropped_leaves_no_gauge_behind() {
    let desk = Desk::open();
    let registry = Registry::new();
    registry.put("/services/hello/b", "10.0.0.2:80").unwrap();
    let registrar = Registrar::new(registry.client(), service());
    registrar.register().await.unwrap();
    let instancer = Arc::new(Instancer::new(registry.client(), prefix()));
    let factory = factory_fn(|instance| Ok(instance.address().to_owned()));
    let endpointer = Endpointer::new(instancer.clone(), factory);
    endpointer.ready().await.unwrap();
    let gauge = |name: &str| desk.meters.sum(&Meter::parse(name));
    eventually(
        PATIENCE,
        "both",
        async || gauge(telemetry::ENDPOINTS),
        |n| *n == 2.0,
    )
    .await;
    assert_eq!(gauge("sd_instances{prefix=\"/services/hello/\"}"), 2.0);
    assert_eq!(gauge("sd_registrations{state=\"registered\"}"), 1.0);
    registry.kill();
    let stale = || async { gauge(telemetry::SOURCES_STALE) };
    eventually(PATIENCE, "trouble", stale, |n| *n == 1.0).await;

    drop((registrar, instancer, endpointer));

    let left = || async {
        let gauges = [
            telemetry::INSTANCES,
            telemetry::INSTANCES_HELD,
            telemetry::SOURCES_STALE,
            telemetry::REGISTRATIONS,
            telemetry::ENDPOINTS,
        ];
        gauges.map(gauge)
    };
    eventually(PATIENCE, "nothing", left, |left| *left == [0.0; 5]).await;
}

#[test]
fn every_row_is_provoked_and_names_metrics_that_exist() {
    let source = include_str!("operations.rs");
    let core = include_str!("../../sd-core/src/telemetry.rs");
    let etcd = include_str!("../../sd-etcd/src/telemetry.rs");

    let rows = Row::all();
    assert!(rows.len() >= 15, "{} rows", rows.len());
    for row in rows {
        let provoked = format!("desk.shows(\"{}\")", row.fault);
        assert!(
            source.contains(&provoked),
            "nobody provokes {:?}",
            row.fault
        );
        assert!(!row.lines.is_empty() && !row.meters.is_empty(), "{row:?}");
        for meter in row.meters {
            let constant = format!("\"{}\";", meter.name);
            assert!(
                core.contains(&constant) || etcd.contains(&constant),
                "{meter:?}"
            );
        }
    }
}

fn prefix() -> Prefix {
    Prefix::new("/services/hello").unwrap()
}

fn service() -> Service {
    Service::new(KEY, ADDRESS).unwrap().with_ttl(Ttl::MIN)
}

/// A consumer that follows a provider; the consumer first, so that its watch is there.
async fn fleet(endpoint: String) -> (Consumer, Provider) {
    let consumer = Consumer::start(endpoint.clone(), "/services/hello").await;
    let provider = Provider::start(endpoint, KEY, ADDRESS).await;
    consumer.settles_on(&[ADDRESS]).await;
    (consumer, provider)
}

// === The document ===

/// One row of the table of faults.
#[derive(Debug)]
struct Row {
    fault: String,
    lines: Vec<Line>,
    meters: Vec<Meter>,
}

impl Row {
    fn all() -> Vec<Self> {
        let table = DOCUMENT.split("## Faults").nth(1).expect("the section");
        let table = table.split("\n## ").next().unwrap_or_default();
        let rows = table.lines().filter(|line| line.starts_with("| "));
        // The head comes first.
        rows.skip(1).map(Self::parse).collect()
    }

    fn parse(row: &str) -> Self {
        let cells: Vec<&str> = row.split(" | ").collect();
        let quoted = |cell: &str| -> Vec<String> {
            cell.split('`')
                .skip(1)
                .step_by(2)
                .map(str::to_owned)
                .collect()
        };
        Self {
            fault: cells[0].trim_start_matches("| ").trim().to_owned(),
            lines: quoted(cells[1]).iter().map(|it| Line::parse(it)).collect(),
            meters: quoted(cells[2]).iter().map(|it| Meter::parse(it)).collect(),
        }
    }
}

/// A line of the log: what it says, and with which fields.
#[derive(Debug, Clone)]
struct Line {
    level: Level,
    message: String,
    fields: BTreeMap<String, String>,
}

impl Line {
    /// `WARN message {field field}`
    fn parse(text: &str) -> Self {
        let (level, rest) = text.split_once(' ').expect("a level");
        let (message, fields) = rest.split_once(" {").expect("fields");
        let fields = fields.trim_end_matches('}').split(' ');
        Self {
            level: level.parse().expect("a level"),
            message: message.to_owned(),
            fields: fields.map(|it| (it.to_owned(), String::new())).collect(),
        }
    }

    fn is(&self, documented: &Self) -> bool {
        (self.level, &self.message) == (documented.level, &documented.message)
            && documented
                .fields
                .keys()
                .all(|it| self.fields.contains_key(it))
    }
}

/// A metric with some of its labels.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Meter {
    name: String,
    labels: BTreeMap<String, String>,
}

impl Meter {
    /// `name{label="value"}`
    fn parse(text: &str) -> Self {
        let (name, labels) = text.split_once('{').unwrap_or((text, ""));
        let labels = labels.trim_end_matches('}').split(',');
        let labels = labels.filter_map(|it| it.split_once('='));
        Self {
            name: name.to_owned(),
            labels: labels
                .map(|(label, value)| (label.to_owned(), value.trim_matches('"').to_owned()))
                .collect(),
        }
    }

    fn is(&self, documented: &Self) -> bool {
        let has = |(label, value)| self.labels.get(label) == Some(value);
        self.name == documented.name && documented.labels.iter().all(has)
    }
}

// === What is seen ===

/// Where an operator sits: the log and the metrics of this thread.
struct Desk {
    log: Log,
    meters: Meters,
    _logging: tracing::subscriber::DefaultGuard,
    _metering: metrics::LocalRecorderGuard<'static>,
}

impl Desk {
    fn open() -> Self {
        let (log, meters) = (Log::default(), Meters::default());
        let recorder: &'static Meters = Box::leak(Box::new(meters.clone()));
        Self {
            _logging: tracing::subscriber::set_default(log.clone()),
            _metering: metrics::set_default_local_recorder(recorder),
            log,
            meters,
        }
    }

    /// From now on, what there is to see is of the fault.
    fn begins(&self) {
        self.log.0.lock().unwrap().clear();
        for gauge in self.meters.0.lock().unwrap().values() {
            gauge.0.lock().unwrap().1 = false;
        }
    }

    /// Waits until all that the row of `fault` promises was seen. Whatever else is worth a warning
    /// has to be in the document too, and nothing is said again and again.
    async fn shows(&self, fault: &str) {
        let rows = Row::all();
        let row = rows.iter().find(|row| row.fault == fault);
        let row = row.unwrap_or_else(|| panic!("no row for {fault:?}"));
        let missing = || async {
            let seen = self.log.lines();
            let lines = row.lines.iter();
            let lines = lines.filter(|it| !seen.iter().any(|line| line.is(it)));
            let meters = row.meters.iter().filter(|it| !self.meters.moved(it));
            let lines: Vec<_> = lines.map(|it| it.message.clone()).collect();
            (lines, meters.cloned().collect::<Vec<_>>())
        };
        let none =
            |(lines, meters): &(Vec<String>, Vec<Meter>)| lines.is_empty() && meters.is_empty();
        eventually(PATIENCE, &format!("the signs of {fault:?}"), missing, none).await;

        let mut said = BTreeMap::new();
        for line in self.log.lines() {
            if line.level > Level::WARN {
                continue;
            }
            let mut documented = rows.iter().flat_map(|row| &row.lines);
            assert!(
                documented.any(|it| line.is(it)),
                "{line:?} is not documented"
            );
            let times = said.entry(line.message.clone()).or_insert(0);
            *times += 1;
            assert!(*times <= MOST_LINES, "{line:?} is said again and again");
        }
    }
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<Line>>>);

impl Log {
    fn lines(&self) -> Vec<Line> {
        self.0.lock().unwrap().clone()
    }
}

impl tracing::Subscriber for Log {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target().starts_with("sd_") && *metadata.level() <= Level::INFO
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let line = Line {
            level: *event.metadata().level(),
            message: fields.0.remove("message").unwrap_or_default(),
            fields: fields.0,
        };
        self.0.lock().unwrap().push(line);
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

#[derive(Default)]
struct Fields(BTreeMap<String, String>);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name().to_owned(), format!("{value:?}"));
    }
}

/// The value of a metric, and whether it has changed.
#[derive(Default)]
struct Dial(Mutex<(f64, bool)>);

impl Dial {
    fn turn(&self, to: impl FnOnce(f64) -> f64) {
        let mut dial = self.0.lock().unwrap();
        let before = std::mem::replace(&mut dial.0, 0.0);
        dial.0 = to(before);
        dial.1 |= dial.0 != before;
    }
}

impl metrics::CounterFn for Dial {
    fn increment(&self, by: u64) {
        self.turn(|value| value + by as f64);
    }

    fn absolute(&self, value: u64) {
        self.turn(|_| value as f64);
    }
}

impl metrics::GaugeFn for Dial {
    fn increment(&self, by: f64) {
        self.turn(|value| value + by);
    }

    fn decrement(&self, by: f64) {
        self.turn(|value| value - by);
    }

    fn set(&self, value: f64) {
        self.turn(|_| value);
    }
}

#[derive(Clone, Default)]
struct Meters(Arc<Mutex<BTreeMap<Meter, Arc<Dial>>>>);

impl Meters {
    fn moved(&self, documented: &Meter) -> bool {
        let dials = self.0.lock().unwrap();
        let mut dials = dials.iter().filter(|(meter, _)| meter.is(documented));
        dials.any(|(_, dial)| dial.0.lock().unwrap().1)
    }

    fn sum(&self, documented: &Meter) -> f64 {
        let dials = self.0.lock().unwrap();
        let dials = dials.iter().filter(|(meter, _)| meter.is(documented));
        dials.map(|(_, dial)| dial.0.lock().unwrap().0).sum()
    }

    fn dial(&self, key: &metrics::Key) -> Arc<Dial> {
        let labels = key.labels();
        let labels = labels.map(|it| (it.key().to_owned(), it.value().to_owned()));
        let meter = Meter {
            name: key.name().to_owned(),
            labels: labels.collect(),
        };
        self.0.lock().unwrap().entry(meter).or_default().clone()
    }
}

impl metrics::Recorder for Meters {
    fn describe_counter(
        &self,
        _: metrics::KeyName,
        _: Option<metrics::Unit>,
        _: metrics::SharedString,
    ) {
    }

    fn describe_gauge(
        &self,
        _: metrics::KeyName,
        _: Option<metrics::Unit>,
        _: metrics::SharedString,
    ) {
    }

    fn describe_histogram(
        &self,
        _: metrics::KeyName,
        _: Option<metrics::Unit>,
        _: metrics::SharedString,
    ) {
    }

    fn register_counter(&self, key: &metrics::Key, _: &metrics::Metadata<'_>) -> metrics::Counter {
        metrics::Counter::from_arc(self.dial(key))
    }

    fn register_gauge(&self, key: &metrics::Key, _: &metrics::Metadata<'_>) -> metrics::Gauge {
        metrics::Gauge::from_arc(self.dial(key))
    }

    fn register_histogram(
        &self,
        _: &metrics::Key,
        _: &metrics::Metadata<'_>,
    ) -> metrics::Histogram {
        metrics::Histogram::noop()
    }
}
