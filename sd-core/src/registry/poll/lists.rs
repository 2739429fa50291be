//! Lists within a time, and what is said of those that fail.

use super::Lister;
use crate::registry::{
    error::{Error, Result, chain},
    listing::Listing,
    prefix::Prefix,
};
use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
    time::Duration,
};
use tokio::time::timeout;

/// Where a poller and its watches list.
pub(super) struct Lists<L> {
    lister: L,
    /// What cannot be listed, which was said. One line for each: one prefix may well be another
    /// host than the next.
    failing: Mutex<HashSet<Prefix>>,
}

impl<L: Lister> Lists<L> {
    pub(super) fn of(lister: L) -> Self {
        Self {
            lister,
            failing: Mutex::default(),
        }
    }

    /// All entries under `prefix`, within `limit`.
    pub(super) async fn list(&self, prefix: &Prefix, limit: Duration) -> Result<Listing> {
        let listed = timeout(limit, self.lister.list(prefix)).await;
        let listed = listed.unwrap_or(Err(Error::timeout("list", limit)));
        self.log(prefix, listed.as_ref().err());
        Ok(Listing::new(prefix, listed?))
    }

    /// Of what it is to a client to say: that nobody answers, and that somebody does again.
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
                tracing::warn!(%prefix, error = chain(error), "cannot be listed, trying on");
            }
            None if is_news && error.is_none() => tracing::info!(%prefix, "can be listed again"),
            _ => {}
        }
    }
}
