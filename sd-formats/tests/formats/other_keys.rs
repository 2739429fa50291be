//! Updates that belong under another key: the new entry stands before the old one goes.

use sd_core::{
    Advert, Bytes, Client, Codec, CodecError, Decoded, DefaultCodec, Edit, Entry, Error, Event,
    Events, Format, Instance, Instancer, Key, Registrar, RegistrarStatus, Service, Source, Updated,
};
use sd_formats::DubboInterface;
use sd_memory::{MemoryClient, Registry};
use std::time::Duration;
use tokio::{task::JoinHandle, time::sleep};
use tokio_util::sync::CancellationToken;

const SERVICE: &str = "org.Greeter";
const ADDRESS: &str = "10.0.0.1:20880";
/// Longer than anything takes that ends by itself.
const LONG: Duration = Duration::from_secs(60);

fn advert() -> Advert {
    Advert::new(ADDRESS).weight(3)
}

fn key(advert: &Advert) -> String {
    let service = DubboInterface::default().service(SERVICE, advert).unwrap();
    service.key.to_string()
}

fn dubbo(client: impl Client) -> Registrar {
    Registrar::of(client, &DubboInterface::default(), SERVICE, &advert()).unwrap()
}

fn keys(registry: &Registry) -> Vec<String> {
    let entries = registry.entries().into_iter();
    entries.map(|entry| entry.key.to_string()).collect()
}

/// Waits on paused time.
async fn until(what: &str, is: impl Fn() -> bool) {
    for _ in 0..LONG.as_millis() {
        if is() {
            return;
        }
        sleep(Duration::from_millis(1)).await;
    }
    panic!("not {what}");
}

/// The keys in each view of a consumer, from when it has one instance to the end of `registered`.
fn views(consumer: &Instancer, registered: &CancellationToken) -> JoinHandle<Vec<Vec<String>>> {
    let (mut events, registered) = (consumer.subscribe(), registered.clone());
    tokio::spawn(async move {
        let mut views = Vec::new();
        let every = async |events: &mut Events| events.until(|_| true).await;
        while let Some(Ok(event)) = registered.run_until_cancelled(every(&mut events)).await {
            let all = event.instances().iter();
            views.push(all.map(|it| it.key().to_string()).collect());
        }
        views
    })
}

#[tokio::test(start_paused = true)]
async fn the_new_key_stands_before_the_old_one_goes() {
    let registry = Registry::new();
    let registrar = dubbo(registry.client());
    registrar.register().await.unwrap();
    let format = DubboInterface::default();
    let consumer = Instancer::of(registry.client(), &format, SERVICE).unwrap();
    consumer.ready().await.unwrap();
    let registered = CancellationToken::new();
    let views = views(&consumer, &registered);
    let old = key(&advert());
    let before = registry.revision();

    let edited = registrar.edit(&Edit::new().weight(7)).await.unwrap();

    assert_eq!(edited, Updated::Written);
    let new = key(&Advert::new(ADDRESS).weight(7));
    assert_eq!(keys(&registry), [&*new]);
    assert_eq!(registry.leases().len(), 1);
    let changes = registry.changes_after(before).unwrap().concat();
    let changes: Vec<_> = changes.iter().map(|change| change.key().as_str()).collect();
    assert_eq!(changes, [&*new, &*old], "one put, and then one deletion");
    let status = registrar.status();
    assert!(
        matches!(&*status.borrow(), RegistrarStatus::Registered { key, .. } if key.as_str() == new)
    );
    let is_new = |event: &Event| {
        let mut all = event.instances().iter();
        event.instances().len() == 1 && all.all(|it| it.weight() == 7)
    };
    consumer.until(is_new).await.unwrap();
    registered.cancel();
    let views = views.await.unwrap();
    assert!(views.iter().all(|view| !view.is_empty()), "{views:?}");

    // It is put back there, and not under the former key.
    registry.expire_lease(&registry.leases()[0]);
    let is_back = || keys(&registry) == [&*new];
    until("back", is_back).await;
    registrar.deregister().await.unwrap();
    assert!(registry.entries().is_empty() && registry.leases().is_empty());
}

