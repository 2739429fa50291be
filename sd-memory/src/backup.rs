//! Backups of a registry, and what it is after a restore.

use crate::{Registry, store::Contents};
use sd_core::Error;

/// What a [`Registry`] held at one moment: entries, leases and the revision; see
/// [`Registry::backup`].
#[derive(Debug, Clone)]
pub struct Backup(Contents);

/// # Backup and restore
impl Registry {
    /// What the registry holds now, to [restore](Self::restore) it from.
    pub fn backup(&self) -> Backup {
        Backup(self.look(|state| state.store.contents()))
    }

    /// Puts the registry back to what it was when `backup` was made, as
    /// `etcdutl snapshot restore` does. Entries and leases are as of then, and each lease gets its
    /// whole TTL again. What was granted, put or deleted since has never happened, and the counter of
    /// revisions stands where it stood.
    ///
    /// Watches are interrupted and find a [gap](sd_core::Gap::Rebuilt) when they are resumed. A client
    /// whose entry or lease is not there any more hears that it is lost. The history before the
    /// restore is forgotten.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use sd_core::{Client, Service};
    /// use sd_memory::Registry;
    ///
    /// let registry = Registry::new();
    /// registry.put("/services/hello/a", "10.0.0.1:80")?;
    /// let backup = registry.backup();
    ///
    /// let provider = registry.client();
    /// let service = Service::new("/services/hello/b", "10.0.0.2:80")?;
    /// let mut registration = provider.register(&service).await?;
    /// registry.delete("/services/hello/a");
    ///
    /// registry.restore(&backup);
    /// assert!(registry.get("/services/hello/a").is_some());
    /// assert!(registry.get("/services/hello/b").is_none());
    /// registration.lost().await;
    /// # Ok(())
    /// # }
    /// ```
    pub fn restore(&self, backup: &Backup) {
        self.put_back(backup, false);
    }

    /// [Restores](Self::restore) the registry with a counter that goes on from where it stands now,
    /// so that no revision comes twice, and with all of the history marked as compacted, as
    /// `etcdutl snapshot restore --bump-revision --mark-compacted` does. Watches find that their
    /// revision is [compacted](sd_core::Gap::Compacted).
    ///
    /// ```
    /// use sd_memory::Registry;
    ///
    /// let registry = Registry::new();
    /// let backup = registry.backup();
    /// let newest = registry.put("/services/hello/a", "10.0.0.1:80")?;
    /// registry.restore_bumped(&backup);
    /// assert!(registry.entries().is_empty());
    /// assert!(registry.put("/services/hello/a", "10.0.0.1:80")? > newest);
    /// # Ok::<(), sd_core::Invalid>(())
    /// ```
    pub fn restore_bumped(&self, backup: &Backup) {
        self.put_back(backup, true);
    }

    fn put_back(&self, backup: &Backup, is_bumped: bool) {
        self.0.change_condition(|state, now| {
            state.store = state.store.restored(&backup.0, is_bumped, now);
            state.disconnect(Error::unavailable("the registry was restored"));
        });
        tracing::warn!(
            revision = backup.0.revision,
            "the registry was restored from a backup"
        );
    }
}
