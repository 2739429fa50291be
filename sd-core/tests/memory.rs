//! What instances take: bytes and allocations, which do not depend on the machine.

#![allow(clippy::unwrap_used, reason = "a test")]

use allocation_counter::{AllocationInfo, measure};
use async_trait::async_trait;
use sd_core::{
    Client, Codec, DefaultCodec, Deregistered, EndpointSource, Endpointer, Entry, Error,
    FixedInstancer, Instance, Instances, Key, LeaseId, Prefix, Registrar, Registration, Result,
    Revision, Service, Snapshot, Watch, WatchError, factory_fn,
};
use std::sync::Arc;

const INSTANCES: usize = 10_000;

/// About 100 bytes, about 60 of them metadata.
fn value(n: usize) -> String {
    let (b, c) = (n / 250, n % 250);
    format!(
        r#"{{"address":"10.0.{b}.{c}:8080","metadata":{{"commit":"{n:07x}","team":"search","version":"1.42.{}"}}}}"#,
        n % 10,
    )
}

fn entry(n: usize) -> Entry {
    Entry::new(
        Key::new(format!("/services/hello/{n:06}")).unwrap(),
        value(n),
    )
}

fn read(entry: &Entry) -> Instance {
    let decoded = DefaultCodec.decode(entry).unwrap();
    decoded.into_iter().next().unwrap()
}

/// What is left of what `make` allocates, and all that it allocated.
fn kept<T>(make: impl FnOnce() -> T) -> (T, AllocationInfo) {
    let mut made = None;
    let info = measure(|| made = Some(make()));
    (made.unwrap(), info)
}

#[test]
fn a_set_takes_less_than_three_times_its_keys_and_values() {
    let bytes: usize = (0..INSTANCES)
        .map(|n| entry(n).key.as_str().len() + value(n).len())
        .sum();
    let (all, info) = kept(|| {
        (0..INSTANCES)
            .map(|n| read(&entry(n)))
            .collect::<Instances>()
    });
    assert_eq!(all.len(), INSTANCES);
    let taken = info.bytes_current as f64 / bytes as f64;
    assert!(taken < 2.5, "{taken}");
    // Its key, its texts and itself, and a share of the nodes.
    let each = info.count_current as f64 / INSTANCES as f64;
    assert!(each < 3.2, "{each}");
}

#[test]
fn a_set_that_changed_all_over_takes_little_more() {
    let (all, built) = kept(|| {
        (0..INSTANCES)
            .map(|n| read(&entry(n)))
            .collect::<Instances>()
    });
    let (_changed, changed) = kept(|| {
        let mut changed = all.clone();
        for n in (0..INSTANCES).rev() {
            changed.insert(read(&entry(n)).with_weight(2));
        }
        drop(all);
        changed
    });
    // What was dropped counts as less than nothing.
    let grown = changed.bytes_current as f64 / built.bytes_current as f64;
    assert!(grown.abs() < 0.1, "{grown}");
}

#[test]
fn an_instance_is_read_with_few_allocations() {
    let entry = entry(7);
    let (_instance, info) = kept(|| read(&entry));
    assert!(info.count_total <= 4, "{info:?}");
    assert_eq!(info.count_current, 1, "its texts; the key is the entry's");
}

