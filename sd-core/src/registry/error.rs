//! Errors of a registry, and whether a retry can succeed.
//!
//! Every layer has to decide whether to try again. [`Error::is_transient`] tells: a registrar keeps
//! trying while etcd restarts, and gives up at once on a wrong password.

use super::escaped::Message;
use std::{error::Error as StdError, sync::Arc, time::Duration};

/// The result of a call to a registry.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The underlying error of a backend. Shared, so that an [`Error`] can be cloned.
pub type Cause = Arc<dyn StdError + Send + Sync>;

/// Why a call to a registry failed.
///
/// Its `Display` is one line: what a backend said is escaped and cut. The fields have the whole text.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The input can never be accepted; nothing was sent.
    #[error(transparent)]
    Invalid(#[from] Invalid),

    /// The registry cannot be reached, or cannot serve at the moment (no leader, shutting down).
    /// Not for what concerns one key or prefix alone: that is a [`Backend`](Self::Backend) error.
    #[error("the registry is unavailable: {}", Message(.message))]
    Unavailable {
        /// What the backend saw.
        message: String,
        /// The backend's own error.
        #[source]
        source: Option<Cause>,
    },

    /// No answer in time. Whether the call took effect is unknown.
    #[error("no answer to {operation} within {after:?}")]
    Timeout {
        /// The call that was not answered.
        operation: &'static str,
        /// How long it was waited for.
        after: Duration,
    },

    /// The registry has no room left (etcd's NOSPACE alarm, a quota). It can pass: an operator
    /// makes room.
    #[error("the registry is out of resources: {}", Message(.message))]
    Exhausted {
        /// What the backend said.
        message: String,
        /// The backend's own error.
        #[source]
        source: Option<Cause>,
    },

    /// The registry does not know these credentials.
    #[error("the registry refused the credentials: {}", Message(.message))]
    Unauthenticated {
        /// What the backend said.
        message: String,
        /// The backend's own error.
        #[source]
        source: Option<Cause>,
    },

    /// The credentials are good, but not for this key or prefix.
    #[error("permission denied: {}", Message(.message))]
    PermissionDenied {
        /// What the backend said.
        message: String,
        /// The backend's own error.
        #[source]
        source: Option<Cause>,
    },

    /// The backend cannot do this at all.
    #[error("this backend does not support {operation}")]
    Unsupported {
        /// What was asked for.
        operation: &'static str,
    },

    /// The client was closed, or the source or registrar was stopped.
    #[error("the client is closed")]
    Closed,

    /// A registration of a newer [generation](crate::Generation) on the same client holds the key.
    #[error("superseded by a later registration on the same client")]
    Superseded,

    /// Code that the toolkit calls panicked: a backend, a codec, a factory.
    #[error("panicked: {}", Message(.message))]
    Panicked {
        /// What the panic said.
        message: String,
    },

    /// Anything else that a backend reports.
    #[error("registry error: {}", Message(.message))]
    Backend {
        /// What the backend said.
        message: String,
        /// Whether trying again may help.
        transient: bool,
        /// The backend's own error.
        #[source]
        source: Option<Cause>,
    },
}

/// Constructors for backends. [`with_source`](Self::with_source) adds the backend's own error.
///
/// ```
/// use sd_core::Error;
/// use std::{io, time::Duration};
///
/// let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
/// let error = Error::unavailable("10.0.0.1:8500").with_source(refused);
/// assert!(error.is_transient());
/// assert!(!Error::permission_denied("key \"a\"").is_transient());
/// assert!(Error::timeout("register", Duration::from_secs(3)).is_transient());
/// ```
impl Error {
    /// An [`Error::Unavailable`].
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::Unavailable {
            message: message.into(),
            source: None,
        }
    }

    /// An [`Error::Timeout`] of `operation`, which was not answered within `after`.
    pub fn timeout(operation: &'static str, after: Duration) -> Self {
        Self::Timeout { operation, after }
    }

    /// An [`Error::Exhausted`].
    pub fn exhausted(message: impl Into<String>) -> Self {
        Self::Exhausted {
            message: message.into(),
            source: None,
        }
    }

    /// An [`Error::Unauthenticated`].
    pub fn unauthenticated(message: impl Into<String>) -> Self {
        Self::Unauthenticated {
            message: message.into(),
            source: None,
        }
    }

    /// An [`Error::PermissionDenied`].
    pub fn permission_denied(message: impl Into<String>) -> Self {
        Self::PermissionDenied {
            message: message.into(),
            source: None,
        }
    }

    /// An [`Error::Unsupported`].
    pub fn unsupported(operation: &'static str) -> Self {
        Self::Unsupported { operation }
    }

    /// An [`Error::Backend`] after which the same call may succeed.
    pub fn transient(message: impl Into<String>) -> Self {
        Self::Backend {
            message: message.into(),
            transient: true,
            source: None,
        }
    }

    /// An [`Error::Backend`] after which the same call fails again.
    pub fn permanent(message: impl Into<String>) -> Self {
        Self::Backend {
            message: message.into(),
            transient: false,
            source: None,
        }
    }

    /// The same error with `cause` as its [source](StdError::source). Does nothing for variants
    /// without a source: `Invalid`, `Timeout`, `Unsupported`, `Panicked` and `Closed`.
    #[must_use]
    pub fn with_source(mut self, cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        match &mut self {
            Self::Unavailable { source, .. }
            | Self::Exhausted { source, .. }
            | Self::Unauthenticated { source, .. }
            | Self::PermissionDenied { source, .. }
            | Self::Backend { source, .. } => *source = Some(Arc::from(cause.into())),
            Self::Invalid(_)
            | Self::Timeout { .. }
            | Self::Unsupported { .. }
            | Self::Panicked { .. }
            | Self::Closed
            | Self::Superseded => {}
        }
        self
    }

    /// Whether the same call may succeed later.
    ///
    /// `true` for outages, timeouts and exhausted quotas; `false` for bad input, refused
    /// credentials, missing rights, unsupported operations, a closed client and a later registration.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unavailable { .. } | Self::Timeout { .. } | Self::Exhausted { .. } => true,
            Self::Backend { transient, .. } => *transient,
            Self::Invalid(_)
            | Self::Unauthenticated { .. }
            | Self::PermissionDenied { .. }
            | Self::Unsupported { .. }
            | Self::Panicked { .. }
            | Self::Closed
            | Self::Superseded => false,
        }
    }

    /// Whether the registry did not answer, or answered that it serves nobody. Such an error
    /// affects every user of the client.
    pub(crate) fn is_outage(&self) -> bool {
        matches!(self, Self::Unavailable { .. } | Self::Timeout { .. })
    }
}

