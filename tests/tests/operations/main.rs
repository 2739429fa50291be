//! What an operator sees: the tests cause each fault of docs/operations.md, and check that it
//! produces the log lines and changes the metrics of its row.

mod cluster;
mod connections;
mod crowds;
mod document;
mod endpoints;
mod limits;
mod meters;
mod monitor;
mod outages;
mod outside_text;
mod registrations;
mod security;
mod views;

use document::{Meter, Row};
use monitor::Monitor;
use sd_core::{
    Endpointer, Error, Instancer, Prefix, Registrar, Service, Ttl, factory_fn, telemetry,
};
use sd_etcd::EtcdClient;
use sd_memory::Registry;
use sd_tests::{Consumer, Etcd, PATIENCE, Provider, Proxy, eventually};
use std::{sync::Arc, time::Duration};
use tracing::Level;

const KEY: &str = "/services/hello/a";
const ADDRESS: &str = "10.0.0.1:80";

#[tokio::test(start_paused = true)]
async fn whoever_is_dropped_leaves_no_gauge_behind() {
    let monitor = Monitor::start();
    let registry = Registry::new();
    registry.put("/services/hello/b", "10.0.0.2:80").unwrap();
    let registrar = Registrar::new(registry.client(), service());
    registrar.register().await.unwrap();
    let instancer = Arc::new(Instancer::new(registry.client(), prefix()));
    let factory = factory_fn(|instance| Ok(instance.address().to_owned()));
    let endpointer = Endpointer::new(instancer.clone(), factory);
    endpointer.ready().await.unwrap();
    let gauge = |name: &str| monitor.meters.sum(&Meter::parse(name));
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
    let source = [
        include_str!("cluster.rs"),
        include_str!("connections.rs"),
        include_str!("endpoints.rs"),
        include_str!("outages.rs"),
        include_str!("registrations.rs"),
        include_str!("security.rs"),
        include_str!("views.rs"),
    ];
    let source = source.concat();

    let rows = Row::all();
    assert!(rows.len() >= 24, "{} rows", rows.len());
    for row in rows {
        let provoked = format!("\"{}\")", row.fault);
        assert!(
            source.contains(&provoked),
            "nobody provokes {:?}",
            row.fault
        );
        assert_eq!(row.lines.is_empty(), row.is_silent, "{row:?}");
        for meter in row.meters {
            assert!(is_metric(&meter.name), "{meter:?}");
        }
    }
}

#[test]
fn every_alarm_names_metrics_that_exist() {
    let alarms = document::alarms();
    assert!(alarms.len() >= 11, "{alarms:?}");
    for alarm in alarms {
        let mut names = alarm.split(|it: char| !it.is_ascii_lowercase() && it != '_');
        let name = names.find(|it| it.starts_with("sd_"));
        assert!(name.is_some_and(is_metric), "{alarm}");
    }
}

/// Whether a table of the two modules has it, with a link to its constant.
fn is_metric(name: &str) -> bool {
    let tables = [
        include_str!("../../../sd-core/src/telemetry.rs"),
        include_str!("../../../sd-etcd/src/telemetry.rs"),
    ];
    let documented = format!("[`{name}`](");
    tables.iter().any(|table| table.contains(&documented))
}

fn prefix() -> Prefix {
    Prefix::new("/services/hello").unwrap()
}

fn service() -> Service {
    Service::new(KEY, ADDRESS).unwrap().with_ttl(Ttl::MIN)
}

/// A consumer that follows a provider. The consumer starts first, so that its watch is open.
async fn fleet(endpoint: String) -> (Consumer, Provider) {
    let consumer = Consumer::start(endpoint.clone(), "/services/hello").await;
    let provider = Provider::start(endpoint, KEY, ADDRESS).await;
    consumer.settles_on(&[ADDRESS]).await;
    (consumer, provider)
}
