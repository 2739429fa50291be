use super::*;
use crate::{
    calls::{connectivity::Connectivity, endpoint::Endpoint, endpointer::FixedEndpointer},
    instances::{Instance, testing::quiet},
    registry::Key,
    support::Log,
};
use std::{io, time::Duration};

/// A target whose state the test decides.
type Target = watch::Sender<Connectivity>;

impl Connectable for Target {
    fn connectivity(&self) -> watch::Receiver<Connectivity> {
        self.subscribe()
    }
}

fn failing(why: &'static str) -> Connectivity {
    Connectivity::Failing {
        cause: Arc::new(io::Error::other(why)),
        since: Instant::now(),
        next_attempt: None,
    }
}

fn endpoint(name: &str) -> Arc<Endpoint<Target>> {
    let instance = Instance::new(Key::new(name).unwrap(), format!("{name}:80"));
    Arc::new(Endpoint::new(
        instance,
        watch::Sender::new(Connectivity::Ready),
    ))
}

fn source_of<const N: usize>(
    endpoints: &[Arc<Endpoint<Target>>; N],
) -> Arc<FixedEndpointer<Target>> {
    let source = FixedEndpointer::unknown();
    source.set_shared(endpoints.iter().cloned());
    Arc::new(source)
}

fn keys(source: &impl EndpointSource) -> Vec<String> {
    let endpoints = source.endpoints();
    endpoints.iter().map(|one| one.key().to_string()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_host_is_left_out_as_soon_as_it_fails_and_back_as_soon_as_it_is_connected() {
    let endpoints = ["a", "b", "c"].map(endpoint);
    let reachable = Reachable::new(source_of(&endpoints));
    assert_eq!(keys(&reachable), ["a", "b", "c"]);
    endpoints[1].target().send_replace(failing("refused"));
    quiet().await;
    assert_eq!(keys(&reachable), ["a", "c"]);
    let status = reachable.status().borrow();
    assert_eq!(
        status.to_string(),
        "2 endpoints reachable, 1 unreachable: b:80: refused"
    );
    for state in [Connectivity::Connecting, Connectivity::Idle] {
        endpoints[2].target().send_replace(state);
        quiet().await;
        assert_eq!(keys(&reachable), ["a", "c"], "it is not failing");
    }
    endpoints[1].target().send_replace(Connectivity::Ready);
    quiet().await;
    assert_eq!(keys(&reachable), ["a", "b", "c"]);
    assert!(reachable.status().borrow().unreachable.is_empty());
}

#[tokio::test(start_paused = true)]
async fn if_all_fail_all_are_used() {
    let endpoints = ["a", "b"].map(endpoint);
    let reachable = Reachable::new(source_of(&endpoints));
    endpoints[0].target().send_replace(failing("down"));
    quiet().await;
    assert_eq!(keys(&reachable), ["b"]);
    assert!(!reachable.endpoints().in_panic());
    endpoints[1].target().send_replace(failing("down"));
    quiet().await;
    assert_eq!(keys(&reachable), ["a", "b"]);
    assert!(reachable.endpoints().in_panic());
    assert_eq!(reachable.status().borrow().reachable, 0);
    endpoints[0].target().send_replace(Connectivity::Ready);
    quiet().await;
    assert_eq!(keys(&reachable), ["a"]);
    assert!(!reachable.endpoints().in_panic());
}

#[tokio::test(start_paused = true)]
async fn endpoints_of_one_target_are_left_out_together_and_count_once() {
    let [a, b] = ["a", "b"].map(endpoint);
    let again = Instance::new(Key::new("again").unwrap(), a.address());
    let again = Arc::new(a.with_instance(again));
    let reachable = Reachable::new(source_of(&[a.clone(), again, b]));
    a.target().send_replace(failing("down"));
    quiet().await;
    assert_eq!(keys(&reachable), ["b"]);
    let status = reachable.status().borrow();
    assert_eq!((status.reachable, status.unreachable.len()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_new_target_at_the_address_is_judged_by_its_own_state() {
    let [a, b] = ["a", "b"].map(endpoint);
    let source = source_of(&[a.clone(), b.clone()]);
    let reachable = Reachable::new(source.clone());
    a.target().send_replace(failing("old"));
    quiet().await;
    assert_eq!(keys(&reachable), ["b"]);
    let new = endpoint("a");
    source.set_shared([new.clone(), b.clone()]);
    quiet().await;
    assert_eq!(keys(&reachable), ["a", "b"]);
    new.target().send_replace(failing("new"));
    let failed = endpoint("c");
    failed.target().send_replace(failing("from the start"));
    source.set_shared([new, b, failed]);
    quiet().await;
    assert_eq!(keys(&reachable), ["b"]);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_kept_of_a_host_that_has_gone() {
    let [a, b] = ["a", "b"].map(endpoint);
    let source = source_of(&[a.clone(), b.clone()]);
    let reachable = Reachable::new(source.clone());
    quiet().await;
    assert!(a.target().receiver_count() > 0);
    source.set_shared([b.clone()]);
    quiet().await;
    assert_eq!(a.target().receiver_count(), 0);
    assert_eq!(Arc::strong_count(a.host()), 1);
    reachable.stop().await;
    quiet().await;
    assert_eq!(b.target().receiver_count(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_fault_is_logged_when_it_begins_and_when_it_ends_whatever_it_does_meanwhile() {
    let log = Log::capture();
    let endpoints = ["a", "b"].map(endpoint);
    let reachable = Reachable::new(source_of(&endpoints));
    let mut status = reachable.status();
    let since = Instant::now();
    for why in ["refused", "timed out", "refused"] {
        endpoints[0].target().send_replace(Connectivity::Failing {
            cause: Arc::new(io::Error::other(why)),
            since,
            next_attempt: Some(since),
        });
        quiet().await;
        tokio::time::advance(Duration::from_secs(1)).await;
        status.borrow_and_update();
    }
    let version = reachable.endpoints().version();
    endpoints[0].target().send_replace(Connectivity::Failing {
        cause: Arc::new(io::Error::other("again")),
        since,
        next_attempt: Some(since),
    });
    quiet().await;
    assert_eq!(reachable.endpoints().version(), version);
    assert!(!status.has_changed().unwrap());
    endpoints[0].target().send_replace(Connectivity::Ready);
    quiet().await;
    assert_eq!(
        log.text(),
        [
            "WARN endpoint unreachable address=a:80 error=refused",
            "INFO endpoint reachable again address=a:80 after=3.004s",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_thousand_hosts_that_fail_at_once_cost_a_few_tables() {
    let endpoints: Vec<_> = (0..1000).map(|n| endpoint(&format!("{n:04}"))).collect();
    let source = FixedEndpointer::unknown();
    source.set_shared(endpoints.iter().cloned());
    let reachable = Reachable::new(source);
    quiet().await;
    let before = reachable.endpoints().version();
    for endpoint in &endpoints[1..] {
        endpoint.target().send_replace(failing("down"));
    }
    let mut status = reachable.status();
    let one = status.wait_for(|status| status.reachable == 1).await;
    assert_eq!(one.unwrap().unreachable.len(), 999);
    assert_eq!(keys(&reachable), ["0000"]);
    assert!(reachable.endpoints().version() - before <= 5);
}

/// Panics when it is asked.
struct Faulty;

impl Connectable for Faulty {
    fn connectivity(&self) -> watch::Receiver<Connectivity> {
        panic!("a bug")
    }
}

#[tokio::test(start_paused = true)]
async fn a_target_that_panics_is_used_and_harms_nobody() {
    let log = Log::capture();
    let instance = Instance::new(Key::new("a").unwrap(), "a:80");
    let source = FixedEndpointer::new([Endpoint::new(instance, Faulty)]);
    let reachable = Reachable::new(source);
    quiet().await;
    assert_eq!(keys(&reachable), ["a"]);
    assert_eq!(
        log.text(),
        [
            "ERROR the target of an endpoint failed to tell its connectivity, it is used \
             address=a:80 why=panicked: a bug"
        ]
    );
}
