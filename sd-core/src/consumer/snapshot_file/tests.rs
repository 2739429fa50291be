//! What is written, and what is believed of it.

use super::*;
use crate::{
    consumer::Instancer,
    instances::{
        Event, Health, Instances, Status, Trouble,
        testing::{in_time, until},
    },
    registry::{Client, Deregistered, Entry, Error, Key, LeaseId, Registration, Revision},
    registry::{Result, Service, Snapshot, Watch, WatchError},
    support::Log,
};
use async_trait::async_trait;
use std::sync::{Arc, Mutex};
use tokio::time::sleep;

fn prefix() -> Prefix {
    Prefix::new("/svc").unwrap()
}

fn instance(name: &str, address: &str) -> Instance {
    Instance::new(Key::new(format!("/svc/{name}")).unwrap(), address)
}

fn known() -> Instances {
    let rich = instance("b", "h:2")
        .with_part("n1")
        .with_weight(3)
        .with_zone("eu")
        .with_status(Status::Draining)
        .with_id("b-1")
        .with_version("1.4")
        .with_other_address("http://h:3")
        .with_metadata("a", "b")
        .with_json_metadata("n", "7");
    [instance("a", "h:1"), rich].into_iter().collect()
}

fn bytes() -> Vec<u8> {
    Contents::write(&known(), &prefix(), "default", SystemTime::now()).unwrap()
}

fn why_not(bytes: &[u8], prefix: &Prefix, format: &str) -> Option<&'static str> {
    Contents::read(bytes, prefix, format).err()
}

#[test]
fn what_is_written_is_read_and_nothing_else_is() {
    let bytes = bytes();
    let read = Contents::read(&bytes, &prefix(), "default").unwrap();
    assert_eq!(read.instances.into_iter().collect::<Instances>(), known());
    for length in 0..bytes.len() {
        assert!(why_not(&bytes[..length], &prefix(), "default").is_some());
        let mut changed = bytes.clone();
        changed[length] ^= 1;
        assert!(
            why_not(&changed, &prefix(), "default").is_some(),
            "{length}"
        );
    }
    let other = Prefix::new("/other").unwrap();
    assert_eq!(
        why_not(&bytes, &other, "default"),
        Some("it is of another prefix")
    );
    assert_eq!(
        why_not(&bytes, &prefix(), "kratos"),
        Some("it is of another format")
    );
    for junk in ["", "\n", "{}\n", "no snapshot\n"] {
        assert!(
            why_not(junk.as_bytes(), &prefix(), "default").is_some(),
            "{junk:?}"
        );
    }
}

/// A registry that is down until it has entries.
#[derive(Clone, Default)]
struct Down(Arc<Mutex<Option<Vec<Entry>>>>);

#[async_trait]
impl Client for Down {
    async fn get_entries(&self, _: &Prefix) -> Result<Snapshot> {
        let entries = self.0.lock().unwrap().clone();
        let entries = entries.ok_or_else(|| Error::unavailable("down"))?;
        Ok(Snapshot::new(entries, Revision::new(1_u64)))
    }
    async fn watch_prefix(&self, _: &Prefix, after: &Revision) -> Result<Watch, WatchError> {
        let batch = crate::registry::Batch::new(vec![], after.clone());
        let quiet = futures::stream::pending();
        Ok(Watch::new(futures::StreamExt::chain(
            futures::stream::iter([Ok(batch)]),
            quiet,
        )))
    }
    async fn register(&self, _: &Service) -> Result<Registration> {
        Err(Error::unavailable("down"))
    }
    async fn deregister(&self, _: &Service) -> Result<Deregistered> {
        Err(Error::unavailable("down"))
    }
    fn lease_id(&self) -> Option<LeaseId> {
        None
    }
}

fn follow(registry: &Down, file: &SnapshotFile) -> Instancer {
    Instancer::builder(registry.clone(), prefix())
        .snapshot(file.clone())
        .grace(Duration::from_secs(15))
        .build()
}

fn shown(event: &Event) -> Vec<String> {
    let all = event.instances().iter();
    all.map(|it| format!("{}={}", it.identity(), it.address()))
        .collect()
}

