//! What a server is doing, and how it ended.

use sd_core::{BoxError, Deregistered};
use std::{fmt, sync::Arc, time::Duration};

/// What a [`RegisteredServer`](crate::RegisteredServer) is doing. It goes through the phases in this
/// order and skips those that there is no need for.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum ServerStatus {
    /// It does not run yet.
    Idle,
    /// It accepts connections, and is registered as soon as its check passes.
    Checking {
        /// Why the check has failed last.
        error: Option<Arc<dyn std::error::Error + Send + Sync>>,
    },
    /// It accepts connections and is being registered, for as long as the registry is away. The status of
    /// the registrars says more.
    Registering,
    /// It was registered, and its registrars keep it so.
    Serving,
    /// Consumers are told that it goes, and its entries are removed. It still serves all calls.
    Draining,
    /// Its entries are gone. It still serves the calls of consumers that do not know it yet.
    Lingering,
    /// It accepts no more connections, and finishes the calls that are under way.
    Finishing,
    /// The time for that is over, and the connections that are left are cut.
    Cutting,
    /// It has ended.
    Ended,
}

impl fmt::Display for ServerStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Idle => "idle",
            Self::Checking { error: None } => "checking",
            Self::Checking { error: Some(error) } => {
                return write!(f, "checking: {}", sd_core::ErrorChain(&**error));
            }
            Self::Registering => "registering",
            Self::Serving => "serving",
            Self::Draining => "draining",
            Self::Lingering => "lingering",
            Self::Finishing => "finishing",
            Self::Cutting => "cutting",
            Self::Ended => "ended",
        })
    }
}

/// How a [`RegisteredServer`](crate::RegisteredServer) has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Served {
    /// What became of each registration, in the order of the registrars.
    /// [`Unconfirmed`](Deregistered::Unconfirmed) also if the registry refused.
    pub deregistered: Vec<Deregistered>,
    /// How many connections were cut, since they did not end in time.
    pub cut: usize,
    /// How many of those were still open a second later, since the tasks that hold them neither read nor
    /// write. They end with the process.
    pub left: usize,
}

impl Served {
    /// Whether no connection was cut.
    pub fn is_clean(&self) -> bool {
        self.cut == 0
    }
}

/// Why a [`RegisteredServer`](crate::RegisteredServer) has ended before it was told to. Its entries have
/// been removed, as far as the registry answered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The check did not pass in time, so the server was never registered.
    #[error("the check has not passed within {after:?}")]
    NotReady {
        /// The limit.
        after: Duration,
        /// Why the check has failed last; `None` if it never ended.
        #[source]
        source: Option<Arc<dyn std::error::Error + Send + Sync>>,
    },

    /// The registry refused the registration, and trying again will not help.
    #[error("the server could not be registered")]
    Register(#[source] sd_core::Error),

    /// The server ended with an error.
    #[error("the server has failed")]
    Server(#[source] BoxError),

    /// The server ended without an error, and without having been told to.
    #[error("the server has ended without having been told to")]
    EndedEarly,

    /// The server or the check panicked.
    #[error("panicked: {message}")]
    Panicked {
        /// What the panic said.
        message: String,
    },

    /// The process cannot be told of signals.
    #[error("signals cannot be listened to")]
    Signals(#[source] std::io::Error),
}
