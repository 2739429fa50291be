//! Instances: what entries mean.

use super::{
    instance_key::InstanceKey,
    instance_text::{Field, InstanceText},
    metadata_value::MetadataValue,
    status::Status,
};
use crate::registry::{Key, LeaseId};
use std::fmt;

/// One instance of a service, as its [`Codec`](crate::Codec) read it from an entry.
///
/// Balancers read its attributes and need not know the registry's format. Its identity is its key, with
/// its part where one entry describes several instances:
/// one address under two keys is two instances, which share one [`Endpoint`](crate::Endpoint).
///
/// ```
/// use sd_core::{Instance, Key, Status};
///
/// let instance = Instance::new(Key::new("/services/hello/a")?, "10.0.0.1:8080")
///     .with_weight(3)
///     .with_zone("eu-1")
///     .with_metadata("team", "search");
/// assert_eq!(instance.address(), "10.0.0.1:8080");
/// assert_eq!(instance.status(), Status::Serving);
/// # Ok::<(), sd_core::Invalid>(())
/// ```
///
/// `Debug` shows the names of the metadata, and not the values, which may be meant for few.
///
/// # JSON
/// With the feature `serde` an instance can be serialised. The form is stable: that of the
/// [default codec](crate::DefaultCodec), with the key, and the part if there is one, as further fields. What an
/// instance does not have is left out, and so is the lease. Deserialising requires `key` and `address` and ignores
/// unknown fields.
///
/// ```json
/// {"key":"/services/hello/a","address":"10.0.0.1:8080","weight":3,"zone":"eu-1",
///  "status":"serving","metadata":{"team":"search"}}
/// ```
#[derive(Clone, Eq)]
pub struct Instance {
    key: Key,
    /// All that is text and not the key.
    text: InstanceText,
    lease: Option<LeaseId>,
    weight: u32,
    is_weight_said: bool,
    status: Status,
    /// Whether `text` has a part.
    has_part: bool,
}

impl Instance {
    /// A serving instance without weight, zone, metadata and lease.
    pub fn new(key: Key, address: impl AsRef<str>) -> Self {
        Self::of_text(key, InstanceText::of_address(address.as_ref()))
    }

    /// The same with all its texts at once. None of them is a part.
    pub(super) fn of_text(key: Key, text: InstanceText) -> Self {
        Self {
            key,
            text,
            lease: None,
            weight: 1,
            is_weight_said: false,
            status: Status::Serving,
            has_part: false,
        }
    }

    /// The same instance with another weight.
    #[must_use]
    pub fn with_weight(mut self, weight: u32) -> Self {
        self.weight = weight;
        self.is_weight_said = true;
        self
    }

    /// The same instance with the weight that its format stands for if none is said.
    #[must_use]
    pub fn with_default_weight(mut self, weight: u32) -> Self {
        self.weight = weight;
        self.is_weight_said = false;
        self
    }

    /// The same instance with another status.
    #[must_use]
    pub fn with_status(mut self, status: Status) -> Self {
        match std::mem::replace(&mut self.status, status) {
            Status::Unknown => self.set(Field::UnknownStatus, None),
            Status::Serving | Status::Draining => self,
        }
    }

    /// The same instance, of which is said that it is `word`, whatever that means: its status is
    /// [`Unknown`](Status::Unknown).
    #[must_use]
    pub fn with_unknown_status(mut self, word: impl AsRef<str>) -> Self {
        self.status = Status::Unknown;
        self.set(Field::UnknownStatus, Some(word.as_ref()))
    }

    /// The same instance in this zone.
    #[must_use]
    pub fn with_zone(self, zone: impl AsRef<str>) -> Self {
        self.set(Field::Zone, Some(zone.as_ref()))
    }

    /// The same instance with one more piece of metadata. [`with_all_metadata`](Self::with_all_metadata) adds many.
    #[must_use]
    pub fn with_metadata(mut self, name: impl AsRef<str>, value: impl AsRef<str>) -> Self {
        let value = MetadataValue::Text(value.as_ref());
        self.text.set_metadata(name.as_ref(), Some(value));
        self
    }

