//! The endpoints of the cluster's members.

use crate::config::Endpoint;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The endpoints of the members, shared by the connections of a client. There is always one.
pub(crate) struct Members(Mutex<Lists>);

struct Lists {
    /// By the program.
    given: Vec<Endpoint>,
    all: Arc<[Endpoint]>,
}

impl Members {
    /// `given` holds one endpoint at least.
    pub(crate) fn new(given: Vec<Endpoint>) -> Self {
        let all = given.clone().into();
        Self(Mutex::new(Lists { given, all }))
    }

    fn lists(&self) -> MutexGuard<'_, Lists> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns all endpoints.
    pub(crate) fn get(&self) -> Arc<[Endpoint]> {
        self.lists().all.clone()
    }

    /// Replaces all endpoints. `given` holds one at least.
    pub(crate) fn set(&self, given: Vec<Endpoint>) {
        let mut lists = self.lists();
        lists.all = given.clone().into();
        lists.given = given;
    }

    /// Adds the members that the cluster names, in front of those that the program gave. Returns whether
    /// the list has changed.
    pub(crate) fn learn(&self, mut learnt: Vec<Endpoint>) -> bool {
        let mut lists = self.lists();
        learnt.sort_by(|a, b| a.url().cmp(b.url()));
        learnt.dedup();
        for given in &lists.given {
            if !learnt.contains(given) {
                learnt.push(given.clone());
            }
        }
        let is_news = *lists.all != *learnt;
        lists.all = learnt.into();
        is_news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoints(names: &[&str]) -> Vec<Endpoint> {
        let endpoint = |name: &&str| Endpoint::new(&format!("{name}:1"), false).unwrap();
        names.iter().map(endpoint).collect()
    }

    #[test]
    fn what_was_given_is_kept_behind_what_was_learnt() {
        let members = Members::new(endpoints(&["a", "b"]));
        assert!(members.learn(endpoints(&["d", "b", "c", "c"])));
        assert_eq!(*members.get(), *endpoints(&["b", "c", "d", "a"]));
        assert!(!members.learn(endpoints(&["c", "d", "b"])));

        members.set(endpoints(&["e"]));
        assert_eq!(*members.get(), *endpoints(&["e"]));
    }
}
