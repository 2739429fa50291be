//! Formats: where the instances of a service are, and how they are written.

#[cfg(test)]
mod tests;

use super::{
    address::Address,
    advert::Advert,
    codec::{Codec, CodecError, DefaultCodec},
    decoded::Decoded,
    edit::Edit,
    instance::Instance,
};
use crate::registry::{Entry, Invalid, Key, Prefix, Service};
use bytes::Bytes;
use std::{fmt, sync::Arc};

/// Where the instances of a service are in the registry, how their entries are written, and how long these stay
/// after a crash: all that a provider and a consumer have to agree on. So it is given once to each, and a service is
/// named, not located.
///
/// [`DefaultFormat`] is the toolkit's own. The crate `sd-formats` has those of other frameworks.
///
/// ```
/// # use sd_core::*;
/// # async fn join(client: impl Client + Clone) -> Result<()> {
/// let format = DefaultFormat::default();
/// let advert = Advert::new("10.0.0.1:8080").weight(3).zone("eu-1");
/// let registrar = Registrar::of(client.clone(), &format, "hello", &advert)?;
/// registrar.register().await?; // under /services/hello/10.0.0.1:8080
///
/// let hello = Instancer::of(client, &format, "hello")?;
/// # Ok(())
/// # }
/// ```
///
/// `Debug` shows the options: two formats that it shows alike read the same entries in the same way. A
/// snapshot file is used by the same format only.
pub trait Format: fmt::Debug + Send + Sync + 'static {
    /// Its name, for configurations and logs: `kratos`.
    fn name(&self) -> &str;

    /// What the keys of the instances of `service` begin with.
    ///
    /// # Errors
    /// [`Invalid::Name`] if no service can have this name.
    fn prefix(&self, service: &str) -> Result<Prefix, Invalid>;

    /// What reads and writes the entries of `service`. An entry under the [prefix](Self::prefix) that is none of the
    /// service's is [`Decoded::NOT_MINE`].
    ///
    /// # Errors
    /// [`Invalid::Name`] if no service can have this name.
    fn codec(&self, service: &str) -> Result<Arc<dyn Codec>, Invalid>;

    /// The entry of a provider of `service`: its key, its value and its time to live.
    ///
    /// # Errors
    /// [`CodecError::cannot_say`] if the format has no way to say something of `advert`, and another
    /// [`CodecError`] if no service or instance can be called so.
    fn service(&self, service: &str, advert: &Advert) -> Result<Service, CodecError>;

    /// What the keys of all services begin with, for tools that look at a whole fleet. `None` if nothing does: then
    /// any key of the registry may be one of a service.
    fn root(&self) -> Option<Prefix>;

    /// The name of the service that `entry` belongs to: the one whose [codec](Self::codec) reads it. `None` if it lies
    /// where no instance of a service does. Goes by the key, and looks at the value only where the key says too
    /// little. So an entry that cannot be read belongs to a service, too.
    ///
    /// ```
    /// use sd_core::{DefaultFormat, Entry, Format, Key};
    ///
    /// let format = DefaultFormat::default();
    /// let service_of = |key| Key::new(key).map(|key| format.service_of(&Entry::new(key, "x")));
    /// assert_eq!(service_of("/services/hello/10.0.0.1:8080")?.as_deref(), Some("hello"));
    /// assert_eq!(service_of("/elsewhere/hello/10.0.0.1:8080")?, None);
    /// # Ok::<(), sd_core::Invalid>(())
    /// ```
    fn service_of(&self, entry: &Entry) -> Option<String>;
}

impl<F: Format + ?Sized> Format for Arc<F> {
    fn name(&self) -> &str {
        (**self).name()
    }

    fn prefix(&self, service: &str) -> Result<Prefix, Invalid> {
        (**self).prefix(service)
    }

    fn codec(&self, service: &str) -> Result<Arc<dyn Codec>, Invalid> {
        (**self).codec(service)
    }

    fn service(&self, service: &str, advert: &Advert) -> Result<Service, CodecError> {
        (**self).service(service, advert)
    }

    fn root(&self) -> Option<Prefix> {
        (**self).root()
    }

    fn service_of(&self, entry: &Entry) -> Option<String> {
        (**self).service_of(entry)
    }
}

