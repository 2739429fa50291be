//! Rows 33, 37 and 38: entries that somebody edits, and a history that goes back.

use crate::*;
use sd_core::{
    Client, DefaultCodec, Deregistered, Edit, EditError, Editor, Key, Registrar, RegistrarStatus,
    Status, Updated, edit,
};
use sd_tests::eventually;

const OWN: &str = r#"{"address":"10.0.0.1:80","weight":1}"#;
const EDIT: &str = r#"{"address":"10.0.0.1:80","weight":7}"#;
const SECOND: &str = r#"{"address":"10.0.0.1:80","status":"draining"}"#;

struct Scene {
    registry: Registry,
    client: MemoryClient,
    registrar: Registrar,
}

impl Scene {
    async fn set() -> Self {
        let registry = Registry::new();
        let client = registry.client();
        let registrar = Registrar::new(client.clone(), service(KEY, OWN));
        registrar.register().await.unwrap();
        Self {
            registry,
            client,
            registrar,
        }
    }

    fn edit(&self) -> Option<String> {
        match &*self.registrar.status().borrow() {
            RegistrarStatus::Registered { edit, .. } => edit
                .as_ref()
                .map(|edit| String::from_utf8_lossy(edit).into_owned()),
            status => panic!("{status}"),
        }
    }

    /// Waits until the entry has this value, on the client's lease, and the registrar is content.
    async fn has(&self, value: &str) {
        let look = async || {
            let entry = self.registry.get(KEY);
            let is_ours = entry.as_ref().and_then(|it| it.lease.clone()) == self.client.lease_id();
            let status = self.registrar.status().borrow();
            let value = entry.map(|it| it.value);
            (value, is_ours && status.is_registered())
        };
        let what = format!("{value} on our lease");
        let expected = (Some(value.to_owned().into()), true);
        eventually(seconds(20), &what, look, |it| *it == expected).await;
        // And so it stays.
        tokio::time::sleep(seconds(60)).await;
        assert_eq!(look().await, expected);
    }
}

