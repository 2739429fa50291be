//! When to probe etcd, and what its silence means.
//!
//! The probe is a request for progress on the watch stream, so that an answer also proves that the
//! stream works. etcd answers as soon as the watches of the stream have caught up; where it may not answer
//! because a watch waits for a revision to come, the probe is an empty watch (`watches`). Its gRPC proxy
//! never does (3.4.23 to 3.7.3), and must not look like a frozen etcd. So an unanswered request is
//! soon followed by a read on the same connection, which the proxy has to pass on to etcd. Whether
//! the read's answer counts depends on the stream:
//!
//! - Once progress was answered, there is no proxy, and nothing is read. An etcd that could answer
//!   and does not is stuck, however well it reads.
//! - Until then the read's answer counts. That the stream works is then known only from the answer
//!   to its first watch. A direct etcd is in this state for one interval, or until its watches have
//!   caught up. So progress is requested again, ever more rarely, as a proxy logs each request as an
//!   error (3.5 and later).
//!
//! Either way etcd gets about one request per interval while it sends nothing by itself.

use std::time::Duration;
use tokio::time::Instant;

/// The liveness of one watch stream. It is told of every message and of the time, and returns what
/// to do.
pub(super) struct Liveness {
    /// How long etcd may be silent before it is probed.
    interval: Duration,
    /// How long a probe may be unanswered before the connection is given up.
    timeout: Duration,
    heard_at: Instant,
    probe: Option<Probe>,
    /// The silence was reported.
    is_silent: bool,
    answered: Answered,
}

struct Probe {
    sent_at: Instant,
    /// The read was made, or none is needed.
    read: bool,
}

#[derive(PartialEq)]
enum Answered {
    Nothing,
    /// Only reads, so many.
    Reads(u32),
    Progress,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    None,
    RequestProgress,
    Read,
    /// Report that etcd has not answered since then, and request progress once more.
    ReportSilence {
        since: Instant,
    },
    GiveUp {
        since: Instant,
    },
}

impl Liveness {
    pub(super) fn new(interval: Duration, timeout: Duration, now: Instant) -> Self {
        Self {
            interval,
            timeout,
            heard_at: now,
            probe: None,
            is_silent: false,
            answered: Answered::Nothing,
        }
    }

    /// Returns when the last message came; before the first, when the stream was opened.
    pub(super) fn last_message(&self) -> Instant {
        self.heard_at
    }

    /// Handles a message on the stream. Returns whether it ends a reported silence.
    pub(super) fn heard(&mut self, now: Instant) -> bool {
        self.heard_at = now;
        self.probe = None;
        std::mem::take(&mut self.is_silent)
    }

    /// Returns when the request was sent that etcd has not answered yet.
    pub(super) fn asked_at(&self) -> Option<Instant> {
        self.probe.as_ref().map(|probe| probe.sent_at)
    }

    /// Notes that the message answered a request for progress.
    pub(super) fn progressed(&mut self) {
        self.answered = Answered::Progress;
    }

    /// Handles the answer to a read. Returns whether it ends a reported silence.
    pub(super) fn was_read(&mut self, now: Instant) -> bool {
        self.answered = match self.answered {
            Answered::Progress => return false,
            Answered::Nothing => Answered::Reads(1),
            Answered::Reads(reads) => Answered::Reads(reads.wrapping_add(1)),
        };
        self.heard(now)
    }

    /// Returns when [`tick`](Self::tick) is due.
    pub(super) fn timer(&self) -> Instant {
        match &self.probe {
            None => self.heard_at + self.interval,
            Some(probe) if !probe.read => probe.sent_at + self.read_delay(),
            Some(probe) if self.is_silent => probe.sent_at + self.timeout,
            Some(probe) => probe.sent_at + self.patience(),
        }
    }

