//! Snapshots: what an instancer knew, kept in a file for its successor.

mod contents;
#[cfg(test)]
mod tests;
mod writer;

use crate::{
    instances::Instance,
    registry::{ErrorChain, Escaped, Prefix},
};
use contents::Contents;
use std::{
    fs::File,
    io::{self, BufReader, Read},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};
use tempfile::NamedTempFile;
pub(super) use writer::SnapshotWriter;

/// How long a change may wait for being written.
const INTERVAL: Duration = Duration::from_secs(5);
/// The longest that is read of a file.
const LONGEST: u64 = 1 << 30;

/// A file in which an [`Instancer`](crate::Instancer) keeps what it knows, for the case that its successor starts while
/// the registry is down.
///
/// While the instancer is live, it writes the instances some seconds after a change, and now and then without
/// one, so that the age of the file is that of the knowledge. A successor that cannot list within a
/// second begins with them, stale because of [`Trouble::Snapshot`](crate::Trouble::Snapshot), and is
/// [ready](crate::Instancer::ready). When the registry answers, removals are doubted as after any trouble.
///
/// The file is replaced as a whole, never changed, and only the owner may read it. It is not used if it was cut
/// short or changed (it ends in a checksum, which is no protection against somebody who may write there), if it is of
/// another prefix, format or version of this, or if it is older than [allowed](Self::max_age); the log says so.
/// Addresses that the [policy](crate::InstancerBuilder::address_policy) refuses are left out, and the
/// [limits](crate::InstancerBuilder::limits) hold. One file is for one instancer at a time.
///
/// ```no_run
/// # use sd_core::*;
/// # fn follow(client: impl Client) -> Result<Instancer, Invalid> {
/// let format = DefaultFormat::default();
/// let known = SnapshotFile::new("/var/lib/checkout/hello.snapshot");
/// let instancer = Instancer::builder_of(client, &format, "hello")?
///     .snapshot(known)
///     .build();
/// # Ok(instancer)
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct SnapshotFile {
    path: PathBuf,
    max_age: Duration,
    interval: Duration,
}

/// What a file says.
pub(super) struct Known {
    pub(super) instances: Vec<Instance>,
    pub(super) age: Duration,
}

impl SnapshotFile {
    /// The file at `path`, in a folder that exists. There need not be one yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            max_age: Duration::from_secs(24 * 60 * 60),
            interval: INTERVAL,
        }
    }

    /// An older file is not used. Default: a day.
    #[must_use]
    pub fn max_age(mut self, max_age: Duration) -> Self {
        self.max_age = max_age;
        self
    }

    /// The shortest time between two writes, and so how long a change may be unknown to a successor. Default: 5 s.
    #[must_use]
    pub fn interval(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    /// What the file says of `prefix` in `format`. `None` if there is none. Blocks.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub(super) fn read(&self, prefix: &Prefix, format: &str) -> Result<Option<Known>, String> {
        let bytes = match self.bytes() {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(ErrorChain(&error).to_string()),
        };
        let Contents { instances, written } = Contents::read(&bytes, prefix, format)?;
        // A clock that was set back makes no file old.
        let age = SystemTime::now().duration_since(written);
        let age = age.unwrap_or_default();
        match age <= self.max_age {
            true => Ok(Some(Known { instances, age })),
            false => Err(format!("it is {age:?} old")),
        }
    }

    /// For the log.
    pub(super) fn shown_path(&self) -> String {
        Escaped(&self.path.display().to_string()).to_string()
    }

    fn bytes(&self) -> io::Result<Vec<u8>> {
        let file = File::open(&self.path)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("it is no regular file"));
        }
        let mut bytes = Vec::new();
        BufReader::new(file).take(LONGEST).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Replaces the file. Blocks.
    fn write(&self, bytes: &[u8]) -> io::Result<()> {
        let folder = self.path.parent().filter(|it| !it.as_os_str().is_empty());
        let mut file = NamedTempFile::new_in(folder.unwrap_or(Path::new(".")))?;
        io::Write::write_all(&mut file, bytes)?;
        file.as_file().sync_all()?;
        file.persist(&self.path)?;
        Ok(())
    }
}
