//! Whatever ends an instancer, its subscribers hear of it.

use super::*;
use crate::{
    registry::{Deregistered, LeaseId, Registration, Revision, Service, Snapshot, Watch},
    support::Log,
};
use futures::stream;

#[tokio::test(start_paused = true)]
async fn a_stop_ends_the_streams_after_a_last_state() {
    let (client, script) = script();
    let instancer = Arc::new(Instancer::new(client, prefix()));
    script.list(1, &["a"]);
    let watch = script.open();
    let mut events = instancer.subscribe();
    until_names(&mut events, &["a"]).await;
    tokio::join!(instancer.stop(), instancer.stop());
    in_time(instancer.stop()).await;
    assert!(watch.is_closed());
    let last = until(&mut events, is_stopped).await;
    assert_eq!(names(&last), ["a"]);
    assert!(in_time(events.next()).await.is_none());
    assert!(is_stopped(&instancer.state().unwrap()));
    let mut late = instancer.subscribe();
    assert!(is_stopped(&in_time(late.next()).await.unwrap()));
    assert!(in_time(late.next()).await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_stop_before_the_first_state_ends_the_streams_without_one() {
    let (client, _script) = script();
    let instancer = Instancer::new(client, prefix());
    let mut events = instancer.subscribe();
    let (ready, ()) = tokio::join!(instancer.ready(), instancer.stop());
    assert!(matches!(ready, Err(Error::Closed)), "{ready:?}");
    assert!(in_time(events.next()).await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_dropped_instancer_ends_its_watch_and_leaves_no_task() {
    let tasks = || {
        tokio::runtime::Handle::current()
            .metrics()
            .num_alive_tasks()
    };
    let before = tasks();
    let (client, script) = script();
    let instancer = Instancer::new(client, prefix());
    script.list(1, &["a"]);
    let watch = script.open();
    let mut events = instancer.subscribe();
    until_names(&mut events, &["a"]).await;
    quiet().await;
    assert_eq!(tasks(), before + 1, "one task");
    drop(instancer);
    in_time(watch.closed()).await;
    assert!(is_stopped(&in_time(events.next()).await.unwrap()));
    assert!(in_time(events.next()).await.is_none());
    assert!(script.lists.is_closed(), "the client is dropped too");
    quiet().await;
    assert_eq!(tasks(), before);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_instancer_stops_in_the_middle_of_a_pause_or_a_call() {
    let (client, script) = script();
    let instancer = Instancer::new(client, prefix());
    quiet().await;
    drop(instancer);
    in_time(script.lists.closed()).await;

    let (client, script) = super::script();
    script.refuse_list(denied());
    let instancer = Instancer::new(client, prefix());
    quiet().await;
    let dropped = Instant::now();
    drop(instancer);
    in_time(script.lists.closed()).await;
    assert_eq!(dropped.elapsed(), Duration::ZERO);
}

#[test]
fn a_runtime_that_ends_ends_the_streams_too() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let (client, script) = script();
    script.list(1, &["a"]);
    let (_instancer, mut events) = runtime.block_on(async {
        let instancer = Instancer::new(client, prefix());
        let mut events = instancer.subscribe();
        until_names(&mut events, &["a"]).await;
        (instancer, events)
    });
    drop(runtime);
    assert!(is_stopped(&events.next().now_or_never().flatten().unwrap()));
    assert!(events.next().now_or_never().unwrap().is_none());
}

#[test]
fn nothing_waits_for_a_runtime_that_is_gone() {
    let runtime = || {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.enable_time().build().unwrap()
    };
    let (theirs, ours) = (runtime(), runtime());
    let (known, script) = script();
    script.list(1, &["a"]);
    let (unknown, _script) = super::script();
    let (known, unknown) = theirs.block_on(async {
        let known = Instancer::new(known, prefix());
        known.ready().await.unwrap();
        (known, Instancer::new(unknown, prefix()))
    });
    let log = Log::capture();
    drop(theirs);
    let said = log.text();
    assert_eq!(said.len(), 2, "{said:?}");
    let line = "INFO a background task has ended with its runtime task=\"instancer\"";
    assert!(said.iter().all(|it| it == line), "{said:?}");
    ours.block_on(async {
        let ended = in_time(known.until(|event| event.instances().is_empty())).await;
        assert!(is_stopped(ended.unwrap_err().last().unwrap()));
        in_time(known.ready()).await.expect("it has a state");
        let never = in_time(unknown.ready()).await;
        assert!(matches!(never, Err(Error::Closed)), "{never:?}");
        in_time(async { tokio::join!(known.stop(), unknown.stop()) }).await;
    });
}

/// A client whose calls panic, as scripted: the list if there is none, else the watch.
struct Panicking(Option<Snapshot>);

#[async_trait]
impl Client for Panicking {
    async fn get_entries(&self, _: &Prefix) -> Result<Snapshot> {
        Ok(self.0.clone().expect("a list"))
    }

    async fn watch_prefix(&self, _: &Prefix, _: &Revision) -> Result<Watch, WatchError> {
        Ok(Watch::new(stream::poll_fn(|_| panic!("a watch"))))
    }

    async fn register(&self, _: &Service) -> Result<Registration> {
        Err(Error::Closed)
    }

    async fn deregister(&self, _: &Service) -> Result<Deregistered> {
        Err(Error::Closed)
    }

    fn lease_id(&self) -> Option<LeaseId> {
        None
    }
}

/// Row 36.
#[tokio::test(start_paused = true)]
async fn a_client_that_panics_ends_the_streams_after_a_state_that_says_so() {
    let log = Log::capture();
    let snapshot = Snapshot::new(vec![entry("a", "h:1")], Revision::new(1_u64));
    let instancer = Instancer::new(Panicking(Some(snapshot)), prefix());
    let mut events = instancer.subscribe();
    let last = until(&mut events, |event| !event.health().is_live()).await;
    assert_eq!(names(&last), ["a"]);
    let why = "stale: panicked: a watch";
    assert_eq!(last.health().to_string(), why);
    assert!(in_time(events.next()).await.is_none());
    let trouble = instancer.trouble();
    assert!(
        matches!(trouble, Some(Trouble::Panicked { .. })),
        "{trouble:?}"
    );
    in_time(instancer.ready()).await.expect("it has a state");
    in_time(instancer.stop()).await;
    let said = log.text();
    let said = said.iter().filter(|line| line.starts_with("ERROR"));
    let [said] = said.collect::<Vec<_>>()[..] else {
        panic!("one line");
    };
    assert!(
        said.contains("instancer") && said.contains("a watch"),
        "{said}"
    );
}

#[tokio::test(start_paused = true)]
async fn ready_says_that_a_client_panicked_before_the_first_state() {
    let instancer = Instancer::new(Panicking(None), prefix());
    let ready = in_time(instancer.ready()).await;
    let Err(Error::Panicked { message }) = ready else {
        panic!("{ready:?}");
    };
    assert_eq!(message, "a list");
    assert!(in_time(instancer.subscribe().next()).await.is_none());
}
