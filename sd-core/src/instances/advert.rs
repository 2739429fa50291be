//! Adverts: what a provider says of itself.

use super::{instance::Instance, status::Status};
use crate::registry::{Key, Ttl};

/// What a provider says of itself, before a [`Format`](crate::Format) makes a key and a value of it.
///
/// Only the address is necessary. A format refuses what it cannot say, as a weight where the value is a bare
/// address.
///
/// ```
/// use sd_core::Advert;
///
/// let advert = Advert::new("10.0.0.1:8080")
///     .weight(3)
///     .zone("eu-1")
///     .version("1.4.2")
///     .metadata("shard", "7");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advert {
    /// Under a key that stands for the one that the format chooses.
    instance: Instance,
    ttl: Option<Ttl>,
}

impl Advert {
    /// Says that the provider is called at `address`, and nothing more.
    pub fn new(address: impl AsRef<str>) -> Self {
        Self {
            instance: Instance::new(Key::to_be_chosen(), address),
            ttl: None,
        }
    }

    /// One more address of the same instance, of another scheme or family, such as `http://10.0.0.1:8080` beside
    /// `grpc://10.0.0.1:9090`.
    #[must_use]
    pub fn address(self, address: impl AsRef<str>) -> Self {
        self.with(|instance| instance.with_other_address(address))
    }

    /// The weight. Without one, the format writes its own default.
    #[must_use]
    pub fn weight(self, weight: u32) -> Self {
        self.with(|instance| instance.with_weight(weight))
    }

    /// The status. By default [`Status::Serving`].
    #[must_use]
    pub fn status(self, status: Status) -> Self {
        self.with(|instance| instance.with_status(status))
    }

    /// The zone.
    #[must_use]
    pub fn zone(self, zone: impl AsRef<str>) -> Self {
        self.with(|instance| instance.with_zone(zone))
    }

    /// The provider's name for this instance. Some formats need one that no other instance has; without, they make
    /// one of the address.
    #[must_use]
    pub fn id(self, id: impl AsRef<str>) -> Self {
        self.with(|instance| instance.with_id(id))
    }

    /// The version of the program.
    #[must_use]
    pub fn version(self, version: impl AsRef<str>) -> Self {
        self.with(|instance| instance.with_version(version))
    }

    /// One more piece of metadata.
    #[must_use]
    pub fn metadata(self, name: impl AsRef<str>, value: impl AsRef<str>) -> Self {
        self.with(|instance| instance.with_metadata(name, value))
    }

    /// How long the entry stays after the provider's last keep-alive. By default what the format's own fleet uses.
    #[must_use]
    pub fn ttl(mut self, ttl: Ttl) -> Self {
        self.ttl = Some(ttl);
        self
    }

    fn with(mut self, change: impl FnOnce(Instance) -> Instance) -> Self {
        self.instance = change(self.instance);
        self
    }

    /// The instance that is advertised, under `key`. For authors of formats.
    pub fn to_instance(&self, key: Key) -> Instance {
        self.instance.clone().with_key(key)
    }

    /// The address that was given first.
    pub fn main_address(&self) -> &str {
        self.instance.address()
    }

    /// The provider's name for the instance, if it has one.
    pub fn said_id(&self) -> Option<&str> {
        self.instance.id()
    }

    /// The time to live, if one was asked for.
    pub fn said_ttl(&self) -> Option<Ttl> {
        self.ttl
    }
}
