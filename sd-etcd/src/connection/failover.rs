//! Which member to connect to, and when.
//!
//! The first member is chosen at random, so that clients spread over the cluster. It is kept while
//! it works. A name may stand for several addresses: each is tried before the next member is. After
//! every member has failed there is a pause, shared by all callers: however many wait, a starting
//! etcd sees one attempt at a time.

use crate::config::Endpoint;
use sd_core::Backoff;
use std::{collections::VecDeque, net::SocketAddr, time::Duration};
use tokio::time::Instant;

/// The longest pause between two rounds of all members.
const MAX_PAUSE: Duration = Duration::from_millis(500);
/// How many warnings there are within a minute. An etcd that answers a little and then fails again has
/// more to be warned of.
const MAX_WARNINGS: usize = 3;
const WARNING_PERIOD: Duration = Duration::from_secs(60);

pub(super) struct Failover {
    pub(super) member: Endpoint,
    /// The addresses of the member that are left to try. If there are none, all are.
    pub(super) addresses: Vec<SocketAddr>,
    pub(super) epoch: u64,
    /// The current connection has answered something.
    has_answered: bool,
    /// Members given up since the last pause or answer.
    failures: usize,
    /// The pauses between rounds. An answer resets them.
    backoff: Backoff,
    /// When the warning was logged that no connection works. An answer resets it.
    warned_at: Option<Instant>,
    /// The last warnings, oldest first.
    warnings: VecDeque<Instant>,
}

/// A connection that was given up.
pub(super) struct GivenUp {
    pub(super) member: Endpoint,
    pub(super) next: Endpoint,
    /// It is the first since the last answer, and worth a warning: there were few in the last minute.
    pub(super) is_first: bool,
}

impl Failover {
    /// Starts with one of `members`.
    pub(super) fn new(members: &[Endpoint]) -> Self {
        Self {
            member: members[fastrand::usize(..members.len())].clone(),
            addresses: Vec::new(),
            epoch: 0,
            has_answered: false,
            failures: 0,
            backoff: Backoff::new(Duration::from_millis(20), MAX_PAUSE),
            warned_at: None,
            warnings: VecDeque::new(),
        }
    }

    /// Moves on if `epoch` is the current connection: to the `rest` of the member's addresses, or
    /// else to the next of `members`. Of many calls that fail together only the first counts; the
    /// others get `None`.
    pub(super) fn give_up(
        &mut self,
        epoch: u64,
        rest: Vec<SocketAddr>,
        members: &[Endpoint],
        now: Instant,
    ) -> Option<GivenUp> {
        if self.epoch != epoch {
            return None;
        }
        self.epoch += 1;
        self.has_answered = false;
        let member = self.member.clone();
        let is_member = members.contains(&member);
        self.addresses = rest;
        if self.addresses.is_empty() || !is_member {
            self.failures += 1;
            self.move_on(members);
        }
        let is_first = self.warned_at.is_none() && self.may_warn(now);
        if is_first {
            self.warned_at = Some(now);
        }
        Some(GivenUp {
            member,
            next: self.member.clone(),
            is_first,
        })
    }

    fn may_warn(&mut self, now: Instant) -> bool {
        let warnings = &mut self.warnings;
        while warnings
            .front()
            .is_some_and(|at| now - *at >= WARNING_PERIOD)
        {
            warnings.pop_front();
        }
        let may_warn = warnings.len() < MAX_WARNINGS;
        if may_warn {
            warnings.push_back(now);
        }
        may_warn
    }

    /// Moves on to the member behind the current one; to any, if that is none of them any more.
    pub(super) fn move_on(&mut self, members: &[Endpoint]) {
        let current = members.iter().position(|member| *member == self.member);
        let next = match current {
            Some(index) => (index + 1) % members.len(),
            None => fastrand::usize(..members.len()),
        };
        self.member = members[next].clone();
        self.addresses.clear();
    }

    /// Notes that connection `epoch` works. Returns since when there was trouble, if a warning was
    /// logged.
    pub(super) fn answered(&mut self, epoch: u64) -> Option<Instant> {
        if self.epoch != epoch {
            return None;
        }
        self.has_answered = true;
        self.failures = 0;
        self.backoff.reset();
        self.warned_at.take()
    }