/// Row 33
#[tokio::test(start_paused = true)]
async fn an_edit_on_the_lease_is_kept_until_the_entry_or_the_program_ends_it() {
    let scene = Scene::set().await;
    let revision = scene.registry.edit(KEY, EDIT).unwrap();
    scene.has(EDIT).await;
    assert_eq!(scene.edit().as_deref(), Some(EDIT));
    let entry = scene.registry.get(KEY).unwrap();
    assert_eq!(entry.modified, revision, "nothing was written over it");

    // Kept when the entry is put back.
    scene
        .registry
        .expire_lease(&scene.client.lease_id().unwrap());
    scene.has(EDIT).await;
    scene.registry.delete(KEY);
    scene.has(EDIT).await;

    // The next one, quickly after another.
    scene.registry.edit(KEY, EDIT.replace('7', "8")).unwrap();
    scene.registry.edit(KEY, SECOND).unwrap();
    scene.has(SECOND).await;

    // What the program does not change stands, also over what it wants besides.
    let update = async |value: &'static str| scene.registrar.update(value).await.unwrap();
    assert_eq!(update(OWN).await, Updated::Written);
    const DRAINING: &str = r#"{"address":"10.0.0.1:80","weight":1,"status":"draining"}"#;
    scene.has(DRAINING).await;
    update(r#"{"address":"10.0.0.1:80","weight":2,"zone":"a"}"#).await;
    scene
        .has(r#"{"address":"10.0.0.1:80","weight":2,"zone":"a","status":"draining"}"#)
        .await;
    assert!(scene.edit().is_some());
    let heavier = Edit::new().weight(3);
    let written = scene.registrar.edit(&heavier).await.unwrap();
    assert_eq!(written, Updated::Written);
    scene
        .has(r#"{"address":"10.0.0.1:80","weight":3,"zone":"a","status":"draining"}"#)
        .await;

    // What the program changes is the program's.
    update(DRAINING).await;
    scene.has(DRAINING).await;
    assert_eq!(scene.edit(), None);
    update(OWN).await;
    scene.has(OWN).await;
    assert_eq!(scene.edit(), None);

    // Gone with the instance.
    scene.registry.edit(KEY, SECOND).unwrap();
    scene.has(SECOND).await;
    let removed = scene.registrar.deregister().await.unwrap();
    assert_eq!(removed, Deregistered::Removed);
    assert!(scene.registry.entries().is_empty() && scene.registry.leases().is_empty());
    scene.registrar.register().await.unwrap();
    scene.has(OWN).await;
}

/// Rows 33 and 38
#[tokio::test(start_paused = true)]
async fn what_is_no_edit_of_the_instance_is_put_back() {
    let scene = Scene::set().await;
    for value in ["10.9.9.9:80", "{}", "", r#"{"address":"10.0.0.1:81"}"#] {
        scene.registry.edit(KEY, value).unwrap();
        scene.has(OWN).await;
        assert_eq!(scene.edit(), None);
    }
}

/// Row 38
#[tokio::test(start_paused = true)]
async fn an_entry_that_was_rolled_back_is_put_back() {
    let scene = Scene::set().await;
    let backup = scene.registry.backup();
    scene.registrar.update(EDIT).await.unwrap();

    scene.registry.restore(&backup);

    assert_eq!(scene.registry.get(KEY).unwrap().value, OWN);
    scene.has(EDIT).await;
}

/// Row 37
#[tokio::test(start_paused = true)]
async fn an_entry_on_the_lease_of_a_dead_predecessor_is_taken_back_at_once() {
    let registry = Registry::new();
    let predecessor = registry.client();
    let _registration = predecessor.register(&service(KEY, OWN)).await.unwrap();
    let backup = registry.backup();
    predecessor.crash();
    let consumer = consumer(&registry).await;
    let client = registry.client();
    let registrar = Registrar::new(client.clone(), service(KEY, EDIT));
    registrar.register().await.unwrap();
    let scene = Scene {
        registry,
        client,
        registrar,
    };

    let restored = async {
        scene.registry.restore(&backup);
        let start = Instant::now();
        let look = async || scene.registry.get(KEY).map(|entry| entry.value);
        let is_back = |value: &Option<sd_core::Bytes>| value.as_deref() == Some(EDIT.as_bytes());
        eventually(seconds(20), "the living one's value", look, is_back).await;
        assert_within(millis(200), start);
        scene.has(EDIT).await;
    };
    let look = async || consumer.view();
    sd_tests::throughout(restored, "its address", look, |view| view.has(ADDRESS)).await;
}

/// Row 33: without its lease, the key is taken, and no zombie stays behind when the instance ends.
#[tokio::test(start_paused = true)]
async fn an_edit_without_the_lease_is_reported_and_ends_with_the_instance() {
    for (value, is_edit) in [(EDIT, true), (ADDRESS, false), ("10.9.9.9:80", false)] {
        let scene = Scene::set().await;
        scene.registrar.update(SECOND).await.unwrap();
        scene.registry.put(KEY, value).unwrap();
        tokio::time::sleep(seconds(10)).await;
        let status = scene.registrar.status().borrow();
        let is_taken = matches!(&*status, RegistrarStatus::Taken { value: by } if by == value);
        assert!(is_taken, "{status}");

        let outcome = scene.registrar.deregister().await.unwrap();

        let stands = scene.registry.get(KEY).map(|entry| entry.value);
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

fn draining() -> Edit {
    Edit::new().status(Status::Draining)
}

/// Row 33: by another process, through the API.
#[tokio::test(start_paused = true)]
async fn an_operators_edit_stands_on_the_instances_own_lease() {
    let scene = Scene::set().await;
    let operator = scene.registry.client();

    let edited = edit(&operator, DefaultCodec, &key(), &Edit::new().weight(7)).await;

    let edited = edited.unwrap();
    assert_eq!(
        (&*edited.before.value, &*edited.after.value),
        (OWN.as_bytes(), EDIT.as_bytes())
    );
    assert_eq!(edited.after.lease, scene.client.lease_id());
    scene.has(EDIT).await;
    assert_eq!(scene.edit().as_deref(), Some(EDIT));

    // Nothing is written where nothing changes.
    let written = scene.registry.revision();
    let again = edit(&operator, DefaultCodec, &key(), &Edit::new().weight(7))
        .await
        .unwrap();
    assert_eq!(
        (&again.before, scene.registry.revision()),
        (&again.after, written)
    );

    // It comes back with the entry, and goes with the instance.
    scene
        .registry
        .expire_lease(&scene.client.lease_id().unwrap());
    scene.has(EDIT).await;
    scene.registrar.deregister().await.unwrap();
    let gone = edit(&operator, DefaultCodec, &key(), &draining()).await;
    assert!(matches!(gone, Err(EditError::NotFound)), "{gone:?}");
    assert!(scene.registry.entries().is_empty());
}

/// Row 33
#[tokio::test(start_paused = true)]
async fn of_many_operators_edits_at_once_none_is_lost() {
    let scene = Scene::set().await;
    let edits = (0..6).map(|n| {
        let operator = scene.registry.client();
        let change = Edit::new().metadata(format!("m{n}"), "said");
        async move { edit(&operator, DefaultCodec, &key(), &change).await }
    });
    for edited in futures::future::join_all(edits).await {
        edited.unwrap();
    }
    let value = scene.registry.get(KEY).unwrap().value;
    let value = String::from_utf8_lossy(&value).into_owned();
    for n in 0..6 {
        assert!(value.contains(&format!("\"m{n}\":\"said\"")), "{value}");
    }
    scene.has(&value).await;
}

/// Row 33: what nobody has read is not overwritten, nor deleted.
#[tokio::test(start_paused = true)]
async fn an_entry_that_was_put_since_it_was_read_is_left_alone() {
    let registry = Registry::new();
    let operator = registry.client();
    for change in [
        "put",
        "put the same",
        "put again after a deletion",
        "delete",
        "rebuild",
    ] {
        registry.put(KEY, OWN).unwrap();
        let read = operator.get_entry(&key()).await.unwrap().unwrap();
        match change {
            "put" => drop(registry.put(KEY, SECOND)),
            "put the same" => drop(registry.put(KEY, OWN)),
            "delete" => assert!(registry.delete(KEY)),
            _ => {
                match change {
                    "rebuild" => registry.rebuild_empty(),
                    _ => assert!(registry.delete(KEY)),
                }
                registry.put(KEY, OWN).unwrap();
            }
        }
        let before = registry.get(KEY);
        assert!(
            !operator.replace_entry(&read, EDIT.into()).await.unwrap(),
            "{change}"
        );
        assert!(!operator.delete_entry(&read).await.unwrap(), "{change}");
        assert_eq!(registry.get(KEY), before, "{change}");
    }
    // Without a lease it stays without one.
    registry.put(KEY, OWN).unwrap();
    let edited = edit(&operator, DefaultCodec, &key(), &Edit::new().weight(7))
        .await
        .unwrap();
    assert_eq!(
        (edited.after.lease, registry.get(KEY).unwrap().lease),
        (None, None)
    );
    let read = operator.get_entry(&key()).await.unwrap().unwrap();
    assert!(operator.delete_entry(&read).await.unwrap());
    assert_eq!(registry.get(KEY), None);
}

/// Row 33
#[tokio::test(start_paused = true)]
async fn an_edit_that_cannot_be_made_says_why_and_changes_nothing() {
    let registry = Registry::new();
    let operator = registry.client();
    registry.put(KEY, ADDRESS).unwrap();
    let plain = edit(&operator, DefaultCodec, &key(), &draining()).await;
    assert!(matches!(plain, Err(EditError::CannotSay(_))), "{plain:?}");
    assert_eq!(registry.get(KEY).unwrap().value, ADDRESS);
    registry.kill();
    let down = edit(&operator, DefaultCodec, &key(), &draining()).await;
    assert!(
        matches!(&down, Err(EditError::Registry(error)) if error.is_transient()),
        "{down:?}"
    );
}

/// Row 33: others who never stop do not keep it for ever.
#[tokio::test(start_paused = true)]
async fn an_edit_of_an_entry_that_changes_all_the_time_ends() {
    let registry = Registry::new();
    registry.put(KEY, OWN).unwrap();
    let (operator, other) = (registry.client(), registry.clone());
    // Each call takes longer than others need for a put.
    registry.delay(millis(10));
    let puts = async {
        loop {
            other.put(KEY, OWN).unwrap();
            tokio::time::sleep(millis(1)).await;
        }
    };
    let (key, weight) = (key(), Edit::new().weight(7));
    let outcome = tokio::select! {
        outcome = edit(&operator, DefaultCodec, &key, &weight) => outcome,
        () = puts => unreachable!("they go on"),
    };
    assert!(matches!(outcome, Err(EditError::Contended)), "{outcome:?}");
    assert!(registry.calls().edits < 50);
}
