//! Why there is no connection.

use sd_core::{BoxError, Escaped};
#[cfg(feature = "reqwest")]
use std::iter;
use std::{error::Error as StdError, fmt, io, sync::Arc, time::Duration};

/// Why an endpoint could not be connected to. Cheap to clone: all calls that waited for one connect
/// get the same.
///
/// A call that fails with it has sent nothing, so that it can be made again, whatever it does.
#[derive(Clone)]
pub struct ConnectError(Arc<Failure>);

struct Failure {
    address: Box<str>,
    kind: ConnectErrorKind,
    source: Option<BoxError>,
}

/// What prevented the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectErrorKind {
    /// The address is not `host:port`.
    InvalidAddress,
    /// The name could not be resolved, or has no address.
    Resolve,
    /// The host is there, and nothing listens on the port.
    Refused,
    /// The limit of [`ConnectOptions::timeout`](crate::ConnectOptions::timeout) has passed.
    TimedOut {
        /// The step that did not end.
        step: &'static str,
        /// The limit, for all steps together.
        limit: Duration,
    },
    /// The network or the system said otherwise no: no route, no descriptor left.
    Network,
    /// The server's certificate is not trusted, or TLS failed in another way.
    Tls,
    /// The server does not speak HTTP/2, or ended the connection while it was made.
    Http2,
    /// The connection ended before the request was sent.
    Closed,
}

impl ConnectError {
    pub(super) fn new(
        address: &str,
        kind: ConnectErrorKind,
        source: impl Into<Option<BoxError>>,
    ) -> Self {
        Self(Arc::new(Failure {
            address: address.into(),
            kind,
            source: source.into(),
        }))
    }

    /// The system's error from connecting to one of the addresses.
    pub(super) fn from_io(address: &str, error: io::Error) -> Self {
        let kind = match error.kind() {
            io::ErrorKind::ConnectionRefused => ConnectErrorKind::Refused,
            _ => ConnectErrorKind::Network,
        };
        Self::new(address, kind, BoxError::from(error))
    }

    /// The error of a client that connects by itself.
    #[cfg(feature = "reqwest")]
    pub(super) fn of_client(address: &str, error: BoxError) -> Self {
        let refused = |error: &(dyn StdError + 'static)| {
            error
                .downcast_ref::<io::Error>()
                .is_some_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
        };
        let mut chain = iter::successors(error.source(), |&error| error.source());
        let kind = match chain.any(refused) {
            true => ConnectErrorKind::Refused,
            false => ConnectErrorKind::Network,
        };
        Self::new(address, kind, error)
    }

    /// What prevented the connection.
    pub fn kind(&self) -> ConnectErrorKind {
        self.0.kind
    }

    /// The address, as the instance has it.
    pub fn address(&self) -> &str {
        &self.0.address
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = Escaped(&self.0.address);
        match self.0.kind {
            ConnectErrorKind::InvalidAddress => {
                write!(f, "{address} is not an address: it must be host:port")
            }
            ConnectErrorKind::Resolve => write!(f, "{address}: the name cannot be resolved"),
            ConnectErrorKind::Refused => write!(f, "{address} refused the connection"),
            ConnectErrorKind::TimedOut { step, limit } => {
                write!(f, "{address} was not connected within {limit:?}, at {step}")
            }
            ConnectErrorKind::Network => write!(f, "{address} cannot be connected to"),
            ConnectErrorKind::Tls => write!(f, "{address}: TLS failed"),
            ConnectErrorKind::Http2 => write!(f, "{address} does not serve HTTP/2"),
            ConnectErrorKind::Closed => write!(f, "{address}: the connection has ended"),
        }
    }
}

impl fmt::Debug for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectError")
            .field("address", &self.0.address)
            .field("kind", &self.0.kind)
            .field("source", &self.0.source)
            .finish()
    }
}

impl StdError for ConnectError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        let source: &(dyn StdError + 'static) = self.0.source.as_deref()?;
        Some(source)
    }
}
