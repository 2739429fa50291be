use super::*;
use crate::{
    calls::{
        balancer::{Balancer, RoundRobin},
        endpoint::Endpoint,
        endpointer::FixedEndpointer,
        factory::BoxError,
    },
    instances::Instance,
    registry::Key,
    support::Log,
};
use async_trait::async_trait;
use std::{collections::HashMap, sync::Mutex, time::Duration};

/// How the check of an address ends. Those that are not named pass.
#[derive(Clone, Copy, PartialEq)]
enum Course {
    Fail,
    Hang,
    Panic,
    /// Passes after this time.
    Take(Duration),
}

/// A check whose course the test decides.
#[derive(Default)]
struct Script {
    courses: Mutex<HashMap<String, Course>>,
    /// The addresses checked so far.
    begun: Mutex<Vec<String>>,
    /// Checks under way, and the most of them at one time.
    running: Mutex<(usize, usize)>,
}

impl Script {
    fn set(&self, address: &str, course: Course) {
        let mut courses = self.courses.lock().unwrap();
        courses.insert(address.to_owned(), course);
    }

    fn pass(&self, address: &str) {
        self.courses.lock().unwrap().remove(address);
    }

    fn begun(&self, address: &str) -> usize {
        let begun = self.begun.lock().unwrap();
        begun.iter().filter(|one| *one == address).count()
    }

    fn running(&self) -> usize {
        self.running.lock().unwrap().0
    }
}

/// Counts a check that is under way, however it ends.
struct Running<'a>(&'a Script);

impl<'a> Running<'a> {
    fn new(script: &'a Script) -> Self {
        let mut running = script.running.lock().unwrap();
        running.0 += 1;
        running.1 = running.1.max(running.0);
        Self(script)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running.lock().unwrap().0 -= 1;
    }
}

#[async_trait]
impl HealthCheck<()> for Script {
    async fn check(&self, endpoint: &Endpoint<()>) -> Result<(), BoxError> {
        let _running = Running::new(self);
        let address = endpoint.address();
        self.begun.lock().unwrap().push(address.to_owned());
        let course = self.courses.lock().unwrap().get(address).copied();
        match course {
            None => Ok(()),
            Some(Course::Fail) => Err("refused".into()),
            Some(Course::Hang) => std::future::pending().await,
            Some(Course::Panic) => panic!("a bug"),
            Some(Course::Take(time)) => {
                tokio::time::sleep(time).await;
                Ok(())
            }
        }
    }
}

fn at(name: &str, address: &str) -> Endpoint<()> {
    Endpoint::new(Instance::new(Key::new(name).unwrap(), address), ())
}

fn endpoints(names: &[&str]) -> Arc<FixedEndpointer<()>> {
    let endpoints = names.iter().map(|name| at(name, name));
    Arc::new(FixedEndpointer::new(endpoints))
}

fn keys(source: &impl EndpointSource) -> Vec<String> {
    let endpoints = source.endpoints();
    endpoints.iter().map(|one| one.key().to_string()).collect()
}

/// Waits for what happens within an hour, if at all. The clock never stands still: there is always
/// another check.
async fn in_time<T>(wait: impl Future<Output = T>) -> T {
    let waited = tokio::time::timeout(Duration::from_secs(3600), wait).await;
    waited.expect("it never happens")
}

/// Waits for a status.
async fn status<S: EndpointSource>(
    health: &ActiveHealth<S>,
    is_it: impl FnMut(&HealthStatus) -> bool,
) -> Arc<HealthStatus> {
    let status = in_time(health.status().wait_for(is_it)).await.unwrap();
    // The table is set by the same turn of the task.
    tokio::task::yield_now().await;
    status
}

