//! Instances: entries understood.

use super::status::Status;
use crate::registry::Key;
use std::collections::BTreeMap;

/// One instance of a service, as its [`Codec`](crate::Codec) read it from an entry.
///
/// Its identity is its key: one address under two keys is two instances.
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    key: Key,
    address: Box<str>,
    weight: u32,
    status: Status,
    zone: Option<Box<str>>,
    metadata: BTreeMap<String, String>,
}

impl Instance {
    /// A serving instance of weight 1 without zone and metadata.
    pub fn new(key: Key, address: impl Into<Box<str>>) -> Self {
        Self {
            key,
            address: address.into(),
            weight: 1,
            status: Status::Serving,
            zone: None,
            metadata: BTreeMap::new(),
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

    /// Where it is registered: its identity.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// Where it is called, such as `10.0.0.1:8080`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Its share of the calls relative to the others; 0 asks for none.
    pub fn weight(&self) -> u32 {
        self.weight
    }

    /// Whether it wants new calls.
    pub fn status(&self) -> Status {
        self.status
    }

    /// Where it runs, for callers that prefer their own zone.
    pub fn zone(&self) -> Option<&str> {
        self.zone.as_deref()
    }

    /// What else its provider says of it.
    pub fn metadata(&self, name: &str) -> Option<&str> {
        self.metadata.get(name).map(String::as_str)
    }

    /// All metadata, in the order of their names.
    pub fn all_metadata(&self) -> impl Iterator<Item = (&str, &str)> {
        self.metadata
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }
}