/// Whole adverts too, and a value by itself is no way to change what the key says.
#[tokio::test(start_paused = true)]
async fn an_advert_is_another_key_and_back() {
    let registry = Registry::new();
    let (registrar, format) = (dubbo(registry.client()), DubboInterface::default());
    registrar.register().await.unwrap();
    for address in ["10.0.0.2:20880", ADDRESS, "10.0.0.3:20880"] {
        let advert = Advert::new(address).metadata("methods", "Hello");
        let service = format.service(SERVICE, &advert).unwrap();
        let updated = registrar.update_service(&service).await.unwrap();
        assert_eq!(updated, Updated::Written);
        assert_eq!(keys(&registry), [key(&advert)]);
    }
    let refused = registrar.update(r#"{"weight":5}"#).await;
    assert!(matches!(refused, Err(Error::Invalid(_))), "{refused:?}");
    registrar.deregister().await.unwrap();

    // While it is not registered, it is remembered.
    let updated = registrar.edit(&Edit::new().weight(9)).await.unwrap();
    assert_eq!(updated, Updated::Remembered);
    registrar.register().await.unwrap();
    assert!(keys(&registry)[0].ends_with("weight%3D9"), "{registry:?}");
}

#[tokio::test(start_paused = true)]
async fn where_the_new_key_fails_the_old_one_stands_and_the_owner_is_told() {
    let registry = Registry::new();
    let registrar = dubbo(registry.client());
    registrar.register().await.unwrap();
    let denied = Error::PermissionDenied {
        message: "no".into(),
        source: None,
    };
    registry.fail_next(1, denied);

    let edited = registrar.edit(&Edit::new().weight(7)).await;

    assert!(
        matches!(edited, Err(Error::PermissionDenied { .. })),
        "{edited:?}"
    );
    assert_eq!(keys(&registry), [key(&advert())]);
    let status = registrar.status().borrow().to_string();
    assert!(status.contains("new value not written"), "{status}");
    // It is tried again, as any value is.
    let new = [key(&Advert::new(ADDRESS).weight(7))];
    until("moved", || keys(&registry) == new).await;
}

/// Of two registrars of one key the one that was asked to register later stands.
#[tokio::test(start_paused = true)]
async fn a_key_that_a_later_registrar_of_the_client_has_is_not_taken() {
    let registry = Registry::new();
    let client = registry.client();
    let first = dubbo(client.clone());
    first.register().await.unwrap();
    let seven = Advert::new(ADDRESS).weight(7);
    let format = DubboInterface::default();
    let later = Registrar::of(client, &format, SERVICE, &seven).unwrap();
    later.register().await.unwrap();

    let edited = first.edit(&Edit::new().weight(7)).await;

    assert!(matches!(edited, Err(Error::Superseded)), "{edited:?}");
    let mut both = [key(&advert()), key(&seven)];
    both.sort();
    assert_eq!(keys(&registry), both);
    for registrar in [&first, &later] {
        assert!(registrar.is_proven());
    }
    first.deregister().await.unwrap();
    assert_eq!(keys(&registry), [key(&seven)]);
}

/// How a provider ends.
#[derive(Debug, Clone, Copy)]
enum End {
    Deregister,
    DeregisterNow,
    Drop,
    Cancel,
}

/// At each moment of the move, which takes three calls of 10 ms each, and with calls that fail.
#[tokio::test(start_paused = true)]
async fn whenever_a_provider_ends_neither_key_is_left() {
    for end in [End::Deregister, End::DeregisterNow, End::Drop, End::Cancel] {
        for (after, failures) in (0..50).flat_map(|after| [(after, 0), (after, 1), (after, 3)]) {
            let registry = Registry::new();
            let (token, format) = (CancellationToken::new(), DubboInterface::default());
            let registrar =
                Registrar::builder_of(registry.client(), &format, SERVICE, &advert()).unwrap();
            let registrar = registrar.cancellation_token(token.clone()).build();
            registrar.register().await.unwrap();
            registry.delay(Duration::from_millis(10));
            registry.fail_next(failures, Error::unavailable("down"));
            let edit = Edit::new().weight(7);
            let moving = tokio::time::timeout(Duration::from_millis(after), registrar.edit(&edit));
            let _ = moving.await;
            match end {
                End::Deregister => drop(registrar.deregister().await.unwrap()),
                End::DeregisterNow => drop(registrar.deregister_now().await.unwrap()),
                End::Drop => drop(registrar),
                End::Cancel => token.cancel(),
            }
            let is_gone = || registry.entries().is_empty() && registry.leases().is_empty();
            until(&format!("gone: {end:?} after {after} ms"), is_gone).await;
            sleep(Duration::from_secs(10)).await;
            assert!(is_gone(), "{end:?} after {after} ms");
        }
    }
}

/// A registry that goes away during the move loses neither the provider nor the change.
#[tokio::test(start_paused = true)]
async fn an_outage_at_any_moment_delays_the_move_and_no_more() {
    let new = [key(&Advert::new(ADDRESS).weight(7))];
    for after in 0..40 {
        let registry = Registry::new();
        let registrar = dubbo(registry.client());
        registrar.register().await.unwrap();
        registry.delay(Duration::from_millis(10));
        let edit = Edit::new().weight(7);
        let outage = async {
            sleep(Duration::from_millis(after)).await;
            registry.freeze();
            // Longer than the lease, which ends at the thaw.
            sleep(Duration::from_secs(40)).await;
            assert!(!registry.entries().is_empty());
            registry.thaw();
        };
        let (edited, ()) = tokio::join!(registrar.edit(&edit), outage);
        assert!(edited.is_ok(), "{edited:?}");
        until("moved", || keys(&registry) == new).await;
    }
}

/// A format that says the rack in the key, and all else in the value.
#[derive(Debug)]
struct RackInKey;

fn racked(key: &Key, rack: &str) -> Key {
    let stem = key.as_str().split(';').next().unwrap_or_default();
    Key::new(format!("{stem};{rack}")).unwrap()
}

impl Codec for RackInKey {
    fn decode(&self, entry: &Entry) -> Result<Decoded, CodecError> {
        let instance = DefaultCodec.decode(entry)?.into_iter().next();
        let instance = instance.ok_or_else(|| CodecError::new("there is none"))?;
        Ok(match entry.key.as_str().split_once(';') {
            Some((_, rack)) => instance.with_metadata("rack", rack).into(),
            None => instance.into(),
        })
    }

    fn encode(&self, instance: &Instance) -> Result<Bytes, CodecError> {
        DefaultCodec.encode(&instance.clone().without_metadata("rack"))
    }

    fn edit(&self, entry: &Entry, edit: &Edit) -> Result<Entry, CodecError> {
        let mut rest = edit.clone();
        let mut entry = entry.clone();
        if let Some(Some(rack)) = rest.metadata.remove("rack") {
            entry.key = racked(&entry.key, &rack);
        }
        match rest.is_empty() {
            true => Ok(entry),
            false => DefaultCodec.edit(&entry, &rest),
        }
    }
}

fn racks(client: MemoryClient) -> Registrar {
    let value = r#"{"address":"10.0.0.1:80","weight":3}"#;
    let service = Service::new("/racks/a;r1", value).unwrap();
    Registrar::builder(client, service).codec(RackInKey).build()
}

#[tokio::test(start_paused = true)]
async fn an_operators_edit_goes_along() {
    let registry = Registry::new();
    let registrar = racks(registry.client());
    registrar.register().await.unwrap();
    let edited = r#"{"address":"10.0.0.1:80","weight":7}"#;
    registry.edit("/racks/a;r1", edited).unwrap();
    let is_kept = || matches!(&*registrar.status().borrow(), RegistrarStatus::Registered { edit: Some(edit), .. } if edit == edited);
    until("kept", is_kept).await;

    registrar
        .edit(&Edit::new().metadata("rack", "r2"))
        .await
        .unwrap();

    assert_eq!(keys(&registry), ["/racks/a;r2"]);
    assert_eq!(registry.get("/racks/a;r2").unwrap().value, edited);
    assert!(is_kept(), "the status says so");
    // Until the owner says the same attribute, be it as before.
    registrar.edit(&Edit::new().weight(3)).await.unwrap();
    let own = r#"{"address":"10.0.0.1:80","weight":3}"#;
    assert_eq!(registry.get("/racks/a;r2").unwrap().value, own);
    assert!(!is_kept());
}
