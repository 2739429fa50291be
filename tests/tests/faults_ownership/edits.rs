//! Row 33: an operator changes an entry in etcd.

use crate::*;
use sd_core::{Deregistered, RegistrarStatus, Updated};
use sd_tests::{Consumer, Log};

/// Row 33
#[tokio::test]
async fn an_edit_on_the_lease_is_kept_until_the_entry_or_the_program_ends_it() {
    let etcd = Etcd::start().await;
    let log = Log::capture();
    let client = client(&etcd);
    let registrar = registrar(&client, OWN);
    registrar.register().await.unwrap();
    let consumer = Consumer::start(etcd.endpoint(), "/svc").await;

    etcd.edit(KEY, OTHER).await;

    let edited = async || match &*registrar.status().borrow() {
        RegistrarStatus::Registered { edit, .. } => edit.as_deref() == Some(OTHER.as_bytes()),
        status => panic!("{status}"),
    };
    let revision = etcd.last_put(KEY).await;
    eventually(PATIENCE, "the edit in the status", edited, |it| *it).await;
    assert_eq!(etcd.last_put(KEY).await, revision, "nothing was written");
    let kept = "the entry was edited in the registry, and stays so";
    let lines = log.lines();
    assert_eq!(lines.iter().filter(|line| line.message == kept).count(), 1);

    // Kept over a new registration.
    let lease = etcd.entry(KEY).await.unwrap().lease();
    etcd.revoke(lease).await;
    has(&etcd, &client, &registrar, OTHER).await;
    consumer.settles_on(&[ADDRESS]).await;

    // It stands until the program changes the same.
    assert_eq!(registrar.update(OWN).await.unwrap(), Updated::Written);
    has(&etcd, &client, &registrar, OTHER).await;
    let changed = OWN.replace(r#""weight":1"#, r#""weight":5"#);
    registrar.update(changed.clone()).await.unwrap();
    has(&etcd, &client, &registrar, &changed).await;
    registrar.update(OWN).await.unwrap();
    has(&etcd, &client, &registrar, OWN).await;

    // Gone with the instance, noticed or not.
    etcd.edit(KEY, OTHER).await;
    let removed = registrar.deregister().await.unwrap();
    assert_eq!(removed, Deregistered::Removed);
    assert_eq!(etcd.get(KEY).await, None);
    consumer.settles_on(&[]).await;
}

/// Rows 33 and 38
#[tokio::test]
async fn what_is_no_edit_of_the_instance_is_put_back() {
    let etcd = Etcd::start().await;
    let client = client(&etcd);
    let registrar = registrar(&client, OWN);
    registrar.register().await.unwrap();
    for value in ["10.9.9.9:80", "{}"] {
        etcd.edit(KEY, value).await;
        has(&etcd, &client, &registrar, OWN).await;
    }
}

/// Row 38: `update` answers from what etcd says.
#[tokio::test]
async fn an_update_is_written_also_if_the_program_has_asked_for_that_value_before() {
    let etcd = Etcd::start().await;
    let client = client(&etcd);
    let registrar = registrar(&client, OWN);
    registrar.register().await.unwrap();
    etcd.edit(KEY, "10.9.9.9:80").await;

    assert_eq!(registrar.update(OWN).await.unwrap(), Updated::Written);

    assert_eq!(etcd.get(KEY).await.as_deref(), Some(OWN.as_bytes()));
}

/// Row 33: without its lease, the key is taken, and no zombie stays behind when the instance ends.
#[tokio::test]
async fn an_edit_without_the_lease_is_reported_and_ends_with_the_instance() {
    let own = r#"{"address":"10.0.0.1:80","weight":3,"metadata":{"version":"1"}}"#;
    let edited = r#"{"address":"10.0.0.1:80","weight":7,"metadata":{"version":"1"}}"#;
    for (value, is_edit) in [
        (edited, true),
        // A successor at the same address, such as go-kit makes it.
        (ADDRESS, false),
        (r#"{"address":"10.0.0.1:80","zone":"a"}"#, false),
        ("10.9.9.9:80", false),
    ] {
        let etcd = Etcd::start().await;
        let client = client(&etcd);
        let registrar = registrar(&client, own);
        registrar.register().await.unwrap();

        etcd.put(KEY, value).await;

        let taken = async || matches!(&*registrar.status().borrow(), RegistrarStatus::Taken { value: by } if by == value);
        eventually(PATIENCE, "taken", taken, |it| *it).await;
        let outcome = registrar.deregister().await.unwrap();
        let stands = etcd.get(KEY).await;
        match is_edit {
            true => assert_eq!((outcome, stands), (Deregistered::Removed, None)),
            false => {
                assert_eq!(outcome, Deregistered::NotOurs);
                assert_eq!(stands.as_deref(), Some(value.as_bytes()));
            }
        }
    }
}
