//! Following a prefix.

use crate::{A, B, changes, hello, item, registered, seconds, soon, watch};
use futures::{FutureExt, StreamExt};
use sd_core::{Change, Client, Entry, Error, Gap, Key, Prefix, Revision, WatchError};
use sd_memory::Registry;

fn key(text: &str) -> Key {
    Key::new(text).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_watch_replays_what_it_missed_and_goes_on() {
    let registry = Registry::new();
    let client = registry.client();
    let listed = client.get_entries(&hello()).await.unwrap();
    registry.put(A, "1").unwrap();
    registry.delete(A);
    let mut watch = client
        .watch_prefix(&hello(), &listed.revision)
        .await
        .unwrap();
    assert_eq!(
        changes(&mut watch).await,
        [format!("+{A}=1"), format!("-{A}")]
    );
    registry.put(B, "2").unwrap();
    let batch = item(&mut watch).await.unwrap();
    assert_eq!(batch.changes, [Change::Put(Entry::new(key(B), "2"))]);

    // A watch from the batch's token repeats nothing.
    let mut resumed = client.watch_prefix(&hello(), &batch.resume).await.unwrap();
    registry.put(A, "3").unwrap();
    assert_eq!(changes(&mut resumed).await, [format!("+{A}=3")]);
    assert_eq!(changes(&mut watch).await, [format!("+{A}=3")]);
}

#[tokio::test(start_paused = true)]
async fn a_token_serves_any_client_of_the_same_registry() {
    let registry = Registry::new();
    let listed = registry.client().get_entries(&hello()).await.unwrap();
    registry.put(A, "1").unwrap();
    let other = registry.client();
    let mut watch = other
        .watch_prefix(&hello(), &listed.revision)
        .await
        .unwrap();
    assert_eq!(changes(&mut watch).await, [format!("+{A}=1")]);
}

#[tokio::test(start_paused = true)]
async fn a_list_shows_one_revision_and_leads_to_the_watch() {
    let registry = Registry::new();
    let client = registry.client();
    registry.put(A, "1").unwrap();
    registry.put(B, "1").unwrap();
    let listed = client.get_entries(&hello()).await.unwrap();
    assert_eq!(
        listed.entries,
        [Entry::new(key(A), "1"), Entry::new(key(B), "1")]
    );
    let mut watch = client
        .watch_prefix(&hello(), &listed.revision)
        .await
        .unwrap();
    let stands = watch.next().now_or_never().unwrap().unwrap().unwrap();
    assert!(stands.changes.is_empty());
    assert_eq!(stands.resume, listed.revision);
    assert!(watch.next().now_or_never().is_none());
}

/// Row 32: a registry that freezes between list and watch.
#[tokio::test(start_paused = true)]
async fn a_watch_says_nothing_before_the_registry_answers() {
    let registry = Registry::new();
    let client = registry.client();
    let now = client.get_entries(&hello()).await.unwrap().revision;
    let mut watch = client.watch_prefix(&hello(), &now).await.unwrap();
    registry.freeze();
    assert!(matches!(
        item(&mut watch).await,
        Err(WatchError::Disrupted(_))
    ));
    registry.thaw();
    assert!(changes(&mut watch).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_happened_at_once_is_in_one_batch() {
    let registry = Registry::new();
    let client = registry.client();
    let mut watch = watch(&client).await;
    let many: Vec<_> = (0..5_000)
        .map(|i| key(&format!("/services/hello/{i}")))
        .collect();
    registry.put(A, "1").unwrap();
    registry.transact(many.iter().map(|k| Change::Put(Entry::new(k.clone(), "x"))));
    let batch = item(&mut watch).await.unwrap();
    assert_eq!(batch.changes.len(), 5_001);
}

/// faults row 20
#[tokio::test(start_paused = true)]
async fn prefixes_that_begin_alike_do_not_see_each_other() {
    let registry = Registry::new();
    let client = registry.client();
    let foo = Prefix::new("/svc/foo").unwrap();
    registry.put("/svc/foobar/a", "x").unwrap();
    let listed = client.get_entries(&foo).await.unwrap();
    assert!(listed.entries.is_empty());
    let mut watch = client.watch_prefix(&foo, &listed.revision).await.unwrap();
    registry.put("/svc/foobar/b", "x").unwrap();
    registry.put("/svc/foo/a", "y").unwrap();
    assert_eq!(changes(&mut watch).await, ["+/svc/foo/a=y"]);
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_nobody_reads_holds_nobody_up_and_queues_nothing() {
    let registry = Registry::with_history(100);
    let client = registry.client();
    let mut slow = watch(&client).await;
    let mut quick = watch(&client).await;
    for i in 0..1_000 {
        registry.put(A, i.to_string()).unwrap();
        assert_eq!(changes(&mut quick).await, [format!("+{A}={i}")]);
    }
    let late = item(&mut slow).await;
    assert!(
        matches!(late, Err(WatchError::Gap(Gap::Compacted))),
        "{late:?}"
    );
    assert!(soon(slow.next()).await.is_none());
    assert_eq!(registry.watchers(), 1);
}

/// faults row 7
#[tokio::test(start_paused = true)]
async fn a_compaction_while_the_watch_was_down_is_a_gap() {
    let registry = Registry::new();
    let client = registry.client();
    let listed = client.get_entries(&hello()).await.unwrap();
    registry.put(A, "1").unwrap();
    registry.compact();
    let outcome = client.watch_prefix(&hello(), &listed.revision).await;
    assert!(
        matches!(outcome, Err(WatchError::Gap(Gap::Compacted))),
        "{outcome:?}"
    );
    assert_eq!(registry.watchers(), 0);
    let mut watch = watch(&client).await;
    registry.put(A, "2").unwrap();
    assert_eq!(changes(&mut watch).await, [format!("+{A}=2")]);
}

#[tokio::test(start_paused = true)]
async fn a_compaction_does_not_disturb_a_watch_under_way() {
    let registry = Registry::new();
    let client = registry.client();
    let mut watch = watch(&client).await;
    registry.put(A, "1").unwrap();
    registry.compact();
    registry.put(A, "2").unwrap();
    assert_eq!(
        changes(&mut watch).await,
        [format!("+{A}=1"), format!("+{A}=2")]
    );
}

#[tokio::test(start_paused = true)]
async fn an_idle_prefix_is_not_compacted_past_its_resume_point() {
    let registry = Registry::new();
    let client = registry.client();
    let mut watch = watch(&client).await;
    registry.put("/elsewhere", "x").unwrap();
    let progress = item(&mut watch).await.unwrap();
    assert!(progress.changes.is_empty());
    registry.put("/elsewhere", "y").unwrap();
    registry.compact();
    let compacted = tokio::time::Instant::now();
    let progress = item(&mut watch).await.unwrap();
    assert!(progress.changes.is_empty());
    assert_eq!(compacted.elapsed(), seconds(0));
    registry.disconnect_watchers();
    let resumed = client.watch_prefix(&hello(), &progress.resume).await;
    assert!(resumed.is_ok(), "{resumed:?}");
}

#[tokio::test(start_paused = true)]
async fn a_prefix_that_nothing_happens_around_is_silent() {
    let registry = Registry::new();
    let mut watch = watch(&registry.client()).await;
    let silence = tokio::time::timeout(seconds(3_600), watch.next()).await;
    // The client was a temporary: its watch says so, and nothing else.
    let closed = silence.unwrap().unwrap();
    assert!(matches!(
        closed,
        Err(WatchError::Interrupted(Error::Closed))
    ));

    let client = registry.client();
    let mut watch = crate::watch(&client).await;
    assert!(
        tokio::time::timeout(seconds(3_600), watch.next())
            .await
            .is_err()
    );
}

#[tokio::test(start_paused = true)]
async fn disconnected_watches_are_interrupted_and_miss_nothing_when_resumed() {
    let registry = Registry::new();
    let client = registry.client();
    let mut watch = watch(&client).await;
    registry.put(A, "1").unwrap();
    let resume = item(&mut watch).await.unwrap().resume;
    registry.disconnect_watchers();
    assert_eq!(registry.watchers(), 0);
    registry.put(A, "2").unwrap();
    let interrupted = item(&mut watch).await;
    assert!(matches!(interrupted, Err(WatchError::Interrupted(_))));
    assert!(soon(watch.next()).await.is_none());
    let mut watch = client.watch_prefix(&hello(), &resume).await.unwrap();
    assert_eq!(changes(&mut watch).await, [format!("+{A}=2")]);
}

/// faults row 6
#[tokio::test(start_paused = true)]
async fn a_rebuilt_registry_is_a_gap_wherever_its_counter_stands() {
    let registry = Registry::new();
    let client = registry.client();
    let mut registration = registered(&client, A, "1").await;
    let mut watch = watch(&client).await;
    let resume = client.get_entries(&hello()).await.unwrap().revision;
    registry.rebuild_empty();
    assert_eq!(registry.revision(), 1);
    assert!(registry.leases().is_empty());
    assert!(matches!(
        item(&mut watch).await,
        Err(WatchError::Interrupted(_))
    ));
    assert_eq!(soon(registration.lost()).await, sd_core::Lost::LeaseExpired);

    let gap = client.watch_prefix(&hello(), &resume).await;
    assert!(
        matches!(gap, Err(WatchError::Gap(Gap::Rebuilt(_)))),
        "{gap:?}"
    );
    for _ in 0..10 {
        registry.put("/elsewhere", "x").unwrap();
    }
    let gap = client.watch_prefix(&hello(), &resume).await;
    assert!(
        matches!(gap, Err(WatchError::Gap(Gap::Rebuilt(_)))),
        "{gap:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_foreign_token_is_a_gap() {
    let client = Registry::new().client();
    let gap = client.watch_prefix(&hello(), &Revision::new(1_u64)).await;
    assert!(matches!(gap, Err(WatchError::Gap(Gap::ForeignToken))));
    let other = Registry::new().client();
    let token = other.get_entries(&hello()).await.unwrap().revision;
    let gap = client.watch_prefix(&hello(), &token).await;
    assert!(matches!(gap, Err(WatchError::Gap(Gap::Rebuilt(_)))));
}

#[tokio::test(start_paused = true)]
async fn another_instance_costs_no_list() {
    let registry = Registry::new();
    let (consumer, provider) = (registry.client(), registry.client());
    let mut watch = watch(&consumer).await;
    let before = registry.calls();
    let _registration = registered(&provider, A, "1").await;
    assert_eq!(changes(&mut watch).await, [format!("+{A}=1")]);
    assert_eq!(registry.calls().lists, before.lists);
}
