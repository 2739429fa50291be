//! The task of a session: performs the actions of its state, and keeps its lease alive.

use super::{
    actions::{self, Completion, LeaseError},
    keep_alive::{KeepAlive, KeepAliveEvent},
    requests::{HEARTBEAT, Receiver, RemovalReply, Requests},
    shared::Shared,
    state::SessionState,
};
use crate::{
    config::Options,
    connection::Connector,
    support::{finish, retry_backoff, sleep_until_some},
};
use futures::future::{BoxFuture, join_all};
use sd_core::{Deregistered, Error, Ttl};
use std::{
    future::{pending, ready},
    pin::pin,
    sync::Arc,
    time::Duration,
};
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout, timeout_at},
};
use tokio_util::sync::CancellationToken;

/// How long the answer to a grant is waited for at the end. A lease that is revoked before it is
/// granted would stay.
const LAST_GRANT_TIMEOUT: Duration = Duration::from_millis(500);

/// Creates a session.
///
/// The future runs until `stop` is cancelled. Then it revokes its leases, within the deregister
/// timeout.
pub(crate) fn new(
    connector: Arc<Connector>,
    options: Arc<Options>,
    shared: Arc<Shared>,
    ttl: Ttl,
    stop: CancellationToken,
) -> (Requests, impl Future<Output = ()> + Send) {
    let (requests, receiver) = Requests::new(shared.clone(), options.clone());
    let session = Session {
        state: SessionState::new(requests.clone(), ttl, Instant::now()),
        epochs: connector.epochs(),
        epoch: 0,
        requests: requests.clone(),
        connector,
        options,
        ttl,
        granted: None,
        shared,
        keep_alive: None,
        action: None,
        give_up: CancellationToken::new(),
    };
    (requests, session.run(receiver, stop))
}

struct Session {
    requests: Requests,
    connector: Arc<Connector>,
    options: Arc<Options>,
    /// What is asked for.
    ttl: Ttl,
    /// What etcd grants, once that is known to be more.
    granted: Option<Ttl>,
    shared: Arc<Shared>,
    state: SessionState,
    /// Of the state's lease.
    keep_alive: Option<KeepAlive>,
    epochs: watch::Receiver<u64>,
    /// The connection on which the lease was granted or renewed last.
    epoch: u64,
    action: Option<BoxFuture<'static, Completion>>,
    /// Fails the action in flight as if it had timed out.
    give_up: CancellationToken,
}

