//! Hosts: a queue and some workers.

use std::collections::VecDeque;

/// The number of a call, in the order of their arrivals.
pub(super) type CallId = usize;

/// An instance as it is seen from inside: calls that are served, and calls that wait, first come
/// first served.
#[derive(Debug)]
pub(super) struct Host {
    idle: usize,
    waiting: VecDeque<CallId>,
}

/// How a host is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Condition {
    /// It serves calls, in this many times the time that a call needs.
    Serving { times: f64 },
    /// It fails calls at once.
    Failing,
}

impl Host {
    pub(super) fn new(workers: usize) -> Self {
        Self {
            idle: workers,
            waiting: VecDeque::new(),
        }
    }

    /// A call has arrived. Returns whether a worker begins to serve it; it waits otherwise.
    pub(super) fn arrived(&mut self, call: CallId) -> bool {
        let begins = self.idle > 0;
        if begins {
            self.idle -= 1;
        } else {
            self.waiting.push_back(call);
        }
        begins
    }

    /// A worker is free. Returns the call that it serves next: the first one that waits and that
    /// its caller still waits for.
    pub(super) fn free(&mut self, is_wanted: impl Fn(CallId) -> bool) -> Option<CallId> {
        while let Some(call) = self.waiting.pop_front() {
            if is_wanted(call) {
                return Some(call);
            }
        }
        self.idle += 1;
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_wait_for_a_worker_and_are_served_in_order() {
        let mut host = Host::new(2);
        let begin: Vec<_> = (0..6).map(|call| host.arrived(call)).collect();
        assert_eq!(begin, [true, true, false, false, false, false]);
        let mut free = || host.free(|call| call != 3);
        assert_eq!([free(), free(), free()], [Some(2), Some(4), Some(5)]);
        assert_eq!([free(), free()], [None, None]);
        assert!(host.arrived(6));
    }
}
