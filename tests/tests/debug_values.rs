//! What `Debug` writes of services, entries, instances and statuses: names and sizes, and no value.

use sd_core::{
    Batch, Bytes, Change, Client, Codec, DefaultCodec, Entry, Event, Instance, Instances, Invalid,
    Key, LeaseId, Lost, Owner, Prefix, Reclaimed, Registrar, RegistrarStatus, Registration,
    Revision, Service, Snapshot,
};
use sd_memory::Registry;
use std::fmt::Debug;

const SECRET: &str = "a-secret-value";
const KEY: &str = "/services/hello/a";

fn key() -> Key {
    Key::new(KEY).unwrap()
}

fn entry() -> Entry {
    Entry::new(key(), SECRET).with_lease(LeaseId::from(7))
}

fn instance() -> Instance {
    let instance = Instance::new(key(), "10.0.0.1:80").with_zone("eu-1");
    instance.with_metadata("api-key", SECRET)
}

/// In neither form of `Debug` is the value, nor the decimal numbers of its bytes, but each of `parts` is.
#[track_caller]
fn assert_hides(it: &dyn Debug, parts: &[&str]) {
    let numbers = format!("{:?}", SECRET.as_bytes()).replace(['[', ']'], "");
    for shown in [format!("{it:?}"), format!("{it:#?}")] {
        let one_line: String = shown.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(!shown.contains(SECRET), "{shown}");
        assert!(!one_line.contains(&numbers), "{shown}");
        for part in parts {
            assert!(shown.contains(part), "no {part}: {shown}");
        }
    }
}

/// hostile row 11
#[test]
fn debug_shows_keys_and_sizes_and_no_values() {
    const SIZE: &str = "14 bytes";
    let service = Service::new(KEY, SECRET).unwrap();
    assert_hides(&service.clone().owned_by(Owner::new()), &[KEY, SIZE, "ttl"]);
    let revision = Revision::new(7_u64);
    assert_hides(&entry(), &[KEY, SIZE, "LeaseId"]);
    let changes = vec![Change::Put(entry()), Change::Delete(key())];
    assert_hides(&changes, &[KEY, SIZE, "Put", "Delete"]);
    assert_hides(&Batch::new(changes, revision.clone()), &[KEY, SIZE]);
    assert_hides(&Snapshot::new(vec![entry()], revision), &[KEY, SIZE]);
    assert_hides(&Lost::taken(SECRET), &["Taken", SIZE]);
    assert_hides(&Lost::overwritten(SECRET), &["Overwritten", SIZE]);
    assert_hides(&Reclaimed::taken(SECRET), &["Taken", SIZE]);
    let held = Reclaimed::Held(Registration::detached(key(), LeaseId::from(7)));
    assert_hides(&held, &["Held", KEY]);
    let taken = RegistrarStatus::Taken {
        value: SECRET.into(),
    };
    assert_hides(&taken, &["Taken", SIZE]);
    let reclaiming = RegistrarStatus::Reclaiming {
        lost: Lost::taken(SECRET),
        attempt: 2,
        error: None,
    };
    assert_hides(&reclaiming, &["Reclaiming", "attempt: 2", SIZE]);
}

/// hostile row 11
#[test]
fn debug_shows_the_names_of_metadata_and_not_the_values() {
    let parts = [KEY, "10.0.0.1:80", "eu-1", "api-key"];
    assert_hides(&instance(), &parts);
    let instances: Instances = [instance()].into_iter().collect();
    let changes: Vec<_> = Instances::default().diff(&instances).collect();
    assert_hides(&changes, &parts);
    assert_hides(&Event::new(1, instances), &parts);
    assert_hides(&sd_core::Endpoint::new(instance(), ()), &parts);
}

/// hostile row 11: nor is a value in what a registrar and a registry in memory say of themselves.
#[tokio::test(start_paused = true)]
async fn no_status_error_or_registry_shows_a_value() {
    let registry = Registry::new();
    let client = registry.client();
    let value = DefaultCodec.encode(&instance()).unwrap();
    let service = Service::new(KEY, value.clone()).unwrap();
    let registrar = Registrar::new(client.clone(), service.clone());
    assert_hides(&registrar, &[KEY]);
    registrar.register().await.unwrap();
    registry.edit(KEY, value.clone());
    let status = registrar.status();
    let mut edited = status.clone();
    edited
        .wait_for(|it| it.to_string().contains("edited"))
        .await
        .unwrap();
    let size = value.len().to_string();
    assert_hides(&status.borrow().clone(), &["Registered", KEY, &size]);
    registry.put(KEY, value).unwrap();
    edited
        .wait_for(|it| matches!(it, RegistrarStatus::Taken { .. }))
        .await
        .unwrap();
    let taken = status.borrow().to_string();
    assert_eq!(taken, format!("key taken by somebody else ({size} bytes)"));
    let other = Service::new("/services/hello/b", service.value).unwrap();
    let registration = client.register(&other).await.unwrap();
    let prefix = Prefix::new("/services/hello").unwrap();
    assert_hides(&client.get_entries(&prefix).await.unwrap(), &[KEY, &size]);
    let held = (&registry, &client, &registration, registry.backup());
    assert_hides(&held, &[]);
    assert_hides(&registry.get(KEY), &[&size, "version"]);

    let wrong = registrar
        .update(Bytes::from_static(SECRET.as_bytes()))
        .await;
    let error = wrong.unwrap_err();
    assert_hides(&error, &["UnreadableValue", "14"]);
    assert!(!error.to_string().contains(SECRET), "{error}");
    let wrong = registrar.update(format!("http://me:{SECRET}@h:1")).await;
    let error = wrong.unwrap_err();
    assert!(
        matches!(&error, sd_core::Error::Invalid(Invalid::UncallableAddress { address, .. }) if address == "***@h:1"),
        "{error}"
    );
}
