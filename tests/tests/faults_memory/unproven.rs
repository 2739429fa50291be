//! Providers whose claim nobody confirms any more.

use crate::*;
use sd_core::{Error, Registrar, RegistrarStatus};
use sd_tests::Log;
use tokio::time::{sleep, timeout};

/// More than one service on the lease.
async fn providers(client: &MemoryClient) -> Vec<Registrar> {
    let registrars: Vec<_> = (0..20)
        .map(|n| Registrar::new(client.clone(), service(&format!("/svc/{n}"), ADDRESS)))
        .collect();
    for registrar in &registrars {
        registrar.register().await.unwrap();
    }
    registrars
}

fn proven(registrars: &[Registrar]) -> usize {
    registrars.iter().filter(|it| it.is_proven()).count()
}

fn why(registrar: &Registrar) -> String {
    registrar.status().borrow().to_string()
}

async fn all_proven(registrars: &[Registrar]) {
    for registrar in registrars {
        let proven = timeout(seconds(60), registrar.wait_proven()).await;
        proven.unwrap_or_else(|_| panic!("{registrar:?}"));
        assert!(registrar.status().borrow().is_proven());
    }
}

/// Row 30: the network is cut.
#[tokio::test(start_paused = true)]
async fn a_provider_that_is_cut_off_is_unproven_after_its_ttl() {
    let (registry, log) = (Registry::new(), Log::capture());
    let client = registry.client();
    let registrars = providers(&client).await;
    sleep(5 * ttl().duration()).await;
    assert_eq!(proven(&registrars), 20);
    log.clear();

    client.cut_off();
    let cut_off = Instant::now();
    sleep(ttl().duration() - ttl().keep_alive_interval()).await;
    assert_eq!(proven(&registrars), 20, "it may still stand");
    sleep(ttl().keep_alive_interval()).await;

    assert_eq!(proven(&registrars), 0);
    assert!(registered(&registry).is_empty());
    let status = registrars[0].status().borrow();
    let RegistrarStatus::Registered { unproven, .. } = &*status else {
        panic!("silence is no loss: {status}");
    };
    let since = unproven.as_ref().expect("unproven").since;
    assert!(since > cut_off && since <= cut_off + ttl().duration());
    sleep(seconds(80)).await;
    assert_eq!(log.text().len(), 1, "once for all: {:?}", log.text());
    let line = &log.lines()[0];
    assert_eq!(line.field("services"), Some("20"), "{line}");

    client.reconnect();
    all_proven(&registrars).await;
    assert_eq!(registered(&registry).len(), 20);
}

/// Row 30: a registry that freezes keeps the lease, so that nothing is registered again.
#[tokio::test(start_paused = true)]
async fn a_provider_of_a_frozen_registry_is_proven_again_when_that_answers() {
    let (registry, log) = (Registry::new(), Log::capture());
    let client = registry.client();
    let registrars = providers(&client).await;
    log.clear();

    registry.freeze();
    sleep(3 * ttl().duration()).await;
    assert_eq!(proven(&registrars), 0);
    registry.thaw();

    all_proven(&registrars).await;
    let messages: Vec<_> = log.lines().into_iter().map(|it| it.message).collect();
    assert_eq!(
        messages[0],
        "lease unproven: no keep-alive was confirmed for its TTL"
    );
    assert!(
        messages.iter().any(|it| it == "lease proven again") || registered(&registry).len() == 20,
        "{messages:?}"
    );
}

/// Row 30: the password was changed. The cause is in the status and in the log.
#[tokio::test(start_paused = true)]
async fn a_provider_whose_credentials_are_refused_is_unproven_with_the_cause() {
    let (registry, log) = (Registry::new(), Log::capture());
    let client = registry.client();
    let registrars = providers(&client).await;
    log.clear();

    registry.refuse(Error::unauthenticated("another password"));
    sleep(2 * ttl().duration()).await;

    assert_eq!(proven(&registrars), 0);
    for registrar in &registrars {
        assert!(why(registrar).contains("another password"), "{registrar:?}");
    }
    let errors: Vec<_> = log.text();
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(errors[0].starts_with("ERROR") && errors[0].contains("another password"));

    registry.accept();
    all_proven(&registrars).await;
    assert_eq!(registered(&registry).len(), 20);
}
