use super::*;

/// Hosts, the time, and the addresses that they were told last.
struct Set {
    hosts: CheckedHosts,
    now: Instant,
}

fn failed() -> Result<(), HealthCheckError> {
    Err(HealthCheckError::TimedOut(Duration::from_secs(1)))
}

impl Set {
    fn of(options: Options, addresses: &[&str]) -> Self {
        let mut set = Self {
            hosts: CheckedHosts::new(options),
            now: Instant::now(),
        };
        set.tell(addresses);
        set
    }

    fn tell(&mut self, addresses: &[&str]) -> Vec<(Arc<str>, Option<RunId>)> {
        self.hosts
            .set_addresses(addresses.iter().copied(), self.now)
    }

    /// Waits for the only host's next check. It has this result.
    fn check(&mut self, passes: bool) -> Option<Change> {
        self.now = self.hosts.wake_at().unwrap();
        let (id, _) = self.hosts.start_check(self.now).unwrap();
        let result = if passes { Ok(()) } else { failed() };
        self.hosts.finish_check(id, result, self.now)
    }

    /// What its verdict is after checks with these results.
    fn verdicts(&mut self, results: &[bool]) -> Vec<&'static str> {
        let verdict = |passes: &bool| {
            self.check(*passes);
            match self.hosts.verdicts().get("a") {
                None => "none",
                Some(Verdict::Healthy) => "healthy",
                Some(Verdict::Unhealthy(_)) => "unhealthy",
            }
        };
        results.iter().map(verdict).collect()
    }
}

#[test]
fn three_failures_in_a_row_and_one_success_decide() {
    let mut set = Set::of(Options::default(), &["a"]);
    let (ok, no) = (true, false);
    assert_eq!(set.verdicts(&[ok]), ["healthy"]);
    assert_eq!(set.verdicts(&[no, no, ok, no, no]), ["healthy"; 5]);
    assert_eq!(set.verdicts(&[no, no]), ["unhealthy"; 2]);
    assert_eq!(set.verdicts(&[ok, no]), ["healthy"; 2]);
}

#[test]
fn the_thresholds_are_options() {
    let options = Options {
        unhealthy_threshold: 1,
        healthy_threshold: 2,
        ..Options::default()
    };
    let mut set = Set::of(options, &["a"]);
    let (ok, no) = (true, false);
    assert_eq!(set.verdicts(&[ok]), ["healthy"], "the first one is enough");
    assert_eq!(set.verdicts(&[no, ok, no, ok]), ["unhealthy"; 4]);
    assert_eq!(set.verdicts(&[ok]), ["healthy"]);
}

#[test]
fn a_new_host_is_judged_by_whether_it_is_used_meanwhile() {
    let (ok, no) = (true, false);
    let mut set = Set::of(Options::default(), &["a"]);
    let verdicts = ["none", "none", "unhealthy", "healthy"];
    assert_eq!(set.verdicts(&[no, no, no, ok]), verdicts);
    let options = Options {
        use_unchecked: false,
        ..Options::default()
    };
    let mut set = Set::of(options, &["a"]);
    assert_eq!(
        set.verdicts(&[no, ok, no]),
        ["unhealthy", "healthy", "healthy"]
    );
}

#[test]
fn each_pause_is_about_the_interval_and_not_the_same() {
    fastrand::seed(3);
    let mut set = Set::of(Options::default(), &["a"]);
    assert_eq!(set.hosts.wake_at(), Some(set.now), "the first at once");
    let mut pauses = Vec::new();
    for _ in 0..100 {
        let before = set.now;
        set.check(true);
        pauses.push((set.now - before).as_secs_f64());
    }
    let pauses = &pauses[1..];
    let within = |least: f64, most: f64| {
        let within = |pause: &&f64| (least..=most).contains(*pause);
        pauses.iter().filter(within).count()
    };
    assert_eq!(within(9.0, 11.0), 99);
    assert!(within(9.0, 9.5) > 5 && within(10.5, 11.0) > 5, "{pauses:?}");
}

#[test]
fn what_a_check_of_a_host_that_is_gone_has_shown_is_ignored() {
    let mut set = Set::of(Options::default(), &["a"]);
    let (id, _) = set.hosts.start_check(set.now).unwrap();
    assert_eq!(set.tell(&[]), [("a".into(), Some(id))]);
    set.tell(&["a"]);
    assert!(set.hosts.finish_check(id, Ok(()), set.now).is_none());
    assert!(set.hosts.verdicts().is_empty());
    assert_eq!(set.hosts.wake_at(), Some(set.now), "it is checked again");
    set.check(true);
    assert_eq!(set.tell(&[]), [("a".into(), None)]);
    assert!(set.hosts.verdicts().is_empty() && set.hosts.wake_at().is_none());
}