/// Input that no registry would accept, found before anything is sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Invalid {
    /// A key is empty.
    #[error("a key must not be empty")]
    EmptyKey,

    /// A prefix is empty. It would match the whole registry.
    #[error("a prefix must not be empty")]
    EmptyPrefix,

    /// A name from outside that is not one segment of a path.
    #[error(
        "\"{name}\" is not a name: it is empty, a dot segment or too long, or has a `/` or hidden characters"
    )]
    Name {
        /// The name, escaped and shortened.
        name: String,
    },

    /// A time to live is outside of the range of [`Ttl`](crate::Ttl).
    #[error("a TTL of {given:?} is not between 2 s and 24 h")]
    Ttl {
        /// The time to live asked for.
        given: Duration,
    },

    /// Key and value together are more than the registry takes in one request.
    #[error("the entry {key:?} has {size} bytes, more than the registry's limit of {limit}")]
    TooLarge {
        /// The key, shortened if it is long.
        key: String,
        /// Bytes of key and value together.
        size: usize,
        /// What the registry accepts, in bytes.
        limit: usize,
    },

    /// An entry, or the instance that it becomes, takes more than consumers read: see
    /// [`RegistrarBuilder::entry_bytes`](crate::RegistrarBuilder::entry_bytes).
    #[error(
        "the entry \"{key}\" takes {size} bytes, more than the {limit} that consumers read; where they read \
         more, say so with RegistrarBuilder::entry_bytes"
    )]
    TooLargeForConsumers {
        /// The key, escaped and shortened.
        key: String,
        /// Bytes of key and value together, or of the instance in memory, whichever is more.
        size: usize,
        /// What consumers read, in bytes.
        limit: usize,
    },

    /// A provider's value that its own codec cannot read, in part or at all. Consumers would not see the
    /// instance, or not as it was meant. The value itself is not repeated, since errors are logged.
    #[error(
        "consumers could not read a value of {size} bytes: {reason}; name their format with \
         RegistrarBuilder::codec, or register what is no instance with RegistrarBuilder::without_codec"
    )]
    UnreadableValue {
        /// Bytes of the value.
        size: usize,
        /// What the codec said.
        reason: String,
    },

    /// A change, or what a provider says of itself, that the format of its values has no way to say, or that cannot be
    /// registered so.
    #[error("{}", Message(.reason))]
    Unsayable {
        /// What cannot be said, and why.
        reason: String,
    },

    /// An address that nobody can call, as `0.0.0.0:80`, or that the [`AddressPolicy`](crate::AddressPolicy)
    /// refuses.
    #[error("no consumer calls \"{address}\": {reason}")]
    UncallableAddress {
        /// The address, shortened if it is long, without a user or a password in it.
        address: String,
        /// What is wrong with it, and what to write instead.
        reason: &'static str,
    },

    /// A configuration that contradicts itself or names something unusable.
    #[error("invalid configuration: {}", Message(.0))]
    Config(String),
}

impl From<std::convert::Infallible> for Invalid {
    fn from(never: std::convert::Infallible) -> Self {
        match never {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outages_can_pass_and_mistakes_cannot() {
        assert!(Error::unavailable("down").is_transient());
        assert!(Error::timeout("register", Duration::from_secs(3)).is_transient());
        assert!(Error::exhausted("no space").is_transient());
        assert!(Error::transient("try again").is_transient());
        assert!(!Error::permanent("never").is_transient());
        assert!(!Error::unauthenticated("who").is_transient());
        assert!(!Error::permission_denied("not you").is_transient());
        assert!(!Error::unsupported("register").is_transient());
        assert!(!Error::from(Invalid::EmptyKey).is_transient());
        assert!(!Error::Closed.is_transient());
        assert!(!Error::Superseded.is_transient());
    }

    #[test]
    fn the_backend_error_is_the_source() {
        let refused = || std::io::Error::other("refused");
        for error in [
            Error::unavailable("connect"),
            Error::exhausted("connect"),
            Error::unauthenticated("connect"),
            Error::permission_denied("connect"),
            Error::transient("connect"),
            Error::permanent("connect"),
        ] {
            assert!(error.source().is_none());
            let error = error.with_source(refused());
            let source = error.source().map(ToString::to_string);
            assert_eq!(source.as_deref(), Some("refused"), "{error}");
        }
        assert!(Error::Closed.with_source(refused()).source().is_none());
    }
}