impl Session {
    async fn run(mut self, mut requests: Receiver, stop: CancellationToken) {
        let sightings = self.requests.sightings.clone();
        loop {
            self.requests.moves();
            self.follow();
            let timer = self.state.timer();
            let give_up_at = self.state.give_up_at();
            // Timers come before requests, so that no flood of requests delays them.
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                (lease, event) = next_event(&mut self.keep_alive) => match event {
                    KeepAliveEvent::LeaseLost => self.state.lease_lost(lease),
                    KeepAliveEvent::Renewed { ttl, sent_at } => self.renewed(lease, ttl, sent_at),
                    KeepAliveEvent::Failed(error) => self.state.not_renewed(lease, error),
                },
                () = sleep_until_some(timer) => self.state.tick(Instant::now()),
                () = sleep_until_some(give_up_at), if !self.give_up.is_cancelled() => {
                    self.give_up.cancel();
                }
                completion = finish(&mut self.action) => {
                    self.state.complete(completion, Instant::now());
                }
                // Only now, so that the next action has been sent, which the branch before has polled.
                () = ready(()), if self.state.is_unsettled() => self.state.settle(),
                () = sleep(HEARTBEAT), if self.action.is_some() => {}
                Some(request) = requests.recv() => {
                    self.state.accept(request);
                    while let Ok(request) = requests.try_recv() {
                        self.state.accept(request);
                    }
                }
                seen = sightings.next() => self.state.sighted(seen, Instant::now()),
            }
        }
        requests.close();
        while let Ok(request) = requests.try_recv() {
            self.state.accept(request);
        }
        self.end().await;
    }

    /// A lease that is renewed over another connection is verified at once. `ttl` is what etcd keeps it
    /// for, if it said so.
    fn renewed(&mut self, lease: i64, ttl: Option<Ttl>, sent_at: Instant) {
        self.state.renewed(lease, ttl, sent_at);
        if let Some(ttl) = ttl {
            self.granted(lease, ttl);
        }
        let epoch = *self.epochs.borrow();
        if std::mem::replace(&mut self.epoch, epoch) != epoch {
            self.state.reconnected(Instant::now());
        }
    }

    fn follow(&mut self) {
        let now = Instant::now();
        if self.state.abandon_read(now) {
            self.action = None;
        }
        if let Some(action) = self.state.next(now) {
            let (connector, options) = (self.connector.clone(), self.options.clone());
            self.give_up = CancellationToken::new();
            let give_up = self.give_up.clone();
            self.action = Some(Box::pin(async move {
                actions::perform(&connector, &options, action, give_up).await
            }));
        }
        let lease = self.state.lease();
        if self.keep_alive.as_ref().map(KeepAlive::lease) != lease {
            let ttl = self.granted.unwrap_or(self.ttl);
            let start = |lease| KeepAlive::new(self.connector.clone(), &self.options, lease, ttl);
            self.keep_alive = lease.map(start);
            self.epoch = *self.epochs.borrow();
        }
    }

    /// Notes the TTL that etcd keeps a lease for.
    fn granted(&mut self, lease: i64, ttl: Ttl) {
        if ttl > self.ttl && self.granted != Some(ttl) {
            self.granted = Some(ttl);
            tracing::warn!(
                asked = %self.ttl, granted = %ttl,
                "etcd grants a longer TTL: entries of a crashed process stay for that long"
            );
        }
        self.shared.set_ttl(lease, ttl);
    }

    /// Revokes all leases, within the deregister timeout.
    async fn end(self) {
        let deadline = Instant::now() + self.options.deregister_timeout;
        drop(self.keep_alive);
        // Granted or not, its lease is among those that are revoked.
        let grant = self.action.filter(|_| self.state.is_granting());
        let (leases, mut replies) = self.state.close();
        let revoking = async {
            if let Some(grant) = grant {
                let _ = timeout(LAST_GRANT_TIMEOUT, grant).await;
            }
            let leases = leases.into_iter();
            join_all(leases.map(|lease| revoke(&self.connector, &self.options, lease))).await
        };
        let mut revoking = pin!(timeout_at(deadline, revoking));
        let are_all_revoked = loop {
            let next = replies.iter().map(|reply| reply.deadline).min();
            tokio::select! {
                biased;
                outcomes = &mut revoking => {
                    break outcomes.is_ok_and(|outcomes| outcomes.into_iter().all(|it| it));
                }
                () = sleep_until_some(next) => answer_overdue(&mut replies),
            }
        };
        let outcome = if are_all_revoked {
            Deregistered::Removed
        } else {
            tracing::warn!(ttl = %self.ttl, "closed without an answer; the lease ends by itself");
            Deregistered::Unconfirmed
        };
        for reply in replies {
            reply.send(Ok(outcome));
        }
    }
}

/// Revokes a lease, however long that takes. Returns `false` if etcd refuses it.
async fn revoke(connector: &Connector, options: &Options, lease: i64) -> bool {
    let mut backoff = retry_backoff();
    loop {
        match actions::revoke(connector, options, lease).await {
            Ok(()) | Err(LeaseError::NotFound) => return true,
            Err(error) => {
                if !Error::from(error).is_transient() {
                    return false;
                }
                sleep(backoff.next_delay()).await;
            }
        }
    }
}

fn answer_overdue(replies: &mut Vec<RemovalReply>) {
    let now = Instant::now();
    for reply in replies.extract_if(.., |reply| reply.deadline <= now) {
        reply.send(Ok(Deregistered::Unconfirmed));
    }
}

async fn next_event(keep_alive: &mut Option<KeepAlive>) -> (i64, KeepAliveEvent) {
    match keep_alive {
        Some(keep_alive) => (keep_alive.lease(), keep_alive.next().await),
        None => pending().await,
    }
}