    /// The same instance with one more piece of metadata whose value is no text: a number, a list or what else
    /// there is in JSON. `json` is kept as it is.
    #[must_use]
    pub fn with_json_metadata(mut self, name: impl AsRef<str>, json: impl AsRef<str>) -> Self {
        let value = MetadataValue::Json(json.as_ref());
        self.text.set_metadata(name.as_ref(), Some(value));
        self
    }

    /// The same instance with more metadata. Of several pieces with one name the last counts.
    ///
    /// For codecs: an instance has all its texts in one allocation, in which each piece has its place. So pieces that
    /// are added one by one may cost the square of their number.
    ///
    /// ```
    /// use sd_core::{Instance, Key, MetadataValue};
    ///
    /// let pieces = [
    ///     ("team", MetadataValue::Text("search")),
    ///     ("shard", MetadataValue::Json("7")),
    /// ];
    /// let instance = Instance::new(Key::new("/services/hello/a")?, "10.0.0.1:8080")
    ///     .with_all_metadata(pieces);
    /// assert_eq!(instance.metadata("team"), Some("search"));
    /// assert!(instance.is_json_metadata("shard"));
    /// # Ok::<(), sd_core::Invalid>(())
    /// ```
    #[must_use]
    pub fn with_all_metadata<'p>(
        mut self,
        pieces: impl IntoIterator<Item = (&'p str, MetadataValue<'p>)>,
    ) -> Self {
        self.text.set_all_metadata(pieces.into_iter());
        self
    }

    /// The same instance without the metadata called `name`.
    #[must_use]
    pub fn without_metadata(mut self, name: &str) -> Self {
        self.text.set_metadata(name, None);
        self
    }

    /// The same instance on another lease, or on none.
    #[must_use]
    pub fn with_lease(mut self, lease: impl Into<Option<LeaseId>>) -> Self {
        self.lease = lease.into();
        self
    }

    /// The same instance with the provider's own name for it.
    #[must_use]
    pub fn with_id(self, id: impl AsRef<str>) -> Self {
        self.set(Field::Id, Some(id.as_ref()))
    }

    /// The same instance of this version of the program.
    #[must_use]
    pub fn with_version(self, version: impl AsRef<str>) -> Self {
        self.set(Field::Version, Some(version.as_ref()))
    }

    /// The same instance with one more address, of another scheme or family, which is not called.
    #[must_use]
    pub fn with_other_address(mut self, address: impl AsRef<str>) -> Self {
        self.text.push(Field::OtherAddress, address.as_ref());
        self
    }

    /// The same instance as one of several of its entry, which are told apart by `part`. It has to stay the same
    /// while the others come and go.
    #[must_use]
    pub fn with_part(mut self, part: impl AsRef<str>) -> Self {
        self.has_part = true;
        self.set(Field::Part, Some(part.as_ref()))
    }

    /// The same instance at another address.
    #[must_use]
    pub fn with_address(self, address: impl AsRef<str>) -> Self {
        self.set(Field::Address, Some(address.as_ref()))
    }

    /// The same instance under another key.
    #[must_use]
    pub fn with_key(mut self, key: Key) -> Self {
        self.key = key;
        self
    }

    fn set(mut self, field: Field, text: Option<&str>) -> Self {
        self.text.set(field, text);
        self
    }

    /// The key of its entry.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// What tells it from all other instances: its key, and its part if it is one of several of its entry.
    pub fn identity(&self) -> InstanceKey {
        match self.part() {
            Some(part) => InstanceKey::with_part(&self.key, part),
            None => self.key.clone().into(),
        }
    }

    /// Its place among others: the order of their identities.
    pub(crate) fn place(&self) -> (&str, Option<&str>) {
        (self.key.as_str(), self.part())
    }

    /// Its part of the entry, if that describes several instances.
    pub fn part(&self) -> Option<&str> {
        match self.has_part {
            true => self.text.get(Field::Part),
            false => None,
        }
    }

    /// The address it is called at, such as `10.0.0.1:8080`.
    pub fn address(&self) -> &str {
        self.text.address()
    }

    /// Its other addresses, of other schemes or families. Which of all addresses is called is chosen once for a
    /// service, by its codec.
    pub fn other_addresses(&self) -> impl Iterator<Item = &str> {
        self.text.all(Field::OtherAddress)
    }

    /// Its share of the calls relative to other instances; 0 asks for no calls. If nothing is said, 1 or the default
    /// of its format.
    pub fn weight(&self) -> u32 {
        self.weight
    }

    /// The weight, if one was said: formats have different defaults.
    pub fn said_weight(&self) -> Option<u32> {
        self.is_weight_said.then_some(self.weight)
    }

    /// Whether it wants new calls.
    pub fn status(&self) -> Status {
        self.status
    }

    /// The status in the word of its provider: `serving`, `draining`, or any other if it is
    /// [`Unknown`](Status::Unknown).
    pub fn status_word(&self) -> &str {
        match self.status {
            Status::Unknown => self.text.get(Field::UnknownStatus),
            Status::Serving | Status::Draining => None,
        }
        .unwrap_or(self.status.as_str())
    }

    /// The zone it runs in, for callers that prefer their own.
    pub fn zone(&self) -> Option<&str> {
        self.text.get(Field::Zone)
    }

    /// Its provider's own name for it, if it has one. The registry's name for it is the [key](Self::key).
    pub fn id(&self) -> Option<&str> {
        self.text.get(Field::Id)
    }

    /// The version of the program, if that is said.
    pub fn version(&self) -> Option<&str> {
        self.text.get(Field::Version)
    }

    /// The metadata called `name`, set by its provider. What is no text is JSON.
    pub fn metadata(&self, name: &str) -> Option<&str> {
        self.piece(name).map(MetadataValue::as_str)
    }

    /// Whether the metadata called `name` is no text but JSON, as a number is.
    pub fn is_json_metadata(&self, name: &str) -> bool {
        matches!(self.piece(name), Some(MetadataValue::Json(_)))
    }

    fn piece(&self, name: &str) -> Option<MetadataValue<'_>> {
        let mut pieces = self.text.metadata();
        pieces.find_map(|(known, value)| (known == name).then_some(value))
    }

    /// The lease of its [entry](crate::Entry::lease), which identifies the registration: another
    /// process that registers under the same key, or the same one after it lost its lease, has
    /// another. `None` if the entry has none, or if the registry does not say.
    pub fn lease(&self) -> Option<&LeaseId> {
        self.lease.as_ref()
    }

    /// All metadata, in the order of their names.
    pub fn all_metadata(&self) -> impl Iterator<Item = (&str, &str)> {
        self.text
            .metadata()
            .map(|(name, value)| (name, value.as_str()))
    }

    /// All metadata, in the order of their names, each with whether it is text or JSON.
    pub fn metadata_values(&self) -> impl Iterator<Item = (&str, MetadataValue<'_>)> {
        self.text.metadata()
    }

    /// What it counts for the limits of a prefix, in bytes: no less than what it takes in memory, with its place in a
    /// set. The page of [`PrefixLimits`](crate::PrefixLimits) has the formula.
    pub(crate) fn memory(&self) -> usize {
        const FIXED: usize = 256;
        const IDENTITY: usize = 32;
        let key = self.key.as_str().len();
        // The identity has the key once more.
        let identity = self.part().map_or(0, |part| IDENTITY + key + part.len());
        FIXED + key + self.text.len() + identity
    }

    /// The same without room for more, for an instance that is kept.
    pub(super) fn shrunk(mut self) -> Self {
        self.text.shrink();
        self
    }
}

/// What few have is left out where it is missing.
impl fmt::Debug for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Instance");
        shown
            .field("key", &self.identity())
            .field("address", &self.address())
            .field("weight", &self.weight)
            .field("status", &self.status_word())
            .field("zone", &self.zone())
            .field("metadata", &self.text)
            .field("lease", &self.lease);
        for (name, field) in [("id", Field::Id), ("version", Field::Version)] {
            if let Some(text) = self.text.get(field) {
                shown.field(name, &text);
            }
        }
        let others: Vec<_> = self.other_addresses().collect();
        if !others.is_empty() {
            shown.field("other_addresses", &others);
        }
        shown.finish()
    }
}

/// Whether a weight was said or is the default is no difference.
impl PartialEq for Instance {
    fn eq(&self, other: &Self) -> bool {
        let Self {
            key,
            text,
            lease,
            weight,
            is_weight_said: _,
            status,
            has_part: _,
        } = self;
        (key, text, lease) == (&other.key, &other.text, &other.lease)
            && (weight, status) == (&other.weight, &other.status)
    }
}
