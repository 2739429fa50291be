//! What to do next with a program and its registration. Without I/O.

use rustix::process::Signal;
use std::time::Duration;
use tokio::time::Instant;

/// The exit status of a program that was killed: 128 and the signal, as shells say it.
const SIGNALLED: i32 = 128;

/// How much is waited for what.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// How many checks in a row have to pass before the instance is registered, or serves again.
    pub(crate) passes: u32,
    /// How many checks in a row have to fail before it drains.
    pub(crate) failures: u32,
    /// How long the program goes on between draining and the removal of its entry.
    pub(crate) drain: Duration,
    /// How long the removal may take.
    pub(crate) deregister: Duration,
    /// How long the program may take to end after the signal was passed on, before it is killed.
    pub(crate) stop: Duration,
}

/// What has happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    /// A check has passed or failed.
    Checked(bool),
    /// The registry refused the registration for good.
    Refused,
    /// The entry is removed, or could not be in its time.
    Deregistered,
    /// The program has ended, with this exit status.
    Ended(i32),
    /// Told to stop, by this signal.
    Told(Signal),
    /// The [deadline](Machine::deadline) has come.
    Expired,
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// Register the instance as one that serves, and keep it registered.
    Serve,
    /// Keep new calls away: let it drain, or take it out where the format cannot say so.
    Drain,
    /// Remove the entry, after draining or at once.
    Deregister { drains: bool },
    /// Send the program this signal.
    Pass(Signal),
    /// Kill the program, and what it has started.
    Kill,
    /// End with this exit status.
    Finish(i32),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// No check has passed yet.
    Waiting,
    Serving,
    /// Registered once, and not well.
    Unwell,
    /// Told to stop: the entry is removed first.
    Leaving {
        signal: Signal,
        until: Instant,
    },
    /// The program was told to end.
    Stopping {
        until: Instant,
    },
    /// The program was killed.
    Killed {
        until: Instant,
    },
    /// The program has ended by itself: its entry is removed.
    Cleaning {
        status: i32,
        until: Instant,
    },
    Finished,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Machine {
    limits: Limits,
    /// Whether there is a program, and not a registration alone.
    has_program: bool,
    state: State,
    /// Whether there may be an entry.
    is_registered: bool,
    /// The checks in a row with the same result as the last.
    in_a_row: (bool, u32),
    /// The exit status if the end is none of the program's.
    failed: Option<i32>,
}

impl Machine {
    pub(crate) fn new(limits: Limits, has_program: bool) -> Self {
        Self {
            limits,
            has_program,
            state: State::Waiting,
            is_registered: false,
            in_a_row: (false, 0),
            failed: None,
        }
    }

