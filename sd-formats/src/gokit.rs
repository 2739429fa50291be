//! go-kit's `sd/etcdv3`.

use crate::{address::no_address, names, plain::PlainCodec};
use sd_core::{
    Address, Advert, Codec, CodecError, Entry, Format, Invalid, OneLevel, Prefix, Service,
};
use std::sync::Arc;

const TTL: u64 = 10;

/// The format of [go-kit](https://pkg.go.dev/github.com/go-kit/kit/sd/etcdv3): the address as it is, under
/// `/services/NAME/ADDRESS`.
///
/// Consumers take any value below the prefix for an address, and look at nothing else. So nothing else can be said.
/// The prefix is up to the programs of a fleet: see [`under`](Self::under).
///
/// ```
/// use sd_core::{Advert, Format};
/// use sd_formats::GoKit;
///
/// let service = GoKit::default().service("hello", &Advert::new("10.0.0.1:8080"))?;
/// assert_eq!(service.key.to_string(), "/services/hello/10.0.0.1:8080");
/// assert_eq!(service.value, "10.0.0.1:8080");
/// # Ok::<(), sd_core::CodecError>(())
/// ```
///
/// | it can say | |
/// |---|---|
/// | an address | `host:port` or a URL |
/// | other addresses | no |
/// | a weight | no |
/// | a weight of 0 | no |
/// | a zone | no |
/// | draining | no |
/// | an id | no |
/// | a version | no |
/// | metadata | no |
/// | metadata that is no text | no |
/// | several instances in an entry | no |
/// | a service called `a/b` | no |
/// | time to live | 10 s, that of go-kit |
#[derive(Debug, Clone)]
pub struct GoKit {
    root: Prefix,
    has_every_depth: bool,
}

impl GoKit {
    /// All services are below `root` instead of `/services`.
    #[must_use]
    pub fn under(mut self, root: Prefix) -> Self {
        self.root = root;
        self
    }

    /// Reads entries at every depth below the name, as go-kit does, and not just the first level. For fleets whose
    /// keys are as `/services/NAME/ZONE/ADDRESS`. The service `hello` then has the instances of `hello/b`, if
    /// somebody registers such a service.
    #[must_use]
    pub fn every_depth(mut self) -> Self {
        self.has_every_depth = true;
        self
    }
}

impl Default for GoKit {
    fn default() -> Self {
        Self {
            root: Prefix::new("/services").expect("it is not empty"),
            has_every_depth: false,
        }
    }
}

impl Format for GoKit {
    fn name(&self) -> &str {
        "gokit"
    }

    fn prefix(&self, service: &str) -> Result<Prefix, Invalid> {
        names::below(Some(&self.root), service)
    }

    fn codec(&self, service: &str) -> Result<Arc<dyn Codec>, Invalid> {
        let prefix = self.prefix(service)?;
        Ok(match self.has_every_depth {
            true => Arc::new(CODEC),
            false => Arc::new(OneLevel::below(prefix, CODEC)),
        })
    }

    fn service(&self, service: &str, advert: &Advert) -> Result<Service, CodecError> {
        let prefix = self.prefix(service)?;
        let address = Address::try_from(advert.main_address()).map_err(no_address)?;
        let key = prefix.key(address.authority())?;
        let value = CODEC.encode(&advert.to_instance(key.clone()))?;
        names::service(key, value, advert, TTL)
    }

    fn root(&self) -> Option<Prefix> {
        Some(self.root.clone())
    }

    fn service_of(&self, entry: &Entry) -> Option<String> {
        names::of_every_depth(Some(&self.root), entry, self.has_every_depth)
    }
}

const CODEC: PlainCodec = PlainCodec { has_urls: true };
