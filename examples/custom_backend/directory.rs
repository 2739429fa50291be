//! The registry: a directory with leases. In its place a backend mostly has a server.
//!
//! - **An entry** is a file named for its key (percent-encoded). It holds the value, after a line
//!   that says whose it is: `lease`, the lease's id, and a number of its own for every put. The time
//!   of its last modification is when the lease runs out; its owner moves it on, and what is over
//!   does not count. A file without such a line is nobody's and stays: an operator may put entries
//!   down with an editor.
//! - **`.lock`** is locked by whoever reads or writes, so that what changes at once is seen at once.

use fs4::fs_std::FileExt;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use sd_core::{Bytes, Entry, Error, Key, LeaseId, Lost, Prefix, Result, Service, Ttl};
use std::{
    fs::{self, File},
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};
use tokio::{
    sync::{Mutex, OwnedMutexGuard},
    time::sleep,
};

/// How long an entry that is over is left for its owner to find.
const LINGER: Duration = Duration::from_secs(60);
/// What stands in the name of a file as it is. Not the dot: no key names a hidden file.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_');

/// The directory while the process has its lock. Blocks, but not for long.
pub(crate) struct Directory {
    root: PathBuf,
    now: SystemTime,
    _lock: File,
    _turn: OwnedMutexGuard<()>,
}

/// An entry as this process has placed it, and by what it knows it as its own.
#[derive(Clone)]
pub(crate) struct Placed {
    pub(crate) key: Key,
    pub(crate) lease: LeaseId,
    pub(crate) ttl: Ttl,
    pub(crate) owner: String,
}

impl Directory {
    /// Waits for its turn within the process, for the lock, and for the directory if need be, for as
    /// long as it takes. Cancellation safe.
    pub(crate) async fn lock(root: &Path, turns: &Arc<Mutex<()>>) -> Result<Self> {
        let turn = turns.clone().lock_owned().await;
        loop {
            match Self::try_lock(root) {
                Ok(Some(lock)) => {
                    return Ok(Self {
                        root: root.into(),
                        now: SystemTime::now(),
                        _lock: lock,
                        _turn: turn,
                    });
                }
                Ok(None) => sleep(Duration::from_millis(1)).await,
                Err(error) if error.is_transient() => sleep(Duration::from_millis(100)).await,
                Err(error) => return Err(error),
            }
        }
    }

    fn try_lock(root: &Path) -> Result<Option<File>> {
        let lock = File::create(root.join(".lock")).map_err(failed)?;
        let locked = FileExt::try_lock_exclusive(&lock).map_err(failed)?;
        Ok(locked.then_some(lock))
    }

    /// All that stands under `prefix`.
    pub(crate) fn list(&self, prefix: &Prefix) -> Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for file in fs::read_dir(&self.root).map_err(failed)? {
            let name = file.map_err(failed)?.file_name();
            let decoded = percent_decode_str(name.to_str().unwrap_or_default()).decode_utf8();
            let Some(key) = decoded.ok().filter(|key| prefix.matches(key)) else {
                continue;
            };
            let key = Key::new(key)?;
            let found = self.read(&key)?;
            entries.extend(found.map(|(_, value)| Entry::new(key, value)));
        }
        Ok(entries)
    }

    /// The line that says whose the entry under `key` is, or nothing, and the entry's value.
    pub(crate) fn read(&self, key: &Key) -> Result<Option<(String, Bytes)>> {
        let content = match fs::read(self.file(key)) {
            // A directory is nobody's entry.
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::IsADirectory) => {
                return Ok(None);
            }
            content => Bytes::from(content.map_err(failed)?),
        };
        let line = content.iter().position(|byte| *byte == b'\n');
        let Some(line) = line.filter(|_| content.starts_with(b"lease ")) else {
            return Ok(Some((String::new(), content)));
        };
        let until = fs::metadata(self.file(key)).and_then(|file| file.modified());
        let until = until.map_err(failed)?;
        if until + LINGER < self.now {
            self.remove(key)?;
        }
        let owner = String::from_utf8_lossy(&content[..line]).into_owned();
        Ok((until > self.now).then(|| (owner, content.slice(line + 1..))))
    }

    /// A lease that nobody has; a later one has a greater id.
    pub(crate) fn new_lease(&self) -> LeaseId {
        let age = self.now.duration_since(SystemTime::UNIX_EPOCH);
        LeaseId::new(format!("{:019}", age.unwrap_or_default().as_nanos()))
    }

    /// Puts the service's entry on `lease`, whoever holds the key.
    pub(crate) fn put(&self, service: &Service, lease: LeaseId) -> Result<Placed> {
        let placed = Placed {
            key: service.key.under(&lease),
            owner: format!("lease {lease} {:016x}", fastrand::u64(..)),
            ttl: service.ttl,
            lease,
        };
        // Whole or not at all, even if the process dies here.
        let draft = self.root.join(".draft");
        let content = [placed.owner.as_bytes(), b"\n", &service.value].concat();
        fs::write(&draft, content)
            .and_then(|()| self.keep_file(&draft, placed.ttl))
            .and_then(|()| fs::rename(&draft, self.file(&placed.key)))
            .map_err(failed)?;
        Ok(placed)
    }

    /// Lets the entry's lease live for its TTL from now on, or says why the entry is not what was
    /// placed there.
    pub(crate) fn keep(&self, placed: &Placed) -> Result<Option<Lost>> {
        Ok(match self.read(&placed.key)? {
            Some((owner, _)) if owner == placed.owner => {
                let kept = self.keep_file(&self.file(&placed.key), placed.ttl);
                kept.map(|()| None).map_err(failed)?
            }
            Some((_, value)) => Some(Lost::taken(value)),
            // It is over if there is something to remove.
            None if self.remove(&placed.key)? => Some(Lost::LeaseExpired),
            None => Some(Lost::KeyDeleted),
        })
    }

    /// Removes the entry while it is what was placed there; `false` if it is not.
    pub(crate) fn delete(&self, placed: &Placed) -> Result<bool> {
        match self.read(&placed.key)? {
            Some((owner, _)) if owner == placed.owner => self.remove(&placed.key),
            _ => Ok(false),
        }
    }

    /// Removes what lies under `key`; `false` if there is nothing.
    fn remove(&self, key: &Key) -> Result<bool> {
        match fs::remove_file(self.file(key)) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            removed => removed.map(|()| true).map_err(failed),
        }
    }

    fn keep_file(&self, file: &Path, ttl: Ttl) -> io::Result<()> {
        let file = File::options().append(true).open(file)?;
        file.set_modified(self.now + ttl.duration())
    }

    fn file(&self, key: &Key) -> PathBuf {
        self.root.join(file_name(key))
    }
}

/// The name of the file that holds the entry under `key`.
pub(crate) fn file_name(key: &Key) -> String {
    utf8_percent_encode(key.as_str(), PLAIN).to_string()
}

/// Neither rights nor names get better by trying again; all else might.
fn failed(error: io::Error) -> Error {
    let for_good = [ErrorKind::PermissionDenied, ErrorKind::InvalidFilename];
    let told = match for_good.contains(&error.kind()) {
        true => Error::permanent(error.to_string()),
        false => Error::transient(error.to_string()),
    };
    told.with_source(error)
}
