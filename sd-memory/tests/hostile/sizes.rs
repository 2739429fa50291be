//! Entries that are too large.

use super::*;
use sd_core::{Error, Invalid, PrefixLimits, Registrar, Service};

const LIMIT: usize = 1_000;

/// Hostile row 4: one limit on both sides, to the byte.
#[tokio::test(start_paused = true)]
async fn what_is_too_large_for_a_consumer_a_provider_cannot_register() {
    let registry = Registry::new();
    let mut registered = Vec::new();
    // Values of many pieces, and of a long one.
    let small = (0..20).map(|n| vec![r#""k":"""#.to_owned(); n]);
    let long = (650..750).map(|n| vec![format!(r#""k":"{}""#, "x".repeat(n))]);
    for (number, pieces) in small.chain(long).enumerate() {
        let pieces = pieces.iter().enumerate();
        let pieces = pieces.map(|(n, piece)| piece.replace('k', &n.to_string()));
        let pieces: Vec<_> = pieces.collect();
        let metadata = pieces.join(",");
        let value = format!(r#"{{"address":"10.0.0.1:80","metadata":{{{metadata}}}}}"#);
        let entry = key(&format!("{number:03}"));
        registry.put(entry.clone(), value.clone()).unwrap();

        let mine = Service::new(key(&format!("mine{number:03}")), value).unwrap();
        // The key of the provider has four bytes more.
        let registrar = Registrar::builder(registry.client(), mine).entry_bytes(LIMIT + 4);
        let registrar = registrar.build();
        match registrar.register().await {
            Ok(()) => registered.push(entry),
            Err(Error::Invalid(Invalid::TooLargeForConsumers { .. })) => {}
            Err(error) => panic!("{error}"),
        }
        registrar.deregister().await.unwrap();
    }
    let limits = PrefixLimits::default().entry_bytes(LIMIT);
    let instancer = Instancer::builder(registry.client(), hello()).limits(limits);
    let instancer = instancer.build();
    instancer.ready().await.unwrap();
    let state = instancer.state().unwrap();
    let shown: Vec<_> = state
        .instances()
        .iter()
        .map(|it| it.key().clone())
        .collect();
    assert_eq!(shown, registered);
    assert!((22..119).contains(&shown.len()), "{}", shown.len());
}

/// Hostile row 4: an update that consumers would leave out leaves the old value.
#[tokio::test(start_paused = true)]
async fn an_update_that_is_too_large_for_consumers_is_refused() {
    let registry = Registry::new();
    let mine = Service::new(key("mine"), "10.0.0.1:80").unwrap();
    let registrar = Registrar::builder(registry.client(), mine).entry_bytes(LIMIT);
    let registrar = registrar.build();
    registrar.register().await.unwrap();
    let piece = "x".repeat(LIMIT - 100);
    let large = format!(r#"{{"address":"10.0.0.1:80","metadata":{{"k":"{piece}"}}}}"#);
    assert!(large.len() < LIMIT, "it becomes a large instance");
    let refused = registrar.update(large).await.unwrap_err();
    let is_said = matches!(
        &refused,
        Error::Invalid(Invalid::TooLargeForConsumers { .. })
    );
    assert!(is_said, "{refused}");
    assert!(refused.to_string().len() < 400, "{refused}");
    assert_eq!(
        registry.get(key("mine").as_str()).unwrap().value,
        "10.0.0.1:80"
    );
}
