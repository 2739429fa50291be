//! Instances: what entries mean.

use super::status::Status;
use crate::registry::{Key, LeaseId};
use std::{collections::BTreeMap, fmt};

/// One instance of a service, as its [`Codec`](crate::Codec) read it from an entry.
///
/// Balancers read its attributes and need not know the registry's format. Its identity is its key:
/// one address under two keys is two instances, which share one [`Endpoint`](crate::Endpoint).
///
/// ```
/// use sd_core::{Instance, Key, Status};
///
/// let instance = Instance::new(Key::new("/services/hello/a")?, "10.0.0.1:8080")
///     .with_weight(3)
///     .with_zone("eu-1")
///     .with_metadata("version", "1.4.2");
/// assert_eq!(instance.address(), "10.0.0.1:8080");
/// assert_eq!(instance.status(), Status::Serving);
/// # Ok::<(), sd_core::Invalid>(())
/// ```
///
/// `Debug` shows the names of the metadata, and not the values, which may be meant for few.
///
/// # JSON
/// With the feature `serde` an instance can be serialised. The form is stable: that of the
/// [default codec](crate::DefaultCodec), with the key as one more field. A weight of 1, a missing
/// zone and empty metadata are left out, and so is the lease. Deserialising requires `key` and `address` and ignores
/// unknown fields.
///
/// ```json
/// {"key":"/services/hello/a","address":"10.0.0.1:8080","weight":3,"zone":"eu-1",
///  "status":"serving","metadata":{"version":"1.4.2"}}
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Instance {
    key: Key,
    address: Box<str>,
    weight: u32,
    status: Status,
    zone: Option<Box<str>>,
    metadata: BTreeMap<String, String>,
    lease: Option<LeaseId>,
}

impl Instance {
    /// A serving instance of weight 1 without zone, metadata and lease.
    pub fn new(key: Key, address: impl Into<Box<str>>) -> Self {
        Self {
            key,
            address: address.into(),
            weight: 1,
            status: Status::Serving,
            zone: None,
            metadata: BTreeMap::new(),
            lease: None,
        }
    }

    /// The same instance with another weight.
    #[must_use]
    pub fn with_weight(mut self, weight: u32) -> Self {
        self.weight = weight;
        self
    }

    /// The same instance with another status.
    #[must_use]
    pub fn with_status(mut self, status: Status) -> Self {
        self.status = status;
        self
    }

    /// The same instance in this zone.
    #[must_use]
    pub fn with_zone(mut self, zone: impl Into<Box<str>>) -> Self {
        self.zone = Some(zone.into());
        self
    }

    /// The same instance with one more piece of metadata.
    #[must_use]
    pub fn with_metadata(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.metadata.insert(name.into(), value.into());
        self
    }

    /// The same instance on another lease, or on none.
    #[must_use]
    pub fn with_lease(mut self, lease: impl Into<Option<LeaseId>>) -> Self {
        self.lease = lease.into();
        self
    }

    /// The key it is registered under: its identity.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// The address it is called at, such as `10.0.0.1:8080`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Its share of the calls relative to other instances; 0 asks for no calls.
    pub fn weight(&self) -> u32 {
        self.weight
    }

    /// Whether it wants new calls.
    pub fn status(&self) -> Status {
        self.status
    }

    /// The zone it runs in, for callers that prefer their own.
    pub fn zone(&self) -> Option<&str> {
        self.zone.as_deref()
    }

    /// The metadata called `name`, set by its provider.
    pub fn metadata(&self, name: &str) -> Option<&str> {
        self.metadata.get(name).map(String::as_str)
    }

    /// The lease of its [entry](crate::Entry::lease), which identifies the registration: another
    /// process that registers under the same key, or the same one after it lost its lease, has
    /// another. `None` if the entry has none, or if the registry does not say.
    pub fn lease(&self) -> Option<&LeaseId> {
        self.lease.as_ref()
    }

    /// About what it takes in memory, in bytes, with its place in a set. The page of
    /// [`PrefixLimits`](crate::PrefixLimits) has the formula.
    pub(crate) fn memory(&self) -> usize {
        const PIECE: usize = 96;
        let pieces = self.metadata.iter();
        let metadata: usize = pieces
            .map(|(name, value)| PIECE + name.len() + value.len())
            .sum();
        let zone = self.zone.as_ref().map_or(0, |zone| zone.len());
        300 + self.key.as_str().len() + self.address.len() + zone + metadata
    }

    /// All metadata, in the order of their names.
    pub fn all_metadata(&self) -> impl Iterator<Item = (&str, &str)> {
        self.metadata
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

impl fmt::Debug for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.metadata.keys().collect();
        f.debug_struct("Instance")
            .field("key", &self.key)
            .field("address", &self.address)
            .field("weight", &self.weight)
            .field("status", &self.status)
            .field("zone", &self.zone)
            .field("metadata", &names)
            .field("lease", &self.lease)
            .finish()
    }
}
