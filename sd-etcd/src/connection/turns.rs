//! Turns of the reads on one connection. Of many that are asked for at once, most would wait at etcd; one that waits
//! here holds no buffers, and its time does not run.

use sd_core::{Error, Result};
use std::sync::Arc;
use tokio::sync::{Semaphore, SemaphorePermit};

/// How many reads are under way at once. More are no faster: etcd answers with fewer threads.
const AT_ONCE: usize = 64;

/// The turns of one connection. They end with it.
#[derive(Clone)]
pub(super) struct Turns(Arc<Semaphore>);

impl Turns {
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(AT_ONCE)))
    }

    /// Waits for a turn, which lasts until it is dropped. First come, first served. Cancellation safe.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the connection was given up: nobody waits for a turn on none.
    pub(super) async fn take(&self) -> Result<SemaphorePermit<'_>> {
        let turn = self.0.acquire().await;
        turn.map_err(|_| {
            Error::unavailable("the connection was given up before the turn of a read")
        })
    }

    /// Fails all that wait, and all that come.
    pub(super) fn end(&self) {
        self.0.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::{FutureExt, future::join_all};

    #[tokio::test]
    async fn so_many_are_under_way_and_the_next_waits_for_one_of_them() {
        let turns = Turns::new();
        let mut taken = join_all((0..AT_ONCE).map(|_| turns.take())).await;
        assert!(taken.iter().all(Result::is_ok));
        let next = turns.take();
        let mut next = std::pin::pin!(next);
        assert!((&mut next).now_or_never().is_none());
        taken.pop();
        assert!(next.now_or_never().is_some());
    }

    #[tokio::test]
    async fn nobody_waits_for_a_turn_on_a_connection_that_was_given_up() {
        let turns = Turns::new();
        let _taken = join_all((0..AT_ONCE).map(|_| turns.take())).await;
        let (waiting, ()) = tokio::join!(turns.take(), async { turns.end() });
        assert!(waiting.is_err_and(|error| error.is_transient()));
        assert!(turns.take().await.is_err());
    }
}
