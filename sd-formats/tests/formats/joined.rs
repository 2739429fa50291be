//! Providers and consumers of each format, on a registry.

use sd_core::{Advert, Client, Edit, Event, Events, Instancer, Invalid, Registrar, Status};
use sd_memory::Registry;

async fn addresses_until(events: &mut Events, expected: &[&str]) {
    let is_it = |event: &Event| {
        let addresses = event.instances().iter().map(|it| it.address().to_owned());
        let mut addresses: Vec<_> = addresses.collect();
        addresses.sort();
        addresses == expected
    };
    events.until(is_it).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn services_are_named_and_their_instances_come_and_go() {
    for format in sd_formats::all() {
        let registry = Registry::new();
        let hello = Instancer::of(registry.client(), &*format, "hello").unwrap();
        hello.ready().await.unwrap();
        let mut events = hello.subscribe();
        let (one, other) = (registry.client(), registry.client());
        let register = async |client: &dyn Fn() -> sd_memory::MemoryClient, address: &str| {
            let registrar =
                Registrar::of(client(), &*format, "hello", &Advert::new(address)).unwrap();
            registrar.register().await.unwrap();
            registrar
        };
        let first = register(&|| one.clone(), "10.0.0.1:80").await;
        let second = register(&|| other.clone(), "10.0.0.2:80").await;
        addresses_until(&mut events, &["10.0.0.1:80", "10.0.0.2:80"]).await;
        assert_eq!(hello.skipped(), 0, "{}", format.name());

        first.deregister().await.unwrap();
        addresses_until(&mut events, &["10.0.0.2:80"]).await;
        second.deregister().await.unwrap();
        addresses_until(&mut events, &[]).await;
        hello.stop().await;
        drop((one.lease_id(), other.lease_id()));
    }
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_said_is_no_registration() {
    let registry = Registry::new();
    for (format, advert, part) in [
        (
            "gokit",
            Advert::new("h:1").weight(3),
            "gokit: the format cannot say a weight",
        ),
        (
            "kratos",
            Advert::new("h:1").status(Status::Draining),
            "cannot say draining",
        ),
        ("kitex", Advert::new("h:1").weight(0), "a weight of 0"),
        (
            "gozero",
            Advert::new("http://h:1"),
            "the scheme of an address",
        ),
        (
            "kratos",
            Advert::new("http://h:1"),
            "the first address is the one that is called",
        ),
        (
            "kratos",
            Advert::new("h:1").address("h:2"),
            "without a scheme",
        ),
        (
            "kratos",
            Advert::new("h:1").metadata("weight", "3"),
            "which is the weight itself",
        ),
        (
            "dubbo-interface",
            Advert::new("h:1").metadata("a", "b&c"),
            "metadata with any of",
        ),
    ] {
        let format = crate::named(format);
        let error = Registrar::of(registry.client(), &*format, "hello", &advert)
            .err()
            .unwrap();
        assert!(matches!(error, Invalid::Unsayable { .. }), "{error:?}");
        assert!(error.to_string().contains(part), "{error}");
    }
    let format = crate::named("kratos");
    let error = Registrar::of(
        registry.client(),
        &*format,
        "hello",
        &Advert::new("0.0.0.0:80"),
    );
    assert!(matches!(
        error.err(),
        Some(Invalid::UncallableAddress { .. })
    ));
}

/// The poison table: what Kratos, dubbo-go and others choke on does not get there by an update either.
#[tokio::test(start_paused = true)]
async fn what_would_break_consumers_is_no_update() {
    for (format, poison) in [
        ("gokit", r#"{"address":"10.0.0.1:80","status":"draining"}"#),
        ("grpc", "10.0.0.1:80"),
        ("grpc", "{}"),
        ("gozero", r#"{"address":"10.0.0.1:80"}"#),
        ("kratos", "null"),
        ("kratos", "10.0.0.1:80"),
        (
            "kratos",
            r#"{"name":"hello","endpoints":["grpc://10.0.0.1:80"],"metadata":{"weight":20}}"#,
        ),
        (
            "kratos",
            r#"{"name":"other","endpoints":["grpc://10.0.0.1:80"]}"#,
        ),
        ("kitex", r#"{"address":"10.0.0.1:80","weight":"3"}"#),
        ("kitex", r#"{"address":""}"#),
        ("gomicro", r#"{"nodes":[null,{"address":"10.0.0.1:80"}]}"#),
        ("dubbo-app", "null"),
        ("dubbo-app", r#"{"address":"10.0.0.1:80"}"#),
    ] {
        let registry = Registry::new();
        let format = crate::named(format);
        let advert = Advert::new("10.0.0.1:80");
        let registrar = Registrar::of(registry.client(), &*format, "hello", &advert).unwrap();
        registrar.register().await.unwrap();
        let before = registry.entries();
        let error = registrar.update(poison).await.unwrap_err().to_string();
        let is_refused = error.contains("could not read") || error.contains("no consumer calls");
        assert!(is_refused, "{poison}: {error}");
        assert_eq!(registry.entries(), before, "{poison}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_registration_is_edited_in_its_format() {
    let registry = Registry::new();
    let format = crate::named("kratos");
    let advert = Advert::new("10.0.0.1:80")
        .address("http://10.0.0.1:81")
        .weight(3);
    let registrar = Registrar::of(registry.client(), &*format, "hello", &advert).unwrap();
    registrar.register().await.unwrap();
    let hello = Instancer::of(registry.client(), &*format, "hello").unwrap();
    let mut events = hello.subscribe();
    registrar.edit(&Edit::new().weight(4)).await.unwrap();
    let has_weight = |event: &Event| event.instances().iter().any(|it| it.weight() == 4);
    let event = events.until(has_weight).await.unwrap();
    let instance = event.instances().iter().next().unwrap();
    assert!(instance.other_addresses().eq(["http://10.0.0.1:81"]));
    let drain = registrar.edit(&Edit::new().status(Status::Draining)).await;
    assert!(drain.unwrap_err().to_string().contains("cannot say"));
}