    /// Whether connection `epoch` is the current one and has answered nothing yet.
    pub(super) fn is_new(&self, epoch: u64) -> bool {
        self.epoch == epoch && !self.has_answered
    }

    /// Returns the pause before the next connection. It is zero until each of so many members has
    /// failed.
    pub(super) fn pause(&mut self, members: usize) -> Duration {
        if self.failures < members {
            return Duration::ZERO;
        }
        self.failures = 0;
        self.backoff.next_delay()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(names: &[&str]) -> Vec<Endpoint> {
        let endpoint = |name: &&str| Endpoint::new(&format!("{name}:1"), false).unwrap();
        names.iter().map(endpoint).collect()
    }

    fn give_up(failover: &mut Failover, rest: &[SocketAddr], members: &[Endpoint]) -> GivenUp {
        let (epoch, now) = (failover.epoch, Instant::now());
        failover
            .give_up(epoch, rest.to_vec(), members, now)
            .unwrap()
    }

    /// hostile row 13
    #[test]
    fn an_etcd_that_answers_and_fails_again_and_again_is_warned_of_few_times_a_minute() {
        let members = members(&["a"]);
        let mut failover = Failover::new(&members);
        let now = Instant::now();
        let mut fail = |at| {
            let given_up = failover.give_up(failover.epoch, Vec::new(), &members, at);
            failover.answered(failover.epoch);
            given_up.unwrap().is_first
        };
        let warned = (0..100).filter(|_| fail(now)).count();
        assert_eq!(warned, MAX_WARNINGS);
        assert!(fail(now + WARNING_PERIOD));
    }

    #[test]
    fn all_members_are_tried_before_a_pause_and_pauses_grow() {
        let members = members(&["a", "b", "c"]);
        let mut failover = Failover::new(&members);
        let mut round = || {
            let mut pauses = [Duration::MAX; 3];
            for pause in &mut pauses {
                *pause = failover.pause(3);
                give_up(&mut failover, &[], &members);
            }
            pauses
        };

        assert_eq!(round(), [Duration::ZERO; 3]);
        let later: Vec<_> = (0..10).map(|_| round()).collect();

        assert!(later.iter().all(|round| round[1..] == [Duration::ZERO; 2]));
        assert!(later[0][0] >= Duration::from_millis(10));
        assert!((MAX_PAUSE / 2..=MAX_PAUSE).contains(&later[9][0]));
    }

    /// Row 40.
    #[test]
    fn all_addresses_of_a_member_are_tried_before_the_next_member() {
        let members = members(&["a", "b"]);
        let mut failover = Failover::new(&members);
        let first = failover.member.clone();
        let rest = ["10.0.0.2:1".parse().unwrap()];

        assert_eq!(give_up(&mut failover, &rest, &members).next, first);
        assert_eq!(failover.addresses, rest);
        assert_eq!(failover.pause(2), Duration::ZERO);
        assert_ne!(give_up(&mut failover, &[], &members).next, first);
        assert!(failover.addresses.is_empty());
        assert_eq!(failover.pause(2), Duration::ZERO);
        assert_eq!(give_up(&mut failover, &[], &members).next, first);
        assert!(failover.pause(2) > Duration::ZERO);
    }

    /// Row 35.
    #[test]
    fn a_member_that_was_removed_is_left_with_all_its_addresses() {
        let mut failover = Failover::new(&members(&["a"]));
        let rest = ["10.0.0.2:1".parse().unwrap()];
        let replaced = members(&["b"]);

        assert_eq!(give_up(&mut failover, &rest, &replaced).next, replaced[0]);
        assert!(failover.addresses.is_empty());
    }

    #[test]
    fn only_the_first_failure_since_an_answer_is_worth_a_warning() {
        let members = members(&["a"]);
        let mut failover = Failover::new(&members);
        assert!(give_up(&mut failover, &[], &members).is_first);
        assert!(!give_up(&mut failover, &[], &members).is_first);
        let stale = failover.give_up(0, Vec::new(), &members, Instant::now());
        assert!(stale.is_none());

        assert!(failover.answered(failover.epoch).is_some());
        assert!(give_up(&mut failover, &[], &members).is_first);
    }
}
