//! Timeouts and limits of a client.

use std::time::Duration;

/// Timeouts and limits of a [`MemoryClient`](crate::MemoryClient). The defaults resemble those of a
/// client of etcd.
///
/// ```
/// use sd_memory::{ClientOptions, Registry};
/// use std::time::Duration;
///
/// let impatient = ClientOptions::default().with_request_timeout(Duration::from_millis(200));
/// let client = Registry::new().client_with(impatient);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientOptions {
    pub(crate) request_timeout: Duration,
    pub(crate) deregister_timeout: Duration,
    pub(crate) disrupted_after: Duration,
    pub(crate) interrupted_after: Duration,
    pub(crate) request_limit: usize,
}

impl ClientOptions {
    /// How long a call waits for its answer: 3 s by default.
    #[must_use]
    pub fn with_request_timeout(mut self, timeout: Duration) -> Self {
        self.request_timeout = timeout;
        self
    }

    /// How long `deregister` and `close` wait for the registry: 3 s by default.
    #[must_use]
    pub fn with_deregister_timeout(mut self, timeout: Duration) -> Self {
        self.deregister_timeout = timeout;
        self
    }

    /// How long the registry may be silent before watches report a disruption (2 s by default), and
    /// before they end as interrupted (6 s by default). Both count from the beginning of the
    /// silence. [`Duration::MAX`] means never.
    #[must_use]
    pub fn with_silence(mut self, disrupted: Duration, interrupted: Duration) -> Self {
        self.disrupted_after = disrupted;
        self.interrupted_after = interrupted.max(disrupted);
        self
    }

    /// The maximum size of a key and its value together, in bytes: 1.5 MiB by default, like etcd's
    /// `--max-request-bytes`.
    #[must_use]
    pub fn with_request_limit(mut self, bytes: usize) -> Self {
        self.request_limit = bytes;
        self
    }
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            request_timeout: Duration::from_secs(3),
            deregister_timeout: Duration::from_secs(3),
            disrupted_after: Duration::from_secs(2),
            interrupted_after: Duration::from_secs(6),
            request_limit: 3 * 512 * 1024,
        }
    }
}
