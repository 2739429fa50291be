//! Lists with a time limit, and logs outages.

use super::Lister;
use crate::registry::{
    error::{Error, Result},
    error_chain::ErrorChain,
    escaped::Escaped,
    listing::Listing,
    prefix::Prefix,
};
use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
    time::Duration,
};
use tokio::time::timeout;

/// The lister that a poller and its watches share.
pub(super) struct BoundedLister<L> {
    lister: L,
    /// The prefixes whose outage was logged. Each prefix has a line of its own, since each may be a
    /// different host.
    failing: Mutex<HashSet<Prefix>>,
}

impl<L: Lister> BoundedLister<L> {
    pub(super) fn new(lister: L) -> Self {
        Self {
            lister,
            failing: Mutex::default(),
        }
    }

    /// Lists `prefix`; a list that takes longer than `limit` fails.
    pub(super) async fn list(&self, prefix: &Prefix, limit: Duration) -> Result<Listing> {
        let listed = timeout(limit, self.lister.list(prefix)).await;
        let listed = listed.unwrap_or(Err(Error::timeout("list", limit)));
        self.log(prefix, listed.as_ref().err());
        Ok(Listing::new(prefix, listed?))
    }

    /// Logs when an outage begins and when it is over.
    fn log(&self, prefix: &Prefix, error: Option<&Error>) {
        let outage = error.filter(|error| error.is_outage());
        let is_news = {
            let mut failing = self.failing.lock().unwrap_or_else(PoisonError::into_inner);
            match outage {
                Some(_) => failing.insert(prefix.clone()),
                None => failing.remove(prefix),
            }
        };
        match outage {
            Some(error) if is_news => {
                tracing::warn!(prefix = %Escaped(prefix), error = %ErrorChain(error), "cannot be listed, trying on");
            }
            None if is_news && error.is_none() => {
                tracing::info!(prefix = %Escaped(prefix), "can be listed again");
            }
            _ => {}
        }
    }
}
