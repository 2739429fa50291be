//! Row 33: an operator changes an entry in etcd.

use crate::*;
use futures::future::join_all;
use sd_core::{
    DefaultCodec, Deregistered, Edit, EditError, Editor, Key, RegistrarStatus, Status, Updated,
    edit,
};
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
    eventually(PATIENCE, "the edit in the status", &edited, |it| *it).await;
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

    // Or until it says the same in so many words, though that is what it has said before.
    etcd.edit(KEY, OTHER).await;
    eventually(PATIENCE, "the edit in the status", &edited, |it| *it).await;
    let said = registrar.edit(&Edit::new().weight(1)).await.unwrap();
    assert_eq!(said, Updated::Written);
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

fn key() -> Key {
    Key::new(KEY).unwrap()
}

/// Row 33: by another process, through the API.
#[tokio::test]
async fn an_operators_edit_stands_on_the_instances_own_lease() {
    let etcd = Etcd::start().await;
    let (client, operator) = (client(&etcd), crate::client(&etcd));
    let registrar = registrar(&client, OWN);
    registrar.register().await.unwrap();
    let before = etcd.metrics().await;

    let edited = edit(&operator, DefaultCodec, &key(), &Edit::new().weight(7)).await;

    let edited = edited.unwrap();
    assert_eq!(
        (&*edited.before.value, &*edited.after.value),
        (OWN.as_bytes(), OTHER.as_bytes())
    );
    assert_eq!(edited.after.lease, client.lease_id());
    assert_eq!(etcd.metrics().await.since(&before).range_requests(), 1);
    let shown = async || match &*registrar.status().borrow() {
        RegistrarStatus::Registered { edit, .. } => edit.clone(),
        status => panic!("{status}"),
    };
    eventually(PATIENCE, "the edit in the status", shown, |it| {
        it.as_deref() == Some(OTHER.as_bytes())
    })
    .await;
    has(&etcd, &client, &registrar, OTHER).await;

    // Nothing is written where nothing changes.
    let written = etcd.last_put(KEY).await;
    edit(&operator, DefaultCodec, &key(), &Edit::new().weight(7))
        .await
        .unwrap();
    assert_eq!(etcd.last_put(KEY).await, written);

    // It comes back with the entry, and goes with the instance.
    etcd.revoke(etcd.entry(KEY).await.unwrap().lease()).await;
    has(&etcd, &client, &registrar, OTHER).await;
    registrar.deregister().await.unwrap();
    let gone = edit(
        &operator,
        DefaultCodec,
        &key(),
        &Edit::new().status(Status::Draining),
    )
    .await;
    assert!(matches!(gone, Err(EditError::NotFound)), "{gone:?}");
    assert_eq!(etcd.get(KEY).await, None);
    // Without another registration of the client, its leases are gone too.
    eventually(
        PATIENCE,
        "no lease",
        async || etcd.leases().await,
        Vec::is_empty,
    )
    .await;
}

/// Row 33
#[tokio::test]
async fn of_many_operators_edits_at_once_none_is_lost() {
    let etcd = Etcd::start().await;
    let client = client(&etcd);
    let registrar = registrar(&client, OWN);
    registrar.register().await.unwrap();
    let edits = (0..6).map(|n| {
        let operator = crate::client(&etcd);
        let change = Edit::new().metadata(format!("m{n}"), "said");
        async move { edit(&operator, DefaultCodec, &key(), &change).await }
    });
    for edited in join_all(edits).await {
        edited.unwrap();
    }
    let value = String::from_utf8(etcd.get(KEY).await.unwrap()).unwrap();
    for n in 0..6 {
        assert!(value.contains(&format!("\"m{n}\":\"said\"")), "{value}");
    }
    has(&etcd, &client, &registrar, &value).await;
}

/// Row 33: what nobody has read is not overwritten, nor deleted.
#[tokio::test]
async fn an_entry_that_was_put_since_it_was_read_is_left_alone() {
    let etcd = Etcd::start().await;
    let operator = client(&etcd);
    for change in [
        "put",
        "put the same",
        "put again after a deletion",
        "delete",
    ] {
        etcd.put(KEY, OWN).await;
        let read = operator.get_entry(&key()).await.unwrap().unwrap();
        match change {
            "put" => drop(etcd.put(KEY, OTHER).await),
            "put the same" => drop(etcd.put(KEY, OWN).await),
            "delete" => assert!(etcd.delete(KEY).await),
            _ => {
                assert!(etcd.delete(KEY).await);
                etcd.put(KEY, OWN).await;
            }
        }
        let before = etcd.entry(KEY).await.map(|it| it.mod_revision());
        assert!(
            !operator.replace_entry(&read, OTHER.into()).await.unwrap(),
            "{change}"
        );
        assert!(!operator.delete_entry(&read).await.unwrap(), "{change}");
        let after = etcd.entry(KEY).await.map(|it| it.mod_revision());
        assert_eq!(after, before, "{change}");
    }
    // Without a lease it stays without one.
    etcd.put(KEY, OWN).await;
    let edited = edit(&operator, DefaultCodec, &key(), &Edit::new().weight(7))
        .await
        .unwrap();
    assert_eq!(edited.after.lease, None);
    let entry = etcd.entry(KEY).await.unwrap();
    assert_eq!((entry.lease(), entry.value()), (0, OTHER.as_bytes()));
    let read = operator.get_entry(&key()).await.unwrap().unwrap();
    assert!(operator.delete_entry(&read).await.unwrap());
    assert_eq!(etcd.get(KEY).await, None);
}