/// The toolkit's own format: `/services/NAME/ADDRESS`, with values of the [`DefaultCodec`].
///
/// A URL is registered under its host and port. What lies deeper than one level below the name belongs to no instance of
/// the service, so that `demo` does not see what is registered below `demo/b`.
///
/// | | |
/// |---|---|
/// | address, other addresses, weight, zone, id, version, metadata | yes |
/// | draining | yes, but not of an instance that has nothing but an address |
/// | time to live | [`Ttl::DEFAULT`](crate::Ttl::DEFAULT) |
/// | names of services | one segment of a path: no `/`, nothing that is not seen |
#[derive(Clone)]
pub struct DefaultFormat {
    root: Prefix,
}

impl DefaultFormat {
    /// All services are below `root` instead of `/services`.
    pub fn under(root: Prefix) -> Self {
        Self { root }
    }
}

impl Default for DefaultFormat {
    fn default() -> Self {
        let root = Prefix::new("/services");
        Self::under(root.expect("it is not empty"))
    }
}

impl fmt::Debug for DefaultFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DefaultFormat")
            .field("root", &self.root)
            .finish()
    }
}

impl Format for DefaultFormat {
    fn name(&self) -> &str {
        "default"
    }

    fn prefix(&self, service: &str) -> Result<Prefix, Invalid> {
        self.root.child(service)
    }

    fn codec(&self, service: &str) -> Result<Arc<dyn Codec>, Invalid> {
        let prefix = self.prefix(service)?;
        Ok(Arc::new(OneLevel::below(prefix, DefaultCodec)))
    }

    fn service(&self, service: &str, advert: &Advert) -> Result<Service, CodecError> {
        let prefix = self.prefix(service)?;
        let address = advert.main_address();
        let name = Address::parse(address).map_or(address, |address| address.authority);
        let key = prefix.key(name)?;
        let value = DefaultCodec.encode(&advert.to_instance(key.clone()))?;
        let ttl = advert.said_ttl().unwrap_or_default();
        Ok(Service::new(key, value)?.with_ttl(ttl))
    }

    fn root(&self) -> Option<Prefix> {
        Some(self.root.clone())
    }

    fn service_of(&self, entry: &Entry) -> Option<String> {
        let (service, instance) = self.root.strip(&entry.key)?.split_once('/')?;
        let is_instance = !instance.is_empty() && !instance.contains('/');
        (is_instance && self.prefix(service).is_ok()).then(|| service.to_owned())
    }
}

/// A codec for the entries that lie one level below a prefix. Those below them belong to something else.
///
/// ```
/// use sd_core::{Codec, DefaultCodec, Entry, Key, OneLevel, Prefix};
///
/// let codec = OneLevel::below(Prefix::new("/services/demo")?, DefaultCodec);
/// let entry = |key| Key::new(key).map(|key| Entry::new(key, "10.0.0.1:80"));
/// assert_eq!(codec.decode(&entry("/services/demo/a")?)?.instances().len(), 1);
/// assert_eq!(codec.decode(&entry("/services/demo/b/a")?)?.instances().len(), 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct OneLevel<C> {
    prefix: Prefix,
    codec: C,
}

impl<C: Codec> OneLevel<C> {
    /// Reads with `codec` what lies right below `prefix`.
    pub fn below(prefix: Prefix, codec: C) -> Self {
        Self { prefix, codec }
    }

    fn is_mine(&self, key: &Key) -> bool {
        let name = self.prefix.strip(key);
        name.is_none_or(|name| !name.contains('/'))
    }
}

impl<C: Codec> Codec for OneLevel<C> {
    fn decode(&self, entry: &Entry) -> Result<Decoded, CodecError> {
        match self.is_mine(&entry.key) {
            true => self.codec.decode(entry),
            false => Ok(Decoded::NOT_MINE),
        }
    }

    fn encode(&self, instance: &Instance) -> Result<Bytes, CodecError> {
        match self.is_mine(instance.key()) {
            true => self.codec.encode(instance),
            false => Err(CodecError::new(
                "the key is more than one level below the service",
            )),
        }
    }

    fn edit(&self, entry: &Entry, edit: &Edit) -> Result<Entry, CodecError> {
        self.codec.edit(entry, edit)
    }
}
