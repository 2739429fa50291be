//! Services: what a provider registers.

use super::{error::Invalid, generation::Generation, key::ServiceKey, lease::Ttl, owner::Owner};
use bytes::Bytes;
use std::fmt;

/// A service to register: its key, the value for its consumers, and how long the entry stays after
/// the provider has crashed.
///
/// ```
/// use sd_core::{Key, Service, Ttl};
///
/// let service = Service::new("/services/hello/10.0.0.1:8080", "10.0.0.1:8080")?
///     .with_ttl(Ttl::from_secs(10)?);
/// let named_by_its_lease = Service::new(Key::lease_suffixed("Hello")?, "10.0.0.1:8080")?;
/// # Ok::<(), sd_core::Invalid>(())
/// ```
///
/// `Debug` shows how long the value is, and not the value, which may hold what is nobody else's business.
#[derive(Clone)]
#[non_exhaustive]
pub struct Service {
    /// The key of the entry.
    pub key: ServiceKey,
    /// The value for consumers: an address, or anything that their [`Codec`](crate::Codec) can
    /// read.
    pub value: Bytes,
    /// How long the entry stays after the provider's last keep-alive.
    pub ttl: Ttl,
    owner: Option<Owner>,
    generation: Option<Generation>,
}

impl Service {
    /// A service with the [default](Ttl::DEFAULT) time to live.
    ///
    /// # Errors
    /// [`Invalid::EmptyKey`] if the key is empty.
    pub fn new<K>(key: K, value: impl Into<Bytes>) -> Result<Self, Invalid>
    where
        K: TryInto<ServiceKey>,
        Invalid: From<K::Error>,
    {
        Ok(Self {
            key: key.try_into()?,
            value: value.into(),
            ttl: Ttl::DEFAULT,
            owner: None,
            generation: None,
        })
    }

    /// The same service with another time to live.
    #[must_use]
    pub fn with_ttl(mut self, ttl: Ttl) -> Self {
        self.ttl = ttl;
        self
    }

    /// The same service with another value.
    #[must_use]
    pub fn with_value(mut self, value: impl Into<Bytes>) -> Self {
        self.value = value.into();
        self
    }

    /// The same service under another key.
    #[must_use]
    pub fn with_key(mut self, key: impl Into<ServiceKey>) -> Self {
        self.key = key.into();
        self
    }

    /// The same service with an owner, who can end only its own registration; see [`Owner`].
    #[must_use]
    pub fn owned_by(mut self, owner: Owner) -> Self {
        self.owner = Some(owner);
        self
    }

    /// The owner. `None` if `deregister` ends whatever the client holds under the key.
    pub fn owner(&self) -> Option<Owner> {
        self.owner
    }

    /// The same service with a generation, which a later registration has a newer one of; see
    /// [`Generation`].
    #[must_use]
    pub fn with_generation(mut self, generation: Generation) -> Self {
        self.generation = Some(generation);
        self
    }

    /// The generation. `None` if each `register` has a new one.
    pub fn generation(&self) -> Option<Generation> {
        self.generation
    }
}

/// Compares key, value and time to live, but neither the owner nor the generation.
impl PartialEq for Service {
    fn eq(&self, other: &Self) -> bool {
        (&self.key, &self.value, self.ttl) == (&other.key, &other.value, other.ttl)
    }
}

impl Eq for Service {}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service")
            .field("key", &self.key)
            .field("value", &format_args!("{} bytes", self.value.len()))
            .field("ttl", &self.ttl)
            .field("owner", &self.owner)
            .field("generation", &self.generation)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::key::Key;

    #[test]
    fn an_owner_and_a_generation_make_no_other_service_of_it() {
        let service = Service::new("/services/hello/a", "10.0.0.1:80").unwrap();
        let owned = service.clone().owned_by(Owner::new());
        let owned = owned.with_generation(Generation::new());
        assert_eq!(owned, service);
        let moved = owned.clone().with_key(Key::lease_suffixed("a").unwrap());
        assert_eq!(moved.owner(), owned.owner());
        assert_eq!(moved.generation(), owned.generation());
        assert_eq!(moved.key.fixed(), None);
        assert_eq!(service.key.fixed(), Some(service.key.stem()));
        for other in [
            moved,
            service.clone().with_value("10.0.0.2:80"),
            service.clone().with_ttl(Ttl::MIN),
        ] {
            assert_ne!(other, service);
        }
    }
}
