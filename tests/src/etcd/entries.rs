//! The entries and leases of an etcd, read and changed by the test itself.

use super::server::Etcd;
use etcd_client::{CompactionOptions, GetOptions, KeyValue, PutOptions};
use std::time::Duration;

impl Etcd {
    /// Puts an entry without a lease, as a stranger would. Returns the revision.
    pub async fn put(&self, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> i64 {
        self.put_with(key.into(), value.into(), None).await
    }

    /// Puts an entry on a lease of `ttl` that nobody keeps alive, as if its provider had crashed.
    /// Returns the lease.
    pub async fn put_leased(
        &self,
        key: impl Into<Vec<u8>>,
        value: impl Into<Vec<u8>>,
        ttl: Duration,
    ) -> i64 {
        let seconds = i64::try_from(ttl.as_secs()).expect("a lease ends one day");
        let lease = self
            .ask("LeaseGrant", |mut client| async move {
                client.lease_grant(seconds, None).await
            })
            .await
            .id();
        let options = PutOptions::new().with_lease(lease);
        self.put_with(key.into(), value.into(), Some(options)).await;
        lease
    }

    /// Gives an entry another value and leaves it on its lease, as an operator who edits it.
    pub async fn edit(&self, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> i64 {
        let options = PutOptions::new().with_ignore_lease();
        self.put_with(key.into(), value.into(), Some(options)).await
    }

    async fn put_with(&self, key: Vec<u8>, value: Vec<u8>, options: Option<PutOptions>) -> i64 {
        let response = self
            .ask("Put", |mut client| async move {
                client.put(key, value, options).await
            })
            .await;
        response.header().map_or(0, |header| header.revision())
    }

    /// The value under `key`.
    pub async fn get(&self, key: impl Into<Vec<u8>>) -> Option<Vec<u8>> {
        self.entry(key).await.map(|entry| entry.value().to_vec())
    }

    /// The entry under `key`, with its lease and revisions.
    pub async fn entry(&self, key: impl Into<Vec<u8>>) -> Option<KeyValue> {
        let key = key.into();
        let mut response = self
            .ask(
                "Range",
                |mut client| async move { client.get(key, None).await },
            )
            .await;
        response.take_kvs().pop()
    }

    /// The lease and the revision of the last put of `key`. They change when anybody writes the
    /// key. `None` if there is no entry.
    pub async fn last_put(&self, key: impl Into<Vec<u8>>) -> Option<(i64, i64)> {
        let entry = self.entry(key).await;
        entry.map(|entry| (entry.lease(), entry.mod_revision()))
    }

    /// Removes an entry. Returns whether there was one.
    pub async fn delete(&self, key: impl Into<Vec<u8>>) -> bool {
        let key = key.into();
        let response = self
            .ask("DeleteRange", |mut client| async move {
                client.delete(key, None).await
            })
            .await;
        response.deleted() > 0
    }

    /// All keys that start with `prefix`, in order. Bytes that are not UTF-8 are replaced.
    pub async fn keys(&self, prefix: impl Into<Vec<u8>>) -> Vec<String> {
        let entries = self.entries(prefix).await;
        let keys = entries.iter().map(KeyValue::key);
        keys.map(|key| String::from_utf8_lossy(key).into_owned())
            .collect()
    }

    /// All entries whose keys start with `prefix`, in order, without their values.
    pub async fn entries(&self, prefix: impl Into<Vec<u8>>) -> Vec<KeyValue> {
        let prefix = prefix.into();
        let mut response = self
            .ask("Range", |client| async move {
                let options = GetOptions::new().with_prefix().with_keys_only();
                let mut kv = client.kv_client().max_decoding_message_size(usize::MAX);
                kv.get(prefix, Some(options)).await
            })
            .await;
        response.take_kvs()
    }

    /// The newest revision.
    pub async fn revision(&self) -> i64 {
        let response = self
            .ask(
                "Range",
                |mut client| async move { client.get("\0", None).await },
            )
            .await;
        response.header().map_or(0, |header| header.revision())
    }

    /// All leases.
    pub async fn leases(&self) -> Vec<i64> {
        let response = self
            .ask(
                "LeaseLeases",
                |mut client| async move { client.leases().await },
            )
            .await;
        response.leases().iter().map(|lease| lease.id()).collect()
    }

    /// How many seconds a lease has left, rounded down. Negative if there is no such lease, or it
    /// has expired and is about to be revoked.
    pub async fn seconds_left(&self, lease: i64) -> i64 {
        let response = self
            .ask("LeaseTimeToLive", |mut client| async move {
                client.lease_time_to_live(lease, None).await
            })
            .await;
        response.ttl()
    }

    /// Compacts the history up to now, so that no watch can resume from before. Returns the
    /// revision.
    pub async fn compact(&self) -> i64 {
        let revision = self.revision().await;
        self.ask("Compact", |mut client| async move {
            let options = CompactionOptions::new().with_physical();
            client.compact(revision, Some(options)).await
        })
        .await;
        revision
    }

    /// Revokes a lease, as an operator would.
    pub async fn revoke(&self, lease: i64) {
        self.ask("LeaseRevoke", |mut client| async move {
            client.lease_revoke(lease).await
        })
        .await;
    }
}
