//! The process of an honest provider or consumer.

use super::{
    log::Written,
    names::{PER_SERVICE, SERVICES},
};
use crate::{
    eventually::{PATIENCE, eventually},
    process::Process,
};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// Killed when dropped.
pub(super) struct HonestProcess {
    _process: Process,
    role: &'static str,
    file: PathBuf,
    _directory: TempDir,
}

impl HonestProcess {
    /// Starts `program` with the arguments for `role`.
    pub(super) fn start(program: &Path, role: &'static str, endpoint: &str) -> Self {
        let directory = TempDir::with_prefix("sd-hostile-").expect("a directory");
        let file = directory.path().join("written");
        let arguments = [role.to_owned(), endpoint.to_owned()];
        Self {
            _process: Process::spawn(program, &arguments, &file),
            role,
            file,
            _directory: directory,
        }
    }

    pub(super) fn role(&self) -> &'static str {
        self.role.trim_start_matches('-')
    }

    /// What it has written so far.
    pub(super) fn written(&self) -> Written {
        Written::read(&self.file).expect("the file can be read")
    }

    /// Waits until it sees every honest instance, and has an endpoint for it.
    pub(super) async fn until_complete(&self) {
        let written = async || self.written();
        eventually(PATIENCE, "all honest instances", written, |written| {
            let views = written.views.values();
            views.filter(|view| view.seen == [PER_SERVICE; 2]).count() == SERVICES
        })
        .await;
    }
}
