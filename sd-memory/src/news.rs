//! News: word to all who wait that there may be something for them to do.
//!
//! Who has waited longest hears first, so that a program on one thread with a seeded source of
//! randomness repeats exactly; the channels of tokio wake their receivers in any order.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};
use tokio::sync::Notify;

/// Where news is told. Nothing is queued: who hears late hears once.
#[derive(Debug, Default)]
pub(crate) struct News(Arc<Board>);

#[derive(Debug, Default)]
struct Board {
    /// How many pieces of news there were.
    told: AtomicU64,
    bell: Notify,
}

/// Somebody who wants to hear of news.
#[derive(Debug)]
pub(crate) struct Listener {
    board: Arc<Board>,
    heard: u64,
}

impl News {
    /// Tells all who listen.
    pub(crate) fn tell(&self) {
        self.0.told.fetch_add(1, Ordering::AcqRel);
        self.0.bell.notify_waiters();
    }

    /// Somebody who hears what is told from now on.
    pub(crate) fn listen(&self) -> Listener {
        let mut listener = Listener {
            board: Arc::clone(&self.0),
            heard: 0,
        };
        listener.mark_heard();
        listener
    }
}

impl Listener {
    /// What was told until now is known.
    pub(crate) fn mark_heard(&mut self) {
        self.heard = self.board.told.load(Ordering::Acquire);
    }

    /// Waits for news that is not known yet. Cancellation safe.
    pub(crate) async fn changed(&mut self) {
        loop {
            // Made before the look, so that nothing is missed in between.
            let bell = self.board.bell.notified();
            if self.board.told.load(Ordering::Acquire) != self.heard {
                break;
            }
            bell.await;
        }
        self.mark_heard();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;
    use std::sync::Mutex;

    #[test]
    fn news_between_a_look_and_the_wait_is_not_missed() {
        let news = News::default();
        let mut listener = news.listen();
        assert!(listener.changed().now_or_never().is_none());
        news.tell();
        news.tell();
        assert!(listener.changed().now_or_never().is_some());
        assert!(listener.changed().now_or_never().is_none(), "heard once");
        news.tell();
        listener.mark_heard();
        assert!(listener.changed().now_or_never().is_none());
    }

    #[tokio::test]
    async fn who_has_waited_longest_hears_first() {
        let news = News::default();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let mut waiting = Vec::new();
        for n in 0..40 {
            let (mut listener, heard) = (news.listen(), heard.clone());
            waiting.push(tokio::spawn(async move {
                listener.changed().await;
                heard.lock().unwrap().push(n);
            }));
            tokio::task::yield_now().await;
        }
        news.tell();
        for task in waiting {
            task.await.unwrap();
        }
        assert_eq!(*heard.lock().unwrap(), (0..40).collect::<Vec<_>>());
    }
}