/// Hostile row 4: the cost of an entry grows with its length, and not with the square of it.
#[test]
fn many_pieces_of_metadata_are_read_at_once() {
    // The last are no texts, or have an escape.
    for last in [r#""x":"y""#, r#""x":7"#, r#""x":"\n""#] {
        let pieces: String = (0..6_000).rev().map(|n| format!(r#""{n}":"","#)).collect();
        let json = format!(r#"{{"address":"h:1","metadata":{{{pieces}{last}}}}}"#);
        let entry = Entry::new(Key::new("/a").unwrap(), json);
        let (instance, info) = kept(|| read(&entry));
        assert_eq!(instance.all_metadata().count(), 6_001);
        assert!(instance.all_metadata().is_sorted());
        assert!(info.bytes_total < 4_000_000, "{info:?}");
    }
}

/// In one thread, since allocations are counted by thread.
fn runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_time().build().unwrap()
}

/// Instances and endpoints without what their targets would take.
async fn endpoints(source: Arc<FixedInstancer>) -> Endpointer<()> {
    let endpointer = Endpointer::new(source, factory_fn(|_| Ok(())));
    endpointer.ready().await.unwrap();
    assert_eq!(endpointer.endpoints().len(), INSTANCES);
    endpointer
}

#[test]
fn an_endpoint_takes_two_allocations_and_little_more() {
    let source = Arc::new(FixedInstancer::new((0..INSTANCES).map(|n| read(&entry(n)))));
    let runtime = runtime();
    let (_endpointer, info) = kept(|| runtime.block_on(endpoints(source)));
    // The endpoint and its host, and beside them its slot, its row and its pace.
    let bytes = info.bytes_current as f64 / INSTANCES as f64;
    assert!(bytes < 190.0, "{bytes}");
    let each = info.count_current as f64 / INSTANCES as f64;
    assert!(each < 2.1, "{each}");
}

#[test]
fn an_endpoint_to_which_something_has_happened_takes_no_more() {
    let source = Arc::new(FixedInstancer::new((0..INSTANCES).map(|n| read(&entry(n)))));
    let runtime = runtime();
    let endpointer = runtime.block_on(endpoints(source.clone()));
    let twins: Vec<_> = (0..INSTANCES)
        .map(|n| {
            let key = Key::new(format!("/services/twin/{n:06}")).unwrap();
            read(&entry(n)).with_key(key)
        })
        .collect();
    let ((), info) = kept(|| {
        runtime.block_on(async {
            let knows = async |instances| {
                while endpointer.status().borrow().instances != Some(instances) {
                    tokio::task::yield_now().await;
                }
            };
            for twin in &twins {
                source.insert(twin.clone());
            }
            knows(2 * INSTANCES).await;
            for twin in &twins {
                source.remove(twin.key());
            }
            knows(INSTANCES).await;
        });
    });
    let bytes = info.bytes_current as f64 / INSTANCES as f64;
    assert!(bytes < 20.0, "{bytes}");
}

/// Registers everything, and keeps nothing of it.
struct Registry;

#[async_trait]
impl Client for Registry {
    async fn get_entries(&self, _: &Prefix) -> Result<Snapshot> {
        Err(Error::unsupported("list"))
    }

    async fn watch_prefix(&self, _: &Prefix, _: &Revision) -> Result<Watch, WatchError> {
        Err(WatchError::Interrupted(Error::unsupported("watch")))
    }

    async fn register(&self, service: &Service) -> Result<Registration> {
        let lease = LeaseId::from(7);
        Ok(Registration::detached(service.key.under(&lease), lease))
    }

    async fn deregister(&self, _: &Service) -> Result<Deregistered> {
        Ok(Deregistered::Removed)
    }

    fn lease_id(&self) -> Option<LeaseId> {
        None
    }
}

#[test]
fn a_registrar_takes_little_beside_its_task() {
    const REGISTRARS: usize = 100;
    let runtime = runtime();
    let (_registrars, info) = kept(|| {
        let registrars = (0..REGISTRARS).map(|n| {
            let service = Service::new(entry(n).key, value(n)).unwrap();
            Registrar::new(Registry, service)
        });
        let registrars: Vec<_> = registrars.collect();
        runtime.block_on(async {
            for registrar in &registrars {
                registrar.register().await.unwrap();
            }
        });
        registrars
    });
    // The task, the state that it works on, and four channels.
    let each = info.bytes_current as f64 / REGISTRARS as f64;
    assert!(each < 7200.0, "{each}");
}
