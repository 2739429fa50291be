//! Keys, values and errors that others wrote, to mislead whoever reads the log.

use crate::*;
use sd_core::{EndpointSource, Retry, RoundRobin};
use sd_test_support::{Line, Log};
use std::io;
use tokio::time::sleep;

/// Begin a line of their own, control a terminal, turn the direction of text, fill a disk.
fn hostile() -> Vec<String> {
    [
        "x\n2026-11-26T10:00:00Z ERROR sd_core: all is lost",
        "\r\u{1b}[2J\u{1b}[31mred\u{1b}]0;title\u{7}",
        "\u{9b}31m\u{85}next line",
        "\u{202e}gnp.exe\u{2066}",
        "\u{2028}a line\u{2029}a paragraph\0",
    ]
    .map(str::to_owned)
    .into_iter()
    .chain(["L".repeat(100_000), "\n".repeat(100_000)])
    .collect()
}

#[track_caller]
fn assert_is_a_short_line(text: &str) {
    let is_bad = |it: char| {
        it.is_control() || matches!(it, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    assert!(!text.contains(is_bad), "{text:?}");
    assert!(text.chars().count() < 2_000, "{text:?}");
}

/// `lines` say of each of `keys` that it was skipped, in a prefix of its own, and of two where all are.
#[track_caller]
fn assert_are_skipped(lines: &[Line], keys: &[String]) {
    let said = lines.iter().filter(|it| it.message == "entry skipped");
    let said: Vec<_> = said.collect();
    assert_eq!(said.len(), keys.len() + 2, "{said:?}");
    for line in said {
        assert!(line.field("key").unwrap().chars().count() <= 256);
    }
}

fn key(text: &str) -> String {
    format!("/services/hello/{text}")
}

fn error(text: &str) -> Error {
    Error::transient(text).with_source(io::Error::other(format!("caused by {text}")))
}

/// Lets others write these texts wherever they can. Returns what an operator is shown of it besides
/// the log.
async fn write_everywhere(texts: &[String]) -> Vec<String> {
    let registry = Registry::new();
    let mut shown = Vec::new();
    for text in texts {
        registry.put(key(text), text.clone()).unwrap();
        registry.put(key(&format!("{text}-")), ADDRESS).unwrap();
    }
    for (n, text) in texts.iter().enumerate() {
        let alone = Prefix::new(format!("/alone-{n}")).unwrap();
        registry
            .put(alone.key(text).unwrap(), text.clone())
            .unwrap();
        Instancer::new(registry.client(), alone)
            .ready()
            .await
            .unwrap();
    }
    let address = format!("{}:80", texts[3]);
    registry.put(key("address"), address).unwrap();
    let instancer = Arc::new(Instancer::new(registry.client(), prefix()));
    let factory = factory_fn(|instance| {
        Err::<(), _>(io::Error::other(instance.key().as_str().to_owned()).into())
    });
    let endpointer = Arc::new(Endpointer::new(instancer.clone(), factory));
    endpointer.ready().await.unwrap();
    let status = endpointer.status().borrow().clone();
    shown.extend(status.failures().map(|(_, failure)| failure.to_string()));
    shown.push(endpointer.endpoints().non_empty().unwrap_err().to_string());

    for text in texts {
        // A provider whose key was chosen by somebody, and is taken by somebody else.
        let service = Service::new(format!("/mine/{text}"), ADDRESS).unwrap();
        let registrar = Registrar::new(registry.client(), service);
        registry.fail_next(1, error(text));
        registrar.register().await.unwrap();
        shown.push(registrar.status().borrow().to_string());
        registry.put(format!("/mine/{text}"), text.clone()).unwrap();
        sleep(Duration::from_secs(30)).await;
        shown.push(registrar.status().borrow().to_string());
        registry.delete(format!("/mine/{text}"));
        registry.fail_next(1, error(text));
        sleep(Duration::from_secs(30)).await;
        shown.push(registrar.status().borrow().to_string());
        registry.fail_next(1, error(text));
        registrar.deregister().await.unwrap();

        // An instancer whose registry answers with such an error.
        registry.refuse(error(text));
        sleep(Duration::from_secs(5)).await;
        shown.push(instancer.state().unwrap().to_string());
        registry.refuse(Error::permission_denied(text).with_source(io::Error::other(text.clone())));
        sleep(Duration::from_secs(5)).await;
        shown.push(instancer.trouble().unwrap().to_string());
        shown.push(endpointer.status().borrow().to_string());
        registry.accept();
        sleep(Duration::from_secs(60)).await;
    }

    let targets = Endpointer::new(instancer, factory_fn(|_| Ok(())));
    targets.ready().await.unwrap();
    let retry = Retry::<_, io::Error>::new(RoundRobin::new(targets));
    let failed = retry.call(async |_| Err::<(), _>(io::Error::other(texts[0].clone())));
    shown.push(failed.await.unwrap_err().to_string());
    shown
}

/// faults row 43, hostile row 6
#[tokio::test(start_paused = true)]
async fn what_others_wrote_is_a_line_and_no_label() {
    let harmless: Vec<_> = (0..hostile().len()).map(|n| format!("text-{n}")).collect();
    let mut labels = Vec::new();
    for texts in [harmless, hostile()] {
        let monitor = Monitor::start();
        let log = Log::capture_at(Level::TRACE);
        let shown = write_everywhere(&texts).await;

        let lines = log.lines();
        assert_are_skipped(&lines, &texts);
        for line in lines.iter().map(Line::to_string).chain(shown) {
            assert_is_a_short_line(&line);
        }
        labels.push(monitor.meters.names());
    }
    // One of the texts is larger than an entry may be.
    labels[1].retain(|it| it.name != telemetry::ENTRIES_OVER_LIMIT);
    assert_eq!(labels[0], labels[1]);
}

/// faults row 43, hostile row 6
#[tokio::test]
async fn what_others_wrote_into_etcd_is_a_line_and_no_label() {
    let monitor = Monitor::start();
    let log = Log::capture_at(Level::TRACE);
    let etcd = Etcd::start().await;
    for text in hostile() {
        etcd.put(key(&text), text).await;
    }
    let consumer = Consumer::start(etcd.endpoint(), "/services/hello").await;
    let own = key("own\nERROR forged");
    let provider = Provider::start(etcd.endpoint(), &own, ADDRESS).await;
    provider.stands(&etcd).await;
    consumer.settles_on(&[ADDRESS]).await;
    let mut status = provider.registrar().status();
    let mut shown = vec![status.borrow().to_string()];

    // Deleted, put back, and taken with some of the texts.
    assert!(etcd.delete(own.as_str()).await);
    provider.stands(&etcd).await;
    let owners = hostile().into_iter().step_by(5);
    for text in owners.clone() {
        etcd.put(own.as_str(), text).await;
        let taken = status.wait_for(|it| matches!(it, sd_core::RegistrarStatus::Taken { .. }));
        let taken = tokio::time::timeout(PATIENCE, taken).await.unwrap();
        shown.push(taken.unwrap().to_string());
        assert!(etcd.delete(own.as_str()).await);
        provider.stands(&etcd).await;
    }
    provider.registrar().deregister().await.unwrap();

    let lines = log.lines();
    let said = |message: &str| lines.iter().filter(|it| it.message == message).count();
    assert!(said("entry skipped") >= 2 && said("more entries skipped") >= 1);
    let taken = lines
        .iter()
        .filter(|it| it.message == "somebody else took the key");
    assert_eq!(taken.count(), owners.len());
    for line in lines.iter().map(Line::to_string).chain(shown) {
        assert_is_a_short_line(&line);
    }
    for name in monitor.meters.names() {
        assert!(
            name.labels
                .values()
                .all(|it| it == "/services/hello/" || it.len() < 16),
            "{name:?}"
        );
    }
}

#[derive(Debug)]
struct Transport(io::Error);

impl std::fmt::Display for Transport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("transport error")
    }
}

