//! Whether etcd is still there: when to ask it for a word, and what its silence means.
//!
//! The word is asked for on the watch stream (a request for progress), so that an answer also proves
//! that the stream works. etcd answers as soon as the watches of the stream have caught up. Its gRPC
//! proxy never does (3.4.23 to 3.7.3), and must not look like a frozen etcd for it. So a request that
//! is not answered promptly is followed by a read on the same connection, one that the proxy has to
//! ask etcd for. What that answer is worth depends on the stream:
//!
//! - Where progress was answered once, there is no proxy, and nothing is read: whoever could answer
//!   and does not is stuck, however well etcd reads.
//! - Where it never was, the read's answer counts. That such a stream works is then known only from
//!   the answer to its first watch. An etcd that is asked directly is in this state for one interval,
//!   or until its watches have caught up; so progress is asked for again, ever more rarely, as a proxy
//!   logs each time as an error (3.5 and later).
//!
//! Either way etcd gets about one request each interval while it says nothing by itself.

use std::time::Duration;
use tokio::time::Instant;

/// The liveness of one watch stream. Told of every word and of the time; says what is due.
pub(crate) struct Liveness {
    /// How long etcd may say nothing before it is asked.
    interval: Duration,
    /// How long it may owe an answer before the connection is given up.
    timeout: Duration,
    /// When it said something last.
    heard: Instant,
    /// A word that it owes.
    owed: Option<Owed>,
    /// Its silence was said.
    silent: bool,
    answers: Answers,
}

struct Owed {
    asked: Instant,
    /// There is nothing to be read any more.
    read: bool,
}

/// What has been answered so far.
#[derive(PartialEq)]
enum Answers {
    Nothing,
    /// Reads only, so many.
    Reads(u32),
    /// A request for progress.
    Progress,
}

/// What is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    Nothing,
    /// To ask for progress.
    Ask,
    /// To read something beside.
    Read,
    /// To say that etcd has been silent since it was asked then, and to ask for progress once more.
    Silence {
        asked: Instant,
    },
    /// To give up the connection.
    Loss {
        asked: Instant,
    },
}

impl Liveness {
    pub(crate) fn new(interval: Duration, timeout: Duration, now: Instant) -> Self {
        Self {
            interval,
            timeout,
            heard: now,
            owed: None,
            silent: false,
            answers: Answers::Nothing,
        }
    }

    /// When etcd said something last; at first, when the stream was opened.
    pub(crate) fn last_word(&self) -> Instant {
        self.heard
    }

    /// Something came on the stream; whether that ends a silence that was said.
    pub(crate) fn heard(&mut self, now: Instant) -> bool {
        self.heard = now;
        self.owed = None;
        std::mem::take(&mut self.silent)
    }

    /// What came was the answer to a request for progress.
    pub(crate) fn progressed(&mut self) {
        self.answers = Answers::Progress;
    }

    /// A read was answered; whether that ends a silence that was said.
    pub(crate) fn read(&mut self, now: Instant) -> bool {
        self.answers = match self.answers {
            Answers::Progress => return false,
            Answers::Nothing => Answers::Reads(1),
            Answers::Reads(reads) => Answers::Reads(reads.wrapping_add(1)),
        };
        self.heard(now)
    }

    /// When something is due next.
    pub(crate) fn timer(&self) -> Instant {
        match &self.owed {
            None => self.heard + self.interval,
            Some(owed) if !owed.read => owed.asked + self.promptness(),
            Some(owed) if self.silent => owed.asked + self.timeout,
            Some(owed) => owed.asked + self.patience(),
        }
    }

    /// What is due by now; only once.
    pub(crate) fn tick(&mut self, now: Instant) -> Due {
        let (promptness, patience) = (self.promptness(), self.patience());
        match &mut self.owed {
            None if self.heard + self.interval <= now => {
                let (due, read) = match self.answers {
                    Answers::Progress => (Due::Ask, true),
                    Answers::Reads(reads) if !asks_after(reads) => (Due::Read, true),
                    Answers::Nothing | Answers::Reads(_) => (Due::Ask, false),
                };
                self.owed = Some(Owed { asked: now, read });
                due
            }
            None => Due::Nothing,
            Some(owed) if owed.asked + self.timeout <= now => Due::Loss { asked: owed.asked },
            Some(owed) if !owed.read && owed.asked + promptness <= now => {
                owed.read = true;
                Due::Read
            }
            Some(owed) if !self.silent && owed.asked + patience <= now => {
                self.silent = true;
                Due::Silence { asked: owed.asked }
            }
            Some(_) => Due::Nothing,
        }
    }

    /// How long an answer may take before that is a silence.
    ///
    /// A lease that is prolonged every TTL / 3 has two thirds of its TTL left when a freeze begins,
    /// so a freeze that costs a lease is longer than that. Whoever follows is to know of it before
    /// etcd, thawed, removes what hung on the lease. The interval is half of the shortest TTL, or
    /// less: then the interval and a third of it, the longest time from the last word to this, are
    /// two thirds of the TTL.
    fn patience(&self) -> Duration {
        (self.interval / 3).min(self.timeout)
    }

