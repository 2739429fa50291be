//! What a provider must not register, since no consumer could read or call it.

use super::{ADDRESS, KEY, service};
use sd_core::{Error, Invalid, Registrar, RegistrarStatus};
use sd_memory::Registry;

const UNCALLABLE: [&str; 9] = [
    "",
    ":8080",
    "::1:8080",
    "10.0.0.1",
    "0.0.0.0:8080",
    "[::]:8080",
    "10.0.0.1:0",
    "http://0.0.0.0:8080",
    r#"{"address":"10.0.0.1:0"}"#,
];
const UNREADABLE: [&str; 3] = [
    "not an address",
    r#"{"addr":"10.0.0.1:80"}"#,
    r#"{"address":"10.0.0.1:80","weight":1.0}"#,
];

fn assert_refused(value: &str, error: &Error) {
    let is_typed = match error {
        Error::Invalid(Invalid::UncallableAddress { .. }) => UNCALLABLE.contains(&value),
        Error::Invalid(Invalid::UnreadableValue { .. }) => UNREADABLE.contains(&value),
        _ => false,
    };
    assert!(is_typed && !error.is_transient(), "{value:?}: {error:?}");
}

#[tokio::test(start_paused = true)]
async fn registering_what_no_consumer_could_use_is_an_error_and_sends_nothing() {
    for value in UNCALLABLE.into_iter().chain(UNREADABLE) {
        let registry = Registry::new();
        let registrar = Registrar::new(registry.client(), service(KEY, value));
        let calls = registry.calls();
        assert_refused(value, &registrar.register().await.unwrap_err());
        assert_eq!(registry.calls(), calls, "{value:?}");
        let status = registrar.status().borrow();
        assert!(matches!(*status, RegistrarStatus::Failed(_)), "{status:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn updating_to_what_no_consumer_could_use_keeps_the_value_before() {
    let registry = Registry::new();
    let registrar = Registrar::new(registry.client(), service(KEY, ADDRESS));
    for value in UNCALLABLE.into_iter().chain(UNREADABLE) {
        assert_refused(value, &registrar.update(value).await.unwrap_err());
    }
    registrar.register().await.unwrap();
    for value in UNCALLABLE.into_iter().chain(UNREADABLE) {
        assert_refused(value, &registrar.update(value).await.unwrap_err());
        assert_eq!(registry.get(KEY).unwrap().value, ADDRESS);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_no_instance_is_registered_when_that_is_said() {
    for value in UNCALLABLE.into_iter().chain(UNREADABLE) {
        let registry = Registry::new();
        let registrar = Registrar::builder(registry.client(), service(KEY, value))
            .without_codec()
            .build();
        registrar.register().await.unwrap();
        assert_eq!(registry.get(KEY).unwrap().value, value);
    }
}
