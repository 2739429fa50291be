//! Addresses that lead elsewhere.

use super::*;
use sd_core::{AddressPolicy, Error, Invalid, Registrar, Service};

const REFUSED: [&str; 12] = [
    "http://169.254.169.254/",
    "169.254.169.254:80",
    "[::ffff:169.254.169.254]:80",
    "2852039166:80",
    "unix:///var/run/docker.sock",
    "file:///etc/passwd",
    "gopher://127.0.0.1:6379/_FLUSHALL",
    "http://user:pw@host:1/",
    "http:///",
    "10.0.0.1:0",
    "a\u{202e}b:80",
    "a%0d%0aX-Evil:80",
];

/// Hostile row 8: one policy on both sides.
#[tokio::test(start_paused = true)]
async fn what_a_consumer_would_refuse_a_provider_cannot_register() {
    for address in REFUSED {
        let registry = Registry::new();
        registry.put(key("honest"), "10.0.0.1:80").unwrap();
        registry.put(key("evil"), address).unwrap();
        let instancer = Instancer::new(registry.client(), hello());
        instancer.ready().await.unwrap();
        assert_eq!(addresses(&instancer), ["10.0.0.1:80"], "{address}");
        assert_eq!(instancer.skipped(), 1);

        let service = Service::new("/services/hello/mine", address).unwrap();
        let registrar = Registrar::new(registry.client(), service);
        let refused = registrar.register().await.unwrap_err();
        let is_invalid = matches!(
            refused,
            Error::Invalid(Invalid::UncallableAddress { .. } | Invalid::UnreadableValue { .. })
        );
        assert!(is_invalid, "{address}: {refused}");
        assert_eq!(registry.entries().len(), 2);
    }
}

/// Hostile row 8: a policy of the fleet's own.
#[tokio::test(start_paused = true)]
async fn a_policy_that_both_sides_have_is_kept_by_both() {
    let registry = Registry::new();
    let policy = AddressPolicy::default().networks(["10.1.0.0/16"]).unwrap();
    let policy = policy.key_names_address();
    let register = async |address: &'static str| {
        let service = Service::new(format!("/services/hello/{address}"), address).unwrap();
        let registrar = Registrar::builder(registry.client(), service);
        let registrar = registrar.address_policy(policy.clone()).build();
        registrar.register().await.map(|()| registrar)
    };
    let _registered = register("10.1.0.1:80").await.unwrap();
    assert!(register("10.2.0.1:80").await.is_err());
    registry.put(key("10.2.0.1:80"), "10.2.0.1:80").unwrap();
    registry.put(key("10.1.0.2:80"), "10.1.0.1:80").unwrap();
    let instancer = Instancer::builder(registry.client(), hello());
    let instancer = instancer.address_policy(policy.clone()).build();
    instancer.ready().await.unwrap();
    assert_eq!(addresses(&instancer), ["10.1.0.1:80"]);
}