    /// How long a request for progress may take before something is read: no time where none has
    /// ever been answered.
    fn promptness(&self) -> Duration {
        match self.answers {
            Answers::Reads(_) => Duration::ZERO,
            Answers::Nothing | Answers::Progress => self.patience() / 2,
        }
    }
}

/// Whether progress is asked for again after so many reads.
fn asks_after(reads: u32) -> bool {
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
    fn unheard(liveness: &mut Liveness, start: Instant, end: Instant) -> Vec<(Duration, Due)> {
        let mut all = Vec::new();
        while liveness.timer() <= end {
            let now = liveness.timer();
            match liveness.tick(now) {
                Due::Nothing => panic!("a timer without a reason"),
                due => all.push((now - start, due)),
            }
            if let Some((_, Due::Loss { .. })) = all.last() {
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
                (INTERVAL, Due::Ask),
                (INTERVAL + INTERVAL / 6, Due::Read),
                (INTERVAL + INTERVAL / 3, Due::Silence { asked }),
                (INTERVAL + TIMEOUT, Due::Loss { asked }),
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
        assert_eq!(liveness.tick(start + INTERVAL - MS), Due::Nothing);
        let asked = start + INTERVAL + MS;
        assert_eq!(liveness.tick(asked), Due::Ask);
        assert_eq!(liveness.tick(asked), Due::Nothing);
        let silent = asked + INTERVAL / 3;
        assert_eq!(liveness.tick(silent - MS), Due::Nothing);
        assert_eq!(liveness.tick(silent), Due::Silence { asked });
        assert_eq!(liveness.tick(silent), Due::Nothing);
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
        assert_eq!(liveness.tick(asked), Due::Ask);
        liveness.tick(liveness.timer());
        assert!(liveness.heard(asked + INTERVAL));
        assert!(!liveness.heard(asked + INTERVAL), "once");
        assert_eq!(liveness.last_word(), asked + INTERVAL);
        assert_eq!(liveness.timer(), asked + 2 * INTERVAL);
    }

    #[test]
    fn a_timeout_shorter_than_patience_is_kept() {
        let start = Instant::now();
        let mut liveness = Liveness::new(INTERVAL, INTERVAL / 10, start);
        let asked = start + INTERVAL;

        let all = unheard(&mut liveness, start, start + 10 * INTERVAL);

        assert_eq!(all[2], (INTERVAL + INTERVAL / 10, Due::Loss { asked }));
    }

    #[test]
    fn where_progress_was_answered_reads_are_neither_made_nor_believed() {
        let (mut liveness, start) = begun();
        liveness.progressed();

        let asked = start + INTERVAL;
        assert_eq!(liveness.tick(asked), Due::Ask);
        assert!(!liveness.read(asked), "one that was under way");
        assert_eq!(liveness.timer(), asked + INTERVAL / 3);
        assert_eq!(
            unheard(&mut liveness, start, start + 10 * INTERVAL),
            [
                (INTERVAL + INTERVAL / 3, Due::Silence { asked }),
                (INTERVAL + TIMEOUT, Due::Loss { asked }),
            ]
        );
    }

    #[test]
    fn where_only_reads_are_answered_one_is_made_each_interval_and_at_once() {
        let (mut liveness, start) = begun();
        liveness.tick(start + INTERVAL);
        let first = liveness.timer();
        assert_eq!(liveness.tick(first), Due::Read);
        assert!(!liveness.read(first), "no silence was said");

        let (mut asked, mut requests) = (first + INTERVAL, 0);
        for _ in 0..200 {
            assert_eq!(liveness.tick(asked - MS), Due::Nothing);
            assert_eq!(liveness.timer(), asked);
            let mut due = liveness.tick(asked);
            if due == Due::Ask {
                requests += 1;
                assert_eq!(liveness.timer(), asked);
                due = liveness.tick(asked);
            }
            assert_eq!(due, Due::Read);
            assert_eq!(liveness.tick(asked), Due::Nothing);
            assert!(!liveness.read(asked + MS));
            asked += MS + INTERVAL;
        }
        assert!((1..15).contains(&requests), "{requests} for progress");
        // And it is missed as any other word is.
        assert_eq!(
            unheard(&mut liveness, asked, asked + 10 * INTERVAL),
            [
                (Duration::ZERO, Due::Read),
                (INTERVAL / 3, Due::Silence { asked }),
                (TIMEOUT, Due::Loss { asked }),
            ]
        );
        assert!(liveness.read(asked + TIMEOUT), "the silence is over");
    }

    #[test]
    fn an_etcd_that_caught_up_late_is_not_taken_for_a_proxy() {
        let (mut liveness, start) = begun();
        liveness.tick(start + INTERVAL);
        liveness.tick(liveness.timer());
        liveness.read(start + INTERVAL);
        liveness.tick(start + 2 * INTERVAL);

        liveness.heard(start + 2 * INTERVAL);
        liveness.progressed();

        let due = unheard(&mut liveness, start, start + 10 * INTERVAL);
        assert!(due.iter().all(|(_, due)| *due != Due::Read), "{due:?}");
    }
}
