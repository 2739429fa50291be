//! What the author of a backend provides: clients, and the means to disturb the registry.

use bytes::Bytes;
use futures::future::BoxFuture;
use sd_core::{Client, Key, LeaseId, Ttl, async_trait};
use std::{error::Error as StdError, fmt, future::Future, sync::Arc, time::Duration};

/// What became of a means that the suite asked for.
pub type Means<T = ()> = Result<T, Unmet>;

/// Why a [`Harness`] did not do what the suite asked for.
///
/// Every error turns into [`Failed`](Self::Failed) with `?`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unmet {
    /// It has no such means; checks that need it are not run.
    Absent,
    /// It tried and failed; the check fails with it.
    Failed(String),
}

impl<E: StdError> From<E> for Unmet {
    fn from(error: E) -> Self {
        let mut message = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            message = format!("{message}: {cause}");
            source = cause.source();
        }
        Self::Failed(message)
    }
}

/// A client under test, as a process of its own would have it, and how it ends.
pub struct Subject {
    pub(super) client: Arc<dyn Client>,
    pub(super) close: Option<BoxFuture<'static, ()>>,
    pub(super) crash: Option<BoxFuture<'static, ()>>,
}

impl Subject {
    /// The client under test.
    pub fn new(client: Arc<dyn Client>) -> Self {
        Self {
            client,
            close: None,
            crash: None,
        }
    }

    /// How the client is closed: `close` resolves when all that it started has ended.
    #[must_use]
    pub fn closed_by(mut self, close: impl Future<Output = ()> + Send + 'static) -> Self {
        self.close = Some(Box::pin(close));
        self
    }

    /// How the client dies without a word: after `crash` it sends nothing any more, not even a
    /// farewell.
    #[must_use]
    pub fn crashed_by(mut self, crash: impl Future<Output = ()> + Send + 'static) -> Self {
        self.crash = Some(Box::pin(crash));
        self
    }
}

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subject")
            .field("closes", &self.close.is_some())
            .field("crashes", &self.crash.is_some())
            .finish_non_exhaustive()
    }
}

/// Where the revision counter of a rebuilt registry stands, seen from a client that knew the old
/// one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counter {
    /// Before what the client knows: the registry started anew.
    Behind,
    /// Past what the client knows: strangers have written since the registry started anew.
    Ahead,
}

/// A registry under test, from outside: how to make clients of it, and how to disturb it.
///
/// Only [`client`](Self::client) is required. A means that is left out answers
/// [`Unmet::Absent`], and the checks that need it are not run. What the suite does by these means,
/// it does as a stranger to all clients under test: neither their connections nor their leases are
/// involved. When a means resolves, it has taken effect.
#[async_trait]
pub trait Harness: Send + Sync {
    /// A new client of the registry, as a new process would make it: it shares nothing with those
    /// made before but the registry.
    async fn client(&self) -> Means<Subject>;

    /// Where the suite may write; each check gets a path of its own below.
    fn root(&self) -> String {
        "/conformance".into()
    }

    /// How long to wait for what must happen. Longer than it takes to notice that the registry does
    /// not answer and to give up a deregistration, and than a third of [`ttl`](Self::ttl). Costs
    /// time only where a promise is broken.
    fn patience(&self) -> Duration {
        Duration::from_secs(10)
    }

    /// How long to watch for what must not happen.
    fn quiet(&self) -> Duration {
        Duration::from_millis(300)
    }

    /// The shortest time to live that the registry grants; the suite waits for some multiples of
    /// it.
    fn ttl(&self) -> Ttl {
        Ttl::MIN
    }

    /// How many entries are many: more than one page of a paged list.
    fn many(&self) -> usize {
        1_500
    }

    /// How many bytes are a big value that the registry still takes.
    fn big(&self) -> usize {
        512 * 1024
    }

    /// How many bytes are a value that the registry refuses; `None` if there is no limit to speak
    /// of.
    fn too_big(&self) -> Option<usize> {
        None
    }

    /// How many checks may run side by side.
    fn parallel(&self) -> usize {
        64
    }

    /// Writes an entry without a lease.
    async fn put(&self, _key: &Key, _value: Bytes) -> Means {
        Err(Unmet::Absent)
    }

    /// Writes an entry whose key is not UTF-8.
    async fn put_raw(&self, _key: &[u8], _value: Bytes) -> Means {
        Err(Unmet::Absent)
    }

    /// Deletes an entry, whosever it is; none is fine too.
    async fn delete(&self, _key: &Key) -> Means {
        Err(Unmet::Absent)
    }

    /// Writes and deletes at once, at one revision. At most 100 keys, each named once.
    async fn transact(&self, _puts: &[(Key, Bytes)], _deletes: &[Key]) -> Means {
        Err(Unmet::Absent)
    }

    /// What stands under `key`. Without it the suite asks a client of its own.
    async fn read(&self, _key: &Key) -> Means<Option<Bytes>> {
        Err(Unmet::Absent)
    }

    /// Ends a lease before its time, with all that hangs on it.
    async fn expire(&self, _lease: &LeaseId) -> Means {
        Err(Unmet::Absent)
    }

    /// The leases that live in the registry.
    async fn leases(&self) -> Means<Vec<LeaseId>> {
        Err(Unmet::Absent)
    }

    /// How many watches the registry serves, those of strangers included.
    async fn watchers(&self) -> Means<usize> {
        Err(Unmet::Absent)
    }

    /// Makes the registry forget its history up to now.
    async fn compact(&self) -> Means {
        Err(Unmet::Absent)
    }

    /// Breaks the connections, and with them the watches, of all clients; new ones succeed.
    async fn interrupt(&self) -> Means {
        Err(Unmet::Absent)
    }

    /// Keeps the registry from answering anybody, connections left open if possible, until
    /// [`restore`](Self::restore). For long enough that a lease could expire, it need not.
    async fn disrupt(&self) -> Means {
        Err(Unmet::Absent)
    }

    /// Ends the disruption.
    async fn restore(&self) -> Means {
        Err(Unmet::Absent)
    }

    /// Replaces the registry by an empty one at the same address, whose revision counter stands
    /// where `counter` says. It answers when this resolves.
    async fn rebuild(&self, _counter: Counter) -> Means {
        Err(Unmet::Absent)
    }
}
