//! The registry: a directory with leases. Most backends have a server instead.
//!
//! - **An entry** is a file. Its name is the key, percent-encoded. Its first line is `lease`, the
//!   id of the lease, and a number that is unique for every put; then comes the value. The
//!   modification time of the file is when the lease expires. The owner moves it forward, and an
//!   expired file does not count. A file without such a line has no owner and no lease: an operator
//!   can write entries with an editor.
//! - **`.lock`** is locked while a process reads or writes, so that changes are atomic.
//!
//! Whoever may write into the directory may do all that. So it has to be private: one that others than its
//! owner may write is refused. Links, FIFOs and directories in it are no entries and are not followed,
//! since they may lead anywhere, and neither are files of more than a mebibyte.

use fs4::fs_std::FileExt;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use rustix::{fs::OFlags, io::Errno};
use sd_core::{Bytes, Entry, Error, Key, LeaseId, Lost, Prefix, Result, Service, Ttl};
use std::{
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind, Read, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
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
/// No entry is longer.
const LONGEST: u64 = 1 << 20;
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
        if fs::metadata(root).map_err(failed)?.mode() & 0o022 != 0 {
            return Err(Error::permanent("others may write into the directory"));
        }
        let lock = open(
            File::options().write(true).create(true),
            &root.join(".lock"),
        );
        let lock = lock
            .map_err(failed)?
            .ok_or_else(|| Error::permanent("the lock is no file"))?;
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
        let Some(file) = open(File::options().read(true), &self.file(key)).map_err(failed)? else {
            return Ok(None);
        };
        let until = file.metadata().and_then(|file| file.modified());
        let mut content = Vec::new();
        let read = file.take(LONGEST + 1).read_to_end(&mut content);
        if read.map_err(failed)? as u64 > LONGEST {
            return Ok(None);
        }
        let content = Bytes::from(content);
        let line = content.iter().position(|byte| *byte == b'\n');
        let Some(line) = line.filter(|_| content.starts_with(b"lease ")) else {
            return Ok(Some((String::new(), content)));
        };
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
        let write = || {
            // A new file, never what a link of that name leads to.
            match fs::remove_file(&draft) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let mut file = File::create_new(&draft)?;
            file.write_all(&content)?;
            file.set_modified(self.now + placed.ttl.duration())?;
            fs::rename(&draft, self.file(&placed.key))
        };
        write().map_err(failed)?;
        Ok(placed)
    }

    /// Renews the entry's lease for its TTL. Returns the loss if the entry is not the one that was
    /// put.
    pub(crate) fn keep(&self, placed: &Placed) -> Result<Option<Lost>> {
        Ok(match self.read(&placed.key)? {
            Some((owner, _)) if owner == placed.owner => {
                let file = open(File::options().append(true), &self.file(&placed.key));
                let until = self.now + placed.ttl.duration();
                let kept = file.and_then(|file| file.map_or(Ok(()), |it| it.set_modified(until)));
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

    fn file(&self, key: &Key) -> PathBuf {
        self.root.join(file_name(key))
    }
}

/// Opens a file. `None` if there is none, or something else: a link, a FIFO, a directory.
fn open(options: &mut OpenOptions, path: &Path) -> io::Result<Option<File>> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let flags = i32::try_from(flags.bits()).map_err(io::Error::other)?;
    match options.custom_flags(flags).open(path) {
        Ok(file) => Ok(file.metadata()?.is_file().then_some(file)),
        Err(error) => match Errno::from_io_error(&error) {
            Some(Errno::NOENT | Errno::LOOP | Errno::ISDIR | Errno::NXIO) => Ok(None),
            _ => Err(error),
        },
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    async fn lock(root: &Path) -> Result<Directory> {
        Directory::lock(root, &Arc::default()).await
    }

    fn service(key: &str) -> Service {
        Service::new(key, "127.0.0.1:80").expect("a key")
    }

    /// Hostile row 14: what lies in the directory leads nowhere else.
    #[tokio::test]
    async fn links_fifos_and_large_files_are_no_entries_and_nothing_else_is_written() {
        let (root, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let victim = other.path().join("victim");
        fs::write(&victim, "precious").unwrap();
        let key = |name: &str| Key::new(format!("/svc/{name}")).unwrap();
        let path = |name: &str| root.path().join(file_name(&key(name)));
        symlink(&victim, root.path().join(".draft")).unwrap();
        symlink(&victim, path("link")).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            path("fifo"),
            rustix::fs::FileType::Fifo,
            0o600.into(),
            0,
        )
        .unwrap();
        fs::write(path("large"), vec![b'x'; 2 << 20]).unwrap();
        fs::write(path("good"), "127.0.0.1:81").unwrap();

        let directory = lock(root.path()).await.unwrap();
        let listed = directory.list(&Prefix::new("/svc").unwrap()).unwrap();
        let keys: Vec<_> = listed.iter().map(|it| it.key.as_str()).collect();
        assert_eq!(keys, ["/svc/good"]);
        for name in ["/svc/link", "/svc/../../escape"] {
            let placed = directory
                .put(&service(name), directory.new_lease())
                .unwrap();
            assert!(directory.keep(&placed).unwrap().is_none());
        }
        assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
        assert_eq!(fs::read_dir(other.path()).unwrap().count(), 1);
    }

    /// Hostile row 14: a directory that others may write, or whose lock is a link, is refused.
    #[tokio::test]
    async fn a_directory_that_is_not_private_is_refused() {
        let root = tempfile::tempdir().unwrap();
        symlink("/dev/null", root.path().join(".lock")).unwrap();
        assert!(lock(root.path()).await.is_err());
        fs::remove_file(root.path().join(".lock")).unwrap();
        fs::set_permissions(root.path(), fs::Permissions::from_mode(0o777)).unwrap();
        assert!(lock(root.path()).await.is_err());
    }
}
