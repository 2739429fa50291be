//! The time between telling consumers that an instance goes and its end.

use super::{ADDRESS, KEY, millis, seconds, service};
use sd_core::{Codec, DefaultCodec, Deregistered, Entry, Instance, Key, Registrar, Status};
use sd_memory::Registry;
use tokio::time::{Instant, sleep};

/// As JSON, which can say that it drains.
fn json() -> sd_core::Bytes {
    let instance = Instance::new(Key::new(KEY).unwrap(), ADDRESS).with_weight(2);
    DefaultCodec.encode(&instance).unwrap()
}

#[tokio::test(start_paused = true)]
async fn consumers_have_the_same_time_whether_the_format_can_say_draining_or_not() {
    for (value, is_announced) in [(json(), true), (ADDRESS.into(), false)] {
        let registry = Registry::new();
        let registrar = Registrar::builder(registry.client(), service(KEY, "").with_value(value))
            .drain(seconds(5))
            .build();
        registrar.register().await.unwrap();
        let start = Instant::now();
        let watched = async {
            sleep(millis(4_900)).await;
            let entry = registry.get(KEY);
            assert_eq!(entry.is_some(), is_announced, "{entry:?}");
            if let Some(entry) = entry {
                let entry = Entry::new(Key::new(KEY).unwrap(), entry.value);
                let status = DefaultCodec.decode(&entry).unwrap().instances()[0].status();
                assert_eq!(status, Status::Draining);
            }
        };
        let (outcome, ()) = tokio::join!(registrar.deregister(), watched);
        assert_eq!(outcome.unwrap(), Deregistered::Removed);
        assert_eq!(start.elapsed().as_secs(), 5, "{is_announced}");
        assert!(registry.entries().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn who_has_to_end_now_waits_for_no_consumer() {
    for value in [json(), ADDRESS.into()] {
        for after in [None, Some(seconds(1))] {
            let registry = Registry::new();
            let service = service(KEY, "").with_value(value.clone());
            let builder = Registrar::builder(registry.client(), service);
            let registrar = builder.drain(seconds(3600)).build();
            registrar.register().await.unwrap();
            let start = Instant::now();
            let first = async {
                match after {
                    Some(_) => registrar.deregister().await.unwrap(),
                    None => Deregistered::Removed,
                }
            };
            let second = async {
                sleep(after.unwrap_or_default()).await;
                registrar.deregister_now().await.unwrap()
            };
            let outcomes = tokio::join!(first, second);
            assert_eq!(outcomes, (Deregistered::Removed, Deregistered::Removed));
            assert!(start.elapsed() < seconds(2), "{:?}", start.elapsed());
            assert!(registry.entries().is_empty());
        }
    }
}
