//! The registry: a directory with leases. Most backends have a server instead.
//!
//! - **An entry** is a file. Its name is the key, percent-encoded. Its first line is `lease`, the
//!   id of the lease, and a number that is unique for every put; then comes the value. The
//!   modification time of the file is when the lease expires. The owner moves it forward, and an
//!   expired file does not count. A file without such a line has no owner and no lease: an operator
//!   can write entries with an editor.
//! - **`.lock`** is locked while a process reads or writes, so that changes are atomic.

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

/// How long an expired entry is kept, so that its owner can find out.
const LINGER: Duration = Duration::from_secs(60);
/// Which characters are percent-encoded: all but letters, digits, `-` and `_`. The dot is encoded,
/// so no key is the name of a hidden file.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_');

/// The locked directory. Its methods block, but not for long.
pub(crate) struct Directory {
    root: PathBuf,
    now: SystemTime,
    _lock: File,
    _turn: OwnedMutexGuard<()>,
}

/// An entry that this process has put, with what identifies it.
#[derive(Clone)]
pub(crate) struct Placed {
    pub(crate) key: Key,
    pub(crate) lease: LeaseId,
    pub(crate) ttl: Ttl,
    pub(crate) owner: String,
}

impl Directory {
    /// Waits for its turn within the process, for the directory to exist, and for its lock, without
    /// limit. Cancellation safe.
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

    /// All entries under `prefix`.
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

    /// The first line of the entry under `key`, empty if it has no owner, and the value.
    pub(crate) fn read(&self, key: &Key) -> Result<Option<(String, Bytes)>> {
        let content = match fs::read(self.file(key)) {
            // A directory is not an entry.
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

    /// The id of a new lease. A later lease has a greater id.
    pub(crate) fn new_lease(&self) -> LeaseId {
        let age = self.now.duration_since(SystemTime::UNIX_EPOCH);
        LeaseId::new(format!("{:019}", age.unwrap_or_default().as_nanos()))
    }

    /// Puts the service's entry on `lease`, even if somebody else holds the key.
    pub(crate) fn put(&self, service: &Service, lease: LeaseId) -> Result<Placed> {
        let placed = Placed {
            key: service.key.under(&lease),
            owner: format!("lease {lease} {:016x}", fastrand::u64(..)),
            ttl: service.ttl,
            lease,
        };
        // Written to a draft and renamed, so that the entry is complete even if the process dies
        // here.
        let draft = self.root.join(".draft");
        let content = [placed.owner.as_bytes(), b"\n", &service.value].concat();
        fs::write(&draft, content)
            .and_then(|()| self.keep_file(&draft, placed.ttl))
            .and_then(|()| fs::rename(&draft, self.file(&placed.key)))
            .map_err(failed)?;
        Ok(placed)
    }

    /// Renews the entry's lease for its TTL. Returns the loss if the entry is not the one that was
    /// put.
    pub(crate) fn keep(&self, placed: &Placed) -> Result<Option<Lost>> {
        Ok(match self.read(&placed.key)? {
            Some((owner, _)) if owner == placed.owner => {
                let kept = self.keep_file(&self.file(&placed.key), placed.ttl);
                kept.map(|()| None).map_err(failed)?
            }
            Some((_, value)) => Some(Lost::taken(value)),
            // If there is a file to remove, it has expired.
            None if self.remove(&placed.key)? => Some(Lost::LeaseExpired),
            None => Some(Lost::KeyDeleted),
        })
    }

    /// Removes the entry if it is the one that was put; `false` if it is not.
    pub(crate) fn delete(&self, placed: &Placed) -> Result<bool> {
        match self.read(&placed.key)? {
            Some((owner, _)) if owner == placed.owner => self.remove(&placed.key),
            _ => Ok(false),
        }
    }

    /// Removes the file of `key`; `false` if there is none.
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

/// Missing rights and invalid names are permanent errors; all others are transient.
fn failed(error: io::Error) -> Error {
    let for_good = [ErrorKind::PermissionDenied, ErrorKind::InvalidFilename];
    let told = match for_good.contains(&error.kind()) {
        true => Error::permanent(error.to_string()),
        false => Error::transient(error.to_string()),
    };
    told.with_source(error)
}