    /// When [`Event::Expired`] is due.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Leaving { until, .. }
            | State::Stopping { until }
            | State::Killed { until }
            | State::Cleaning { until, .. } => Some(until),
            State::Waiting | State::Serving | State::Unwell | State::Finished => None,
        }
    }

    /// Whether checks matter.
    pub(crate) fn is_checked(&self) -> bool {
        matches!(self.state, State::Waiting | State::Serving | State::Unwell)
    }

    /// What to do about `event`.
    pub(crate) fn on(&mut self, now: Instant, event: Event) -> Vec<Action> {
        match event {
            Event::Checked(is_well) => self.checked(is_well),
            Event::Refused => self.refused(now),
            Event::Deregistered => self.deregistered(now),
            Event::Ended(status) => self.ended(now, status),
            Event::Told(signal) => self.told(now, signal),
            Event::Expired => self.expired(now),
        }
    }

    fn checked(&mut self, is_well: bool) -> Vec<Action> {
        self.in_a_row = match self.in_a_row {
            (last, times) if last == is_well => (last, times.saturating_add(1)),
            _ => (is_well, 1),
        };
        let enough = match is_well {
            true => self.limits.passes,
            false => self.limits.failures,
        };
        let is_enough = self.in_a_row.1 >= enough;
        match (self.state, is_well) {
            (State::Waiting | State::Unwell, true) if is_enough => {
                self.state = State::Serving;
                self.is_registered = true;
                vec![Action::Serve]
            }
            (State::Serving, false) if is_enough => {
                self.state = State::Unwell;
                vec![Action::Drain]
            }
            _ => Vec::new(),
        }
    }

    fn refused(&mut self, now: Instant) -> Vec<Action> {
        if !self.is_checked() {
            return Vec::new();
        }
        self.is_registered = false;
        self.failed = Some(1);
        self.pass(now, Signal::TERM)
    }

    fn deregistered(&mut self, now: Instant) -> Vec<Action> {
        self.is_registered = false;
        match self.state {
            State::Leaving { signal, .. } => self.pass(now, signal),
            State::Cleaning { status, .. } => self.finish(status),
            _ => Vec::new(),
        }
    }

    fn ended(&mut self, now: Instant, status: i32) -> Vec<Action> {
        if matches!(self.state, State::Finished | State::Cleaning { .. }) {
            return Vec::new();
        }
        let was_told = matches!(self.state, State::Stopping { .. } | State::Killed { .. });
        if !self.is_registered {
            return self.finish(status);
        }
        let until = now + self.limits.deregister;
        self.state = State::Cleaning { status, until };
        match was_told {
            // That is under way.
            true => Vec::new(),
            false => vec![Action::Deregister { drains: false }],
        }
    }

    fn told(&mut self, now: Instant, signal: Signal) -> Vec<Action> {
        match self.state {
            State::Waiting | State::Serving | State::Unwell if self.is_registered => {
                let until = now + self.limits.drain + self.limits.deregister;
                self.state = State::Leaving { signal, until };
                vec![Action::Deregister { drains: true }]
            }
            State::Waiting | State::Serving | State::Unwell => self.pass(now, signal),
            // Told again: no more time for draining.
            State::Leaving { .. } => {
                let mut actions = vec![Action::Deregister { drains: false }];
                actions.extend(self.pass(now, signal));
                actions
            }
            State::Stopping { .. } if self.has_program => vec![Action::Pass(signal)],
            State::Stopping { .. }
            | State::Killed { .. }
            | State::Cleaning { .. }
            | State::Finished => Vec::new(),
        }
    }

    fn expired(&mut self, now: Instant) -> Vec<Action> {
        match self.state {
            State::Leaving { signal, .. } => self.pass(now, signal),
            State::Stopping { .. } if self.has_program => {
                let until = now + self.limits.deregister;
                self.state = State::Killed { until };
                vec![Action::Kill]
            }
            State::Stopping { .. } => self.finish(0),
            State::Killed { .. } => self.finish(SIGNALLED + Signal::KILL.as_raw()),
            State::Cleaning { status, .. } => self.finish(status),
            State::Waiting | State::Serving | State::Unwell | State::Finished => Vec::new(),
        }
    }

    fn pass(&mut self, now: Instant, signal: Signal) -> Vec<Action> {
        if self.has_program {
            self.state = State::Stopping {
                until: now + self.limits.stop,
            };
            return vec![Action::Pass(signal)];
        }
        if self.is_registered {
            self.state = State::Cleaning {
                status: 0,
                until: now + self.limits.deregister,
            };
            return Vec::new();
        }
        self.finish(0)
    }

    fn finish(&mut self, status: i32) -> Vec<Action> {
        self.state = State::Finished;
        vec![Action::Finish(self.failed.unwrap_or(status))]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Action::{Deregister, Drain, Finish, Kill, Pass, Serve};
    use Event::{Checked, Deregistered, Ended, Expired, Refused, Told};

    const LIMITS: Limits = Limits {
        passes: 1,
        failures: 2,
        drain: Duration::from_secs(2),
        deregister: Duration::from_secs(5),
        stop: Duration::from_secs(10),
    };
    const AT_ONCE: Action = Deregister { drains: false };
    const DRAINING: Action = Deregister { drains: true };

    fn run(has_program: bool, events: &[(Event, &[Action])]) -> Machine {
        let now = Instant::now();
        let mut machine = Machine::new(LIMITS, has_program);
        for (event, expected) in events {
            let actions = machine.on(now, *event);
            assert_eq!(actions, *expected, "{event:?} of {events:?}");
        }
        machine
    }

    #[test]
    fn it_serves_while_checks_pass_and_drains_while_they_fail() {
        run(
            true,
            &[
                (Checked(false), &[]),
                (Checked(true), &[Serve]),
                (Checked(true), &[]),
                (Checked(false), &[]),
                (Checked(true), &[]),
                (Checked(false), &[]),
                (Checked(false), &[Drain]),
                (Checked(false), &[]),
                (Checked(true), &[Serve]),
            ],
        );
    }

    #[test]
    fn the_entry_goes_before_the_signal_is_passed_on() {
        let machine = run(
            true,
            &[
                (Checked(true), &[Serve]),
                (Told(Signal::TERM), &[DRAINING]),
                (Checked(false), &[]),
                (Deregistered, &[Pass(Signal::TERM)]),
                (Expired, &[Kill]),
                (Ended(137), &[Finish(137)]),
            ],
        );
        assert_eq!(machine.deadline(), None);
    }

    #[test]
    fn nothing_waits_longer_than_its_limit() {
        run(
            true,
            &[
                (Checked(true), &[Serve]),
                (Told(Signal::INT), &[DRAINING]),
                (Expired, &[Pass(Signal::INT)]),
                (Expired, &[Kill]),
                (Expired, &[Finish(137)]),
            ],
        );
        run(
            true,
            &[
                (Checked(true), &[Serve]),
                (Ended(0), &[AT_ONCE]),
                (Expired, &[Finish(0)]),
            ],
        );
    }

    #[test]
    fn a_second_signal_ends_the_draining() {
        run(
            true,
            &[
                (Checked(true), &[Serve]),
                (Told(Signal::INT), &[DRAINING]),
                (Told(Signal::TERM), &[AT_ONCE, Pass(Signal::TERM)]),
                (Told(Signal::TERM), &[Pass(Signal::TERM)]),
                (Deregistered, &[]),
                (Ended(0), &[Finish(0)]),
            ],
        );
        // The removal is waited for also if the program is quicker.
        run(
            true,
            &[
                (Checked(true), &[Serve]),
                (Told(Signal::INT), &[DRAINING]),
                (Told(Signal::TERM), &[AT_ONCE, Pass(Signal::TERM)]),
                (Ended(0), &[]),
                (Deregistered, &[Finish(0)]),
            ],
        );
    }

    #[test]
    fn a_program_that_ends_is_deregistered_at_once_and_its_status_is_passed_on() {
        run(
            true,
            &[
                (Checked(true), &[Serve]),
                (Ended(3), &[AT_ONCE]),
                (Told(Signal::TERM), &[]),
                (Deregistered, &[Finish(3)]),
            ],
        );
        run(true, &[(Ended(0), &[Finish(0)])]);
        run(
            true,
            &[
                (Told(Signal::TERM), &[Pass(Signal::TERM)]),
                (Ended(143), &[Finish(143)]),
            ],
        );
        let crashed = [
            (Checked(true), &[Serve][..]),
            (Told(Signal::TERM), &[DRAINING]),
            (Ended(139), &[AT_ONCE]),
            (Deregistered, &[Finish(139)]),
        ];
        run(true, &crashed);
    }

    #[test]
    fn a_registration_that_is_refused_ends_the_program() {
        run(
            true,
            &[
                (Checked(true), &[Serve]),
                (Refused, &[Pass(Signal::TERM)]),
                (Ended(0), &[Finish(1)]),
            ],
        );
        run(false, &[(Checked(true), &[Serve]), (Refused, &[Finish(1)])]);
    }

    #[test]
    fn without_a_program_the_end_of_the_entry_is_the_end() {
        run(
            false,
            &[
                (Checked(true), &[Serve]),
                (Told(Signal::TERM), &[DRAINING]),
                (Deregistered, &[Finish(0)]),
            ],
        );
        run(
            false,
            &[
                (Checked(true), &[Serve]),
                (Told(Signal::TERM), &[DRAINING]),
                (Told(Signal::TERM), &[AT_ONCE]),
                (Deregistered, &[Finish(0)]),
            ],
        );
        run(false, &[(Told(Signal::TERM), &[Finish(0)])]);
    }
}
