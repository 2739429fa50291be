//! How the example programs end.

use sd_core::BoxError;
use std::{io, process::ExitCode};

/// Prints the error and its causes on stderr, if there is an error, and returns the exit code.
pub(crate) fn end(outcome: Result<(), BoxError>) -> ExitCode {
    let Err(error) = outcome else {
        return ExitCode::SUCCESS;
    };
    let io = error.downcast_ref::<io::Error>();
    if io.is_some_and(|io| io.kind() == io::ErrorKind::BrokenPipe) {
        // The reader of stdout, such as `head`, has closed it.
        return ExitCode::SUCCESS;
    }
    let mut said = error.to_string();
    eprintln!("error: {said}");
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        // Some errors contain the text of their cause.
        if !said.contains(&text) {
            eprintln!("  because: {text}");
        }
        said = text;
        cause = error.source();
    }
    ExitCode::FAILURE
}