    /// Returns what is due at `now`. Each action is returned once.
    pub(super) fn tick(&mut self, now: Instant) -> Action {
        let (read_delay, patience) = (self.read_delay(), self.patience());
        match &mut self.probe {
            None if self.heard_at + self.interval <= now => {
                let (action, read) = match self.answered {
                    Answered::Progress => (Action::RequestProgress, true),
                    Answered::Reads(reads) if !requests_after(reads) => (Action::Read, true),
                    Answered::Nothing | Answered::Reads(_) => (Action::RequestProgress, false),
                };
                self.probe = Some(Probe { sent_at: now, read });
                action
            }
            None => Action::None,
            Some(probe) if probe.sent_at + self.timeout <= now => Action::GiveUp {
                since: probe.sent_at,
            },
            Some(probe) if !probe.read && probe.sent_at + read_delay <= now => {
                probe.read = true;
                Action::Read
            }
            Some(probe) if !self.is_silent && probe.sent_at + patience <= now => {
                self.is_silent = true;
                Action::ReportSilence {
                    since: probe.sent_at,
                }
            }
            Some(_) => Action::None,
        }
    }

    /// Returns how long a probe may be unanswered before that is reported.
    ///
    /// A lease is renewed every TTL / 3, so it has two thirds of its TTL left when a freeze begins,
    /// and a freeze that costs a lease is longer than that. It has to be reported before etcd,
    /// thawed, removes the keys of the lease. The interval is at most half of the shortest TTL. So
    /// the interval and a third of it, the longest time from the last message to the report, are at
    /// most two thirds of the TTL.
    fn patience(&self) -> Duration {
        (self.interval / 3).min(self.timeout)
    }

    /// Returns how long a request for progress may be unanswered before something is read: no time
    /// where only reads were ever answered.
    fn read_delay(&self) -> Duration {
        match self.answered {
            Answered::Reads(_) => Duration::ZERO,
            Answered::Nothing | Answered::Progress => self.patience() / 2,
        }
    }
}

