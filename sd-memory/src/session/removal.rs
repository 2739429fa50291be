//! Removing entries: at once if the registry answers, else for as long as it takes.

use super::{Desk, Session};
use crate::{book::Mark, shared::Attempt};
use sd_core::{Deregistered, Error, Lost, Result, ServiceKey};
use std::sync::Arc;
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};

/// Where the outcome of a removal is to be read.
pub(super) type Removal = watch::Receiver<Option<Result<Deregistered>>>;

impl Session {
    /// Removes the service's entry while it is ours.
    pub(crate) async fn deregister(self: &Arc<Self>, key: &ServiceKey) -> Result<Deregistered> {
        let mut removal = {
            let mut desk = self.desk();
            if desk.closed {
                return Err(Error::Closed);
            }
            desk.fences.raise(key);
            desk.book.forget(key);
            match desk.book.registration(key) {
                Some(id) => match self.remove(&mut desk, id, Lost::Deregistered) {
                    Ok(done) => return Ok(done),
                    Err(removal) => removal,
                },
                None => match desk.removals.iter().find(|(service, _)| service == key) {
                    Some((_, removal)) => removal.clone(),
                    None => return Ok(Deregistered::NotOurs),
                },
            }
        };
        let outcome = timeout(
            self.options.deregister_timeout,
            removal.wait_for(Option::is_some),
        );
        match outcome.await {
            Ok(Ok(outcome)) => outcome.clone().unwrap_or(Ok(Deregistered::Unconfirmed)),
            Ok(Err(_)) | Err(_) => Ok(Deregistered::Unconfirmed),
        }
    }

    /// Ends the registration that nobody holds a handle of any more.
    pub(crate) fn forget(self: &Arc<Self>, id: u64, service: &ServiceKey) {
        let mut desk = self.desk();
        desk.book.forget(service);
        // A removal that has to wait goes on by itself.
        let _ = self.remove(&mut desk, id, Lost::Closed);
    }

    /// Ends a registration here, and at the registry now if that answers at once; else returns
    /// where the outcome is to be read.
    pub(super) fn remove(
        self: &Arc<Self>,
        desk: &mut Desk,
        id: u64,
        why: Lost,
    ) -> Result<Deregistered, Removal> {
        let service = desk.book.service(id);
        let (Some(mark), Some(service)) = (desk.book.retire(id, why), service) else {
            return Ok(Deregistered::NotOurs);
        };
        let delay = self.registry.with(|state, _| {
            state.calls.removals += 1;
            state.delay
        });
        if delay.is_zero()
            && let Attempt::Answered(done) = self.settle(desk, &mark)
        {
            return Ok(done);
        }
        let (outcome, removal) = watch::channel(None);
        desk.removals.retain(|(other, _)| *other != service);
        desk.removals.push((service, removal.clone()));
        if let Some(runtime) = &desk.runtime {
            let session = Arc::clone(self);
            let settled = async move { session.settle_in_time(mark, outcome).await };
            self.tasks.spawn_on(settled, runtime);
        }
        Err(removal)
    }

    pub(super) fn settle(&self, desk: &mut Desk, mark: &Mark) -> Attempt<Deregistered> {
        self.registry.attempt(|state, _| {
            desk.book.catch_up(&state.store);
            desk.book.settle(mark, &mut state.store)
        })
    }

    /// Tries to remove what stands under `mark` until the registry answers or the session ends.
    pub(super) async fn settle_in_time(
        self: Arc<Self>,
        mark: Mark,
        outcome: watch::Sender<Option<Result<Deregistered>>>,
    ) {
        let settled = async {
            let delay = self.registry.with(|state, _| state.delay);
            sleep(delay).await;
            let mut news = self.registry.news();
            loop {
                news.mark_heard();
                let attempt = {
                    let mut desk = self.desk();
                    self.settle(&mut desk, &mark)
                };
                match attempt {
                    Attempt::Answered(done) => {
                        outcome.send_replace(Some(Ok(done)));
                        return;
                    }
                    Attempt::Refused(error) if !error.is_transient() => {
                        outcome.send_replace(Some(Err(error)));
                    }
                    Attempt::Refused(_) | Attempt::Silence => {}
                }
                news.changed().await;
            }
        };
        self.stop.run_until_cancelled(settled).await;
        let mut desk = self.desk();
        desk.removals
            .retain(|(_, removal)| !removal.same_channel(&outcome.subscribe()));
    }
}
