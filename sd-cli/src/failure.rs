//! Why a command failed, and what to do about it.

use crate::output::colour;
use sd_core::{ErrorChain, Escaped};
use std::{any::Any, error::Error, iter, process::ExitCode};

/// What a command returns.
pub(crate) type Outcome<T = ExitCode> = Result<T, Failure>;

/// Why a command failed: one line, and what to do about it.
#[derive(Debug)]
pub(crate) struct Failure {
    message: String,
    advice: Option<String>,
    /// Nobody reads what is printed any more: no failure to tell of.
    is_closed_pipe: bool,
}

impl Failure {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            advice: None,
            is_closed_pipe: false,
        }
    }

    /// What to do about it. What was said already stays.
    #[must_use]
    pub(crate) fn advice(mut self, advice: impl Into<String>) -> Self {
        self.advice.get_or_insert(advice.into());
        self
    }

    /// The same failure, of `what`.
    #[must_use]
    pub(crate) fn of(mut self, what: impl std::fmt::Display) -> Self {
        self.message = format!("{what}: {}", self.message);
        self
    }

    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// Prints it, and gives the exit status: 1.
    pub(crate) fn report(self) -> ExitCode {
        if self.is_closed_pipe {
            return ExitCode::SUCCESS;
        }
        let bold = colour::ERROR;
        anstream::eprintln!("{bold}error:{bold:#} {}", self.message);
        if let Some(advice) = self.advice {
            eprintln!("       {advice}");
        }
        ExitCode::FAILURE
    }
}

/// Any error, with what caused it, and the advice that its kind asks for.
impl<E: Error + Send + Sync + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        let any: &dyn Any = &error;
        let of_etcd = any.downcast_ref::<etcd_client::Error>();
        let message = of_etcd.map_or_else(|| ErrorChain(&error).to_string(), said);
        let mut failure = Self::new(message);
        failure.is_closed_pipe = any
            .downcast_ref::<std::io::Error>()
            .is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe);
        failure.advice = any
            .downcast_ref::<sd_core::Error>()
            .and_then(advice)
            .or_else(|| of_etcd.and_then(etcds))
            .map(str::to_owned);
        failure
    }
}

/// What etcd says and what caused it, without the layers between.
fn said(error: &etcd_client::Error) -> String {
    let etcd_client::Error::GRpcStatus(status) = error else {
        return ErrorChain(error).to_string();
    };
    let message = match status.message() {
        "" => status.code().description(),
        message => message,
    };
    let causes = iter::successors(status.source(), |cause| (*cause).source());
    let cause = causes.last().map(ToString::to_string);
    let cause = cause.filter(|cause| !message.contains(&**cause));
    let cause = cause.map_or(String::new(), |cause| format!(": {}", Escaped(cause)));
    format!("{}{cause}", Escaped(message))
}

const UNREACHABLE: &str = "is etcd there? --etcd, SDCTL_ETCD or the profile says where; `sdctl doctor` looks at each member";
const REFUSED: &str = "check --user and its password (--password-file, SDCTL_PASSWORD)";
const DENIED: &str =
    "the user lacks a right: `sdctl doctor` says which; a role of etcd grants it for the prefix";
const FULL: &str = "etcd has no room: compact, defragment and disarm the alarm; see `sdctl doctor`";

fn advice(error: &sd_core::Error) -> Option<&'static str> {
    match error {
        sd_core::Error::Unavailable { .. } | sd_core::Error::Timeout { .. } => Some(UNREACHABLE),
        sd_core::Error::Unauthenticated { .. } => Some(REFUSED),
        sd_core::Error::PermissionDenied { .. } => Some(DENIED),
        sd_core::Error::Exhausted { .. } => Some(FULL),
        _ => None,
    }
}

fn etcds(error: &etcd_client::Error) -> Option<&'static str> {
    match error {
        etcd_client::Error::GRpcStatus(status) => match status.code() {
            tonic::Code::Unavailable | tonic::Code::DeadlineExceeded => Some(UNREACHABLE),
            tonic::Code::Unauthenticated => Some(REFUSED),
            tonic::Code::PermissionDenied => Some(DENIED),
            tonic::Code::ResourceExhausted => Some(FULL),
            tonic::Code::InvalidArgument if status.message().contains("authentication failed") => {
                Some(REFUSED)
            }
            tonic::Code::InvalidArgument if status.message().contains("user name is empty") => {
                Some(
                    "this etcd wants a user: --user NAME, with its password from --password-file or SDCTL_PASSWORD",
                )
            }
            _ => None,
        },
        etcd_client::Error::TransportError(_) | etcd_client::Error::IoError(_) => Some(UNREACHABLE),
        _ => None,
    }
}
