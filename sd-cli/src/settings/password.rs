//! Where a password comes from: a file, the environment, a prompt. Never an argument, which everybody on the host sees.

use crate::failure::{Failure, Outcome};
use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr,
};
use sd_core::Escaped;
use std::{
    env,
    fs::{self, File},
    io::{self, IsTerminal, Read, Write},
    path::Path,
};

const VARIABLE: &str = "SDCTL_PASSWORD";
const CTRL_C: u8 = 3;
/// The longest line that a terminal gives.
const LONGEST: usize = 4096;

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
    ask(name)
}

/// Asks on the terminal, which does not show what is typed.
fn ask(name: &str) -> Outcome<String> {
    let terminal = File::options().read(true).write(true).open("/dev/tty")?;
    let hidden = Hidden::on(&terminal)?;
    write!(&terminal, "password of {}: ", Escaped(name))?;
    let mut line = [0; LONGEST];
    let read = (&terminal).read(&mut line)?;
    drop(hidden);
    writeln!(&terminal)?;
    match line[..read].split_last() {
        Some((b'\n', password)) => Ok(String::from_utf8(password.to_vec())?),
        // Ctrl-C or Ctrl-D.
        _ => Err(Failure::new("no password was given")),
    }
}

/// A terminal that shows nothing of what is typed; as it was before when dropped. Ctrl-C ends the line: it would end
/// this program, and the terminal would stay as it is.
struct Hidden<'t> {
    terminal: &'t File,
    before: Termios,
}

impl<'t> Hidden<'t> {
    fn on(terminal: &'t File) -> io::Result<Self> {
        let before = tcgetattr(terminal)?;
        let mut hidden = before.clone();
        hidden.local_modes -= LocalModes::ECHO | LocalModes::ISIG;
        hidden.special_codes[SpecialCodeIndex::VEOL] = CTRL_C;
        // What was typed before the question is no answer.
        tcsetattr(terminal, OptionalActions::Flush, &hidden)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Hidden<'_> {
    fn drop(&mut self) {
        let _ = tcsetattr(self.terminal, OptionalActions::Now, &self.before);
    }
}
