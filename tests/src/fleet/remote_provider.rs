//! A provider in another process.

use crate::process::Process;
use std::path::Path;

/// A provider that is a process of its own, to be frozen as such. Killed when dropped; its entry
/// then stays until its lease ends.
#[derive(Debug)]
pub struct RemoteProvider(Process);

impl RemoteProvider {
    /// Starts `program`, which is given the registry's endpoint, the key and the address; its output
    /// goes to the file `log`. It is registered when it is seen to be.
    ///
    /// # Panics
    /// If it cannot be run.
    pub fn start(program: &str, endpoint: String, key: &str, address: &str, log: &Path) -> Self {
        let arguments = [endpoint, key.to_owned(), address.to_owned()];
        Self(Process::spawn(Path::new(program), &arguments, log))
    }

    /// Stops it in its tracks (SIGSTOP); nothing of it runs any more.
    pub fn freeze(&mut self) {
        self.0.freeze();
    }

    /// Lets it go on (SIGCONT).
    pub fn thaw(&mut self) {
        self.0.thaw();
    }
}
