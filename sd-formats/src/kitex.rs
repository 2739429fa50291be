//! Kitex' `registry-etcd`.

use crate::{cloudwego::CloudWeGoCodec, names};
use sd_core::{Advert, Codec, CodecError, Entry, Format, Invalid, OneLevel, Prefix, Service};
use std::sync::Arc;

const TTL: u64 = 60;

/// The format of [Kitex](https://pkg.go.dev/github.com/kitex-contrib/registry-etcd):
/// `{"network":"tcp","address":"10.0.0.1:8888","weight":10,"tags":null}` under
/// `kitex/registry-etcd/NAME/ADDRESS`.
///
/// Consumers list the prefix every 5 s. While calls go on, they keep the last instance, even if it is gone.
///
/// ```
/// use sd_core::{Advert, Format};
/// use sd_formats::Kitex;
///
/// let service = Kitex::default().service("hello", &Advert::new("10.0.0.1:8888"))?;
/// assert_eq!(service.key.to_string(), "kitex/registry-etcd/hello/10.0.0.1:8888");
/// # Ok::<(), sd_core::CodecError>(())
/// ```
///
/// | it can say | |
/// |---|---|
/// | an address | `host:port`, which is written with an IPv6 address in brackets and read without them too |
/// | other addresses | no |
/// | a weight | yes; 10 if none is said |
/// | a weight of 0 | no: it is read as 10 |
/// | a zone | yes: the tag `zone`. A convention |
/// | draining | no |
/// | an id | no |
/// | a version | no |
/// | metadata | yes: tags |
/// | metadata that is no text | no |
/// | several instances in an entry | no |
/// | a service called `a/b` | no: Kitex refuses it |
/// | time to live | 60 s |
#[derive(Debug, Clone)]
pub struct Kitex {
    root: Prefix,
}

impl Kitex {
    /// All services are below `root` instead of `kitex/registry-etcd`: Kitex' `WithEtcdServicePrefix`.
    #[must_use]
    pub fn under(mut self, root: Prefix) -> Self {
        self.root = root;
        self
    }
}

impl Default for Kitex {
    fn default() -> Self {
        Self {
            root: Prefix::new("kitex/registry-etcd").expect("it is not empty"),
        }
    }
}

impl Format for Kitex {
    fn name(&self) -> &str {
        "kitex"
    }

    fn prefix(&self, service: &str) -> Result<Prefix, Invalid> {
        names::below(Some(&self.root), service)
    }

    fn codec(&self, service: &str) -> Result<Arc<dyn Codec>, Invalid> {
        let prefix = self.prefix(service)?;
        Ok(Arc::new(OneLevel::below(prefix, CloudWeGoCodec)))
    }

    fn service(&self, service: &str, advert: &Advert) -> Result<Service, CodecError> {
        let key = self.prefix(service)?.key(advert.main_address())?;
        let value = CloudWeGoCodec.encode(&advert.to_instance(key.clone()))?;
        names::service(key, value, advert, TTL)
    }

    fn root(&self) -> Option<Prefix> {
        Some(self.root.clone())
    }

    fn service_of(&self, entry: &Entry) -> Option<String> {
        names::of_one_level(Some(&self.root), entry)
    }
}
