//! Runs the conformance suite against the directory, to check that it keeps the contract of
//! [`Client`](sd_core::Client). The author of a backend writes something like this.

use super::DirectoryClient;
use crate::directory::file_name;
use sd_conformance::{Harness, HarnessResult, TestClient};
use sd_core::{Bytes, Key, LeaseId, async_trait};
use std::{
    collections::BTreeSet,
    fs::{self, File},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};
use tempfile::TempDir;

/// A directory, and ways to change it from outside.
struct DirectoryHarness {
    dir: TempDir,
    /// The lock of the directory, held during a disruption.
    disrupted: Mutex<Option<File>>,
}

impl DirectoryHarness {
    fn new() -> Self {
        Self {
            dir: TempDir::new().expect("a temporary directory"),
            disrupted: Mutex::default(),
        }
    }

    fn file(&self, key: &Key) -> PathBuf {
        self.dir.path().join(file_name(key))
    }

    async fn lock(&self) -> HarnessResult<File> {
        let lock = File::create(self.dir.path().join(".lock"))?;
        while !fs4::fs_std::FileExt::try_lock_exclusive(&lock)? {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
        Ok(lock)
    }

    /// The leases that have not expired, and their files. Call this with the lock held.
    fn leased(&self) -> HarnessResult<Vec<(LeaseId, PathBuf)>> {
        let mut leased = Vec::new();
        for file in fs::read_dir(self.dir.path())? {
            let path = file?.path();
            let content = fs::read(&path)?;
            let text = String::from_utf8_lossy(&content);
            let words: Vec<_> = text.split([' ', '\n']).take(2).collect();
            if let ["lease", id] = words[..]
                && path.metadata()?.modified()? > SystemTime::now()
            {
                leased.push((LeaseId::new(id), path));
            }
        }
        Ok(leased)
    }
}

#[async_trait]
impl Harness for DirectoryHarness {
    async fn client(&self) -> HarnessResult<TestClient> {
        let client = Arc::new(DirectoryClient::new(self.dir.path()));
        let (closing, crashing) = (client.clone(), client.clone());
        Ok(TestClient::new(client)
            .closed_by(async move { closing.close().await })
            .crashed_by(async move {
                // The client forgets its entries, so it does not remove them.
                drop(crashing.0.ledger(sd_core::Ledger::close));
                crashing.close().await;
            }))
    }

    // Few entries: there are no pages to test, and each client reads the directory ten times a
    // second.
    fn many_entries(&self) -> usize {
        300
    }

    fn concurrency(&self) -> usize {
        16
    }

    async fn put(&self, key: &Key, value: Bytes) -> HarnessResult {
        self.transact(&[(key.clone(), value)], &[]).await
    }

    async fn delete(&self, key: &Key) -> HarnessResult {
        self.transact(&[], std::slice::from_ref(key)).await
    }

    async fn transact(&self, puts: &[(Key, Bytes)], deletes: &[Key]) -> HarnessResult {
        let _lock = self.lock().await?;
        for (key, value) in puts {
            fs::write(self.file(key), value)?;
        }
        for key in deletes {
            // It is no error if there is no file.
            let _ = fs::remove_file(self.file(key));
        }
        Ok(())
    }

    async fn expire(&self, lease: &LeaseId) -> HarnessResult {
        let _lock = self.lock().await?;
        for (other, path) in self.leased()? {
            if other == *lease {
                File::options()
                    .append(true)
                    .open(path)?
                    .set_modified(SystemTime::now())?;
            }
        }
        Ok(())
    }

    async fn leases(&self) -> HarnessResult<Vec<LeaseId>> {
        let _lock = self.lock().await?;
        let leases: BTreeSet<_> = self.leased()?.into_iter().map(|(id, _)| id).collect();
        Ok(leases.into_iter().collect())
    }

    /// Does nothing, as there is no history.
    async fn compact(&self) -> HarnessResult {
        Ok(())
    }

    /// Takes the lock and keeps it.
    async fn disrupt(&self) -> HarnessResult {
        let lock = self.lock().await?;
        *self
            .disrupted
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(lock);
        Ok(())
    }

    async fn restore(&self) -> HarnessResult {
        *self
            .disrupted
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = None;
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_keeps_the_contract() {
    let harness = DirectoryHarness::new();

    let report = sd_conformance::run(&harness).await;

    report.assert_passed();
    // Only what this backend does not support.
    assert_eq!(
        report.not_run(),
        [
            "a_value_over_the_limit_is_refused_at_once",
            "a_key_that_is_not_text_is_skipped_and_counted",
            "a_dropped_watch_leaves_no_watcher",
            "an_interrupted_watch_goes_on_without_loss",
            "a_rebuilt_registry_is_a_gap",
            "a_registry_rebuilt_past_the_watch_is_a_gap",
            "an_editor_reads_what_stands",
            "an_edit_leaves_an_entry_on_its_lease",
            "an_edit_is_told_to_the_owner",
            "an_edit_of_what_was_changed_since_changes_nothing",
            "an_edit_brings_nothing_back",
            "a_deletion_is_fenced_as_an_edit_is",
            "an_edit_that_the_registry_would_refuse_is_invalid",
        ],
        "{report}"
    );
}

#[test]
fn it_takes_less_than_150_lines() {
    let source = include_str!("../backend.rs");
    let (_, source) = source
        .split_once("\nconst ")
        .expect("what follows the imports");
    let code = source
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with("//"))
        .count();
    assert!(code < 150, "{code} lines of code");
}
