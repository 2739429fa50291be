//! Where a password comes from: a file, the environment, a prompt. Never an argument, which everybody on the host sees.

use crate::failure::{Failure, Outcome};
use sd_core::Escaped;
use std::{
    env, fs,
    io::{self, IsTerminal},
    path::Path,
};

const VARIABLE: &str = "SDCTL_PASSWORD";

/// The password of the user called `name`.
pub(super) fn of(name: &str, file: Option<&Path>) -> Outcome<String> {
    if name.contains(':') {
        return Err(Failure::new(
            "the name of the user has a colon: a password is never an argument",
        )
        .advice("--user NAME alone, and the password in --password-file or SDCTL_PASSWORD"));
    }
    if let Some(file) = file {
        let text = fs::read_to_string(file);
        let text = text.map_err(|error| Failure::from(error).of(file.display()))?;
        return Ok(text.lines().next().unwrap_or_default().to_owned());
    }
    if let Ok(password) = env::var(VARIABLE) {
        return Ok(password);
    }
    if !io::stdin().is_terminal() {
        return Err(Failure::new(format!("no password of the user {}", Escaped(name)))
            .advice("put it into a file (--password-file) or into SDCTL_PASSWORD; without a terminal nobody can be asked"));
    }
    Ok(rpassword::prompt_password(format!(
        "password of {}: ",
        Escaped(name)
    ))?)
}
