//! Consumers are told before a provider ends, in the order that its format allows.

use super::{ADDRESS, KEY, OWN, client, service};
use sd_core::{Deregistered, Registrar};
use sd_tests::{Etcd, PATIENCE, eventually};
use std::sync::Arc;

#[tokio::test]
async fn a_provider_that_drains_is_announced_or_removed_first_and_ends_at_once_when_told_to() {
    let etcd = Etcd::start().await;
    let client = client(&etcd);
    let draining = r#"{"address":"10.0.0.1:80","weight":1,"status":"draining"}"#;
    for (value, told) in [(OWN, Some(draining)), (ADDRESS, None)] {
        let builder = Registrar::builder(client.clone(), service(KEY, value));
        let registrar = Arc::new(builder.drain(PATIENCE * 100).build());
        registrar.register().await.unwrap();
        let deregistering = tokio::spawn({
            let registrar = registrar.clone();
            async move { registrar.deregister().await }
        });
        let look = async || {
            let value = etcd.get(KEY).await;
            value.map(|value| String::from_utf8_lossy(&value).into_owned())
        };
        let told = told.map(ToOwned::to_owned);
        eventually(PATIENCE, "consumers are told", look, |it| *it == told).await;
        assert!(!deregistering.is_finished(), "it serves meanwhile");

        let outcome = registrar.deregister_now().await.unwrap();
        assert_eq!(outcome, Deregistered::Removed);
        assert_eq!(deregistering.await.unwrap().unwrap(), outcome);
        assert_eq!(etcd.get(KEY).await, None);
    }
}