impl std::error::Error for Transport {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}

#[tokio::test(start_paused = true)]
async fn the_log_says_why() {
    let log = Log::capture();
    let registry = Registry::new();
    registry
        .put(key("a"), r#"{"adress":"10.0.0.1:80"}"#)
        .unwrap();
    registry.put(key("b"), "10.0.0.2:80").unwrap();
    let transport = || Transport(io::Error::other("certificate expired"));
    let instancer = Instancer::new(registry.client(), prefix());
    let factory = factory_fn(move |_| Err::<(), _>(transport().into()));
    let endpointer = Endpointer::new(instancer, factory);
    endpointer.ready().await.unwrap();
    registry.fail_next(1, Error::transient("busy").with_source(transport()));
    let registrar = Registrar::new(registry.client(), service());
    registrar.register().await.unwrap();
    registry.refuse(Error::transient("busy").with_source(transport()));
    sleep(Duration::from_secs(1)).await;

    let lines = log.text();
    let says = |message: &str, cause: &str| {
        let mut with = lines.iter().filter(|it| it.contains(message));
        assert!(with.any(|it| it.contains(cause)), "{message}: {lines:?}");
    };
    let cause = "transport error: certificate expired";
    says("entry skipped", "the address is missing");
    says("endpoints cannot be made", cause);
    says("registering failed", cause);
    says("not following", cause);
}
