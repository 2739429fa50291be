//! The session: makes the calls of a tenancy, one at a time, and keeps its lease alive.

use crate::{
    config::Config,
    departures::backoff,
    door::{Claims, Door, Op, Reply, Shared},
    link::Link,
    pulse::{Beat, Pulse},
    tenancy::Tenancy,
    work::{self, Done, Trouble},
};
use futures::future::{BoxFuture, join_all};
use sd_core::{Deregistered, Error, Ttl};
use std::{future::pending, pin::pin, sync::Arc, time::Duration};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, sleep_until, timeout, timeout_at},
};
use tokio_util::sync::CancellationToken;

/// How long the answer to a grant is waited for at the end. Revoked before it is granted, a lease
/// would stay.
const LAST_GRANT: Duration = Duration::from_millis(500);

/// Opens a session; the future runs until `stop` is cancelled and leaves no lease behind that etcd
/// can be told of in time.
pub(crate) fn open(
    link: Arc<Link>,
    config: Arc<Config>,
    shared: Arc<Shared>,
    ttl: Ttl,
    stop: CancellationToken,
) -> (Door, impl Future<Output = ()> + Send) {
    let (door, inbox) = Door::new(shared.clone(), config.clone());
    let claims: Claims = door.downgrade();
    let session = Session {
        tenancy: Tenancy::new(config.clone(), shared, claims, ttl, Instant::now()),
        link,
        config,
        ttl,
        pulse: None,
        work: None,
        give_up: CancellationToken::new(),
    };
    (door, session.run(inbox, stop))
}

struct Session {
    link: Arc<Link>,
    config: Arc<Config>,
    ttl: Ttl,
    tenancy: Tenancy,
    /// Of the tenancy's lease.
    pulse: Option<Pulse>,
    /// The tenancy's task.
    work: Option<BoxFuture<'static, Done>>,
    /// Has the task fail as if it had lasted too long.
    give_up: CancellationToken,
}

impl Session {
    async fn run(mut self, mut inbox: mpsc::UnboundedReceiver<Op>, stop: CancellationToken) {
        loop {
            self.follow();
            let timer = self.tenancy.timer();
            let give_up_at = self.tenancy.give_up_at();
            // What is bound to time comes first, so that no flood of requests holds it up.
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                beat = beating(&mut self.pulse) => {
                    if let (lease, Beat::Lost) = beat {
                        self.tenancy.lease_lost(lease);
                    }
                }
                () = until(timer) => self.tenancy.tick(Instant::now()),
                () = until(give_up_at), if !self.give_up.is_cancelled() => self.give_up.cancel(),
                done = working(&mut self.work) => {
                    self.work = None;
                    self.tenancy.finish(done, Instant::now());
                }
                Some(op) = inbox.recv() => {
                    self.tenancy.accept(op);
                    while let Ok(op) = inbox.try_recv() {
                        self.tenancy.accept(op);
                    }
                }
            }
        }
        inbox.close();
        while let Ok(op) = inbox.try_recv() {
            self.tenancy.accept(op);
        }
        self.end().await;
    }

    /// Does what the tenancy wants.
    fn follow(&mut self) {
        let now = Instant::now();
        if self.tenancy.is_interrupted(now) {
            self.work = None;
        }
        if let Some(task) = self.tenancy.next(now) {
            let (link, config) = (self.link.clone(), self.config.clone());
            self.give_up = CancellationToken::new();
            let give_up = self.give_up.clone();
            self.work = Some(Box::pin(async move {
                work::perform(&link, &config, task, give_up).await
            }));
        }
        let lease = self.tenancy.lease();
        if self.pulse.as_ref().map(Pulse::lease) != lease {
            let (link, config) = (&self.link, &self.config);
            self.pulse =
                lease.map(|lease| Pulse::new(link.clone(), config.clone(), lease, self.ttl));
        }
    }

    /// Lets go of everything, within the time of a deregistration.
    async fn end(self) {
        let bound = Instant::now() + self.config.deregister_timeout;
        drop(self.pulse);
        // Granted or not, its lease is among those that are revoked.
        let grant = self.work.filter(|_| self.tenancy.is_granting());
        let (leases, mut replies) = self.tenancy.close();
        let revoking = async {
            if let Some(grant) = grant {
                let _ = timeout(LAST_GRANT, grant).await;
            }
            let leases = leases.into_iter();
            join_all(leases.map(|lease| revoke(&self.link, &self.config, lease))).await
        };
        let mut revoking = pin!(timeout_at(bound, revoking));
        let all_revoked = loop {
            let next = replies.iter().map(|reply| reply.deadline).min();
            tokio::select! {
                biased;
                outcomes = &mut revoking => {
                    break outcomes.is_ok_and(|outcomes| outcomes.into_iter().all(|it| it));
                }
                () = until(next) => answer_overdue(&mut replies),
            }
        };
        let outcome = if all_revoked {
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

/// Revokes a lease, for as long as it takes; `false` if that can never be.
async fn revoke(link: &Link, config: &Config, lease: i64) -> bool {
    for pause in backoff() {
        match work::revoke(link, config, lease).await {
            Ok(()) | Err(Trouble::NoSuchLease) => return true,
            Err(trouble) => {
                if !Error::from(trouble).is_transient() {
                    return false;
                }
                sleep(pause).await;
            }
        }
    }
    false
}

fn answer_overdue(replies: &mut Vec<Reply>) {
    let now = Instant::now();
    for reply in replies.extract_if(.., |reply| reply.deadline <= now) {
        reply.send(Ok(Deregistered::Unconfirmed));
    }
}

async fn working(work: &mut Option<BoxFuture<'static, Done>>) -> Done {
    match work {
        Some(work) => work.await,
        None => pending().await,
    }
}

async fn beating(pulse: &mut Option<Pulse>) -> (i64, Beat) {
    match pulse {
        Some(pulse) => (pulse.lease(), pulse.next().await),
        None => pending().await,
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => pending().await,
    }
}
