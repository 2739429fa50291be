//! Instances: what entries mean.

use super::{instance_key::InstanceKey, status::Status};
use crate::registry::{Key, LeaseId};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

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
    address: Box<str>,
    weight: u32,
    is_weight_said: bool,
    status: Status,
    zone: Option<Box<str>>,
    metadata: BTreeMap<String, String>,
    lease: Option<LeaseId>,
    /// What few instances have.
    rare: Option<Box<Rare>>,
}

#[derive(Clone, Default, PartialEq, Eq)]
struct Rare {
    part: Option<Box<str>>,
    id: Option<Box<str>>,
    version: Option<Box<str>>,
    other_addresses: Vec<Box<str>>,
    unknown_status: Option<Box<str>>,
    /// The names of the metadata whose values are JSON.
    json: BTreeSet<String>,
}

impl Instance {
    /// A serving instance without weight, zone, metadata and lease.
    pub fn new(key: Key, address: impl Into<Box<str>>) -> Self {
        Self {
            key,
            address: address.into(),
            weight: 1,
            is_weight_said: false,
            status: Status::Serving,
            zone: None,
            metadata: BTreeMap::new(),
            lease: None,
            rare: None,
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
        self.status = status;
        self.change_rare(|rare| rare.unknown_status = None);
        self
    }

    /// The same instance, of which is said that it is `word`, whatever that means: its status is
    /// [`Unknown`](Status::Unknown).
    #[must_use]
    pub fn with_unknown_status(mut self, word: impl Into<Box<str>>) -> Self {
        self.status = Status::Unknown;
        self.rare_mut().unknown_status = Some(word.into());
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
        let name = name.into();
        self.change_rare(|rare| {
            rare.json.remove(&name);
        });
        self.metadata.insert(name, value.into());
        self
    }

    /// The same instance with one more piece of metadata whose value is no text: a number, a list or what else
    /// there is in JSON. `json` is kept as it is.
    #[must_use]
    pub fn with_json_metadata(mut self, name: impl Into<String>, json: impl Into<String>) -> Self {
        let name = name.into();
        self.rare_mut().json.insert(name.clone());
        self.metadata.insert(name, json.into());
        self
    }

    /// The same instance without the metadata called `name`.
    #[must_use]
    pub fn without_metadata(mut self, name: &str) -> Self {
        self.metadata.remove(name);
        self.change_rare(|rare| {
            rare.json.remove(name);
        });
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
    pub fn with_id(mut self, id: impl Into<Box<str>>) -> Self {
        self.rare_mut().id = Some(id.into());
        self
    }

    /// The same instance of this version of the program.
    #[must_use]
    pub fn with_version(mut self, version: impl Into<Box<str>>) -> Self {
        self.rare_mut().version = Some(version.into());
        self
    }

    /// The same instance with one more address, of another scheme or family, which is not called.
    #[must_use]
    pub fn with_other_address(mut self, address: impl Into<Box<str>>) -> Self {
        self.rare_mut().other_addresses.push(address.into());
        self
    }

    /// The same instance as one of several of its entry, which are told apart by `part`. It has to stay the same
    /// while the others come and go.
    #[must_use]
    pub fn with_part(mut self, part: impl Into<Box<str>>) -> Self {
        self.rare_mut().part = Some(part.into());
        self
    }

    /// The same instance at another address.
    #[must_use]
    pub fn with_address(mut self, address: impl Into<Box<str>>) -> Self {
        self.address = address.into();
        self
    }

    /// The same instance under another key.
    #[must_use]
    pub fn with_key(mut self, key: Key) -> Self {
        self.key = key;
        self
    }

    fn rare_mut(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    /// Changes what is there, and drops it if nothing is left.
    fn change_rare(&mut self, change: impl FnOnce(&mut Rare)) {
        if let Some(rare) = &mut self.rare {
            change(rare);
            if **rare == Rare::default() {
                self.rare = None;
            }
        }
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
        self.rare.as_ref()?.part.as_deref()
    }

    /// The address it is called at, such as `10.0.0.1:8080`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Its other addresses, of other schemes or families. Which of all addresses is called is chosen once for a
    /// service, by its codec.
    pub fn other_addresses(&self) -> impl Iterator<Item = &str> {
        let rare = self.rare.iter();
        rare.flat_map(|rare| rare.other_addresses.iter().map(|address| &**address))
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
        let unknown = self
            .rare
            .as_ref()
            .and_then(|rare| rare.unknown_status.as_deref());
        unknown.unwrap_or(self.status.as_str())
    }

    /// The zone it runs in, for callers that prefer their own.
    pub fn zone(&self) -> Option<&str> {
        self.zone.as_deref()
    }

    /// Its provider's own name for it, if it has one. The registry's name for it is the [key](Self::key).
    pub fn id(&self) -> Option<&str> {
        self.rare.as_ref()?.id.as_deref()
    }

    /// The version of the program, if that is said.
    pub fn version(&self) -> Option<&str> {
        self.rare.as_ref()?.version.as_deref()
    }

    /// The metadata called `name`, set by its provider. What is no text is JSON.
    pub fn metadata(&self, name: &str) -> Option<&str> {
        self.metadata.get(name).map(String::as_str)
    }

    /// Whether the metadata called `name` is no text but JSON, as a number is.
    pub fn is_json_metadata(&self, name: &str) -> bool {
        self.rare
            .as_ref()
            .is_some_and(|rare| rare.json.contains(name))
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
        let rare = self.rare.as_ref().map_or(0, |rare| rare.memory(&self.key));
        300 + self.key.as_str().len() + self.address.len() + zone + metadata + rare
    }

    /// All metadata, in the order of their names.
    pub fn all_metadata(&self) -> impl Iterator<Item = (&str, &str)> {
        self.metadata
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

impl Rare {
    fn memory(&self, key: &Key) -> usize {
        const LINE: usize = 32;
        let text = |text: &Option<Box<str>>| text.as_ref().map_or(0, |text| text.len());
        // The identity has the key once more.
        let identity = self.part.as_ref().map_or(0, |_| LINE + key.as_str().len());
        let addresses = self.other_addresses.iter();
        let addresses: usize = addresses.map(|address| LINE + address.len()).sum();
        let json: usize = self.json.iter().map(|name| LINE + name.len()).sum();
        let texts = [&self.id, &self.version, &self.unknown_status].map(text);
        160 + identity + 2 * text(&self.part) + texts.iter().sum::<usize>() + addresses + json
    }
}

impl fmt::Debug for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.metadata.keys().collect();
        let mut shown = f.debug_struct("Instance");
        shown
            .field("key", &self.identity())
            .field("address", &self.address)
            .field("weight", &self.weight)
            .field("status", &self.status_word())
            .field("zone", &self.zone)
            .field("metadata", &names)
            .field("lease", &self.lease);
        if let Some(rare) = &self.rare {
            shown
                .field("id", &rare.id)
                .field("version", &rare.version)
                .field("other_addresses", &rare.other_addresses);
        }
        shown.finish()
    }
}

/// Whether a weight was said or is the default is no difference.
impl PartialEq for Instance {
    fn eq(&self, other: &Self) -> bool {
        let Self {
            key,
            address,
            weight,
            is_weight_said: _,
            status,
            zone,
            metadata,
            lease,
            rare,
        } = self;
        (key, address, weight, status) == (&other.key, &other.address, &other.weight, &other.status)
            && (zone, metadata, lease, rare)
                == (&other.zone, &other.metadata, &other.lease, &other.rare)
    }
}
