//! Addresses to advertise, on the interfaces of this host.

use sd_tower::{Advertise, AdvertiseError};
use std::net::SocketAddr;

async fn of(advertise: Advertise, listening: &str) -> Result<String, AdvertiseError> {
    let listening: SocketAddr = listening.parse().unwrap();
    let address = advertise.address_of(listening).await;
    address.map(|address| address.to_string())
}

fn network(network: &str) -> Advertise {
    Advertise::network(network).unwrap()
}

#[tokio::test]
async fn a_listener_on_one_address_is_registered_as_it_is() {
    let listener = Advertise::listener;
    let of_it = of(listener(), "10.1.2.3:80").await.unwrap();
    assert_eq!(of_it, "10.1.2.3:80");
    let of_it = of(listener(), "[fd00::1]:80").await.unwrap();
    assert_eq!(of_it, "[fd00::1]:80", "in brackets");
    for unspecified in ["0.0.0.0:80", "[::]:80", "[::ffff:0.0.0.0]:80"] {
        let error = of(listener(), unspecified).await.unwrap_err();
        assert!(matches!(error, AdvertiseError::Unspecified), "{error}");
    }
}

#[tokio::test]
async fn loopback_is_chosen_only_by_its_name() {
    let loopback = of(network("127.0.0.0/8"), "0.0.0.0:80").await.unwrap();
    assert_eq!(loopback, "127.0.0.1:80");
    let lo = if cfg!(target_os = "macos") {
        "lo0"
    } else {
        "lo"
    };
    let loopback = of(Advertise::interface(lo), "[::]:80").await.unwrap();
    assert_eq!(loopback, "127.0.0.1:80");

    // Every IPv4 address is in it, and that of the loopback is not taken.
    match of(network("0.0.0.0/0"), "0.0.0.0:80").await {
        Ok(address) => assert!(!address.starts_with("127."), "{address}"),
        Err(error) => assert!(matches!(error, AdvertiseError::NotInNetwork { .. })),
    }
    let error = of(Advertise::route_to("127.0.0.1:2379"), "0.0.0.0:80").await;
    assert!(matches!(error, Err(AdvertiseError::LocalRoute { .. })));
}

#[tokio::test]
async fn what_cannot_be_found_names_what_there_is() {
    let error = of(Advertise::interface("eth77"), "[::]:80").await;
    let text = error.unwrap_err().to_string();
    assert!(
        text.contains("eth77") && text.contains("127.0.0.1"),
        "{text}"
    );
    let error = of(network("203.0.113.0/24"), "[::]:80").await;
    let text = error.unwrap_err().to_string();
    assert!(
        text.contains("203.0.113.0/24") && text.contains("127.0.0.1"),
        "{text}"
    );
    for text in ["10.0.0.0", "10.0.0.0/33", "eth0", ""] {
        let error = Advertise::network(text).unwrap_err();
        assert!(matches!(error, AdvertiseError::Network { .. }), "{error}");
    }
    let unset = Advertise::env("SD_TOWER_TEST_NOT_SET");
    let text = of(unset, "[::]:80").await.unwrap_err().to_string();
    assert!(text.contains("SD_TOWER_TEST_NOT_SET") && text.contains("status.podIP"));
    let path = of(Advertise::env("PATH"), "[::]:80").await;
    assert!(matches!(path, Err(AdvertiseError::Variable { .. })));
    let nowhere = of(Advertise::route_to("no port"), "[::]:80").await;
    assert!(matches!(nowhere, Err(AdvertiseError::NoRoute { .. })));
}

#[tokio::test]
async fn an_address_that_the_server_does_not_listen_on_is_refused() {
    let error = of(network("127.0.0.1/32"), "10.1.2.3:80").await;
    assert!(matches!(error, Err(AdvertiseError::NotInNetwork { .. })));
    // Behind a translation of addresses it need not.
    let given = Advertise::ip("198.51.100.7".parse().unwrap());
    assert_eq!(of(given, "10.1.2.3:80").await.unwrap(), "198.51.100.7:80");
}