async fn pass(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn who_fails_three_checks_gets_no_calls_until_one_passes() {
    let (log, script) = (Log::capture(), Arc::new(Script::default()));
    let health = ActiveHealth::new(endpoints(&["a", "b", "c"]), script.clone());
    status(&health, |status| status.healthy == 3).await;
    script.set("b", Course::Fail);
    let unhealthy = status(&health, |status| !status.unhealthy.is_empty()).await;
    assert_eq!(script.begun("b"), 4);
    let text = "2 endpoints healthy, 1 unhealthy: b: refused";
    assert_eq!(unhealthy.to_string(), text);
    assert_eq!(keys(&health), ["a", "c"]);
    script.pass("b");
    status(&health, |status| status.healthy == 3).await;
    assert_eq!(script.begun("b"), 5);
    assert_eq!(keys(&health), ["a", "b", "c"]);
    let lines = log.lines();
    assert_eq!(lines.len(), 2);
    let line = "WARN endpoint unhealthy address=b error=refused";
    assert_eq!(lines[0].to_string(), line);
    assert_eq!(lines[1].message, "endpoint healthy again");
    assert_eq!(lines[1].field("address"), Some("b"));
}

#[tokio::test(start_paused = true)]
async fn a_check_that_hangs_or_panics_has_failed() {
    for (course, error) in [
        (Course::Hang, "the health check did not finish within 1s"),
        (Course::Panic, "the health check panicked: a bug"),
    ] {
        let script = Arc::new(Script::default());
        script.set("b", course);
        let health = ActiveHealth::new(endpoints(&["a", "b"]), script.clone());
        let status = status(&health, |status| !status.unhealthy.is_empty()).await;
        assert_eq!(status.unhealthy[0].error.to_string(), error);
        assert_eq!(keys(&health), ["a"]);
    }
}

#[tokio::test(start_paused = true)]
async fn checks_that_hang_hold_up_nobody() {
    let script = Arc::new(Script::default());
    let names: Vec<_> = (0..1000).map(|n| format!("{n:03}")).collect();
    for name in &names {
        script.set(name, Course::Hang);
    }
    let names = names.iter().map(String::as_str).chain(["x"]);
    let source = endpoints(&names.collect::<Vec<_>>());
    let builder = ActiveHealth::builder(source, script.clone());
    let health = builder
        .timeout(Duration::from_secs(3600))
        .use_unchecked(false)
        .build();
    let start = Instant::now();
    status(&health, |status| status.healthy == 1).await;
    assert!(start.elapsed() < Duration::from_secs(1));
    assert_eq!((keys(&health), script.running()), (vec!["x".into()], 1000));
    pass(100).await;
    assert!(script.begun("x") >= 10, "it is checked again and again");
}

#[tokio::test(start_paused = true)]
async fn only_so_many_checks_run_at_once() {
    let script = Arc::new(Script::default());
    let names: Vec<_> = (0..100).map(|n| n.to_string()).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    for name in &names {
        script.set(name, Course::Take(Duration::from_millis(10)));
    }
    let health = ActiveHealth::new(endpoints(&names), script.clone());
    status(&health, |status| status.healthy == 100).await;
    assert_eq!(script.running.lock().unwrap().1, 32);
}

#[tokio::test(start_paused = true)]
async fn a_new_endpoint_is_used_before_its_first_check() {
    let script = Arc::new(Script::default());
    script.set("b", Course::Take(Duration::from_millis(500)));
    let source = endpoints(&["a"]);
    let health = ActiveHealth::new(source.clone(), script);
    assert_eq!(keys(&health), ["a"], "from the start");
    status(&health, |status| status.healthy == 1).await;
    source.set(["a", "b"].map(|name| at(name, name)));
    status(&health, |status| status.unchecked == 1).await;
    assert_eq!(keys(&health), ["a", "b"]);
}

#[tokio::test(start_paused = true)]
async fn or_only_after_it_has_passed() {
    let script = Arc::new(Script::default());
    script.set("b", Course::Take(Duration::from_millis(500)));
    script.set("c", Course::Fail);
    let builder = ActiveHealth::builder(endpoints(&["a", "b", "c"]), script.clone());
    let health = Arc::new(builder.use_unchecked(false).build());
    let none = RoundRobin::new(health.clone()).endpoint().unwrap_err();
    assert_eq!(none.to_string(), "no endpoints: none of 3 is healthy");
    status(&health, |status| status.unchecked == 1).await;
    assert_eq!(keys(&*health), ["a"], "one failed check is enough");
    status(&health, |status| status.unchecked == 0).await;
    assert_eq!(keys(&*health), ["a", "b"]);
}

#[tokio::test(start_paused = true)]
async fn if_too_few_are_healthy_all_are_used() {
    let (log, script) = (Log::capture(), Arc::new(Script::default()));
    let names = ["a", "b", "c", "d"];
    let health = ActiveHealth::new(endpoints(&names), script.clone());
    status(&health, |status| status.healthy == 4).await;
    for name in ["a", "b"] {
        script.set(name, Course::Fail);
    }
    status(&health, |status| status.unhealthy.len() == 2).await;
    assert_eq!(keys(&health), ["c", "d"]);
    assert!(!health.endpoints().in_panic());
    script.set("c", Course::Fail);
    let in_panic = status(&health, |status| status.in_panic).await;
    assert_eq!(in_panic.unhealthy.len(), 3);
    assert_eq!(keys(&health), names);
    assert!(health.endpoints().in_panic());
    let line = "WARN too few endpoints are healthy, using all \
                adapter=\"active health\" healthy=1 endpoints=4";
    assert!(log.text().iter().any(|text| text == line));
    script.pass("a");
    status(&health, |status| !status.in_panic).await;
    assert_eq!(keys(&health), ["a", "d"]);
}

#[tokio::test(start_paused = true)]
async fn checks_stop_for_what_is_gone() {
    let script = Arc::new(Script::default());
    script.set("b", Course::Hang);
    let source = endpoints(&["a", "b"]);
    let builder = ActiveHealth::builder(source.clone(), script.clone());
    let health = builder.timeout(Duration::from_secs(3600)).build();
    status(&health, |status| status.healthy == 1).await;
    assert_eq!(script.running(), 1);
    source.set([at("a", "a")]);
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(script.running(), 0);
    pass(100).await;
    assert_eq!(script.begun("b"), 1);
    assert_eq!(keys(&health), ["a"]);
    let status = health.status().borrow();
    assert_eq!((status.healthy, status.unchecked), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_comes_back_is_new() {
    let script = Arc::new(Script::default());
    script.set("b", Course::Fail);
    let source = endpoints(&["a", "b"]);
    let health = ActiveHealth::new(source.clone(), script.clone());
    status(&health, |status| status.unhealthy.len() == 1).await;
    source.set([at("a", "a")]);
    status(&health, |status| status.unhealthy.is_empty()).await;
    source.set(["a", "b"].map(|name| at(name, name)));
    status(&health, |status| status.unchecked == 1).await;
    assert_eq!(keys(&health), ["a", "b"]);
}

#[tokio::test(start_paused = true)]
async fn two_keys_of_one_address_are_checked_once() {
    let script = Arc::new(Script::default());
    script.set("h:1", Course::Fail);
    let source = FixedEndpointer::new([at("a", "h:1"), at("b", "h:2"), at("c", "h:1")]);
    let builder = ActiveHealth::builder(source, script.clone()).unhealthy_threshold(1);
    let health = builder.build();
    status(&health, |status| status.unhealthy.len() == 1).await;
    assert_eq!(keys(&health), ["b"]);
    assert_eq!(script.begun("h:1"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_change_of_weight_changes_no_verdict() {
    let script = Arc::new(Script::default());
    script.set("b", Course::Fail);
    let source = endpoints(&["a", "b", "c"]);
    let health = ActiveHealth::new(source.clone(), script.clone());
    status(&health, |status| status.unhealthy.len() == 1).await;
    let mut versions = health.versions();
    versions.mark_unchanged();
    source.set(["a", "b", "c"].map(|name| {
        let endpoint = at(name, name);
        endpoint.with_instance(Instance::clone(endpoint.instance()).with_weight(7))
    }));
    in_time(versions.changed()).await.unwrap();
    assert_eq!(keys(&health), ["a", "c"]);
}

#[tokio::test(start_paused = true)]
async fn all_ends_with_the_owner() {
    let script = Arc::new(Script::default());
    script.set("b", Course::Hang);
    let source = endpoints(&["a", "b"]);
    for is_stopped in [true, false] {
        let health = ActiveHealth::new(source.clone(), script.clone());
        status(&health, |status| status.healthy == 1).await;
        let mut status = health.status();
        if is_stopped {
            health.stop().await;
            assert_eq!(script.running(), 0);
            assert_eq!(keys(&health), ["a", "b"], "the table stays");
        }
        drop(health);
        while in_time(status.changed()).await.is_ok() {}
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert_eq!(Arc::strong_count(&script), 1);
        assert_eq!(Arc::strong_count(&source), 1);
        assert_eq!(script.running(), 0);
    }
}
