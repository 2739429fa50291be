//! Keys that are a name and the number of a lease.

use crate::{names, plain::PlainCodec};
use sd_core::{
    Advert, Bytes, Codec, CodecError, Decoded, Edit, Entry, Format, Instance, Invalid, Key, Prefix,
    Service, Ttl,
};
use std::sync::Arc;

/// The layout of fleets whose keys are a name and the number of the provider's lease, with nothing in between:
/// `Hello7587849142468224212`. The value is the address as it is.
///
/// Whatever else begins with the name, as `HelloWorld/a`, is no instance of the service. So no name may end in a
/// digit.
///
/// ```
/// use sd_core::{Advert, Format, LeaseId};
/// use sd_formats::LeaseNamed;
///
/// let service = LeaseNamed::default().service("Hello", &Advert::new("10.0.0.1:8080"))?;
/// let lease = LeaseId::from(7587849142468224212);
/// assert_eq!(service.key.under(&lease).as_str(), "Hello7587849142468224212");
/// assert!(LeaseNamed::default().prefix("Hello2").is_err());
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
/// | time to live | 15 s, the toolkit's own |
#[derive(Debug, Clone, Default)]
pub struct LeaseNamed {
    root: Option<Prefix>,
}

impl LeaseNamed {
    /// All keys are below `root`: `root/Hello7587849142468224212`.
    #[must_use]
    pub fn under(mut self, root: Prefix) -> Self {
        self.root = Some(root);
        self
    }
}

impl Format for LeaseNamed {
    fn name(&self) -> &str {
        "lease-named"
    }

    fn prefix(&self, service: &str) -> Result<Prefix, Invalid> {
        let path = names::below(self.root.as_ref(), service)?;
        if service.ends_with(|last: char| last.is_ascii_digit()) {
            let name = service.to_owned();
            return Err(Invalid::Name { name });
        }
        Prefix::raw(path.as_str().trim_end_matches('/'))
    }

    fn codec(&self, service: &str) -> Result<Arc<dyn Codec>, Invalid> {
        let prefix = self.prefix(service)?;
        Ok(Arc::new(LeaseNamedCodec { prefix }))
    }

    fn service(&self, service: &str, advert: &Advert) -> Result<Service, CodecError> {
        let key = Key::lease_suffixed(self.prefix(service)?.as_str())?;
        let value = PLAIN.encode(&advert.to_instance(key.stem().clone()))?;
        names::service(key, value, advert, Ttl::DEFAULT.as_secs().into())
    }

    fn root(&self) -> Option<Prefix> {
        self.root.clone()
    }

    fn service_of(&self, entry: &Entry) -> Option<String> {
        let key = names::rest(self.root.as_ref(), entry)?;
        let service = key.trim_end_matches(|last: char| last.is_ascii_digit());
        let is_name = service.len() < key.len() && self.prefix(service).is_ok();
        is_name.then(|| service.to_owned())
    }
}

const PLAIN: PlainCodec = PlainCodec { has_urls: true };

/// A codec for the keys that are the prefix and a number.
#[derive(Debug)]
struct LeaseNamedCodec {
    prefix: Prefix,
}

impl Codec for LeaseNamedCodec {
    fn decode(&self, entry: &Entry) -> Result<Decoded, CodecError> {
        let is_number =
            |rest: &str| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit());
        match self.prefix.strip(&entry.key) {
            Some(rest) if is_number(rest) => PLAIN.decode(entry),
            _ => Ok(Decoded::NOT_MINE),
        }
    }

    fn encode(&self, instance: &Instance) -> Result<Bytes, CodecError> {
        PLAIN.encode(instance)
    }

    fn edit(&self, entry: &Entry, edit: &Edit) -> Result<Entry, CodecError> {
        PLAIN.edit(entry, edit)
    }
}
