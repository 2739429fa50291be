//! The harness, which the author of a backend implements: makes clients, and reads and disturbs the
//! registry.

use bytes::Bytes;
use futures::future::BoxFuture;
use sd_core::{Client, Editor, ErrorChain, Key, LeaseId, Ttl, async_trait};
use std::{error::Error as StdError, fmt, future::Future, sync::Arc, time::Duration};

/// The result of a call to a [`Harness`].
pub type HarnessResult<T = ()> = Result<T, HarnessError>;

/// Why a [`Harness`] did not do what the suite asked for.
///
/// Every [`std::error::Error`] turns into [`Failed`](Self::Failed) with `?`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum HarnessError {
    /// The harness cannot do this. Checks that need it are not run.
    Unsupported,
    /// The harness tried and failed, so the check fails. Holds the error and its causes.
    Failed(String),
}

impl<E: StdError> From<E> for HarnessError {
    fn from(error: E) -> Self {
        Self::Failed(ErrorChain(&error).to_string())
    }
}

/// A client under test, and the ways to end it. Stands for a process of its own.
pub struct TestClient {
    pub(crate) client: Arc<dyn Client>,
    pub(crate) editor: Option<Arc<dyn Editor>>,
    pub(crate) close: Option<BoxFuture<'static, ()>>,
    pub(crate) crash: Option<BoxFuture<'static, ()>>,
}

impl TestClient {
    /// A client without a way to close or to crash it; checks that need one are not run.
    pub fn new(client: Arc<dyn Client>) -> Self {
        Self {
            client,
            editor: None,
            close: None,
            crash: None,
        }
    }

    /// Says that the client can edit entries that it does not hold. Without it, the checks of
    /// [`Editor`] are not run.
    #[must_use]
    pub fn editing_as(mut self, editor: Arc<dyn Editor>) -> Self {
        self.editor = Some(editor);
        self
    }

    /// Sets how the client is closed. `close` must resolve when everything that the client started
    /// has ended.
    #[must_use]
    pub fn closed_by(mut self, close: impl Future<Output = ()> + Send + 'static) -> Self {
        self.close = Some(Box::pin(close));
        self
    }

    /// Sets how the client crashes. `crash` must end it as `kill -9` would: it sends nothing any
    /// more and revokes no lease.
    #[must_use]
    pub fn crashed_by(mut self, crash: impl Future<Output = ()> + Send + 'static) -> Self {
        self.crash = Some(Box::pin(crash));
        self
    }
}

impl fmt::Debug for TestClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestClient")
            .field("edits", &self.editor.is_some())
            .field("closes", &self.close.is_some())
            .field("crashes", &self.crash.is_some())
            .finish_non_exhaustive()
    }
}

/// How the revision of a [rebuilt](Harness::rebuild) registry compares with the revision before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum NewRevision {
    /// Lower: the registry started anew.
    Lower,
    /// Higher: the registry started anew, and others have written to it since.
    Higher,
}

/// A registry under test: makes clients, and reads and disturbs the registry from outside.
///
/// Only [`client`](Self::client) is required. By default, the other async methods return
/// [`HarnessError::Unsupported`], and checks that need them are not run. They must act like another
/// program, without the connections and leases of the clients under test, and resolve once they
/// have taken effect.
#[async_trait]
pub trait Harness: Send + Sync {
    /// A new client, like that of a new process: it shares only the registry with earlier clients.
    async fn client(&self) -> HarnessResult<TestClient>;

    /// The path below which the suite writes. Each check uses a path of its own below it.
    fn root(&self) -> String {
        "/conformance".into()
    }

    /// How long to wait for something that must happen. Must be longer than the client takes to
    /// notice that the registry does not answer, and to give up a deregistration, and longer than a
    /// third of [`min_ttl`](Self::min_ttl). A long timeout costs time only if a promise is broken.
    fn timeout(&self) -> Duration {
        Duration::from_secs(10)
    }

    /// How long to watch that something does not happen.
    fn quiet_period(&self) -> Duration {
        Duration::from_millis(300)
    }

    /// The shortest time to live that the registry grants. The suite waits for multiples of it.
    fn min_ttl(&self) -> Ttl {
        Ttl::MIN
    }

    /// A number of entries that does not fit on one page, if the registry lists in pages.
    fn many_entries(&self) -> usize {
        1_500
    }

    /// The size in bytes of a large value that the registry accepts.
    fn large_value_len(&self) -> usize {
        512 * 1024
    }

    /// The size in bytes of a value that the registry refuses; `None` if it has no limit.
    fn too_large_value_len(&self) -> Option<usize> {
        None
    }

    /// How many checks run at once.
    fn concurrency(&self) -> usize {
        64
    }

    /// Writes an entry without a lease.
    async fn put(&self, _key: &Key, _value: Bytes) -> HarnessResult {
        Err(HarnessError::Unsupported)
    }

    /// Writes an entry whose key is not UTF-8.
    async fn put_raw(&self, _key: &[u8], _value: Bytes) -> HarnessResult {
        Err(HarnessError::Unsupported)
    }

    /// Deletes an entry, whoever owns it. It is no error if there is none.
    async fn delete(&self, _key: &Key) -> HarnessResult {
        Err(HarnessError::Unsupported)
    }

    /// Writes and deletes at one revision. At most 100 keys, each of them once.
    async fn transact(&self, _puts: &[(Key, Bytes)], _deletes: &[Key]) -> HarnessResult {
        Err(HarnessError::Unsupported)
    }

    /// The value under `key`. Unless implemented, the suite lists with a new client.
    async fn read(&self, _key: &Key) -> HarnessResult<Option<Bytes>> {
        Err(HarnessError::Unsupported)
    }

    /// Ends a lease early and removes its entries, as an expiry does.
    async fn expire(&self, _lease: &LeaseId) -> HarnessResult {
        Err(HarnessError::Unsupported)
    }

    /// All leases that have not expired.
    async fn leases(&self) -> HarnessResult<Vec<LeaseId>> {
        Err(HarnessError::Unsupported)
    }

    /// The number of open watches, those of other programs included.
    async fn watchers(&self) -> HarnessResult<usize> {
        Err(HarnessError::Unsupported)
    }

    /// Drops the registry's history up to now.
    async fn compact(&self) -> HarnessResult {
        Err(HarnessError::Unsupported)
    }

    /// Breaks the connections of all clients, and their watches with them. New connections succeed.
    async fn interrupt(&self) -> HarnessResult {
        Err(HarnessError::Unsupported)
    }

    /// Stops the registry from answering anybody until [`restore`](Self::restore), if possible with
    /// connections left open. Whether leases expire meanwhile does not matter.
    async fn disrupt(&self) -> HarnessResult {
        Err(HarnessError::Unsupported)
    }

    /// Ends a [disruption](Self::disrupt).
    async fn restore(&self) -> HarnessResult {
        Err(HarnessError::Unsupported)
    }

    /// Replaces the registry by an empty one at the same address, with a revision as `revision`
    /// says. Resolves when the new one answers.
    async fn rebuild(&self, _revision: NewRevision) -> HarnessResult {
        Err(HarnessError::Unsupported)
    }
}
