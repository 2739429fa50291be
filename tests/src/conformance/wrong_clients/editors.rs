//! Editors that change what they should not.

use super::{Flaw, Right};
use sd_core::{Bytes, Editor, Entry, Error, FencedEntry, Key, Result, Revision, async_trait};
use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

/// Answers with what it has read of a key first.
#[derive(Debug, Default)]
pub struct ReadsFromACache(Mutex<HashMap<Key, FencedEntry>>);

#[async_trait]
impl Flaw for ReadsFromACache {
    async fn read(&self, right: &Right, key: &Key) -> Result<Option<FencedEntry>> {
        let read = right.client.get_entry(key).await?;
        let mut cache = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(cached) = cache.get(key) {
            return Ok(Some(cached.clone()));
        }
        cache.extend(read.clone().map(|read| (key.clone(), read)));
        Ok(read)
    }
}

/// Writes the value as any program would: without the lease.
#[derive(Debug, Default)]
pub struct EditsOffTheLease;

#[async_trait]
impl Flaw for EditsOffTheLease {
    async fn replace(&self, right: &Right, read: &FencedEntry, value: Bytes) -> Result<bool> {
        // Fenced as it should be.
        if !right.client.replace_entry(read, value.clone()).await? {
            return Ok(false);
        }
        right.registry.put(&read.entry.key, value)?;
        Ok(true)
    }
}

/// Takes an entry with the same value for the one that it read.
#[derive(Debug, Default)]
pub struct ComparesValues;

/// The entry that has the value that was `read`, if there is one.
async fn with_same_value(right: &Right, read: &FencedEntry) -> Result<Option<FencedEntry>> {
    let now = right.client.get_entry(&read.entry.key).await?;
    Ok(now.filter(|now| now.entry.value == read.entry.value))
}

#[async_trait]
impl Flaw for ComparesValues {
    async fn replace(&self, right: &Right, read: &FencedEntry, value: Bytes) -> Result<bool> {
        match with_same_value(right, read).await? {
            Some(now) => right.client.replace_entry(&now, value).await,
            None => Ok(false),
        }
    }

    async fn delete(&self, right: &Right, read: &FencedEntry) -> Result<bool> {
        match with_same_value(right, read).await? {
            Some(now) => right.client.delete_entry(&now).await,
            None => Ok(false),
        }
    }
}

/// Puts an entry back that was deleted.
#[derive(Debug, Default)]
pub struct BringsBack;

#[async_trait]
impl Flaw for BringsBack {
    async fn replace(&self, right: &Right, read: &FencedEntry, value: Bytes) -> Result<bool> {
        if right.client.get_entry(&read.entry.key).await?.is_none() {
            right.registry.put(&read.entry.key, value)?;
            return Ok(true);
        }
        right.client.replace_entry(read, value).await
    }
}

/// Sends what the registry refuses, and does not tell that from a registry that is away.
#[derive(Debug, Default)]
pub struct SendsWhatIsRefused;

#[async_trait]
impl Flaw for SendsWhatIsRefused {
    async fn replace(&self, right: &Right, read: &FencedEntry, value: Bytes) -> Result<bool> {
        let replaced = right.client.replace_entry(read, value).await;
        replaced.map_err(|_| Error::unavailable("refused"))
    }
}

/// Says that an entry is there where none is.
#[derive(Debug, Default)]
pub struct InventsEntries;

#[async_trait]
impl Flaw for InventsEntries {
    async fn read(&self, right: &Right, key: &Key) -> Result<Option<FencedEntry>> {
        let read = right.client.get_entry(key).await?;
        let none = || FencedEntry::new(Entry::new(key.clone(), ""), Revision::new(0));
        Ok(Some(read.unwrap_or_else(none)))
    }
}
