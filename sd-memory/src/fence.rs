//! Fences: a call that began before a deregistration puts nothing after it.

use sd_core::{Error, Result, ServiceKey};
use std::{
    collections::HashMap,
    sync::{Arc, Weak},
};

/// The deregistrations that calls under way have to mind.
#[derive(Debug, Default)]
pub(crate) struct Fences {
    now: u64,
    raised: HashMap<ServiceKey, u64>,
    under_way: Weak<()>,
}

/// Says when a call began; the fences it has to mind are kept while it is under way.
#[derive(Debug)]
pub(crate) struct Ticket {
    began: u64,
    _under_way: Arc<()>,
}

impl Fences {
    /// A ticket for a call that begins now.
    pub(crate) fn ticket(&mut self) -> Ticket {
        let under_way = self.under_way.upgrade().unwrap_or_else(|| {
            self.raised.clear();
            Arc::default()
        });
        self.under_way = Arc::downgrade(&under_way);
        Ticket {
            began: self.now,
            _under_way: under_way,
        }
    }

    /// Keeps out the calls for `service` that are under way.
    pub(crate) fn raise(&mut self, service: &ServiceKey) {
        if self.under_way.strong_count() > 0 {
            self.now += 1;
            self.raised.insert(service.clone(), self.now);
        }
    }

    /// Lets a call put something if its service was not deregistered since it began.
    pub(crate) fn admit(&self, ticket: &Ticket, service: &ServiceKey) -> Result<()> {
        match self.raised.get(service) {
            Some(raised) if *raised > ticket.began => Err(Error::Closed),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(key: &str) -> ServiceKey {
        key.try_into().unwrap()
    }

    #[test]
    fn only_calls_that_began_before_are_kept_out() {
        let mut fences = Fences::default();
        let before = fences.ticket();
        fences.raise(&service("a"));
        let after = fences.ticket();
        assert!(fences.admit(&before, &service("a")).is_err());
        assert!(fences.admit(&before, &service("b")).is_ok());
        assert!(fences.admit(&after, &service("a")).is_ok());
    }

    #[test]
    fn fences_that_nobody_minds_are_taken_down() {
        let mut fences = Fences::default();
        drop(fences.ticket());
        fences.raise(&service("a"));
        assert!(fences.raised.is_empty());
        let ticket = fences.ticket();
        fences.raise(&service("a"));
        drop(ticket);
        let _ticket = fences.ticket();
        assert!(fences.raised.is_empty());
    }
}