#[tokio::test(start_paused = true)]
async fn a_consumer_begins_with_what_its_predecessor_knew() {
    let folder = tempfile::tempdir().unwrap();
    let file = SnapshotFile::new(folder.path().join("hello.snapshot"));
    let registry = Down::default();
    let entry = |name: &str, address: &str| {
        Entry::new(instance(name, "").key().clone(), address.to_owned())
    };
    *registry.0.lock().unwrap() = Some(vec![entry("a", "h:1"), entry("b", "h:2")]);
    let first = follow(&registry, &file);
    until(&mut first.subscribe(), |event| event.health().is_live()).await;
    while !file.path.exists() {
        sleep(Duration::from_millis(100)).await;
    }
    first.stop().await;

    *registry.0.lock().unwrap() = None;
    let log = Log::capture();
    let second = follow(&registry, &file);
    in_time(second.ready()).await.unwrap();
    let event = second.state().unwrap();
    assert_eq!(shown(&event), ["/svc/a=h:1", "/svc/b=h:2"]);
    let Health::Stale {
        why: Trouble::Snapshot { .. },
        ..
    } = event.health()
    else {
        panic!("{event}");
    };
    let lines = log.text();
    assert!(
        lines
            .iter()
            .any(|line| line.contains("beginning with a snapshot")),
        "{lines:?}"
    );

    // The registry is back, and does not know one of them any more: perhaps its lease ended with the outage.
    *registry.0.lock().unwrap() = Some(vec![entry("a", "h:1"), entry("c", "h:3")]);
    let mut events = second.subscribe();
    let event = until(&mut events, |event| event.health().is_live()).await;
    assert_eq!(shown(&event), ["/svc/a=h:1", "/svc/b=h:2", "/svc/c=h:3"]);
    assert_eq!(event.held().count(), 1);
    let event = until(&mut events, |event| event.held().count() == 0).await;
    assert_eq!(shown(&event), ["/svc/a=h:1", "/svc/c=h:3"]);
}

#[tokio::test(start_paused = true)]
async fn an_old_file_a_folder_and_one_that_is_cut_short_are_not_used() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("hello.snapshot");
    let format = std::any::type_name::<crate::instances::DefaultCodec>();
    let contents = |written| Contents::write(&known(), &prefix(), format, written).unwrap();
    let now = SystemTime::now();
    let file = SnapshotFile::new(&path);
    let cases = [
        (contents(now - Duration::from_secs(48 * 60 * 60)), "old"),
        (contents(now)[1..].to_vec(), "cut short"),
    ];
    for (bytes, why) in cases {
        file.write(&bytes).unwrap();
        let log = Log::capture();
        let instancer = follow(&Down::default(), &file);
        sleep(Duration::from_secs(60)).await;
        assert!(instancer.state().is_none());
        let lines = log.text();
        let said = lines
            .iter()
            .filter(|line| line.contains("the snapshot is not used"));
        assert!(
            said.clone().count() == 1 && said.clone().all(|line| line.contains(why)),
            "{lines:?}"
        );
    }
    // From the future: the clock was set back.
    file.write(&contents(now + Duration::from_secs(60)))
        .unwrap();
    let instancer = follow(&Down::default(), &file);
    in_time(instancer.ready()).await.unwrap();
    let nobody = SnapshotFile::new(folder.path());
    assert!(nobody.read(&prefix(), format).is_err());
    let none = SnapshotFile::new(folder.path().join("none"));
    assert!(none.read(&prefix(), format).unwrap().is_none());
}

/// What nobody is to call is not called because a file says so.
#[tokio::test(start_paused = true)]
async fn the_address_policy_and_the_limits_hold_for_a_file_too() {
    let folder = tempfile::tempdir().unwrap();
    let file = SnapshotFile::new(folder.path().join("hello.snapshot"));
    let hostile = instance("z", "169.254.169.254:80");
    let known = known();
    let all = known.iter().map(|it| (**it).clone()).chain([hostile]);
    let format = std::any::type_name::<crate::instances::DefaultCodec>();
    let contents = Contents::write(&all.collect(), &prefix(), format, SystemTime::now());
    file.write(&contents.unwrap()).unwrap();
    let instancer = Instancer::builder(Down::default(), prefix())
        .snapshot(file)
        .limits(crate::consumer::PrefixLimits::default().instances(1))
        .build();
    in_time(instancer.ready()).await.unwrap();
    assert_eq!(shown(&instancer.state().unwrap()), ["/svc/a=h:1"]);
}
