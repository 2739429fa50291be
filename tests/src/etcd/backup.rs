//! Backups of an etcd.

use super::server::Etcd;
use std::{fs, io, path::Path};
use tempfile::TempDir;

/// The data of an [`Etcd`] as they were once. See [`Etcd::back_up`].
#[derive(Debug)]
pub struct Backup(TempDir);

impl Etcd {
    /// Copies its data, while it stands still.
    ///
    /// # Panics
    /// If it does not run, or its data cannot be copied.
    pub fn back_up(&self) -> Backup {
        let backup = TempDir::with_prefix("sd-etcd-backup-");
        let backup = backup.expect("a temporary directory can be made");
        self.freeze();
        let copied = copy(&self.data(), backup.path());
        self.thaw();
        if let Err(error) = copied {
            panic!("etcd's data cannot be copied: {error}");
        }
        Backup(backup)
    }

    /// Kills it and starts it with the data of `backup`: what happened since is lost, its revisions
    /// go on from there, and its leases begin anew.
    ///
    /// # Panics
    /// If its data cannot be replaced, or it does not start.
    pub async fn restore(&self, backup: &Backup) {
        self.kill();
        let removed = fs::remove_dir_all(self.data());
        let replaced = removed.and_then(|()| copy(backup.0.path(), &self.data()));
        if let Err(error) = replaced {
            panic!("etcd's data cannot be replaced: {error}");
        }
        self.start_again().await;
    }
}

/// Copies a directory and all that is in it.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for file in fs::read_dir(from)? {
        let file = file?;
        let target = to.join(file.file_name());
        if file.file_type()?.is_dir() {
            copy(&file.path(), &target)?;
        } else {
            fs::copy(file.path(), target)?;
        }
    }
    Ok(())
}
