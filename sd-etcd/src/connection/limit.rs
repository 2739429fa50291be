//! How long a request may take.

use std::{future::pending, time::Duration};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

/// The time in which a request has to be answered, counted from when it is sent.
#[derive(Clone)]
pub(crate) struct Limit {
    after: Duration,
    give_up: Option<CancellationToken>,
    is_in_turn: bool,
}

impl Limit {
    pub(crate) fn after(after: Duration) -> Self {
        Self {
            after,
            give_up: None,
            is_in_turn: false,
        }
    }

    /// Ends earlier when `give_up` is cancelled, also before the request is sent: then it never is.
    pub(crate) fn or(self, give_up: CancellationToken) -> Self {
        let give_up = Some(give_up);
        Self { give_up, ..self }
    }

    /// Sends the request in its turn: no more than so many of these are under way on a connection at once. The wait
    /// does not count.
    pub(crate) fn in_turn(self) -> Self {
        let is_in_turn = true;
        Self { is_in_turn, ..self }
    }

    pub(super) fn is_in_turn(&self) -> bool {
        self.is_in_turn
    }

    /// Waits for `answer`, from now on. If it does not come in time, returns how long that was.
    pub(super) async fn apply<T>(&self, answer: impl Future<Output = T>) -> Result<T, Duration> {
        tokio::select! {
            biased;
            answer = answer => Ok(answer),
            after = self.reached() => Err(after),
        }
    }

    async fn reached(&self) -> Duration {
        let started_at = Instant::now();
        match timeout(self.after, self.given_up()).await {
            Ok(()) => Duration::from_millis(started_at.elapsed().as_millis() as u64),
            Err(_) => self.after,
        }
    }

    /// Waits until the request is to be given up, however much time is left.
    pub(super) async fn given_up(&self) {
        match &self.give_up {
            Some(give_up) => give_up.cancelled().await,
            None => pending().await,
        }
    }
}