/// Whether progress is requested again after so many reads.
fn requests_after(reads: u32) -> bool {
    reads.is_power_of_two() || reads.is_multiple_of(64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(1);
    const TIMEOUT: Duration = Duration::from_secs(3);
    const MS: Duration = Duration::from_millis(1);

    fn begun() -> (Liveness, Instant) {
        let start = Instant::now();
        (Liveness::new(INTERVAL, TIMEOUT, start), start)
    }

    /// All that becomes due until `end` if nothing is heard, and how long after `start`.
    fn unheard(liveness: &mut Liveness, start: Instant, end: Instant) -> Vec<(Duration, Action)> {
        let mut all = Vec::new();
        while liveness.timer() <= end {
            let now = liveness.timer();
            match liveness.tick(now) {
                Action::None => panic!("a timer without a reason"),
                due => all.push((now - start, due)),
            }
            if let Some((_, Action::GiveUp { .. })) = all.last() {
                break;
            }
        }
        all
    }

    #[test]
    fn silence_is_asked_about_then_said_then_given_up_on() {
        let (mut liveness, start) = begun();

        let asked = start + INTERVAL;
        assert_eq!(
            unheard(&mut liveness, start, start + 10 * INTERVAL),
            [
                (INTERVAL, Action::RequestProgress),
                (INTERVAL + INTERVAL / 6, Action::Read),
                (
                    INTERVAL + INTERVAL / 3,
                    Action::ReportSilence { since: asked }
                ),
                (INTERVAL + TIMEOUT, Action::GiveUp { since: asked }),
            ]
        );
    }

    #[test]
    fn silence_is_said_before_a_freeze_can_cost_the_shortest_lease() {
        let (mut liveness, start) = begun();

        let said = unheard(&mut liveness, start, start + 10 * INTERVAL)[2].0;

        assert!(said <= sd_core::Ttl::MIN.duration() * 2 / 3, "{said:?}");
    }

    #[test]
    fn nothing_is_due_early_or_twice() {
        let (mut liveness, start) = begun();
        liveness.progressed();
        assert_eq!(liveness.tick(start + INTERVAL - MS), Action::None);
        let asked = start + INTERVAL + MS;
        assert_eq!(liveness.tick(asked), Action::RequestProgress);
        assert_eq!(liveness.tick(asked), Action::None);
        let silent = asked + INTERVAL / 3;
        assert_eq!(liveness.tick(silent - MS), Action::None);
        assert_eq!(
            liveness.tick(silent),
            Action::ReportSilence { since: asked }
        );
        assert_eq!(liveness.tick(silent), Action::None);
    }

    #[test]
    fn a_word_begins_it_anew_and_says_whether_it_ends_a_silence() {
        let (mut liveness, start) = begun();
        liveness.progressed();
        let asked = start + INTERVAL;
        liveness.tick(asked);
        assert!(!liveness.heard(asked + MS), "it was not said");
        assert_eq!(liveness.timer(), asked + MS + INTERVAL);

        let asked = asked + MS + INTERVAL;
        assert_eq!(liveness.tick(asked), Action::RequestProgress);
        liveness.tick(liveness.timer());
        assert!(liveness.heard(asked + INTERVAL));
        assert!(!liveness.heard(asked + INTERVAL), "once");
        assert_eq!(liveness.last_message(), asked + INTERVAL);
        assert_eq!(liveness.timer(), asked + 2 * INTERVAL);
    }

    #[test]
    fn a_timeout_shorter_than_patience_is_kept() {
        let start = Instant::now();
        let mut liveness = Liveness::new(INTERVAL, INTERVAL / 10, start);
        let asked = start + INTERVAL;

        let all = unheard(&mut liveness, start, start + 10 * INTERVAL);

        assert_eq!(
            all[2],
            (INTERVAL + INTERVAL / 10, Action::GiveUp { since: asked })
        );
    }

    #[test]
    fn where_progress_was_answered_reads_are_neither_made_nor_believed() {
        let (mut liveness, start) = begun();
        liveness.progressed();

        let asked = start + INTERVAL;
        assert_eq!(liveness.tick(asked), Action::RequestProgress);
        assert!(!liveness.was_read(asked), "one that was under way");
        assert_eq!(liveness.timer(), asked + INTERVAL / 3);
        assert_eq!(
            unheard(&mut liveness, start, start + 10 * INTERVAL),
            [
                (
                    INTERVAL + INTERVAL / 3,
                    Action::ReportSilence { since: asked }
                ),
                (INTERVAL + TIMEOUT, Action::GiveUp { since: asked }),
            ]
        );
    }

    #[test]
    fn where_only_reads_are_answered_one_is_made_each_interval_and_at_once() {
        let (mut liveness, start) = begun();
        liveness.tick(start + INTERVAL);
        let first = liveness.timer();
        assert_eq!(liveness.tick(first), Action::Read);
        assert!(!liveness.was_read(first), "no silence was said");

        let (mut asked, mut requests) = (first + INTERVAL, 0);
        for _ in 0..200 {
            assert_eq!(liveness.tick(asked - MS), Action::None);
            assert_eq!(liveness.timer(), asked);
            let mut due = liveness.tick(asked);
            if due == Action::RequestProgress {
                requests += 1;
                assert_eq!(liveness.timer(), asked);
                due = liveness.tick(asked);
            }
            assert_eq!(due, Action::Read);
            assert_eq!(liveness.tick(asked), Action::None);
            assert!(!liveness.was_read(asked + MS));
            asked += MS + INTERVAL;
        }
        assert!((1..15).contains(&requests), "{requests} for progress");
        // A missing answer to a read is a silence as well.
        assert_eq!(
            unheard(&mut liveness, asked, asked + 10 * INTERVAL),
            [
                (Duration::ZERO, Action::Read),
                (INTERVAL / 3, Action::ReportSilence { since: asked }),
                (TIMEOUT, Action::GiveUp { since: asked }),
            ]
        );
        assert!(liveness.was_read(asked + TIMEOUT), "the silence is over");
    }

    #[test]
    fn an_etcd_that_caught_up_late_is_not_taken_for_a_proxy() {
        let (mut liveness, start) = begun();
        liveness.tick(start + INTERVAL);
        liveness.tick(liveness.timer());
        liveness.was_read(start + INTERVAL);
        liveness.tick(start + 2 * INTERVAL);

        liveness.heard(start + 2 * INTERVAL);
        liveness.progressed();

        let due = unheard(&mut liveness, start, start + 10 * INTERVAL);
        assert!(due.iter().all(|(_, due)| *due != Action::Read), "{due:?}");
    }
}
