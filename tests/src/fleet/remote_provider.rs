//! A provider in another process.

use crate::process::Process;
use std::path::Path;

/// A provider in its own process, which can be frozen. Killed when dropped; its entry then stays
/// until its lease expires.
#[derive(Debug)]
pub struct RemoteProvider(Process);

impl RemoteProvider {
    /// Starts `program` with the registry's endpoint, the key and the address as arguments. Its
    /// output goes to the file `log`. Does not wait until it is registered.
    ///
    /// # Panics
    /// If it cannot be run.
    pub fn start(program: &str, endpoint: String, key: &str, address: &str, log: &Path) -> Self {
        let arguments = [endpoint, key.to_owned(), address.to_owned()];
        Self(Process::spawn(Path::new(program), &arguments, log))
    }

    /// Freezes it (SIGSTOP).
    pub fn freeze(&mut self) {
        self.0.freeze();
    }

    /// Ends a freeze (SIGCONT).
    pub fn thaw(&mut self) {
        self.0.thaw();
    }
}
