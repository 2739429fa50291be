//! Taking, losing and putting back a key.

use crate::{A, B, registered, seconds, service, soon, value};
use sd_core::{
    Client, Deregistered, Error, Invalid, Key, Lost, Reclaimed, Registration, Service, Ttl,
};
use sd_memory::{ClientOptions, Registry};

async fn reclaimed(registration: &Registration, value: &'static str) -> Registration {
    match registration.reclaim(value).await.unwrap() {
        Reclaimed::Held(registration) => registration,
        Reclaimed::Taken { value } => panic!("taken by {value:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_registration_stands_on_a_lease_until_it_is_deregistered() {
    let registry = Registry::new();
    let client = registry.client();
    assert_eq!(client.lease_id(), None);
    let mut registration = registered(&client, A, "1").await;
    assert_eq!(
        registry.get(A).unwrap().lease.as_ref(),
        Some(registration.lease_id())
    );
    assert_eq!(client.lease_id().as_ref(), Some(registration.lease_id()));
    tokio::time::sleep(seconds(600)).await;
    assert_eq!(registration.is_lost(), None);

    let done = client.deregister(&service(A, "1")).await.unwrap();
    assert_eq!(done, Deregistered::Removed);
    assert_eq!(soon(registration.lost()).await, Lost::Deregistered);
    assert!(registry.entries().is_empty());
    assert!(registry.leases().is_empty());
    assert_eq!(client.lease_id(), None);
    let again = client.deregister(&service(A, "1")).await.unwrap();
    assert_eq!(again, Deregistered::NotOurs);
}
