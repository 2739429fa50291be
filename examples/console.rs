//! How the programs end.

use sd_core::BoxError;
use std::{io, process::ExitCode};

/// Says on stderr what went wrong and what was behind it, if something did.
pub(crate) fn end(outcome: Result<(), BoxError>) -> ExitCode {
    let Err(error) = outcome else {
        return ExitCode::SUCCESS;
    };
    let io = error.downcast_ref::<io::Error>();
    if io.is_some_and(|io| io.kind() == io::ErrorKind::BrokenPipe) {
        // Whoever read along (`head`, say) has seen enough.
        return ExitCode::SUCCESS;
    }
    let mut said = error.to_string();
    eprintln!("error: {said}");
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        // Some errors quote their cause.
        if !said.contains(&text) {
            eprintln!("  because: {text}");
        }
        said = text;
        cause = error.source();
    }
    ExitCode::FAILURE
}
